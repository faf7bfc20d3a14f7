"""How good a model is, how sure that is, and how near it comes to its teacher."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import stats
from sklearn import metrics as sk
from torch import Tensor

from augpro.losses import divergence
from augpro.results import Scores
from augpro.tasks import ProblemType, Task

Array = np.ndarray[Any, Any]
Metric = Callable[[Array, Array], float]


def _correlation(function: Callable[..., Any]) -> Metric:
    def score(gold: Array, predicted: Array) -> float:
        if np.ptp(gold) == 0 or np.ptp(predicted) == 0:
            return 0.0  # undefined; a constant prediction explains nothing
        return float(function(gold, predicted).statistic)

    return score


def _matthews(gold: Array, predicted: Array) -> float:
    """Matthews' correlation of any number of classes (Gorodkin 2004); 0 where it is undefined, as for one class."""
    classes = 1 + max(int(gold.max()), int(predicted.max()))
    table = (
        np.bincount(gold * classes + predicted, minlength=classes**2).reshape(classes, classes).astype(float)
    )
    there, said = table.sum(1), table.sum(0)
    rows = table.sum()
    spread = (rows**2 - there @ there) * (rows**2 - said @ said)
    return float((rows * np.trace(table) - there @ said) / np.sqrt(spread)) if spread > 0 else 0.0


def _f1(average: str) -> Metric:
    def f1(gold: Array, predicted: Array) -> float:
        # One label that is there or not is two classes to scikit-learn, and its absence would count as a success.
        one_label = gold.ndim == 2 and gold.shape[1] == 1
        return float(
            sk.f1_score(gold, predicted, average="binary" if one_label else average, zero_division=0.0)
        )

    return f1


# Each takes (gold, predicted); larger is better for all of them. Accuracy and Matthews are not scikit-learn's, whose
# checks would take a second, and minutes, of every bootstrap.
METRICS: dict[str, Metric] = {
    # Multi-label rows must be all right.
    "accuracy": lambda gold, predicted: float((gold == predicted).reshape(len(gold), -1).all(1).mean()),
    "f1": lambda gold, predicted: float(sk.f1_score(gold, predicted, zero_division=0.0)),
    "macro_f1": _f1("macro"),
    "micro_f1": _f1("micro"),
    "matthews": _matthews,
    "pearson": _correlation(stats.pearsonr),
    "spearman": _correlation(stats.spearmanr),
}


def metrics_of(task: Task) -> list[str]:
    """Metrics that are reported for a task, the primary one first."""
    if task.problem_type == "regression":
        every = ["pearson", "spearman"]
    elif task.problem_type == "multi_label":
        every = ["micro_f1", "macro_f1", "accuracy"]
    else:
        every = ["accuracy", "macro_f1", *(["f1", "matthews"] if task.outputs == 2 else [])]
    return [task.metric, *(name for name in every if name != task.metric)]


def decide(logits: Tensor, problem_type: ProblemType) -> Array:
    """Predictions from logits: class ids [N], 0/1 [N, C] at probability 0.5, or scores [N]."""
    if problem_type == "regression":
        return logits[:, 0].numpy()
    if problem_type == "multi_label":
        return (logits > 0).long().numpy()
    return logits.argmax(1).numpy()


def score(task: Task, logits: Tensor, labels: Tensor, teacher_logits: Tensor | None = None) -> Scores:
    """Score predictions against gold labels and against the teacher.

    Args:
        task: problem type and metrics.
        logits: [N, C].
        labels: as :func:`augpro.trainer.label_tensor` makes them; rows without one count only for the teacher.
        teacher_logits: [N, C], or None.

    Returns:
        The metrics with a 95 % percentile-bootstrap interval of the primary one. ``agreement`` is the share of
        equal decisions (per label for multi-label; Pearson correlation for a regression); ``kl_to_teacher``
        is the mean KL(teacher || student) in nats (mean squared error for a regression).
    """
    predicted = decide(logits, task.problem_type)
    scores = Scores(rows=len(logits))
    gold, kept = gold_labels(labels, task.problem_type)
    if kept.any():
        scores.metrics = {name: METRICS[name](gold, predicted[kept]) for name in metrics_of(task)}
        scores.interval = bootstrap_interval(METRICS[task.metric], gold, predicted[kept])
    if teacher_logits is not None:
        theirs = decide(teacher_logits, task.problem_type)
        if task.problem_type == "regression":
            scores.agreement = METRICS["pearson"](theirs, predicted)
        else:
            scores.agreement = float((theirs == predicted).mean())
        scores.kl_to_teacher = kl_to_teacher(logits, teacher_logits, task.problem_type)
    return scores


def gold_labels(labels: Tensor, problem_type: ProblemType) -> tuple[Array, Array]:
    """Labels of the rows that have one, as the metrics take them, and which rows those are, bool [N]."""
    each = labels.reshape(len(labels), -1).numpy()
    kept = np.all(each >= 0 if problem_type == "single_label" else ~np.isnan(each), axis=1)
    gold = labels.numpy()[kept]
    return (gold if problem_type == "regression" else gold.astype(int)), kept


def kl_to_teacher(logits: Tensor, teacher_logits: Tensor, problem_type: ProblemType) -> float:
    """Mean distance to the teacher at temperature 1: KL in nats, or squared error for a regression."""
    return float(row_distances(logits, teacher_logits, problem_type).mean())


def row_distances(logits: Tensor, teacher_logits: Tensor, problem_type: ProblemType) -> Tensor:
    """Distance of every row to the teacher at temperature 1, float64 [N]."""
    return divergence(logits.double(), teacher_logits.double(), problem_type)


def bootstrap_interval(metric: Metric, gold: Array, predicted: Array, seed: int = 0) -> tuple[float, float]:
    """95 % percentile-bootstrap interval over the rows, 1,000 resamples."""
    if len(gold) < 2:
        return (float("nan"), float("nan"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a resample of one class makes scikit-learn warn, rightly scored 0
        found = stats.bootstrap(
            (np.arange(len(gold)),),
            lambda rows: metric(gold[rows], predicted[rows]),
            vectorized=False,
            n_resamples=1000,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
    return (float(found.confidence_interval.low), float(found.confidence_interval.high))


def majority_share(labels: Tensor) -> float:
    """Accuracy of always answering the most frequent class, over the labelled rows."""
    known = labels[labels >= 0]
    return float(torch.bincount(known).max() / len(known)) if len(known) else 0.0
