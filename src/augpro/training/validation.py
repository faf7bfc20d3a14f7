"""Evaluation within training: on which rows, by which metric, and what the result says where it decided something."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers import EvalPrediction

from augpro.data.loading import Split
from augpro.errors import InputError
from augpro.evaluation.metrics import measure, metrics_of
from augpro.tasks import Task
from augpro.training.options import evaluates

# What needs no label, by its name as an option of the Trainer: fields of the scores.
BY_TEACHER = {"kl_to_teacher": "distance_to_teacher", "agreement": "agreement"}


def validation_split(options: Mapping[str, Any], splits: Mapping[str, Split], scored: str) -> str | None:
    """The split that is looked at while a run trains: the validation split where there is one, else the scored one.

    Args:
        options: of the Trainer.
        splits: of the data.
        scored: name of the split that the result is about.

    Returns:
        None for a run that is not evaluated while it trains.
    """
    if not evaluates(options):
        return None
    return "validation" if "validation" in splits else scored


def with_metric(options: dict[str, Any], task: Task, rows: Split, has_teacher: bool) -> dict[str, Any]:
    """The options with the metric by which checkpoints are compared: if none is named, the task's primary one.

    Rows without labels are compared by their distance to the teacher.

    Args:
        options: of a Trainer that evaluates.
        task: gives the metrics.
        rows: that it evaluates on.
        has_teacher: whether the run has one.

    Raises:
        InputError: if the metric is unknown, or the rows have no labels for it.
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
    """What a Trainer takes as ``compute_metrics``: the metrics of the result, without intervals.

    Its ``label_ids`` are the labels, or with ``label_names=["labels", "teacher_logits"]`` those and the teacher's
    logits; then the agreement with the teacher and the distance to it are among the metrics.

    Args:
        task: problem type and metrics.
    """

    def compute(found: EvalPrediction) -> dict[str, float]:
        columns = found.label_ids if isinstance(found.label_ids, tuple) else (found.label_ids,)
        labels, *teacher = (torch.as_tensor(column) for column in columns)
        scores = measure(task, torch.as_tensor(found.predictions), labels, *teacher)
        by_teacher = {name: getattr(scores, field) for name, field in BY_TEACHER.items()}
        return scores.metrics | {name: value for name, value in by_teacher.items() if value is not None}

    return compute
