"""Labels that no name matches to a class: labelled rows show it, or the run is refused."""

import json
import random
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from augpro.cli.app import app
from augpro.config import BaselineConfig, CompareConfig, DistillConfig, EvaluateConfig
from augpro.distillation.pipeline import run
from augpro.distillation.plan import make_plan
from augpro.distillation.scoring import evaluate_model
from augpro.errors import InputError
from augpro.models.source import ModelSource
from augpro.teachers.alignment import align_labels
from augpro.teachers.label_check import match_by_rows
from augpro.teachers.teacher import Teacher
from common import TEXTS
from data_files import write_csv
from test_alignment import config, data

MOODS = ("negative", "neutral", "positive")


class Answering:
    """A teacher that gives each text the class that is written into it."""

    def __init__(self, classes):
        self.classes, self.read, self.beside = classes, [], False

    def beside_the_run(self):
        self.beside = True
        return self

    def label(self, texts, pairs=None):
        assert self.beside
        self.read += texts
        return torch.eye(10)[[int(text.split()[-1]) for text in texts]][:, : self.classes]


def answered(own, classes, rows):
    """The check on rows of (label, class that the teacher gives it)."""
    given = data(own, [label for label, _ in rows])
    train = replace(given.splits["train"], texts=[f"row {i} {said}" for i, (_, said) in enumerate(rows)])
    given = align_labels(replace(given, splits={"train": train}), config(*classes), "T")
    teacher = Answering(len(classes))
    return match_by_rows(given, teacher), teacher


def rows_of(mapping, each, right, seed=0):
    """So many rows of each label, of which this share gets the class of the mapping and the others any."""
    draw = random.Random(seed)
    return [
        (label, place if draw.random() < right else draw.randrange(len(mapping)))
        for label, place in enumerate(mapping)
        for _ in range(each)
    ]


@pytest.mark.parametrize("mapping", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 2, 1)])
def test_the_rows_show_which_label_is_which_class(mapping):
    found, _ = answered(("-1", "0", "1"), MOODS, rows_of(mapping, 40, 0.7))
    assert found.unproven is None
    assert found.task.label_names == MOODS
    assert [found.splits["train"].labels[40 * label] for label in range(3)] == list(mapping)
    (note,) = (note for note in found.notes if "matched to T by its answers to 120 labelled rows" in note)
    assert f"-1 = {MOODS[mapping[0]]}" in note
    assert ("in the usual order" in note) == (mapping != (0, 1, 2))


def test_names_stand_in_for_classes_without_any():
    found, _ = answered(("bad", "good"), ("LABEL_0", "LABEL_1"), rows_of((1, 0), 20, 1.0))
    assert found.task.label_names == ("good", "bad")
    fewer, _ = answered(("bad", "good"), ("LABEL_0", "LABEL_1", "LABEL_2"), [(0, 2)] * 20 + [(1, 1)] * 20)
    assert fewer.task.label_names == ("LABEL_0", "good", "bad")
    assert fewer.splits["train"].labels == [2] * 20 + [1] * 20


@pytest.mark.parametrize(
    "rows",
    [
        rows_of((0, 1, 2), 60, 0.0),  # answers at random
        [(label, 0) for label in range(3) for _ in range(60)],  # always the same answer
        [(0, 0)] * 395 + [(1, 0)] * 3 + [(2, 0)] * 2,
        [(0, 2), (1, 0), (2, 1)],  # too few to believe an unusual order
        [(0, 0)] * 60
        + [(label, place) for label in (1, 2) for place in (1, 2) for _ in range(30)],  # two in doubt
    ],
)
def test_rows_that_do_not_show_it_are_refused(rows):
    with pytest.raises(
        InputError, match=r"rows\.csv, column 'mood': \d+ labelled rows do not show .*--label-order"
    ):
        answered(("-1", "0", "1"), MOODS, rows)


def test_few_rows_of_many_labels_are_enough_for_the_usual_order():
    own = [f"name {i}" for i in range(10)]
    rows = [(label, label) for label in range(10) for _ in range(2)]
    rows[3] = (1, 7)
    found, _ = answered(own, [f"LABEL_{i}" for i in range(10)], rows)
    assert found.task.label_names == tuple(own)


def test_a_few_hundred_rows_are_read_as_many_of_each_label():
    _, teacher = answered(("0", "1"), ("bad", "good"), rows_of((0, 1), 900, 1.0) + [(1, 1)] * 100)
    assert len(teacher.read) == 400
    assert sum(text.endswith("0") for text in teacher.read) == 200


# --- with models ---


@pytest.fixture(scope="module")
def sure(save_model, tokenizer):
    """A teacher with named classes, one with none, and the class that both give each text."""
    named = save_model(tokenizer, layers=3, seed=3)
    bare = save_model(tokenizer, layers=3, seed=3, labels=("LABEL_0", "LABEL_1"))
    source = ModelSource(str(named))
    answers = (
        Teacher(source.load_trained_classifier(), source.load_tokenizer()).label(TEXTS).argmax(1).tolist()
    )
    return SimpleNamespace(named=str(named), bare=str(bare), answers=answers)


@pytest.fixture
def reviews(tmp_path, sure):
    """Data whose labels are the teacher's answers, by these names."""

    def write(*names):
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        rows = [["text", "label"], *([t, names[a]] for t, a in zip(TEXTS, sure.answers, strict=True))]
        write_csv(folder / "train.csv", rows)
        write_csv(folder / "validation.csv", rows)
        return str(folder)

    return write


