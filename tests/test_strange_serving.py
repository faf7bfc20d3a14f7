"""What strangers give to serve, calibrate and export, and what goes wrong while a server answers."""

import asyncio
import random
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from augpro.errors import InputError
from augpro.export.exporting import run_export
from augpro.export.graph import TOLERANCE, check_shapes
from augpro.export.options import ExportConfig
from augpro.export.plan import make_export_plan
from augpro.export.trimming import text_parts
from augpro.files.durable import is_leftover, new_folder, replacement
from augpro.predict.options import PredictConfig
from augpro.predict.predicting import make_predict_plan, run_predict
from augpro.results.output import claim_file
from augpro.serve import fallback
from augpro.serve.answering import Answerer
from augpro.serve.fallback import load_fallback
from augpro.serve.measures import Measures
from augpro.serve.options import Limits
from augpro.serve.requests import Call
from augpro.serve.run import _listen
from augpro.testing import TEXTS, tiny_classifier
from augpro_runtime import Classifier
from augpro_runtime.folder import TOKENIZER
from commands import start
from common import LABELS
from exported_folders import calibrated, sum_model, token_values
from servers import write_calibrated


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return write_calibrated(tmp_path_factory.mktemp("served") / "student")


def answered(exported, teacher, limits):
    """Who answers a call, and how often each failure of the teacher was counted."""

    async def run():
        student = Classifier.load(exported, threads=1)
        answerer = Answerer(student, (exported / TOKENIZER).read_text(), teacher, limits, Measures())
        answerer.start()
        answers = await answerer.answer(Call(TEXTS, None, plain=True))
        await answerer.stop()
        found = next(iter(answerer.measures.errors.collect())).samples
        return {one.by for one in answers}, {
            one.labels["kind"]: one.value for one in found if one.name == "augpro_errors_total"
        }

    return asyncio.run(run())


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), OSError(5, "disk"), KeyError("x")])
def test_whatever_fails_in_the_teacher_leaves_the_students_answers(error, exported):
    def broken(texts, pairs):
        raise error

    assert answered(exported, broken, Limits()) == ({"student"}, {"fallback: store or teacher": 1.0})


def test_a_teacher_that_hangs_is_not_waited_for(exported):
    def slow(texts, pairs):
        time.sleep(0.3)
        return np.zeros((len(texts), 2), np.float32)

    assert answered(exported, slow, Limits(teacher_seconds=0.05)) == (
        {"student"},
        {"fallback: too slow": 1.0},
    )


def test_a_teacher_with_two_classes_of_one_name(save_model, tokenizer):
    teacher = save_model(tokenizer, layers=1, labels=("same", "same"))
    with pytest.raises(InputError, match="two classes of one name"):
        load_fallback(str(teacher), ("same", "same"), None)


def test_a_teacher_of_several_labels_for_a_text(save_model, tokenizer):
    teacher = save_model(tokenizer, layers=1, problem_type="multi_label_classification")
    with pytest.raises(InputError, match=r"gives several labels for a text.*as --fallback"):
        load_fallback(str(teacher), LABELS, None)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not tell what is mapped")
def test_a_teacher_whose_file_is_written_over_stays_as_it_was(save_model, tokenizer):
    folder = save_model(tokenizer, layers=1)
    teacher = load_fallback(str(folder), LABELS, None)
    before = teacher(TEXTS, None)
    assert str(folder) not in Path("/proc/self/maps").read_text()
    (folder / "model.safetensors").write_bytes(b"")
    np.testing.assert_array_equal(teacher(TEXTS, None), before)


def damaged(path, teacher):
    load_fallback(str(teacher), LABELS, path)(TEXTS, None)
    content = bytearray(path.read_bytes())
    content[100:] = b"\xff" * (len(content) - 100)
    path.write_bytes(content)


def of_later_version(path, teacher):
    load_fallback(str(teacher), LABELS, path)(TEXTS, None)
    with sqlite3.connect(path) as opened:
        opened.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("make", "told"),
    [(damaged, "is damaged; move it away"), (of_later_version, "later version of augpro")],
)
def test_a_label_store_is_opened_before_calls_are_answered(make, told, teacher_folder, tmp_path):
    make(tmp_path / "labels.sqlite", teacher_folder)
    with pytest.raises(InputError, match=told):
        load_fallback(str(teacher_folder), LABELS, tmp_path / "labels.sqlite")


