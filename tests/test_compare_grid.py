"""The grid of a comparison: what identifies a cell, what its line holds, and how many epochs equal seconds are."""

import json
import re
from types import SimpleNamespace

import pytest
import torch

from augpro.compare.cells import CellRunner, Outcome, finished_cells
from augpro.compare.cost import equal_epochs
from augpro.compare.figures import predictions_of
from augpro.compare.grid import Grid, ResultsFile, method_options
from augpro.compare.runner import _readable, check_grid, equal_seconds_cells
from augpro.config import CompareConfig
from augpro.errors import InputError
from augpro.files.checksums import write_tensors
from augpro.files.durable import write_json
from augpro.results.cell import Cell
from common import LABELS, wordpiece
from report_cases import cell_result, result, write_lines


@pytest.fixture
def config(table_file, teacher_folder, tmp_path):
    def build(**changes):
        given = {
            "data": str(table_file), "teacher": str(teacher_folder), "student": str(teacher_folder), "seeds": (0, 1),
            "methods": "fine-tune,none,random", "sizes": (16.0,), "epochs": 1.0, "batch_size": 8,
            "learning_rate": 0.01, "out": tmp_path,
        }  # fmt: skip
        return CompareConfig(**given | changes)

    return build


@pytest.mark.parametrize(
    ("log", "code", "said"),
    [
        (" 45%| 90/200 [00:10<00:12]", -9, "killed by signal 9"),
        ("loading\nValueError: no such thing\n", 1, "ValueError: no such thing"),
        (None, 1, "ended with code 1"),
    ],
)
def test_why_a_cell_failed(config, tmp_path, log, code, said):
    grid, outcome = Grid(config()), Outcome()
    runner = CellRunner(grid, ResultsFile(tmp_path / "results.jsonl"), outcome, lambda done, cells: None)
    cell = next(grid.cells())
    if log is not None:
        (tmp_path / "logs").mkdir()
        (tmp_path / "logs" / f"{grid.key(cell)}.log").write_text(log)
    runner._end(cell, grid.key(cell), SimpleNamespace(exitcode=code), 2.0)
    assert said in outcome.failed[cell]
    assert runner._expected(cell) == 0.0, "what failed says nothing about how long a cell takes"


def test_equal_seconds_runs_cheaper_methods_for_more_epochs(config):
    grid = Grid(config(equal_seconds="random", epochs=10))
    rows = [
        cell_result(method, seed, 16.0, 10.0, phase_seconds=seconds, label_seconds=labels)
        for seed in (0, 1)
        for method, labels, seconds in (
            ("fine-tune", 0.0, {"student": 5.0, "load": 99.0}), ("none", 4.0, {"student": 5.0}),
            ("random", 4.0, {"student": 8.0, "teacher": 4.0, "prepare": 3.0}),
        )
    ]  # fmt: skip
    # 19 seconds: labels and preparation are paid once, whatever the number of epochs.
    assert equal_epochs(grid, rows) == {"fine-tune": 38.0, "none": 30.0, "random": 10.0}
    cells = {(cell.method, cell.epochs) for cell in equal_seconds_cells(grid, rows)}
    assert cells == {("fine-tune", 38.0), ("none", 30.0)}


def test_baselines_have_one_run_whatever_the_seconds(config):
    methods = "random,tfidf,embeddings:model=student"
    grid = Grid(config(methods=methods, equal_seconds="tfidf", epochs=10))
    rows = [
        cell_result(method, size=16.0, phase_seconds={"student": spent}, label_seconds=0.0)
        for method, spent in {"random": 8.0, "tfidf": 2.0, "embeddings:model=student": 7.0}.items()
    ]
    assert equal_epochs(grid, rows) == {"random": 2.0, "tfidf": 10.0, "embeddings:model=student": 10.0}


@pytest.mark.parametrize("damage", [b"", b"12345678", None])
def test_a_cell_without_whole_predictions_is_not_finished(tmp_path, damage, caplog):
    (tmp_path / "predictions").mkdir()
    write_lines(tmp_path, [result("none", None, 0, key, 0.5) for key in "ab"])
    for key in "ab":
        write_tensors(
            predictions_of(tmp_path / "predictions", key), {"evaluation.student": torch.zeros(3, 2)}
        )
    store = ResultsFile(tmp_path / "results.jsonl")
    assert finished_cells(store, tmp_path).keys() == {"a", "b"}
    path = predictions_of(tmp_path / "predictions", "b")
    path.unlink() if damage is None else path.write_bytes(damage)
    assert finished_cells(store, tmp_path).keys() == {"a"}
    assert [row.cell.key for row in _readable(store.rows, tmp_path)] == ["a"]
    assert "left out: none, seed 0: " in caplog.text


@pytest.mark.parametrize("keep", [False, True])
def test_what_a_cell_leaves_is_removed_after_a_kill_too(config, tmp_path, monkeypatch, keep):
    """Killed after its line was written; the model that an earlier run has kept stays."""
    kept, cell = tmp_path / "cells" / "kept", tmp_path / "cells" / "a"
    for folder in (kept, cell):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").touch()
    write_json(cell / "result.json", result("none", None, 0, "a", 0.5))
    for path in (cell / "predictions.safetensors", predictions_of(tmp_path / "predictions", "kept")):
        write_tensors(path, {"evaluation.student": torch.zeros(3, 2)})
    cell.with_suffix(".json").touch()
    write_lines(tmp_path, [result("none", None, 0, "kept", 0.5)])
    grid, append = Grid(config(keep_models=keep)), ResultsFile.append

    def runner():
        return CellRunner(grid, ResultsFile(tmp_path / "results.jsonl"), Outcome(), lambda *_: None)

    def killed(store, row):
        append(store, row)
        raise KeyboardInterrupt

    monkeypatch.setattr(ResultsFile, "append", killed)
    with pytest.raises(KeyboardInterrupt):
        runner()._collect(next(grid.cells()), "a")
    assert cell.is_dir()
    runner().run([])
    assert sorted(path.name for path in kept.parent.iterdir()) == (["a", "kept"] if keep else ["kept"])


