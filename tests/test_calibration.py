"""The temperature and the threshold of a student: what they promise, and what the command does."""

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file
from scipy import stats
from typer.testing import CliRunner

from augpro.calibration import fit as fitting
from augpro.calibration.record import FILE, CalibrationRecord
from augpro.cli.app import app
from augpro.data.same_text import row_keys
from augpro.errors import InputError
from augpro.report.page import write_report
from augpro.results.provenance import TRAINING_ROWS
from augpro.teachers.store import LabelStore
from augpro.testing import WORDS
from common import LABELS


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def drawn(generator, rows, scale=1.0):
    """Logits of a student and answers of its teacher, which agree as often as the probabilities say."""
    logits = generator.normal(size=(rows, 3)) * 2.5
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    answers = (generator.random((rows, 1)) > chances.cumsum(1)).sum(1)
    return logits * scale, answers


# --- the mathematics ---


def test_the_temperature_undoes_a_scale():
    logits, answers = drawn(np.random.default_rng(0), 20_000, scale=3.0)
    assert fitting.fit_temperature(logits, answers) == pytest.approx(3.0, rel=0.05)
    assert fitting.fit_temperature(logits, logits.argmax(1)) == pytest.approx(0.1, rel=0.01)  # the lowest


@pytest.mark.parametrize(("agreeing", "rows"), [(97, 100), (1, 7), (200, 200)])
def test_the_bound_is_where_so_many_are_just_unlikely(agreeing, rows):
    bound = fitting.lower_bound(agreeing, rows, 0.95)
    assert stats.binom.sf(agreeing - 1, rows, bound) == pytest.approx(0.05)
    assert fitting.lower_bound(0, rows, 0.95) == 0


def test_fewest_rows_are_those_that_can_show_it():
    tested = fitting.rows_needed(0.97, 0.95) * (1 - fitting.FIT_SHARE)
    assert fitting.lower_bound(math.floor(tested), math.floor(tested), 0.95) >= 0.97
    assert fitting.lower_bound(98, 98, 0.95) < 0.97


def test_error_and_plain_threshold_agree_with_their_definitions():
    generator = np.random.default_rng(1)
    confidence, agrees = generator.random(300).round(2), generator.random(300) < 0.8
    error = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence >= low) & (confidence < low + 1 / 15)
        if inside.any():
            error += inside.mean() * abs(agrees[inside].mean() - confidence[inside].mean())
    assert fitting.calibration_error(confidence, agrees) == pytest.approx(error)
    enough = [value for value in confidence if agrees[confidence >= value].mean() >= 0.82]
    assert fitting.plain_threshold(confidence, agrees, 0.82) == min(enough)
    assert fitting.plain_threshold(confidence, ~agrees & agrees, 0.5) is None
    curve = fitting.coverage_curve(confidence, agrees)
    assert curve[-1] == (1.0, agrees.mean())
    assert len(curve) == 50


@pytest.mark.e2e
def test_the_promise_holds_and_a_plain_threshold_breaks_it():
    """Over 120 choices of the rows, with the agreement of new rows known from very many."""
    generator = np.random.default_rng(2)
    logits, answers = drawn(generator, 10_000)
    agrees, kept, plain = logits.argmax(1) == answers, [], []
    raw = fitting.confidences(logits)
    for _ in range(120):
        rows = generator.integers(len(logits), size=600)
        found = fitting.fit(logits[rows], answers[rows], 0.9, 0.9)
        if found.chosen:
            above = fitting.confidences(logits, found.temperature) >= found.chosen.threshold
            kept.append(agrees[above].mean() >= 0.9)
        plain.append(agrees[raw >= fitting.plain_threshold(raw[rows], agrees[rows], 0.9)].mean() >= 0.9)
    assert len(kept) > 96
    assert np.mean(kept) > 0.9
    assert np.mean(plain) < 0.8


def test_the_tested_rows_are_others_than_the_fitted_ones():
    logits, answers = drawn(np.random.default_rng(3), 400)
    right = logits.argmax(1)
    answers[100:] = right[100:]  # all disagreements are among the first quarter
    assert fitting.fit(logits, answers, 0.97, 0.95).chosen.agreement == 1
    answers[100:] = (right[100:] + 1) % 3
    assert fitting.fit(logits, answers, 0.97, 0.95).chosen is None


# --- the command ---


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """300 different texts, 20 of them twice, without labels."""
    path = tmp_path_factory.mktemp("texts") / "texts.csv"
    generator = np.random.default_rng(0)
    texts = {" ".join(generator.choice(WORDS, 5)): None for _ in range(400)}
    rows = [*list(texts)[:300], *list(texts)[:20]]
    path.write_text("text\n" + "\n".join(rows) + "\n")
    return path, rows


@pytest.fixture
def student(teacher_folder, tmp_path):
    """A copy of the teacher, which agrees always."""
    return shutil.copytree(teacher_folder, tmp_path / "student")