def test_a_label_store_that_is_locked_is_not_waited_for(teacher_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(fallback, "_WAIT", 0.05)
    teacher = load_fallback(str(teacher_folder), LABELS, tmp_path / "labels.sqlite")
    with sqlite3.connect(tmp_path / "labels.sqlite", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(InputError, match="locked by another program"):
            teacher(TEXTS, None)
        other.execute("ROLLBACK")
    assert teacher(TEXTS, None).shape == (len(TEXTS), 2)


@pytest.mark.parametrize("moved", [True, False])
def test_a_label_store_that_is_deleted_while_serving_is_made_anew(moved, teacher_folder, tmp_path):
    store = tmp_path / "labels.sqlite"
    teacher = load_fallback(str(teacher_folder), LABELS, store)
    teacher(TEXTS[:5], None)
    if moved:
        store.rename(tmp_path / "moved.sqlite")
    for path in () if moved else tmp_path.iterdir():
        path.unlink()
    teacher(TEXTS[5:8], None)
    with sqlite3.connect(store) as opened:
        assert {text for (text,) in opened.execute("SELECT text FROM labels")} == set(TEXTS[5:8])


@pytest.mark.parametrize("host", ["a" * 300, "a..b", "ü" * 70, "", "x\0y", "http://localhost", "1.2.3.4.5"])
def test_a_host_that_is_none(host, monkeypatch):
    monkeypatch.undo()  # names are looked up on this machine alone, or are no names
    with pytest.raises(InputError, match=r"is no address of this machine \(.*\); give 127\.0\.0\.1"):
        _listen(host, 0)


# --- killed while it writes ---


def test_what_a_killed_process_began_to_write_is_removed_and_no_more(tmp_path):
    out = tmp_path / "out.csv"
    for name in (".out.csv.0123456789ab", ".other.csv.0123456789ab", ".out.csv.mine", "out.csv.0123456789ab"):
        (tmp_path / name).touch()
    (tmp_path / ".out.csv.ba9876543210").mkdir()
    (tmp_path / ".out.csv.ba9876543210" / "model.onnx").touch()
    with replacement(out) as living, new_folder(tmp_path / "folder") as folder:
        for path in (out, tmp_path / "folder"):
            claim_file(path)
        assert (living.exists(), folder.exists()) == (True, True)
    assert {path.name for path in tmp_path.iterdir()} == {
        ".other.csv.0123456789ab", ".out.csv.mine", "out.csv.0123456789ab", "out.csv", "folder",
    }  # fmt: skip


@pytest.mark.e2e
@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_predict_is_killed_and_started_again(ending, exported, tmp_path):
    (tmp_path / "rows.csv").write_text("text,n\n" + "".join(f"{TEXTS[n % 20]},{n}\n" for n in range(12000)))
    folder = tmp_path / "answers"
    folder.mkdir()
    out, whole = folder / f"out{ending}", tmp_path / f"whole{ending}"
    given = ["predict", "--model", str(exported), "--data", str(tmp_path / "rows.csv"), "--out"]
    chance = random.Random(ending)

    def finish(path):
        process = start([*given, str(path)], tmp_path / "said")
        process.join()
        assert process.exitcode == 0

    finish(whole)
    for _ in range(3):
        process = start([*given, str(out)], tmp_path / "said")
        while not any(is_leftover(path) for path in folder.iterdir()):
            assert process.is_alive()
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.4))
        process.kill()
        process.join()
        assert not out.exists() or out.read_bytes() == whole.read_bytes()
        out.unlink(missing_ok=True)
    finish(out)
    assert [path.name for path in folder.iterdir()] == [out.name]
    assert out.read_bytes() == whole.read_bytes()


# --- export, and models that are none ---


