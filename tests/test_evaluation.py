"""Scores against formulas written from their definitions."""

import math
import warnings

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import matthews_corrcoef

from augpro.evaluation.metrics import (
    METRICS,
    decide,
    distance_to_teacher,
    majority_share,
    metrics_of,
    score,
    score_interval,
)
from augpro.losses import NO_LABEL
from augpro.tasks import Task

TASKS = {
    "single_label": Task("t", "single_label", "accuracy", ("a", "b", "c")),
    "multi_label": Task("t", "multi_label", "micro_f1", ("a", "b", "c")),
    "regression": Task("t", "regression", "pearson"),
}
PROBLEMS = list(TASKS)
RNG = np.random.default_rng(0)


def logits_of(problem, rows=60, seed=0):
    width = TASKS[problem].outputs
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)) * 2


def labels_of(problem, logits, noise=0.7, seed=9):
    """Gold labels that the logits get right in part."""
    noisy = logits + noise * 2 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(seed))
    if problem == "single_label":
        return noisy.argmax(1)
    return (noisy > 0).float() if problem == "multi_label" else noisy[:, 0]


def without(problem, labels, rows):
    labels = labels.clone()
    labels[rows] = NO_LABEL if problem == "single_label" else float("nan")
    return labels


def f1(gold, predicted):
    hits = np.sum(gold & predicted)
    wrong = np.sum(gold & ~predicted) + np.sum(~gold & predicted)
    return 2 * hits / (2 * hits + wrong) if hits + wrong else 0.0


def pearson(one, other):
    one, other = one - one.mean(), other - other.mean()
    return float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum()))


@pytest.fixture
def no_resampling(monkeypatch):
    """1,000 resamples cost seconds; what reaches the interval can be seen without them."""
    monkeypatch.setattr(
        "augpro.evaluation.metrics.score_interval",
        lambda name, gold, predicted, clusters: (METRICS[name](gold, predicted), len(gold)),
    )


# --- metrics ---


