"""The grid: what identifies a cell, what is run again, what a kill, a failure and a budget leave behind."""

import json
import time
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

import commands
from augpro.cli.app import app
from augpro.compare.cells import CellRunner, Outcome, finished_cells
from augpro.compare.cost import equal_epochs
from augpro.compare.figures import predictions_of
from augpro.compare.grid import Grid, ResultsFile, method_options
from augpro.compare.runner import _readable, equal_seconds_cells
from augpro.config import CompareConfig
from augpro.errors import InputError
from augpro.files.checksums import write_tensors
from augpro.results.cell import Cell
from augpro.results.output import folder_lock
from common import LABELS, wordpiece
from report_cases import cell_result, result, write_lines

METHODS = "fine-tune,none,random"


@pytest.fixture(scope="module")
def source(save_model, tokenizer):
    return save_model(tokenizer, layers=2, seed=4)


@pytest.fixture
def options(table_file, teacher_folder, source):
    return {
        "data": table_file, "teacher": teacher_folder, "student": source, "methods": METHODS, "seeds": "0,1",
        "sizes": "16", "epochs": "1", "batch-size": "8", "learning-rate": "0.01", "jobs": "2",
    }  # fmt: skip


def flags(options, out, **changes):
    values = {**options, **changes, "out": out}
    return ["compare", *(str(part) for key, value in values.items() for part in (f"--{key}", value))]


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def lines(out):
    path = out / "results.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def quality(out):
    """The quality part of the page: figures of the students, not of the machine."""
    return (out / "table.md").read_text().split("## glue")[0].split(": cost")[0]


