"""A teacher that was trained on the rows that its student is scored on is named, with their number."""

import csv
import json

import pytest
from typer.testing import CliRunner

from augpro.cli.app import app
from augpro.data.loading import Split
from augpro.distillation.identity import model_content
from augpro.models.source import ModelSource
from augpro.results.output import CONFIG
from augpro.results.provenance import TRAINING_ROWS, seen_rows, write_training_rows
from common import LABELS

FAST = ["--epochs", "1", "--batch-size", "8"]


def invoke(*arguments):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


@pytest.fixture
def hundred(tmp_path):
    path = tmp_path / "hundred.csv"
    with open(path, "w", newline="") as file:
        rows = [
            [f"the film number {row} is fine", "negative" if row % 3 else "positive"] for row in range(100)
        ]
        csv.writer(file).writerows([["text", "label"], *rows])
    return path


@pytest.mark.e2e
@pytest.mark.parametrize(("teachers", "seen"), [(["--holdout-rows", 20], {}), ([], {"holdout": 20})])
def test_a_teacher_made_with_other_splits_is_told(hundred, save_model, tokenizer, tmp_path, teachers, seen):
    source, teacher = save_model(tokenizer, layers=2, seed=4), tmp_path / "teacher"
    invoke("finetune", "--data", hundred, "--model", source, "--out", teacher, *FAST, *teachers)
    student = ("distill", "--data", hundred, "--teacher", teacher, "--student", source, "--holdout-rows", 20,
               "--augment", "none", "--out", tmp_path / "student", *FAST)  # fmt: skip
    dry = invoke(*student, "--dry-run")
    invoke(*student)
    notes = json.loads((tmp_path / "student" / "result.json").read_text())["notes"]
    told = [note for note in notes if "was trained on" in note]
    assert [f"trained on {count} of the 20 {name} rows" in note for note in told
            for name, count in seen.items()] == [True] * len(seen)  # fmt: skip
    assert len(told) == len(seen)
    assert ("was trained on" in dry.replace("│", "").replace("  ", " ")) == bool(seen)
    scored = invoke("evaluate", "--data", hundred, "--model", tmp_path / "student", "--teacher", teacher)
    assert "the model" in scored
    assert "was trained on 70 of the 100 evaluation rows" in scored


def test_a_model_without_a_record_is_not_judged(tmp_path):
    split = Split(["x", "Y  z"], None, [0, 1], "f.csv")
    assert seen_rows(str(tmp_path), "teacher", {"evaluation": split}) == []
    (tmp_path / CONFIG).write_text("{}")
    (note,) = seen_rows(str(tmp_path), "teacher", {"evaluation": split})
    assert "cannot be told" in note  # made before the record was
    write_training_rows(tmp_path, Split(["y z", "w", "w"], None, [0, 1, 1], "g.csv"), "elsewhere")
    (note,) = seen_rows(str(tmp_path), "teacher", {"evaluation": split})
    assert "was trained on 1 of the 2 evaluation rows" in note
    (tmp_path / TRAINING_ROWS).write_bytes(b"damaged")
    (note,) = seen_rows(str(tmp_path), "teacher", {"evaluation": split})
    assert "cannot be told" in note


def test_the_record_is_not_part_of_the_model(save_model, tokenizer):
    folder = save_model(tokenizer, layers=1, seed=5)
    before = model_content(ModelSource(str(folder)))
    write_training_rows(folder, Split(["x"], None, [0], "f.csv"), "elsewhere")
    assert model_content(ModelSource(str(folder))) == before


def test_what_a_model_began_as_has_seen_it_has_seen(tmp_path):
    for name, text, start in (("teacher", "x", "elsewhere"), ("student", "y", str(tmp_path / "teacher"))):
        (tmp_path / name).mkdir()
        write_training_rows(tmp_path / name, Split([text], None, [0], "f.csv"), start)
    split = Split(["x", "y", "z"], None, [0, 1, 1], "f.csv")
    (note,) = seen_rows(str(tmp_path / "student"), "model", {"evaluation": split})
    assert "was trained on 2 of the 3 evaluation rows" in note


@pytest.mark.e2e
def test_the_hash_of_labels_is_that_of_their_names(table_file, save_model, tokenizer, tmp_path):
    """Another teacher may have the same labels in another order, and the rows stay the same rows."""
    found = []
    for labels in (LABELS, LABELS[::-1]):
        teacher = save_model(tokenizer, layers=2, seed=1, labels=labels)
        out = tmp_path / f"student-{len(found)}"
        invoke("distill", "--data", table_file, "--teacher", teacher, "--student", teacher, "--augment", "none",
               "--out", out, *FAST)  # fmt: skip
        found.append(json.loads((out / "result.json").read_text())["scored_rows"])
    assert found[0] == found[1]
