"""Metrics of a model, their confidence intervals, and its agreement with the teacher."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy import stats
from sklearn import metrics as sk
from torch import Tensor

from augpro.evaluation.resampling import Array, Resampling, clusters_of
from augpro.losses import divergence
from augpro.results.result import Scores
from augpro.tasks import AGREEMENT_NAMES, DISTANCE_NAMES, ProblemType, Task

Metric = Callable[[Array, Array], float]
_BLOCK = 8192  # rows of logits in double precision at once


def _correlation(function: Callable[..., Any]) -> Metric:
    def score(gold: Array, predicted: Array) -> float:
        if np.ptp(gold) == 0 or np.ptp(predicted) == 0:
            return 0.0  # undefined for a constant
        return float(function(gold, predicted).statistic)

    return score


def _matthews(gold: Array, predicted: Array) -> float:
    """Matthews' correlation of any number of classes (Gorodkin 2004); 0 where it is undefined, as for one class."""
    classes = 1 + max(int(gold.max()), int(predicted.max()))
    table = (
        np.bincount(gold * classes + predicted, minlength=classes**2).reshape(classes, classes).astype(float)
    )
    true_counts, predicted_counts = table.sum(1), table.sum(0)
    rows = table.sum()
    spread = (rows**2 - true_counts @ true_counts) * (rows**2 - predicted_counts @ predicted_counts)
    covariance = rows * np.trace(table) - true_counts @ predicted_counts
    return float(covariance / np.sqrt(spread)) if spread > 0 else 0.0


def _f1(average: str) -> Metric:
    def f1(gold: Array, predicted: Array) -> float:
        # scikit-learn reads a single binary label as two classes and would also score its absence.
        one_label = gold.ndim == 2 and gold.shape[1] == 1
        return float(
            sk.f1_score(gold, predicted, average="binary" if one_label else average, zero_division=0.0)
        )

    return f1


# Functions of (gold, predicted); larger is better. Accuracy and Matthews are implemented here, because the input
# checks of scikit-learn would take a second, and minutes, of every bootstrap.
METRICS: dict[str, Metric] = {
    # For multi-label all labels of a row must be right.
    "accuracy": lambda gold, predicted: float((gold == predicted).reshape(len(gold), -1).all(1).mean()),
    "f1": lambda gold, predicted: float(sk.f1_score(gold, predicted, zero_division=0.0)),
    "macro_f1": _f1("macro"),
    "micro_f1": _f1("micro"),
    "matthews": _matthews,
    "pearson": _correlation(stats.pearsonr),
    "spearman": _correlation(stats.spearmanr),
}


def metrics_of(task: Task) -> list[str]:
    """Metrics reported for a task, the primary one first."""
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


def score(
    task: Task,
    logits: Tensor,
    labels: Tensor,
    teacher_logits: Tensor | None = None,
    keys: Sequence[int] | None = None,
) -> Scores:
    """:func:`measure` with a 95 % interval of the primary metric (:func:`score_interval`).

    Args:
        task: problem type and metrics.
        logits: [N, C].
        labels: in the form of :func:`augpro.training.dataset.label_tensor`; rows without a label count only for the
            agreement with the teacher.
        teacher_logits: [N, C], or None.
        keys: key of each row, equal for equal texts (:func:`augpro.data.same_text.row_keys`); None if all texts
            differ.
    """
    scores = measure(task, logits, labels, teacher_logits)
    gold, kept = gold_labels(labels, task.problem_type)
    if not kept.any():
        return scores
    clusters = None if keys is None else clusters_of(np.asarray(keys)[kept])
    interval = score_interval(task.metric, gold, decide(logits, task.problem_type)[kept], clusters)
    return scores.model_copy(update={"interval": interval})


def measure(task: Task, logits: Tensor, labels: Tensor, teacher_logits: Tensor | None = None) -> Scores:
    """Score predictions against gold labels and against the teacher.

    Args:
        task: problem type and metrics.
        logits: [N, C].
        labels: in the form of :func:`augpro.training.dataset.label_tensor`; rows without a label count only for the
            agreement with the teacher.
        teacher_logits: [N, C], or None.

    Returns:
        The metrics. ``agreement`` is the share of equal predictions (per label for multi-label; Pearson correlation
        for a regression). ``distance_to_teacher`` is the mean KL(teacher || student) in nats (mean over the
        labels for multi-label; mean squared error for a regression).
    """
    predicted = decide(logits, task.problem_type)
    gold, kept = gold_labels(labels, task.problem_type)
    metrics = {name: METRICS[name](gold, predicted[kept]) for name in metrics_of(task)} if kept.any() else {}
    if teacher_logits is None:
        return Scores(rows=len(logits), metrics=metrics)
    teacher_predicted = decide(teacher_logits, task.problem_type)
    if task.problem_type == "regression":
        agreement = METRICS["pearson"](teacher_predicted, predicted)
    else:
        agreement = float((teacher_predicted == predicted).mean())
    return Scores(
        rows=len(logits),
        metrics=metrics,
        agreement=agreement,
        agreement_name=AGREEMENT_NAMES[task.problem_type],
        distance_to_teacher=distance_to_teacher(logits, teacher_logits, task.problem_type),
        distance_name=DISTANCE_NAMES[task.problem_type],
    )