@pytest.mark.e2e  # nine processes of their own
def test_killed_and_started_again_it_gives_the_table_of_an_uninterrupted_run(options, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = invoke(*flags(options, whole))
    assert done.exit_code == 0, done.output

    running = commands.start(flags(options, killed), tmp_path / "said")
    deadline = time.monotonic() + 120
    while not lines(killed):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    running.kill()
    running.join()
    before = lines(killed)
    assert 1 <= len(before) < 6, "the kill came too late to show anything"
    with open(killed / "results.jsonl", "a") as file:
        file.write('{"cell": {"key": "torn')  # what a kill in the middle of a write would leave

    logs = {path.name: path.stat().st_mtime_ns for path in (killed / "logs").iterdir()}
    finished = {f"{row['cell']['key']}.log" for row in before}
    again = invoke(*flags(options, killed))
    assert again.exit_code == 0, again.output
    after = lines(killed)
    assert after[: len(before)] == before
    keys = [row["cell"]["key"] for row in after]
    assert len(keys) == len(set(keys)) == 6
    assert {row["cell"]["key"] for row in lines(whole)} == set(keys)
    for name in finished:  # a cell that runs writes its log anew
        assert (killed / "logs" / name).stat().st_mtime_ns == logs[name], "a finished cell was run again"
    assert quality(killed) == quality(whole)
    made_text = {row["cell"]["key"] for row in after if row["cell"]["method"] == "random"}
    for folder in (whole, killed):
        assert {path.stem for path in (folder / "samples").iterdir()} == made_text
        for path in (folder / "samples").iterdir():
            assert len(path.read_text().splitlines()) == 16
    assert all(("label_flips" in row["replacement"]) == (row["cell"]["key"] in made_text) for row in after)
    assert "none" in quality(whole)
    models = after[0]["models"]
    assert models["student_layers"] == []
    assert {json.dumps([row["settings"], row["inputs"], row["scored_rows"]]) for row in after} == {
        json.dumps([row["settings"], row["inputs"], row["scored_rows"]]) for row in lines(whole)
    }
    assert len({json.dumps(row["settings"]) for row in after}) == 1
    assert after[0]["settings"]["learning_rate"] == 0.01
    labels = [row["label_seconds"] > 0.001 for row in after]
    assert labels == [row["cell"]["method"] != "fine-tune" for row in after]
    assert not any("/" in models[role] for role in ("teacher", "student")), "a place on this disk"


@pytest.mark.e2e  # three processes of their own
def test_a_failing_cell_is_told_and_does_not_stop_the_rest(options, tmp_path):
    """A cell whose folder cannot be made passes the checks and fails in its own process."""
    out = tmp_path / "out"
    broken = {**options, "methods": "none,random", "seeds": "0"}
    grid = Grid(config_of(broken, out))
    key = grid.key(next(cell for cell in grid.cells() if cell.method == "random"))
    (out / "cells").mkdir(parents=True)
    (out / "cells" / key).write_text("in the way")  # the cell cannot make its folder
    done = invoke(*flags(broken, out))
    assert done.exit_code == 1, done.output
    assert {row["cell"]["method"] for row in lines(out)} == {"fine-tune", "none"}
    assert "failed: random" in done.output
    assert "is a file" in done.output


@pytest.mark.parametrize(
    ("log", "code", "said"),
    [
        (" 45%| 90/200 [00:10<00:12]", -9, "killed by signal 9"),
        ("loading\nValueError: no such thing\n", 1, "ValueError: no such thing"),
        (None, 1, "ended with code 1"),
    ],
)
def test_why_a_cell_failed(options, tmp_path, log, code, said):
    grid, outcome = Grid(config_of(options, tmp_path)), Outcome()
    runner = CellRunner(grid, ResultsFile(tmp_path / "results.jsonl"), outcome, lambda done, cells: None)
    cell = next(grid.cells())
    if log is not None:
        (tmp_path / "logs").mkdir()
        (tmp_path / "logs" / f"{grid.key(cell)}.log").write_text(log)
    runner._end(cell, grid.key(cell), SimpleNamespace(exitcode=code), 2.0)
    assert said in outcome.failed[cell]
    assert runner._expected(cell) == 0.0, "what failed says nothing about how long a cell takes"


@pytest.mark.e2e  # processes of its own
def test_a_budget_names_what_it_left_out(options, tmp_path):
    out = tmp_path / "out"
    tight = {**options, "methods": "none,random", "seeds": "0", "jobs": "1", "budget": "0.03"}
    done = invoke(*flags(tight, out))
    assert done.exit_code == 0, done.output
    left = 3 - len(lines(out))
    assert left > 0
    assert "left out, over the budget" in done.output
    again = invoke(*flags(tight, out), "--table-only")
    assert again.exit_code == 0, again.output
    assert len(lines(out)) == 3 - left


def test_equal_seconds_runs_cheaper_methods_for_more_epochs(options, tmp_path):
    grid = Grid(config_of({**options, "equal_seconds": "random", "epochs": 10}, tmp_path))
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


def test_baselines_have_one_run_whatever_the_seconds(options, tmp_path):
    methods = "random,tfidf,embeddings:model=student"
    grid = Grid(config_of({**options, "methods": methods, "equal_seconds": "tfidf", "epochs": 10}, tmp_path))
    rows = [
        cell_result(method, size=16.0, phase_seconds={"student": spent}, label_seconds=0.0)
        for method, spent in {"random": 8.0, "tfidf": 2.0, "embeddings:model=student": 7.0}.items()
    ]
    assert equal_epochs(grid, rows) == {"random": 2.0, "tfidf": 10.0, "embeddings:model=student": 10.0}


@pytest.mark.e2e  # ten processes of their own
def test_baselines_are_cells_like_any_other(options, tmp_path):
    out, page = tmp_path / "out", tmp_path / "page.html"
    methods = "none,tfidf,tfidf:words=1:train_rows=12,embeddings:model=teacher"
    given = {**options, "methods": methods, "seeds": "0,1"}
    done = invoke(*flags(given, out))
    assert done.exit_code == 0, done.output
    rows = {(row["cell"]["method"], row["cell"]["seed"]): row for row in lines(out)}
    assert len(rows) == 10
    assert rows["tfidf", 0]["train_rows"] == 16
    assert rows["tfidf:words=1:train_rows=12", 0]["train_rows"] == 12
    assert (
        len({json.dumps([row["settings"], row["inputs"], row["scored_rows"]]) for row in rows.values()}) == 1
    )
    assert "not beaten" in done.output.replace("\n", " ")
    logs = {path.name: path.stat().st_mtime_ns for path in (out / "logs").iterdir()}
    assert invoke(*flags(given, out)).exit_code == 0
    assert {path.name: path.stat().st_mtime_ns for path in (out / "logs").iterdir()} == logs
    assert invoke("report", "--results", out, "--out", page).exit_code == 0
    assert "embeddings:model=teacher" in page.read_text()
    assert "not beaten" in page.read_text()


@pytest.mark.parametrize("damage", [b"", b"12345678", None])
def test_a_cell_without_whole_predictions_is_not_finished(options, tmp_path, damage, caplog):
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


def config_of(options, out):
    return CompareConfig(**{key.replace("-", "_"): str(value) for key, value in options.items()}, out=out)


@pytest.mark.e2e
def test_a_dry_run_checks_and_writes_nothing(options, tmp_path):
    done = invoke(*flags(options, tmp_path / "out"), "--dry-run")
    assert done.exit_code == 0, done.output
    assert "6 of 6 cells would run" in done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"methods": "none,nobody"}, "unknown method 'nobody'"),
        ({"methods": "random:rate"}, "option=value"),
        ({"methods": "random:replace_fraction=7"}, "replace_fraction"),
        ({"methods": "random:candidates=0"}, "--candidates"),
        ({"methods": "mixup:candidates=2"}, "makes no text"),
        ({"methods": "none:train_rows=4000"}, "4000"),
        ({"methods": "none,none"}, "twice"),
        ({"reference": "knn"}, "--reference knn"),
        ({"equal-seconds": "knn"}, "--equal-seconds knn"),
        ({"sizes": "4000"}, "4000"),
        ({"jobs": "0"}, "--jobs"),
    ],
)
def test_wrong_input_ends_in_one_sentence(options, tmp_path, change, said):
    done = invoke(*flags(options, tmp_path / "out", **change))
    assert done.exit_code == 2
    assert said in done.output
    assert not (tmp_path / "out").exists()