UNREAD = [
    ("empty.txt", b"", "holds no text; write a text a line"),
    ("blank.txt", b"\n \n\r\n", "holds no text; write a text a line"),
    ("wide.txt", "good\nbad\n".encode("utf-16"), "not UTF-8 .* but UTF-16; convert it"),
    ("unmarked.txt", "good\nbad\n".encode("utf-16-le"), "not UTF-8 .* but UTF-16-LE; convert it"),
    ("zeros.txt", b"good film\nba\0d film\n", "row 2: the file holds a NUL byte"),
    ("parquet.txt", b"PAR1" + b"x" * 50, "is a Parquet file, not a text a line; rename it"),
    ("latin.txt", b"good\n" * 5000 + b"caf\xe9\n", r"row 5001: the file is not UTF-8 .*convert it"),
    ("table.csv", b"a,b\n1,2\n", "name it by --text-column"),
]


@pytest.mark.parametrize(("name", "content", "told"), UNREAD)
def test_texts_that_are_none(name, content, told, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=told):
        list(text_parts(tmp_path / name, None, None))


def test_the_plan_of_an_export_reads_the_first_texts(teacher_folder, tmp_path):
    (tmp_path / "texts.txt").write_text("good film\n\nbad film\n", encoding="utf-16")
    given = {"model": str(teacher_folder), "out": tmp_path / "out", "timing": False, "trim_vocabulary": True}
    with pytest.raises(InputError, match="UTF-16; convert it"):
        make_export_plan(ExportConfig(**given, texts=tmp_path / "texts.txt"))


def test_an_exported_folder_is_no_model_to_train_or_export(exported, tmp_path):
    with pytest.raises(InputError, match=r"is a folder of augpro export.*give the model's folder"):
        make_export_plan(ExportConfig(model=str(exported), out=tmp_path / "out", timing=False))


def test_weights_that_are_no_numbers(tokenizer):
    model = tiny_classifier(len(tokenizer))
    content = sum_model(token_values(len(tokenizer)))
    with torch.no_grad():
        model.classifier.bias[0] = float("nan")
    with pytest.raises(
        InputError, match=r"not finite \(classifier.bias holds nan or infinity\); give a model"
    ):
        check_shapes(model, content, tokenizer, "model", TOLERANCE)


def test_an_export_tries_its_folder_before_it_works(teacher_folder):
    plan = make_export_plan(ExportConfig(model=str(teacher_folder), out="/proc/new/exported", timing=False))
    with pytest.raises(InputError, match=r"cannot make this folder.*give another --out"):
        run_export(replace(plan, source=None))


# --- a model's folder and its exported one ---


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("kind", "options", "calibration"),
    [
        ("one label", {}, None),
        ("calibrated", {}, (2.5, 0.8)),
        ("no threshold", {}, (0.7, None)),
        ("several labels", {"problem_type": "multi_label_classification"}, None),
        ("score", {"labels": ()}, None),
    ],
)
def test_an_exported_folder_answers_as_its_model(kind, options, calibration, save_model, tokenizer, tmp_path):
    model = save_model(tokenizer, seed=3, **options)
    if calibration:
        calibrated(*calibration).save(model)
    run_export(make_export_plan(ExportConfig(model=str(model), out=tmp_path / "exported", timing=False)))
    texts = [*TEXTS, "x" * 300, " ".join(TEXTS), "Ünï [SEP] [MASK]", "a 😀 film", "  good\tfilm "]
    tables = {"single": {"text": texts}, "pairs": {"sentence1": texts, "sentence2": texts[7:] + texts[:7]}}
    for name, table in tables.items():
        pq.write_table(pa.table(table), tmp_path / f"{name}.parquet")
        answers = []
        for folder in (model, tmp_path / "exported"):
            given = {
                "model": str(folder),
                "data": tmp_path / f"{name}.parquet",
                "out": tmp_path / "out.parquet",
            }
            run_predict(make_predict_plan(PredictConfig(**given, distribution=True)))
            answers.append(pq.read_table(tmp_path / "out.parquet"))
        first, second = answers
        assert first.schema == second.schema
        for column in first.column_names:
            one, other = first[column].to_pylist(), second[column].to_pylist()
            assert one == (pytest.approx(other, abs=1e-4) if isinstance(one[0], float) else other), column