def gold_labels(labels: Tensor, problem_type: ProblemType) -> tuple[Array, Array]:
    """Labels of the labelled rows, in the form of the metrics, and the mask of these rows, bool [N]."""
    each = labels.reshape(len(labels), -1).numpy()
    kept = np.all(each >= 0 if problem_type == "single_label" else ~np.isnan(each), axis=1)
    gold = labels.numpy()[kept]
    return (gold if problem_type == "regression" else gold.astype(int)), kept


def distance_to_teacher(logits: Tensor, teacher_logits: Tensor, problem_type: ProblemType) -> float:
    """Mean distance to the teacher at temperature 1: KL in nats, or squared error for a regression."""
    return float(row_distances(logits, teacher_logits, problem_type).mean())


def row_distances(logits: Tensor, teacher_logits: Tensor, problem_type: ProblemType) -> Tensor:
    """Distance of every row to the teacher at temperature 1, float64 [N]."""
    parts = zip(logits.split(_BLOCK), teacher_logits.split(_BLOCK), strict=True)
    return torch.cat([divergence(one.double(), other.double(), problem_type) for one, other in parts])


def score_interval(
    name: str, gold: Array, predicted: Array, clusters: Array | None = None
) -> tuple[float, float]:
    """95 % confidence interval of a metric over the rows.

    It is Wilson's interval for accuracy, else the percentile bootstrap with 1,000 resamples. Rows of one cluster are
    drawn together. (nan, nan) with fewer than two clusters, or if the metric is the same on every resample.

    Args:
        name: of the metric, a key of :data:`METRICS`.
        gold: [N] or [N, C].
        predicted: of the same shape.
        clusters: cluster of each row, int64 [N], see :func:`augpro.evaluation.resampling.clusters_of`; None if all
            rows differ.
    """
    clusters = np.arange(len(gold)) if clusters is None else clusters
    if len(gold) < 2 or np.ptp(clusters) == 0:
        return (float("nan"), float("nan"))
    if name == "accuracy":
        return wilson_interval((gold == predicted).reshape(len(gold), -1).all(1), clusters)
    low, high = np.percentile(Resampling(clusters).metric(METRICS[name], gold, predicted), [2.5, 97.5])
    # An interval of width 0 would claim certainty.
    return (float(low), float(high)) if low < high else (float("nan"), float("nan"))


def wilson_interval(hits: Array, clusters: Array, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a proportion (Wilson 1927, JASA 22:209), for rows in clusters.

    It uses the effective sample size (Kish 1965): the number of independent rows with the same variance of the mean,
    at most N. It equals N if every row is its own cluster.

    Args:
        hits: bool [N].
        clusters: cluster of each row, int64 [N].
        confidence: confidence level.
    """
    rows, share = len(hits), float(np.mean(hits))
    deviations = np.bincount(clusters, weights=hits - share)
    variance = float(deviations @ deviations) / rows**2
    groups = len(deviations)
    if groups < rows:
        variance *= groups / (groups - 1)
    # No variance (all right, all wrong, or equal shares in every cluster): use the number of clusters.
    independent = min(share * (1 - share) / variance, rows) if variance > 1e-12 else groups
    z = float(stats.norm.ppf((1 + confidence) / 2))
    middle = share + z**2 / (2 * independent)
    half = z * np.sqrt(share * (1 - share) / independent + (z / (2 * independent)) ** 2)
    scale = 1 + z**2 / independent
    return (max(0.0, float((middle - half) / scale)), min(1.0, float((middle + half) / scale)))


def majority_share(labels: Tensor) -> float:
    """Accuracy of always predicting the most frequent class, over the labelled rows."""
    known = labels[labels >= 0]
    return int(torch.bincount(known).max()) / len(known) if len(known) else 0.0