@pytest.mark.parametrize("seed", range(3))
def test_metrics_of_two_classes(seed):
    gold, predicted = np.random.default_rng(seed).integers(0, 2, (2, 80))
    tp, fp = np.sum((gold == 1) & (predicted == 1)), np.sum((gold == 0) & (predicted == 1))
    fn, tn = np.sum((gold == 1) & (predicted == 0)), np.sum((gold == 0) & (predicted == 0))
    matthews = (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert METRICS["accuracy"](gold, predicted) == pytest.approx((tp + tn) / 80)
    assert METRICS["f1"](gold, predicted) == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert METRICS["matthews"](gold, predicted) == pytest.approx(matthews)
    assert METRICS["macro_f1"](gold, predicted) == pytest.approx(
        (f1(gold == 1, predicted == 1) + f1(gold == 0, predicted == 0)) / 2
    )


def test_metrics_of_several_classes():
    gold, predicted = RNG.integers(0, 4, (2, 120))
    each = [f1(gold == c, predicted == c) for c in range(4)]
    assert METRICS["accuracy"](gold, predicted) == pytest.approx(np.mean(gold == predicted))
    assert METRICS["macro_f1"](gold, predicted) == pytest.approx(np.mean(each))
    assert METRICS["micro_f1"](gold, predicted) == pytest.approx(np.mean(gold == predicted))


def test_metrics_of_several_labels():
    gold, predicted = RNG.integers(0, 2, (2, 90, 3))
    assert METRICS["accuracy"](gold, predicted) == pytest.approx(np.mean((gold == predicted).all(1)))
    assert METRICS["micro_f1"](gold, predicted) == pytest.approx(
        f1(gold.astype(bool), predicted.astype(bool))
    )
    assert METRICS["macro_f1"](gold, predicted) == pytest.approx(
        np.mean([f1(gold[:, c].astype(bool), predicted[:, c].astype(bool)) for c in range(3)])
    )


def test_metrics_of_scores():
    gold = RNG.normal(size=50).round(1)  # with ties
    predicted = gold + RNG.normal(size=50)
    assert METRICS["pearson"](gold, predicted) == pytest.approx(pearson(gold, predicted))
    ranks = pearson(stats.rankdata(gold), stats.rankdata(predicted))
    assert METRICS["spearman"](gold, predicted) == pytest.approx(ranks)
    assert METRICS["spearman"](gold, np.exp(3 * gold)) == pytest.approx(1.0)
    assert METRICS["pearson"](gold, -gold) == pytest.approx(-1.0)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_a_constant_has_no_correlation(name):
    varied, constant = np.arange(5.0), np.full(5, 3.0)
    assert METRICS[name](varied, constant) == METRICS[name](constant, varied) == 0.0


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_matthews_of_many_classes_is_that_of_a_library(classes):
    random = np.random.default_rng(classes)
    for rows in (1, 5, 300):
        gold = random.integers(0, classes, rows)
        predicted = np.where(random.random(rows) < 0.6, gold, random.integers(0, classes, rows))
        assert METRICS["matthews"](gold, predicted) == pytest.approx(
            matthews_corrcoef(gold, predicted), abs=1e-12
        )


@pytest.mark.parametrize("name", ["accuracy", "f1", "macro_f1", "matthews"])
def test_one_class_everywhere_is_scored_without_a_warning_or_nan(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = METRICS[name](np.array([0, 1, 1, 0]), np.zeros(4, int))
    assert found == pytest.approx({"accuracy": 0.5, "f1": 0.0, "macro_f1": 1 / 3, "matthews": 0.0}[name])


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_primary_metric_comes_first_and_once(problem):
    names = metrics_of(TASKS[problem])
    assert names[0] == TASKS[problem].metric
    assert len(names) == len(set(names))
    assert set(names) <= METRICS.keys()
    assert "matthews" in metrics_of(Task("t", "single_label", "matthews", ("a", "b")))
    assert "matthews" not in metrics_of(TASKS["single_label"])  # three classes


def test_decisions():
    logits = torch.tensor([[0.1, 2.0, -1.0], [3.0, -0.1, 0.2]])
    assert decide(logits, "single_label").tolist() == [1, 0]
    assert decide(logits, "multi_label").tolist() == [[1, 1, 0], [1, 0, 1]]
    assert decide(logits[:, :1], "regression").tolist() == pytest.approx([0.1, 3.0])


def test_majority_share():
    assert majority_share(torch.tensor([0, 2, 2, NO_LABEL, 1, 2, NO_LABEL])) == pytest.approx(3 / 5)
    assert majority_share(torch.tensor([NO_LABEL])) == 0.0


# --- distance and agreement ---


def numpy_distance(student, teacher, problem):
    student, teacher = student.double().numpy(), teacher.double().numpy()
    if problem == "regression":
        return np.mean((student - teacher) ** 2)
    if problem == "single_label":
        p, q = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (teacher, student))
        return np.mean((p * np.log(p / q)).sum(1))
    p, q = (1 / (1 + np.exp(-x)) for x in (teacher, student))
    return np.mean(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))


@pytest.mark.parametrize("problem", PROBLEMS)
def test_distance_to_the_teacher_by_numpy(problem):
    student, teacher = logits_of(problem, seed=1), logits_of(problem, seed=2)
    expected = numpy_distance(student, teacher, problem)
    assert expected > 0.1
    assert distance_to_teacher(student, teacher, problem) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_no_distance_to_oneself(problem):
    logits = logits_of(problem)
    assert distance_to_teacher(logits, logits, problem) == pytest.approx(0.0, abs=1e-12)
    sure = torch.full_like(logits, -200.0)
    sure[:, 0] = 200.0
    assert distance_to_teacher(sure, sure, problem) == pytest.approx(0.0, abs=1e-12)