@pytest.fixture
def calibrate(folder, student, teacher_folder):
    def command(*arguments, model=student, data=folder[0], teacher=teacher_folder):
        return invoke("calibrate", "--data", data, "--model", model, "--teacher", teacher, *arguments)

    return command


def test_calibrates_without_labels(calibrate, student, tmp_path):
    done = calibrate("--label-store", tmp_path / "labels.sqlite")
    assert done.exit_code == 0, done.output
    record = CalibrationRecord.load(student)
    assert (record.rows, record.fitted_rows, record.coverage, record.agreement) == (300, 75, 1, 1)
    assert record.threshold == 0
    assert record.chosen.bound == pytest.approx(0.05 ** (1 / 225))
    assert sum(part.rows for part in record.bins_after) == 225
    assert "98.68%" in done.output
    assert sum(found.labels for _, found in LabelStore(tmp_path / "labels.sqlite").summary()) == 300


@pytest.mark.e2e
def test_a_student_that_is_not_alike_gets_no_threshold(calibrate, both_classes, tmp_path):
    other = shutil.copytree(both_classes, tmp_path / "other")
    done = calibrate("--agree", "0.999999", "--confidence", "0.5", model=other)
    assert done.exit_code == 2  # so many texts are not there
    done = calibrate("--agree", "0.98", model=other)
    assert done.exit_code == 0, done.output
    record = json.loads((other / FILE).read_text())
    assert record["threshold"] is record["chosen"] is None
    assert "No threshold could be shown" in " ".join(done.output.split())


def test_a_dry_run_writes_nothing(calibrate, student):
    done = calibrate("--dry-run")
    assert done.exit_code == 0
    assert "300" in done.output
    assert not (student / FILE).exists()


def test_texts_that_the_student_was_trained_on_are_left_out(calibrate, student, folder):
    import torch

    keys = torch.tensor(sorted(set(row_keys(folder[1][:100], None))))
    save_file({"row_keys": keys}, student / TRAINING_ROWS)
    done = calibrate("--dry-run")
    assert "100 texts are left out" in " ".join(done.output.split("│"))
    keys = torch.tensor(sorted(set(row_keys(folder[1], None))))
    save_file({"row_keys": keys}, student / TRAINING_ROWS)
    done = calibrate()
    assert done.exit_code == 2
    assert "0 different texts that the student was not trained on are too few" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--agree", "1"], "--agree '1': input should be less than 1"),
        (["--confidence", "0.2"], "greater than or equal to 0.5"),
        (["--agree", "0.999"], "takes at least 3994; give more texts"),
    ],
)
def test_wrong_options(calibrate, arguments, message):
    done = calibrate(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr


def test_what_cannot_be_calibrated(calibrate, save_model, tokenizer, tmp_path):
    assert "no such folder" in calibrate(model="some/hub-name").stderr
    score = save_model(tokenizer, num_labels=1)
    rows = "\n".join(f"{word} {number},{number / 7}" for number, word in enumerate(WORDS * 10))
    data = tmp_path / "scores.csv"
    data.write_text(f"text,label\n{rows}\n")
    done = calibrate(model=score, teacher=score, data=data)
    assert done.exit_code == 2
    assert "a threshold is for one answer that agrees or does not" in done.stderr


def test_a_damaged_record_is_told(calibrate, student):
    calibrate()
    path = student / FILE
    path.write_text(path.read_text().replace('"agree": 0.97', '"agree": 0.99'))
    with pytest.raises(InputError, match="run augpro calibrate again"):
        CalibrationRecord.load(student)


@pytest.mark.e2e
def test_the_report_of_a_calibrated_student_shows_both_pictures(
    table_file, teacher_folder, calibrate, tmp_path
):
    out = tmp_path / "run"
    done = invoke(
        "distill", "--data", table_file, "--teacher", teacher_folder, "--student-layers", "0,2", "--augment", "none",
        "--epochs", "1", "--batch-size", "8", "--trainer-option", "use_cpu=true", "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    write_report([out], tmp_path / "before.html")
    assert "Agreement against coverage" not in (tmp_path / "before.html").read_text()
    assert calibrate("--agree", "0.5", model=out).exit_code == 0
    write_report([out], tmp_path / "after.html")
    page = (tmp_path / "after.html").read_text()
    assert "Agreement against coverage" in page
    assert "Reliability of the confidence" in page
    assert "Expected calibration error" in page
    assert LABELS[0] in page


def test_the_command_of_the_page_runs(folder, student, teacher_folder, tmp_path, monkeypatch):
    page = (Path(__file__).parent.parent / "docs" / "calibrate.md").read_text(encoding="utf-8")
    command = re.search(r"^augpro (calibrate .*)$", page, re.MULTILINE)[1].split()
    monkeypatch.chdir(tmp_path)
    shutil.copytree(student, tmp_path / "runs" / "student")
    shutil.copytree(teacher_folder, tmp_path / "runs" / "teacher")
    shutil.copy(folder[0], tmp_path / "new-texts.csv")
    done = invoke(*command)
    assert done.exit_code == 0, done.output
    assert CalibrationRecord.load(tmp_path / "runs" / "student").rows == 300
