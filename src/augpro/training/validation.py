"""Evaluation during training: its split, its metric and its metric function."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers import EvalPrediction

from augpro.data.loading import Split
from augpro.errors import InputError
from augpro.evaluation.metrics import measure, metrics_of
from augpro.tasks import Task
from augpro.training.options import evaluates

# Metrics that need no gold label: name as an option of the Trainer, field of the scores.
BY_TEACHER = {"kl_to_teacher": "distance_to_teacher", "agreement": "agreement"}


def validation_split(options: Mapping[str, Any], splits: Mapping[str, Split], scored: str) -> str | None:
    """The split for evaluation during training: the validation split if there is one, else the scored split.

    Args:
        options: of the Trainer.
        splits: of the data.
        scored: name of the split that is scored in the result.

    Returns:
        None for a run without evaluation during training.
    """
    if not evaluates(options):
        return None
    return "validation" if "validation" in splits else scored


def with_metric(options: dict[str, Any], task: Task, rows: Split, has_teacher: bool) -> dict[str, Any]:
    """The options with the metric that compares checkpoints: the named one, else the task's primary metric.

    Without labels the default metric is the distance to the teacher.

    Args:
        options: of a Trainer that evaluates.
        task: gives the metrics.
        rows: the evaluation rows.
        has_teacher: whether the run has a teacher.

    Raises:
        InputError: if the metric is unknown, or needs labels that the rows do not have.
    """
    known = (metrics_of(task) if rows.labelled else []) + (list(BY_TEACHER) if has_teacher else [])
    if not known:
        raise InputError(
            f"{rows.source}: no row has a label, so a run cannot be evaluated on it; leave out --trainer-option "
            "eval_strategy, or name the column with --label-column."
        )
    named = str(options.get("metric_for_best_model") or known[0]).removeprefix("eval_")
    if named not in (*known, "loss"):
        raise InputError(
            f"--trainer-option metric_for_best_model={named}: the rows of {rows.source} can be scored by "
            f"{', '.join(known)} or loss; use one of them."
        )
    return options | {"metric_for_best_model": named}


def compute_metrics(task: Task) -> Callable[[EvalPrediction], dict[str, float]]:
    """The Trainer's ``compute_metrics``: the metrics of the result, without intervals.

    With ``label_names=["labels", "teacher_logits"]`` it also returns the agreement with the teacher and the distance
    to it.

    Args:
        task: problem type and metrics.
    """

    def compute(prediction: EvalPrediction) -> dict[str, float]:
        label_ids = prediction.label_ids
        columns = label_ids if isinstance(label_ids, tuple) else (label_ids,)
        labels, *teacher = (torch.as_tensor(column) for column in columns)
        scores = measure(task, torch.as_tensor(prediction.predictions), labels, *teacher)
        by_teacher = {name: getattr(scores, field) for name, field in BY_TEACHER.items()}
        return scores.metrics | {name: value for name, value in by_teacher.items() if value is not None}

    return compute