def test_older_lines_are_charged_for_their_labels_alike(tmp_path):
    """The first cell of a seed was charged for all, although it used none."""
    rows = [("fine-tune", 0, 1000, 12.0), ("none", 0, 1000, 0.1), ("none", 1, 1000, 11.0),
            ("none:train_rows=16000", 0, 16000, 80.0), ("augpro-mix", 0, 1000, 0.1)]  # fmt: skip
    lines = [
        result(
            method, None, seed, str(number), 0.5, train_rows=size, phase_seconds={"teacher_originals": spent}
        )
        for number, (method, seed, size, spent) in enumerate(rows)
    ]
    for line in lines:
        del line["label_seconds"]
    write_lines(tmp_path, [*lines, {**lines[1], "label_seconds": 9.0}])
    rows = ResultsFile(tmp_path / "results.jsonl").rows
    assert [row.label_seconds for row in rows] == [0.0, 12.0, 11.0, 80.0, 12.0, 9.0]


def test_fine_tune_and_plain_distillation_are_always_compared(config):
    grid = Grid(config(methods="random"))
    assert grid.methods == ("fine-tune", "none", "random")
    assert method_options("fine-tune")["teacher_weight"] == 0.0


def test_a_method_may_have_options_of_its_own(config, tmp_path):
    """Those of the run are told from those of the method, and win over the grid's."""
    grid = Grid(config(epochs=3))
    plain = grid.distill_config(Cell("random", 16.0, 1, 3.0), tmp_path)
    own = grid.distill_config(
        Cell("random:replace_fraction=0.2:candidates=3:kd_loss=mse:epochs=7:train_rows=12", 16.0, 1, 3.0),
        tmp_path,
    )
    assert (plain.candidates, plain.kd_loss, plain.epochs, plain.train_rows) == (None, "kl", 3.0, 16.0)
    assert (own.candidates, own.kd_loss, own.epochs, own.train_rows) == (3, "mse", 7.0, 12.0)
    assert own.augment_options == {"replace_fraction": 0.2}


def test_equal_seconds_leaves_a_method_alone_that_says_how_long_it_trains(config):
    methods = "random,none:epochs=4"
    grid = Grid(config(methods=methods, equal_seconds="random"))
    rows = [
        cell_result(method, size=16.0, phase_seconds={"student": spent}, label_seconds=0.0)
        for method, spent in {"random": 8.0, "none:epochs=4": 2.0, "none": 2.0, "fine-tune": 4.0}.items()
    ]
    found = equal_epochs(grid, rows)
    assert "none:epochs=4" not in found
    assert found["none"] == 4 * found["random"]


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((4000.0, 16.0), "4000"),
        ((4.0, 16.0), "4 training rows are fewer than one batch"),
        ((8.0, 12.5, 16.0), "12.5"),
    ],
)
def test_every_size_is_checked_before_a_cell_runs(config, sizes, said):
    with pytest.raises(InputError, match=re.escape(said)):
        check_grid(Grid(config(sizes=sizes)))


@pytest.mark.e2e
def test_the_key_follows_everything_that_a_result_depends_on(config, tmp_path, table_file, save_model):
    base = config()

    def key(config=base, **cell):
        values = {"method": "random", "size": 16.0, "seed": 0, "epochs": 1.0, **cell}
        return Grid(config).key(Cell(**values))

    first = key()
    assert key() == first
    others = [
        *(key(**change) for change in ({"method": "none"}, {"size": 12.0}, {"seed": 1}, {"epochs": 2.0})),
        key(method="random:replace_fraction=0.2"),
        key(base.model_copy(update={"learning_rate": 0.5})),
    ]
    assert len({first, *others}) == len(others) + 1
    assert key(base.model_copy(update={"out": tmp_path / "elsewhere", "jobs": 7, "seeds": (5,)})) == first
    another = save_model(wordpiece(["good", "bad"]), seed=9)
    assert key(base.model_copy(update={"teacher": str(another)})) != first
    for name in ("tokenizer_config.json", "tokenizer.json"):  # how long a text may be, and how it is cut up
        before = key(base.model_copy(update={"teacher": str(another)}))
        (another / name).write_text((another / name).read_text() + " ")
        assert key(base.model_copy(update={"teacher": str(another)})) != before
    outside = f"masked-lm:model={another}"
    before = key(method=outside)
    assert before == key(method=outside)
    (another / "config.json").write_text((another / "config.json").read_text() + " ")
    assert key(method=outside) != before
    with open(table_file / "train.csv", "a") as file:
        file.write(f"one more row,{LABELS[0]}\n")
    assert key() != first


def test_a_damaged_results_file_names_its_row(tmp_path):
    path = tmp_path / "results.jsonl"
    whole = json.dumps(result("none", None, 0, "a", 0.5)) + "\n"
    for damaged in ("not json", "{}", '{"cell": 3}', '{"cell": {"key": "b"}}'):
        path.write_text(f"{whole}{damaged}\n{whole}")
        with pytest.raises(InputError, match=r"row 2: .*; remove that line, and its cell runs again\.$"):
            ResultsFile(path)
    path.write_text(whole + '{"torn')
    assert ResultsFile(path).finished().keys() == {"a"}
