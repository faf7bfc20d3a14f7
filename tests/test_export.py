"""augpro export: the folder answers as the PyTorch model does, and what cannot be exported is told at once."""

import copy
import json
import sys

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from augpro import plugins
from augpro.cli.app import app
from augpro.errors import InputError
from augpro.export import exporting, timing
from augpro.export import int8 as int8_module
from augpro.export.exporting import run_export
from augpro.export.graph import check_shapes, difference, input_names, session_of, to_onnx
from augpro.export.int8 import to_int8
from augpro.export.options import ExportConfig
from augpro.export.parity import compare
from augpro.export.plan import make_export_plan
from augpro.export.timing import cold_start, measure
from augpro.models.source import ModelSource
from augpro.testing import TEXTS
from augpro.values import build
from augpro_runtime import Classifier, FolderError
from exported_folders import calibrated
from tiny_models import edit

RUN = CliRunner()


@pytest.fixture(scope="module")
def source(teacher_folder):
    source = ModelSource(str(teacher_folder))
    return source.load_trained_classifier().eval(), source.load_tokenizer()


@pytest.fixture(scope="module")
def graph(source):
    """The tiny model in ONNX; exporting takes ten seconds, so the tests of this file share it."""
    model, tokenizer = source
    return to_onnx(model, input_names(tokenizer), "tiny")


@pytest.fixture
def shared_graph(monkeypatch, graph):
    """The exporter gives the graph that it gave before."""
    monkeypatch.setattr("augpro.export.exporting.to_onnx", lambda *_: graph)


def plan(teacher_folder, tmp_path, **options):
    given = {"model": str(teacher_folder), "out": tmp_path / "exported", "timing": False}
    return make_export_plan(ExportConfig(**given | options))


def expected(source, texts):
    model, tokenizer = source
    rows = tokenizer(list(texts), padding=True, return_tensors="pt", split_special_tokens=True)
    with torch.inference_mode():
        return model(**rows).logits.numpy()


@pytest.mark.e2e
def test_the_folder_answers_as_pytorch(source, teacher_folder, table_file, tmp_path, shared_graph):
    result = run_export(plan(teacher_folder, tmp_path, data=str(table_file)))
    classifier = Classifier.load(tmp_path / "exported")
    np.testing.assert_allclose(classifier.logits(TEXTS), expected(source, TEXTS), atol=1e-4)
    assert classifier.labels == ("negative", "positive")
    assert result.parity.rows == 8
    assert result.parity.agreement == 1.0
    assert result.parity.largest < 1e-4
    assert classifier.manifest.max_tokens == 32
    assert classifier.manifest.pair is False
    said = json.loads((tmp_path / "exported" / "export.json").read_text())
    assert said["parity"]["rows"] == 8
    assert "equal decisions | 100.00%" in (tmp_path / "exported" / "export.md").read_text()
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == set()


@pytest.mark.e2e
def test_the_graph_holds_no_paths_of_source_files(graph):
    assert b"site-packages" not in graph.SerializeToString()


@pytest.mark.e2e
def test_shapes_that_differ_are_refused(source, graph):
    model, tokenizer = source
    assert check_shapes(model, graph, tokenizer, "tiny", 1e-3) < 1e-4
    with pytest.raises(InputError, match=r"answers otherwise than PyTorch \(logits differ by"):
        check_shapes(model, graph, tokenizer, "tiny", -1.0)
    assert difference(np.array([np.nan]), np.array([1.0])) == np.inf


@pytest.mark.e2e
def test_int8_weights_are_small_and_answers_near(source, graph, monkeypatch):
    monkeypatch.setattr(int8_module, "_SMALL", 64)
    small = to_int8(graph)
    assert {node.domain for node in small.graph.node} == {""}  # no operator of one runtime alone
    floats = [tensor for tensor in small.graph.initializer if tensor.data_type == 1 and len(tensor.dims) == 2]
    assert sum(np.prod(tensor.dims) for tensor in floats if 1 not in tensor.dims) < 64 * len(floats)
    table = next(
        tensor for tensor in small.graph.initializer if tensor.name.endswith("embeddings.weight_int8")
    )
    assert (table.data_type, len(table.dims)) == (3, 3)
    tokenizer = source[1]
    rows = tokenizer(list(TEXTS), padding=True, return_tensors="np")
    found = session_of(small.SerializeToString()).run(
        ["logits"], {key: rows[key] for key in input_names(tokenizer)}
    )[0]
    exact = expected(source, TEXTS)
    assert 0 < difference(found, exact) < 0.1 * np.abs(exact).max()
    assert (found.argmax(1) == exact.argmax(1)).all()


