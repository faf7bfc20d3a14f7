"""What a run leaves behind is read back as it was written, by this version and from earlier ones."""

import json
import math
from pathlib import Path

import pytest
import torch
from pydantic import BaseModel
from rich.console import Console

import augpro.results.reference as page
from augpro.cli.display import show_result, show_scores, show_table
from augpro.compare.comparison import compare_quality
from augpro.compare.cost import cost_table
from augpro.compare.figures import Group
from augpro.compare.grid import ResultsFile
from augpro.errors import InputError
from augpro.evaluation.metrics import score
from augpro.results.cell import CellResult, FinishedCell
from augpro.results.result import RunResult, Stored
from augpro.results.tables import Quantities, Quantity, Table
from augpro.tasks import Task
from report_cases import cell_result, invoke, result, write_results

ROOT = Path(__file__).parent.parent
COMMITTED = sorted((ROOT / "benchmarks" / "results").glob("*.jsonl"))
KL, SQUARED = "KL divergence (nats)", "squared error"
OLD = {
    "rows": 8,
    "metrics": {"pearson": 0.5},
    "interval": [None, None],
    "agreement": 0.7,
    "kl_to_teacher": 0.25,
}
NO_NUMBERS = {"rows": 8, "metrics": {"accuracy": math.nan}, "interval": (math.nan, math.nan)}


def run_result(**changes):
    return RunResult.model_validate({**result("none", None, 3, "k", 0.5), **changes})


def old_file(folder, problem):
    """As versions before this one wrote it."""
    teacher = {**OLD, "agreement": None, "kl_to_teacher": None}
    search = {"layers": [0, 2], "held_rows": 5, "seconds": 1.0,
              "trials": [{"layers": [0, 2], "steps": 8, "kl": 0.5, "seconds": 1.0}]}  # fmt: skip
    made = json.loads(run_result(problem_type=problem, layer_search=None).model_dump_json())
    for name in ("agreement_name", "distance_name", "distance_to_teacher"):
        del made[name]
    made |= {"agreement": 0.7, "kl_to_teacher": 0.25, "evaluation": OLD, "holdout": OLD,
             "teacher": {"evaluation": teacher}, "layer_search": search}  # fmt: skip
    (folder / "result.json").write_text(json.dumps(made))


def test_a_result_is_read_as_it_was_written(tmp_path):
    scores = {**NO_NUMBERS, "agreement": math.nan, "distance_to_teacher": 0.1}
    written = run_result(evaluation=scores, replacement={"changed": 0.5}, config={"epochs": 3.0, "data": "d"})
    written.save(tmp_path)
    text = (tmp_path / "result.json").read_text()
    assert "NaN" not in text
    for place in (tmp_path, tmp_path / "result.json"):
        read = RunResult.load(place)
        assert read.config == {"epochs": 3.0, "data": "d"}
        assert math.isnan(read.evaluation.metric)
        assert all(map(math.isnan, read.evaluation.interval))
        assert (read.evaluation.agreement, read.evaluation.distance_to_teacher) == (None, 0.1)
        again = tmp_path / "again"
        again.mkdir(exist_ok=True)
        read.save(again)
        assert (again / "result.json").read_text() == text


def test_keys_of_later_versions_are_left_out(tmp_path):
    written = run_result().model_dump(mode="json")
    later = {**written, "colour": "red", "evaluation": {**written["evaluation"], "calibration": 0.1}}
    (tmp_path / "result.json").write_text(json.dumps(later))
    assert RunResult.load(str(tmp_path)) == run_result()