def test_fine_tune_and_plain_distillation_are_always_compared(options, tmp_path):
    grid = Grid(config_of({**options, "methods": "random"}, tmp_path))
    assert grid.methods == ("fine-tune", "none", "random")
    assert method_options("fine-tune")["teacher_weight"] == 0.0


def test_a_method_may_have_options_of_its_own(options, tmp_path):
    """Those of the run are told from those of the method, and win over the grid's."""
    grid = Grid(config_of({**options, "epochs": "3"}, tmp_path))
    plain = grid.distill_config(Cell("random", 16.0, 1, 3.0), tmp_path)
    own = grid.distill_config(
        Cell("random:replace_fraction=0.2:candidates=3:kd_loss=mse:epochs=7:train_rows=12", 16.0, 1, 3.0),
        tmp_path,
    )
    assert (plain.candidates, plain.kd_loss, plain.epochs, plain.train_rows) == (None, "kl", 3.0, 16.0)
    assert (own.candidates, own.kd_loss, own.epochs, own.train_rows) == (3, "mse", 7.0, 12.0)
    assert own.augment_options == {"replace_fraction": 0.2}


def test_equal_seconds_leaves_a_method_alone_that_says_how_long_it_trains(options, tmp_path):
    methods = "random,none:epochs=4"
    grid = Grid(config_of({**options, "methods": methods, "equal-seconds": "random"}, tmp_path))
    rows = [
        cell_result(method, size=16.0, phase_seconds={"student": spent}, label_seconds=0.0)
        for method, spent in {"random": 8.0, "none:epochs=4": 2.0, "none": 2.0, "fine-tune": 4.0}.items()
    ]
    found = equal_epochs(grid, rows)
    assert "none:epochs=4" not in found
    assert found["none"] == 4 * found["random"]


@pytest.mark.e2e
def test_the_key_follows_everything_that_a_result_depends_on(options, tmp_path, table_file, save_model):
    base = config_of(options, tmp_path)

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


@pytest.mark.e2e
def test_two_comparisons_at_a_time_in_one_folder_are_refused(options, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with folder_lock(out):
        done = invoke(*flags(options, out))
    assert done.exit_code == 2, done.output
    assert "another augpro run is at work here; wait for it to end or give another --out" in done.output
    assert not (out / "results.jsonl").exists()