@pytest.mark.e2e
def test_an_int8_answer_does_not_depend_on_the_batch(teacher_folder, tmp_path, shared_graph):
    run_export(plan(teacher_folder, tmp_path, int8=True))
    classifier = Classifier.load(tmp_path / "exported")
    one, all_ = classifier.logits(TEXTS, batch_size=1), classifier.logits(TEXTS, batch_size=20)
    np.testing.assert_allclose(one, all_, atol=1e-4)


@pytest.mark.e2e
def test_the_calibration_and_the_limit_come_along(save_model, tokenizer, tmp_path, shared_graph):
    folder = save_model(tokenizer, layers=3, seed=1)
    calibrated(2.0, 0.6).save(folder)
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.model_max_length = 9
    tokenizer.save_pretrained(folder)
    run_export(plan(folder, tmp_path))
    classifier = Classifier.load(tmp_path / "exported")
    assert (classifier.calibration.temperature, classifier.calibration.threshold) == (2.0, 0.6)
    assert classifier.manifest.max_tokens == 9
    (folder / "calibration.json").write_text('{"temperature": 0, "threshold": 0.6}')
    with pytest.raises(InputError, match=r"calibration\.json: is damaged .*; run augpro calibrate"):
        plan(folder, tmp_path / "other")


@pytest.mark.e2e
def test_an_export_that_fails_leaves_nothing(teacher_folder, tmp_path, monkeypatch, shared_graph):
    monkeypatch.setattr("augpro.export.exporting.export_tables", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_export(plan(teacher_folder, tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.e2e
def test_a_folder_that_something_else_has_written_meanwhile_is_left_alone(
    teacher_folder, tmp_path, monkeypatch, shared_graph
):
    found = plan(teacher_folder, tmp_path)
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "other").touch()
    with pytest.raises(InputError, match="was written by something else meanwhile"):
        run_export(found)
    assert [path.name for path in tmp_path.iterdir()] == ["exported"]
    assert [path.name for path in (tmp_path / "exported").iterdir()] == ["other"]


@pytest.mark.parametrize(("options", "told"), [
    ({"texts": "x.txt"}, "--texts is for --trim-vocabulary"),
    ({"trim_vocabulary": True}, "--trim-vocabulary needs texts .*: give --texts or --data"),
    ({"int8": True, "max_megabytes": 10}, "--max-megabytes needs texts .*: give --texts or --data"),
    ({"max_megabytes": 10, "data": "d"}, "add --int8"),
    ({"int8": True, "max_megabytes": 0, "data": "d"}, "--max-megabytes"),
    ({"int8": True, "max_megabytes": float("nan"), "data": "d"}, "--max-megabytes"),
    ({"teacher": "t", "timing": False}, "leave --no-timing out"),
])  # fmt: skip
def test_options_that_do_not_fit(options, told, tmp_path):
    with pytest.raises(InputError, match=told) as error:
        build(ExportConfig, {"model": "m", "out": tmp_path, **options})
    assert str(error.value).startswith("options: --")
    assert "{" not in str(error.value), "the whole configuration is no part of the sentence"


def test_what_is_wrong_is_found_before_weights_are_loaded(
    teacher_folder, save_model, tokenizer, tmp_path, monkeypatch
):
    monkeypatch.setattr(ModelSource, "load_trained_classifier", lambda _: 1 / 0)
    full = tmp_path / "full"
    full.mkdir()
    (full / "file").touch()
    with pytest.raises(InputError, match="not an empty folder; give another --out"):
        plan(teacher_folder, tmp_path, out=full)
    with pytest.raises(InputError, match="no such model folder"):
        plan("./nothing", tmp_path)
    with pytest.raises(InputError, match="no such file; give a file of texts"):
        plan(teacher_folder, tmp_path, trim_vocabulary=True, texts=tmp_path / "no.txt")
    odd = save_model(tokenizer)
    edit(odd / "config.json", problem_type="ranking")
    with pytest.raises(InputError, match="problem_type"):
        plan(odd, tmp_path)
    monkeypatch.setattr(plugins.importlib.util, "find_spec", lambda name: None if "onnx" in name else name)
    with pytest.raises(
        InputError, match=r"needs onnx, onnxscript, onnxruntime; .* pip install '.\[export\]'"
    ):
        plan(teacher_folder, tmp_path)


@pytest.mark.e2e
def test_the_command_shows_plan_and_tables(teacher_folder, table_file, tmp_path, shared_graph):
    words = [
        "export",
        "--model",
        teacher_folder,
        "--data",
        table_file,
        "--out",
        tmp_path / "e",
        "--no-timing",
    ]
    dry = RUN.invoke(app, [*map(str, words), "--dry-run"], catch_exceptions=False)
    assert "compared_rows" in dry.output
    assert not (tmp_path / "e").exists()
    done = RUN.invoke(app, list(map(str, words)), catch_exceptions=False)
    assert done.exit_code == 0
    assert "equal decisions" in done.output
    again = RUN.invoke(app, list(map(str, words)), catch_exceptions=False)
    assert again.exit_code == 2


def test_labels_of_the_data_need_no_option(save_model, tokenizer, tmp_path):
    """They are not used; what they are is what the model says."""
    folder = save_model(tokenizer, layers=1, problem_type="multi_label_classification")
    rows = [
        f"{text},{label}"
        for text, label in zip(TEXTS, ["negative|positive", "positive", "negative"] * 10, strict=False)
    ]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    found = plan(folder, tmp_path, data=str(tmp_path / "rows.csv"))
    assert (found.problem, len(found.rows)) == ("multi_label", len(rows))


def test_measurements():
    runs = {"fast": (lambda inputs: inputs, ("input_ids",), 9)}
    found = measure(runs, 64)
    assert [(one.batch, one.length) for one in found] == [(1, 16), (1, 64), (32, 16), (32, 64)]
    assert all(one.texts_per_second == pytest.approx(one.batch * 1000 / one.milliseconds) for one in found)
    with pytest.raises(InputError, match=r"cannot be started .* --no-timing"):
        cold_start("./no-such-folder", exported=True)
    assert "augpro_runtime" in sys.modules


@pytest.mark.e2e
def test_all_models_are_timed(teacher_folder, save_model, tokenizer, tmp_path, monkeypatch, shared_graph):
    monkeypatch.setattr(timing, "_SECONDS", 0)
    monkeypatch.setattr(
        exporting, "cold_start", lambda folder, exported, trusted=False: 1.5 if exported else 2.5
    )
    teacher = save_model(tokenizer, layers=4, seed=1)
    result = run_export(plan(teacher_folder, tmp_path, timing=True, int8=True, teacher=str(teacher)))
    assert {speed.model for speed in result.speeds} == {"teacher", "student", "ONNX", "int8"}
    assert result.cold_starts == {"teacher": 2.5, "student": 2.5, "int8": 1.5}
    assert result.sizes.teacher > result.sizes.model_before
    written = (tmp_path / "exported" / "export.md").read_text()
    assert "| teacher, PyTorch weights |" in written
    assert "| teacher | 2.50 | 1 | 16 |" in written


def test_agreement_for_each_kind_of_task():
    one, other = np.array([[1.0, -1.0], [2.0, 3.0]]), np.array([[1.0, 2.0], [2.0, 4.0]])
    changed = np.array([True, False])
    single, several, score = (
        compare(one, other, kind, changed) for kind in ("single_label", "multi_label", "regression")
    )
    assert (single.agreement, single.retokenized, single.retokenized_agreement) == (0.5, 1, 0.0)
    assert (several.agreement, several.retokenized_agreement) == (0.75, 0.5)
    assert score.agreement is None
    assert single.largest == 3.0


@pytest.mark.e2e
def test_a_damaged_export_is_refused(teacher_folder, tmp_path, shared_graph):
    run_export(plan(teacher_folder, tmp_path))
    path = tmp_path / "exported" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FolderError, match="SHA-256"):
        Classifier.load(tmp_path / "exported")