@pytest.mark.parametrize(
    ("problem", "agreement", "distance"),
    [
        ("single_label", "share of equal decisions", KL),
        ("multi_label", "share of equal decisions per label", "KL divergence per label (nats)"),
        ("regression", "Pearson correlation", SQUARED),
    ],
)
def test_figures_say_what_they_are(tmp_path, problem, agreement, distance):
    """The old keys are read too, and named by the problem type; new scores name themselves alike."""
    old_file(tmp_path, problem)
    read = RunResult.load(tmp_path)
    for one in (read, read.evaluation, read.holdout):
        assert (one.agreement, one.agreement_name) == (0.7, agreement)
        assert (one.distance_to_teacher, one.distance_name) == (0.25, distance)
    theirs = read.teacher["evaluation"]
    assert (theirs.agreement, theirs.agreement_name, theirs.distance_name) == (None, None, None)
    assert read.layer_search.trials[0].distance == 0.5
    width = 1 if problem == "regression" else 2
    task = Task("t", problem, "pearson" if width == 1 else "accuracy", ("a", "b")[: 2 * (width == 2)])
    logits = torch.tensor([[0.5, 1.0], [2.0, -1.0], [-1.0, 0.0]])[:, :width]
    labels = (
        {1: torch.rand(3), 2: torch.tensor([0, 1, 1])}[width]
        if problem != "multi_label"
        else torch.ones(3, 2)
    )
    scores = score(task, logits, labels, logits + 1)
    assert (scores.agreement_name, scores.distance_name) == (agreement, distance)
    alone = score(task, logits, labels)
    assert (alone.agreement_name, alone.distance_name, alone.distance_to_teacher) == (None, None, None)


def test_committed_results_are_read_whole():
    found = 0
    for path in COMMITTED:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if not all(
            "key" in (line.get("cell") if isinstance(line.get("cell"), dict) else {}) for line in lines
        ):
            continue
        for line, row in zip(lines, ResultsFile(path).rows, strict=True):
            assert CellResult.model_validate(row.line()).line() == row.line()
            assert (row.cell.method, row.evaluation.metrics) == (
                line["cell"]["method"],
                line["evaluation"]["metrics"],
            )
            old = line["evaluation"].get("distance_to_teacher", line["evaluation"].get("kl_to_teacher"))
            assert row.distance_to_teacher == row.evaluation.distance_to_teacher == old
            assert row.distance_name == (SQUARED if line["problem_type"] == "regression" else KL)
            assert row.line().keys() >= line.keys() - {"kl_to_teacher", "checksum"}
            found += 1
    assert found > 300


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        ("{", "is no JSON"),
        ("[]", "task, method, seed"),
        ('{"task": 3}', "task, method"),
        ({"evaluation": {"rows": 1}}, "evaluation.metrics missing or of the wrong kind; give the folder of"),
        ({"seconds": None}, "seconds missing"),
        ({"teacher": {"evaluation": 3}}, "teacher.evaluation missing"),
        ({"problem_type": "poetry"}, "problem_type missing"),
    ],
)
def test_a_damaged_result_is_told_in_one_sentence(tmp_path, content, said):
    if content is not None:
        text = (
            content
            if isinstance(content, str)
            else json.dumps(run_result().model_dump(mode="json") | content)
        )
        (tmp_path / "result.json").write_text(text)
    with pytest.raises(InputError, match=r"result\.json: ") as found:
        RunResult.load(tmp_path)
    assert said in str(found.value)
    assert "\n" not in str(found.value)


def test_a_line_has_neither_texts_nor_places_on_the_disk(tmp_path):
    (tmp_path / "teacher").mkdir()
    sample = dict.fromkeys(("original", "augmented", "original_label", "augmented_label"), "secret")
    config = {
        "teacher": str(tmp_path / "teacher"),
        "student": None,
        "student_layers": [0, 2],
        "augmenter": {"a": 1},
    }
    run = run_result(samples=[sample], config=config)
    cell = FinishedCell(method="none:epochs=2", size=8.0, seed=3, epochs=2.0, key="k")
    row = CellResult.of(run, cell, {"batch_size": 8}, {"code": "c"})
    line = row.line()
    assert not {"secret", str(tmp_path)} & set(json.dumps(line).split('"'))
    assert line["models"] == {"teacher": "teacher", "student": "teacher", "student_layers": [0, 2]}
    assert (line["augmenter"], line["settings"], line["inputs"]) == (
        {"a": 1},
        {"batch_size": 8},
        {"code": "c"},
    )
    assert next(iter(line)) == "cell"
    assert CellResult.model_validate(json.loads(json.dumps(line))).cell == cell