def options_of(data, teacher, out, **more):
    fast = {"save_strategy": "no", "logging_strategy": "no", "use_cpu": True}
    given = {"augment": "none", "epochs": 1, "batch_size": 4, "trainer_options": fast, "student_layers": (0,)}
    return {"data": data, "teacher": teacher, "out": out, **given, **more}


@pytest.mark.e2e
def test_distillation_finds_the_order_before_it_trains(reviews, sure, tmp_path):
    """0 is positive here: by number every row would be wrong."""
    result = run(DistillConfig(**options_of(reviews("1", "0"), sure.named, tmp_path / "a")))
    assert (result.teacher_metric, result.label_names) == (1.0, ["negative", "positive"])
    assert any("0 = positive, 1 = negative" in note for note in result.notes)
    result = run(DistillConfig(**options_of(reviews("zeal", "anger"), sure.bare, tmp_path / "b")))
    assert (result.teacher_metric, result.label_names) == (1.0, ["zeal", "anger"])
    saved = json.loads((tmp_path / "b" / "config.json").read_text())
    assert saved["id2label"] == {"0": "zeal", "1": "anger"}


def test_labels_that_answers_do_not_show_end_the_run_before_anything_is_written(reviews, sure, tmp_path):
    path = Path(reviews("1", "0")) / "train.csv"
    write_csv(path, [["text", "label"], *([text, row % 2] for row, text in enumerate(TEXTS))])
    path.with_name("validation.csv").write_text("text\nthe movie\n")
    options = options_of(str(path.parent), sure.named, tmp_path / "a") | {
        "trainer_options": {"use_cpu": True}
    }
    with pytest.raises(InputError, match=r"train\.csv, column 'label': 20 labelled rows do not show"):
        run(DistillConfig(**options))
    assert not (tmp_path / "a").exists()


def test_a_baseline_finds_it_too(reviews, sure, tmp_path):
    from augpro.baselines.run import run_baseline

    options = options_of(reviews("1", "0"), sure.named, tmp_path / "a", baseline="tfidf")
    assert run_baseline(BaselineConfig(**options)).teacher_metric == 1.0


@pytest.mark.e2e
def test_evaluation_finds_it_for_model_and_teacher(reviews, sure, caplog):
    given = {"data": reviews("1", "0"), "model": sure.named, "teacher": sure.bare}
    scores = evaluate_model(EvaluateConfig(**given))
    assert (scores["evaluation"].metric, scores["evaluation"].agreement) == (1.0, 1.0)
    assert caplog.text.count("labels were matched to") == 2
    caplog.clear()
    evaluate_model(EvaluateConfig(**given, label_order="1,0"))
    assert "labels were matched to" not in caplog.text


@pytest.mark.e2e
def test_a_teacher_with_the_classes_in_another_order_is_refused(reviews, sure, save_model, tokenizer):
    turned = str(save_model(tokenizer, layers=3, seed=3, labels=("positive", "negative")))
    data = reviews("1", "0")
    with pytest.raises(InputError, match="same classes in the same order"):
        evaluate_model(EvaluateConfig(data=data, model=sure.named, teacher=turned))
    rows = [["text"], *([text] for text in TEXTS)]
    for name in ("train", "validation"):
        write_csv(Path(data) / f"{name}.csv", rows)
    given = {"data": data, "model": sure.named, "teacher": sure.bare}
    with pytest.raises(InputError, match="--label-order"):  # nothing shows which is which
        evaluate_model(EvaluateConfig(**given))
    scores = evaluate_model(EvaluateConfig(**given, label_order="negative,positive"))
    assert scores["evaluation"].agreement == 1.0


def test_a_plan_says_that_rows_will_show_it_and_the_order_that_is_given_holds(reviews, sure, tmp_path):
    options = options_of(reviews("1", "0"), sure.named, tmp_path / "a")
    plan = make_plan(DistillConfig(**options))
    assert "to its classes (negative, positive)" in plan.describe()["labels"]
    given = make_plan(DistillConfig(**options, label_order="1,0"))
    assert given.describe()["labels"] == "negative, positive"
    assert given.data.splits["validation"].labels == sure.answers
    assert given.config.label_order == DistillConfig(**options, label_order=["1", "0"]).label_order


@pytest.mark.e2e
def test_the_order_is_an_option_of_what_reads_a_teacher():
    for command, there in (("distill", True), ("evaluate", True), ("compare", True), ("finetune", False)):
        said = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
        assert (re.search(r"--label-order +LIST ", said) is not None) is there


@pytest.mark.e2e
def test_a_dry_run_of_a_comparison_says_so_too(reviews, sure, tmp_path):
    arguments = [
        "compare",
        "--data",
        reviews("1", "0"),
        "--teacher",
        sure.named,
        "--student-layers",
        "0",
        "--out",
    ]
    arguments += [
        str(tmp_path / "a"),
        "--batch-size",
        "4",
        "--methods",
        "none,tfidf",
        "--seeds",
        "0",
        "--dry-run",
    ]
    said = CliRunner().invoke(app, arguments, env={"COLUMNS": "400"}).output
    assert "labelled rows will match the labels" in said
    assert "labelled rows" not in CliRunner().invoke(app, [*arguments, "--label-order", "1,0"]).output
    assert CompareConfig.model_fields["label_order"].default is None  # results of older grids stay comparable
