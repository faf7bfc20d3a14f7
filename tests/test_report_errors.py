"""What the report refuses, in one sentence that names the place."""

import importlib.util
import json
import shutil

import pytest

from report_cases import invoke, read_lines, write_lines, write_results


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("grid") / "grid-reviews", sizes=(100.0, 400.0))


def without(line, name, **changes):
    return {key: value for key, value in {**line, **changes}.items() if key != name}


def refused(*arguments):
    done = invoke(*arguments)
    assert done.exit_code == 2, done.output
    assert done.output.count("\n") == 1
    return done.output


def test_a_folder_without_results_is_refused(tmp_path):
    assert "has neither results.jsonl nor result.json" in refused(
        "--results", tmp_path, "--out", tmp_path / "r.html"
    )
    (tmp_path / "results.jsonl").write_text("")
    assert "no finished run" in refused("--results", tmp_path, "--out", tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda lines: [*lines, {"not": "a result"}], "row 10"),
        (lambda lines: [{**lines[0], "evaluation": None}, *lines[1:]], "row 1: evaluation"),
        (lambda lines: [lines[0], {**lines[1], "cell": {"key": "a"}}, *lines[2:]], "row 2: cell.method"),
        (
            lambda lines: [{**line, "cell": {**line["cell"], "key": "gone"}} for line in lines],
            "no finished run",
        ),
        (lambda lines: [{**lines[0], "evaluation": {"rows": 1}}, *lines[1:]], "row 1: evaluation.metrics"),
        (lambda lines: [{**lines[0], "label_seconds": None}, *lines[1:]], "row 1: label_seconds"),
        (lambda lines: [without(lines[0], "label_seconds", phase_seconds=[]), *lines[1:]], "phase_seconds"),
        (
            lambda lines: [{**lines[0], "scored_rows": {"evaluation": 3}}, *lines[1:]],
            "row 1: scored_rows.eval",
        ),
        (lambda lines: [{**lines[0], "inputs": "x"}, *lines[1:]], "row 1: inputs"),
    ],
)
def test_damaged_results_name_their_row(tmp_path, damage, said):
    folder = write_results(tmp_path / "grid")
    write_lines(folder, damage(read_lines(folder)))
    output = refused("--results", folder, "--out", tmp_path / "r.html")
    assert said in output
    assert not (tmp_path / "r.html").exists()


@pytest.mark.e2e
def test_damaged_files_are_named(tmp_path):
    folder = write_results(tmp_path / "grid")
    path = min((folder / "samples").iterdir())
    whole = path.read_text()
    for line in ("no json", '{"original": "a"}', '{"original": 1, "augmented": "b", "before": [1], "after": [1]}',
                 '{"original": "a", "augmented": "b", "before": [1, 0], "after": [1]}'):  # fmt: skip
        path.write_text(whole + line + "\n")
        assert f"{path.name}, row 61" in refused("--results", folder, "--out", tmp_path / "r.html")
    path.write_text(whole)


@pytest.mark.e2e
@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b""), lambda path: path.unlink(),
                                    lambda path: path.write_bytes(path.read_bytes()[:-8])])  # fmt: skip
def test_a_run_without_whole_predictions_counts_as_unfinished(tmp_path, damage):
    folder = write_results(tmp_path / "grid")
    damage(folder / "predictions" / f"{0:032x}.safetensors")
    done = invoke("--results", folder, "--out", tmp_path / "r.html")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "1 runs are left out, as their predictions are missing or damaged" in page
    shutil.rmtree(folder / "predictions")
    done = invoke("--results", folder / "results.jsonl", "--out", tmp_path / "r.html")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "left out" not in page
    assert "nothing was tested over rows" in page
    assert "separated</span>" not in page


def test_equal_rows_with_other_labels_are_refused(tmp_path):
    folder = write_results(tmp_path / "grid", methods=("none", "random"), seeds=(0,))
    lines = read_lines(folder)
    for line, labels in zip(lines, "ab", strict=True):
        line["scored_rows"] = {"evaluation": {"texts": "t", "labels": labels}}
    write_lines(folder, lines)
    said = refused("--results", folder, "--out", tmp_path / "r.html")
    assert (
        "none, seed 0, and random, seed 0, were scored on the same evaluation rows with different labels"
        in said
    )


def test_a_teacher_has_no_report(tmp_path):
    grid = write_results(tmp_path / "grid", methods=("none",), seeds=(0,))
    row = {**read_lines(grid)[0], "method": "finetune", "teacher": {}}
    (tmp_path / "result.json").write_text(json.dumps(row))
    assert "without a teacher" in refused("--results", tmp_path, "--out", tmp_path / "r.html")
    (tmp_path / "result.json").write_text("[]")
    assert "missing" in refused("--results", tmp_path, "--out", tmp_path / "r.html")
    (tmp_path / "result.json").write_text("{")
    assert "is no JSON" in refused("--results", tmp_path, "--out", tmp_path / "r.html")


def test_a_place_that_cannot_be_written_is_refused(grid, tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path, tmp_path / "file" / "r.html"):
        assert "--out" in refused("--results", grid, "--out", out)
    assert "has neither" in refused("--results", tmp_path, "--out", tmp_path / "nowhere" / "r.html")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_missing_package_names_the_command(grid, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name)
    )
    output = refused("--results", grid, "--out", tmp_path / "r.html")
    assert (
        "augpro report: needs matplotlib; run in a copy of the repository: pip install '.[report]'" in output
    )
