"""How good a model is, how sure that is, and how near it comes to its teacher."""

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
_BLOCK = 8192  # rows whose logits are in double precision at once


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
        labels: as :func:`augpro.training.dataset.label_tensor` makes them; rows without one count only for the
            teacher.
        teacher_logits: [N, C], or None.
        keys: of each row, equal for equal texts (:func:`augpro.data.same_text.row_keys`); None if all texts differ.
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
        labels: as :func:`augpro.training.dataset.label_tensor` makes them; rows without one count only for the
            teacher.
        teacher_logits: [N, C], or None.

    Returns:
        The metrics. ``agreement`` is the share of equal decisions (per label for multi-label; Pearson correlation
        for a regression); ``distance_to_teacher`` is the mean KL(teacher || student) in nats (mean over the
        labels for multi-label, mean squared error for a regression).
    """
    predicted = decide(logits, task.problem_type)
    gold, kept = gold_labels(labels, task.problem_type)
    metrics = {name: METRICS[name](gold, predicted[kept]) for name in metrics_of(task)} if kept.any() else {}
    if teacher_logits is None:
        return Scores(rows=len(logits), metrics=metrics)
    theirs = decide(teacher_logits, task.problem_type)
    if task.problem_type == "regression":
        agreement = METRICS["pearson"](theirs, predicted)
    else:
        agreement = float((theirs == predicted).mean())
    return Scores(
        rows=len(logits),
        metrics=metrics,
        agreement=agreement,
        agreement_name=AGREEMENT_NAMES[task.problem_type],
        distance_to_teacher=distance_to_teacher(logits, teacher_logits, task.problem_type),
        distance_name=DISTANCE_NAMES[task.problem_type],
    )


def gold_labels(labels: Tensor, problem_type: ProblemType) -> tuple[Array, Array]:
    """Labels of the rows that have one, as the metrics take them, and which rows those are, bool [N]."""
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
    """95 % interval of a metric over the rows, (nan, nan) for fewer than two different ones, or values of it.

    Wilson's for accuracy, which needs no resampling; else the percentile bootstrap of 1,000 resamples, one at a
    time. Rows of one cluster count as one draw.

    Args:
        name: of the metric, a key of :data:`METRICS`.
        gold: [N] or [N, C].
        predicted: of the same shape.
        clusters: of each row, int64 [N], see :func:`augpro.evaluation.resampling.clusters_of`; None if all rows
            differ.
    """
    clusters = np.arange(len(gold)) if clusters is None else clusters
    if len(gold) < 2 or np.ptp(clusters) == 0:
        return (float("nan"), float("nan"))
    if name == "accuracy":
        return wilson_interval((gold == predicted).reshape(len(gold), -1).all(1), clusters)
    low, high = np.percentile(Resampling(clusters).metric(METRICS[name], gold, predicted), [2.5, 97.5])
    # Not certainty: no resample differed.
    return (float(low), float(high)) if low < high else (float("nan"), float("nan"))


def wilson_interval(hits: Array, clusters: Array, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share (Wilson 1927, JASA 22:209), for rows in clusters.

    In place of the number of rows stands the number of independent ones with the same variance of the mean, as in
    surveys (Kish 1965): at most the number of rows, and that where each is a cluster of its own.

    Args:
        hits: bool [N].
        clusters: of each row, int64 [N].
        confidence: of the interval.
    """
    rows, share = len(hits), float(np.mean(hits))
    apart = np.bincount(clusters, weights=hits - share)  # 0 on average where a cluster's rows are independent
    variance = float(apart @ apart) / rows**2
    groups = len(apart)
    if groups < rows:
        variance *= groups / (groups - 1)
    # All right or all wrong, or as many in every cluster: then nothing is known but the number of clusters.
    independent = min(share * (1 - share) / variance, rows) if variance > 1e-12 else groups
    z = float(stats.norm.ppf((1 + confidence) / 2))
    middle = share + z**2 / (2 * independent)
    half = z * np.sqrt(share * (1 - share) / independent + (z / (2 * independent)) ** 2)
    scale = 1 + z**2 / independent
    return (max(0.0, float((middle - half) / scale)), min(1.0, float((middle + half) / scale)))


def majority_share(labels: Tensor) -> float:
    """Accuracy of always answering the most frequent class, over the labelled rows."""
    known = labels[labels >= 0]
    return int(torch.bincount(known).max()) / len(known) if len(known) else 0.0