# --- what is shown ---


def shown_text(show):
    console = Console(record=True, width=240)
    show(console)
    return console.export_text()


@pytest.mark.parametrize(
    ("problem", "heads"),
    [
        ("regression", ("correlation", "squared error to the teacher")),
        ("single_label", ("agreement", "KL to the")),
    ],
)
def test_people_are_told_what_the_figures_are(tmp_path, problem, heads):
    row = cell_result(problem_type=problem, teacher={}, key="k")
    said = shown_text(lambda console: show_result(console, row, tmp_path))
    said += shown_text(lambda console: [show_table(console, t.table) for t in compare_quality(
        Group([row], tmp_path / "none", "none"), "evaluation", "t")])  # fmt: skip
    assert all(said.count(head) >= 2 for head in heads)
    assert ("KL" in said) == (problem == "single_label")
    scores = RunResult.model_validate(
        {**run_result(problem_type=problem).model_dump(), "evaluation": OLD}
    ).evaluation
    said = shown_text(lambda console: show_scores(console, {"evaluation": scores}, "m"))
    assert f"distance to teacher: {SQUARED if problem == 'regression' else KL}" in said


def test_a_report_of_scores_without_labels_tells_the_squared_error(tmp_path):
    scores = {"rows": 24, "metrics": {}, "agreement": 0.8, "distance_to_teacher": 0.2}
    changes = {
        "problem_type": "regression",
        "evaluation": scores,
        "teacher": {"evaluation": {**scores, "agreement": None}},
    }
    folder = write_results(tmp_path / "grid", samples=0, **changes)
    done = invoke("--results", folder / "results.jsonl", "--out", tmp_path / "r.html")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "has the lowest mean squared error to the teacher" in text


def test_cells_hold_values_and_are_formatted_when_shown():
    seconds = Quantities((Quantity(1.25, ".1f"), Quantity(None, ".0f"), Quantity(1e3, ".0f")))
    whole = Quantity(0.123456, "+.3f", (0.1, 0.2))
    table = Table(
        "t", ["a|b", "c", "d", "e"], [["x|y", whole, Quantity(0.5, ".0%", (math.nan, math.nan)), seconds]]
    )
    assert (whole.value, seconds.value) == (0.123456, 1.25)
    assert r"| x\|y | +0.123 (+0.100 to +0.200) | 50% (-) | 1.2, -, 1000 |" in table.markdown()
    assert str(Quantities((Quantity(None, ".1f"), Quantity(3.0, ".0f")))) == "-"


def test_the_figures_of_a_table_are_not_those_of_its_text():
    rows = [
        cell_result(seed=seed, phase_seconds={"student": 1.03125 + seed}, label_seconds=0.0)
        for seed in (0, 1)
    ]
    (line,) = cost_table(Group(rows, Path("none"), "none"), "t").rows
    assert line[2] == Quantity(1.53125, ".1f")


# --- the page ---


def kinds(kind=Stored):
    for one in kind.__subclasses__():
        yield one
        yield from kinds(one)


def test_every_key_is_described_and_the_page_is_up_to_date():
    found = list(kinds())
    assert {RunResult, CellResult} < set(found)
    assert all(issubclass(kind, BaseModel) for kind in found)
    assert not [
        (kind, name) for kind in found for name, key in kind.model_fields.items() if not key.description
    ]
    written = (ROOT / "docs" / "reference" / "result.md").read_text(encoding="utf-8")
    assert written == page.reference(), "python -m augpro.results.reference docs/reference/result.md"
