"""Notes on scored rows whose labels or predictions are all equal.

Undefined metrics are reported as 0, which would look like a failure of the model.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from augpro.data.loading import Label, Split
from augpro.data.readers import listed
from augpro.evaluation.metrics import decide, gold_labels, metrics_of
from augpro.tasks import Task

_UNDEFINED = "the correlation is undefined and reported as 0"


def label_notes(task: Task, splits: Mapping[str, Split]) -> list[str]:
    """Notes on the labels of scored splits; needs no model.

    Args:
        task: problem type and classes.
        splits: the scored splits, by their name in the result.
    """
    notes = []
    for name, split in splits.items():
        labels = [label for label in split.labels if label is not None]
        if len(labels) > 1:
            message = _of_scores(labels) if task.problem_type == "regression" else _of_classes(task, labels)
            notes += [f"{name}, {split.source}: {message}"] if message else []
    return notes


def _of_scores(labels: Sequence[Label]) -> str:
    if len(set(labels)) > 1:
        return ""
    return f"all {len(labels)} rows have the score {labels[0]}, so {_UNDEFINED}"


def _of_classes(task: Task, labels: Sequence[Label]) -> str:
    several = task.problem_type == "multi_label"
    present = {index for label in labels for index in (label if isinstance(label, tuple) else (label,))}
    missing = [name for index, name in enumerate(task.label_names) if index not in present]
    if not missing:
        return ""
    if not present:
        return f"none of {len(labels)} rows has a positive label, so F1 is undefined and reported as 0"
    if len(present) == 1 and not several:
        only = next(name for name in task.label_names if name not in missing)
        undefined = ", and Matthews' correlation is undefined (reported as 0)"
        return f"all {len(labels)} labelled rows are {only!r}: always predicting it has an accuracy of 1" + (
            undefined if "matthews" in metrics_of(task) else ""
        )
    counts = "macro F1 counts 0 for each of them" + ("" if several else " that is predicted")
    return f"{len(missing)} of {task.outputs} classes have no row ({listed(missing, 5)}): {counts}"


def answer_notes(task: Task, logits: Tensor, labels: Tensor, title: str) -> list[str]:
    """A note if a model predicts the same for all rows although their labels differ.

    Args:
        task: problem type and classes.
        logits: the model's, [N, C].
        labels: in the form of :func:`augpro.training.dataset.label_tensor`.
        title: names the model and the rows.
    """
    gold, _ = gold_labels(labels, task.problem_type)
    answers = decide(logits, task.problem_type)
    if len(gold) < 2 or (gold == gold[0]).all() or (answers != answers[0]).any():
        return []
    if task.problem_type == "regression":
        return [
            f"{title}: predicts the same score ({answers[0]:.3g}) for all {len(answers)} rows, so {_UNDEFINED}"
        ]
    classes = answers[:1] if task.problem_type == "single_label" else answers[0].nonzero()[0]
    named = ", ".join(repr(task.label_names[index]) for index in classes) or "no label"
    return [f"{title}: predicts the same ({named}) for all {len(answers)} rows"]