def test_distance_of_classes_ignores_a_shift_of_all_logits():
    student, teacher = logits_of("single_label", seed=1), logits_of("single_label", seed=2)
    shifted = distance_to_teacher(student + 7, teacher - 3, "single_label")
    assert shifted == pytest.approx(distance_to_teacher(student, teacher, "single_label"), rel=1e-5)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_agreement(problem, no_resampling):
    task, teacher = TASKS[problem], logits_of(problem, seed=2)
    labels = labels_of(problem, teacher)
    assert score(task, teacher.clone(), labels, teacher).agreement == pytest.approx(1.0)
    student = logits_of(problem, seed=1)
    one, other = decide(student, problem), decide(teacher, problem)
    expected = (
        pearson(one.astype(float), other.astype(float)) if problem == "regression" else (one == other).mean()
    )
    assert score(task, student, labels, teacher).agreement == pytest.approx(expected, abs=1e-6)
    alone = score(task, student, labels)
    assert alone.agreement is None
    assert alone.distance_to_teacher is None


# --- rows without a label ---


@pytest.mark.parametrize("problem", PROBLEMS)
def test_rows_without_a_label_count_only_for_the_teacher(problem, no_resampling):
    task, student, teacher = TASKS[problem], logits_of(problem, seed=1), logits_of(problem, seed=2)
    labels = labels_of(problem, student)
    kept = torch.arange(60) % 3 != 0
    part = score(task, student, without(problem, labels, ~kept), teacher)
    whole = score(task, student[kept], labels[kept], teacher[kept])
    assert part.metrics == whole.metrics
    assert part.interval == whole.interval == (part.metric, int(kept.sum()))
    assert part.metrics != score(task, student, labels).metrics
    assert part.rows == 60
    assert part.distance_to_teacher == pytest.approx(distance_to_teacher(student, teacher, problem))
    assert part.distance_to_teacher != pytest.approx(whole.distance_to_teacher)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_no_label_at_all(problem):
    logits = logits_of(problem)
    labels = without(problem, labels_of(problem, logits), slice(None))
    scores = score(TASKS[problem], logits, labels, logits)
    assert scores.metrics == {}
    assert scores.metric is None
    assert scores.interval is None
    assert scores.agreement == pytest.approx(1.0)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_perfect_answers_score_one(problem, no_resampling):
    logits = logits_of(problem)
    gold = torch.from_numpy(decide(logits, problem))
    scores = score(TASKS[problem], logits, gold.float() if problem == "multi_label" else gold)
    assert scores.metrics.keys() == set(metrics_of(TASKS[problem]))
    assert all(value == pytest.approx(1.0) for value in scores.metrics.values())
    assert scores.interval == pytest.approx((1.0, 60))


def test_the_interval_is_that_of_the_primary_metric():
    logits, gold = (
        logits_of("single_label", 40, seed=1),
        labels_of("single_label", logits_of("single_label", 40)),
    )
    scores = score(TASKS["single_label"], logits, gold)
    assert scores.interval == score_interval("accuracy", gold.numpy(), logits.argmax(1).numpy())
    assert scores.interval[0] < scores.metrics["accuracy"] < scores.interval[1]


def test_a_regression_that_always_says_the_same_scores_zero():
    gold, constant = torch.arange(8.0), torch.full((8, 1), 2.5)
    scores = score(TASKS["regression"], constant, gold, gold[:, None])
    assert scores.metrics == {"pearson": 0.0, "spearman": 0.0}
    assert all(map(math.isnan, scores.interval))
    assert scores.agreement == 0.0
    assert scores.distance_to_teacher == pytest.approx(float(((gold - 2.5) ** 2).mean()))


@pytest.mark.parametrize("metric", ["micro_f1", "macro_f1"])
def test_the_absence_of_an_only_label_is_no_success(metric):
    gold, never = np.array([[0], [0], [0], [1]]), np.zeros((4, 1), dtype=int)
    assert METRICS[metric](gold, never) == 0.0
    assert METRICS[metric](gold, np.array([[0], [0], [1], [1]])) == pytest.approx(2 / 3)
