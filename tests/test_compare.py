"""``augpro compare``: what is run again, what a kill, a failure and a budget leave behind, and what is refused."""

import json
import time

import pytest
from typer.testing import CliRunner

import commands
from augpro.cli.app import app
from augpro.compare.grid import Grid
from augpro.config import CompareConfig
from augpro.results.output import folder_lock


@pytest.fixture(scope="module")
def source(save_model, tokenizer):
    return save_model(tokenizer, layers=2, seed=4)


@pytest.fixture
def options(table_file, teacher_folder, source):
    return {
        "data": table_file, "teacher": teacher_folder, "student": source, "methods": "fine-tune,none,random",
        "seeds": "0,1", "sizes": "16", "epochs": "1", "batch-size": "8", "learning-rate": "0.01", "jobs": "2",
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
    grid = Grid(
        CompareConfig(**{key.replace("-", "_"): str(value) for key, value in broken.items()}, out=out)
    )
    key = grid.key(next(cell for cell in grid.cells() if cell.method == "random"))
    (out / "cells").mkdir(parents=True)
    (out / "cells" / key).write_text("in the way")  # the cell cannot make its folder
    done = invoke(*flags(broken, out))
    assert done.exit_code == 1, done.output
    assert {row["cell"]["method"] for row in lines(out)} == {"fine-tune", "none"}
    assert "failed: random" in done.output
    assert "is a file" in done.output


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


@pytest.mark.e2e
def test_two_comparisons_at_a_time_in_one_folder_are_refused(options, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with folder_lock(out):
        done = invoke(*flags(options, out))
    assert done.exit_code == 2, done.output
    assert "another augpro run is at work here; wait for it to end or give another --out" in done.output
    assert not (out / "results.jsonl").exists()
