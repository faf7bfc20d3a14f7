"""Scores of the splits of a run, and of a finished model (``augpro evaluate``)."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from augpro.config import EvaluateConfig
from augpro.data.loading import Split, TaskData, load_data
from augpro.distillation.plan import Plan, choose_eval_split
from augpro.errors import InputError
from augpro.evaluation.metrics import score
from augpro.evaluation.notes import answer_notes, label_notes
from augpro.files import write_json
from augpro.models.compatibility import Role, check_models
from augpro.models.finite import check_logits
from augpro.models.source import ModelSource
from augpro.results.output import check_file, claim_file
from augpro.results.provenance import seen_rows
from augpro.results.result import Scores
from augpro.tasks import Task
from augpro.teachers.alignment import align_labels, class_names, spec_for
from augpro.teachers.label_check import match_by_rows
from augpro.teachers.teacher import Teacher
from augpro.training.dataset import label_tensor
from augpro.training.meter import Meter

log = logging.getLogger(__name__)


def label_scored(plan: Plan, teacher: Teacher | None, meter: Meter) -> dict[str, Tensor]:
    """The teacher's logits of every scored split, [N, C]; nothing without a teacher.

    Asked for before the training, which a teacher that cannot answer would make worthless.
    """
    if teacher is None:
        return {}
    with meter.phase("evaluate"):
        return {name: teacher.label(split.texts, split.pairs) for name, split in plan.scored_splits().items()}


@dataclass
class Scored:
    """A model's scores and its teacher's, by split, and what they were made from.

    Attributes:
        scores: the model's.
        teacher: the teacher's; empty without one.
        predictions: logits of both, labels and keys of the rows, by the names that they are stored under.
        notes: what the scores should be read with.
    """

    scores: dict[str, Scores] = field(default_factory=dict)
    teacher: dict[str, Scores] = field(default_factory=dict)
    predictions: dict[str, Tensor] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def score_splits(
    task: Task,
    splits: Mapping[str, Split],
    logits: Mapping[str, Tensor],
    teacher_logits: Mapping[str, Tensor],
    model: str = "the trained model",
) -> Scored:
    """Score a model and its teacher on every split.

    Args:
        task: of the rows.
        splits: the rows, by name.
        logits: the model's, [N, C], for every split.
        teacher_logits: the teacher's, likewise; empty without a teacher.
        model: what messages call it.

    Raises:
        InputError: if the model's logits are nan or infinite.
    """
    found = Scored()
    for name, split in splits.items():
        labels, theirs = label_tensor(split.labels, task), teacher_logits.get(name)
        check_logits(logits[name], split.texts, model)
        found.notes += answer_notes(task, logits[name], labels, f"{model}, {name}")
        found.scores[name] = score(task, logits[name], labels, theirs, split.keys)
        keys = torch.tensor(split.keys, dtype=torch.int64)
        found.predictions |= {
            f"{name}.student": logits[name],
            f"{name}.labels": labels,
            f"{name}.row_keys": keys,
        }
        if theirs is not None:
            found.notes += answer_notes(task, theirs, labels, f"the teacher, {name}")
            found.teacher[name] = score(task, theirs, labels, keys=split.keys)
            found.predictions[f"{name}.teacher"] = theirs
    return found


def evaluate_model(config: EvaluateConfig) -> dict[str, Scores]:
    """Score a model on the evaluation split, and on the holdout where one was asked for; notes are logged.

    Args:
        config: what to score on what.

    Raises:
        InputError: if data or models do not fit.
    """
    if config.out:
        check_file(config.out, [Path(config.data)])
    source = ModelSource(config.model, config.trust_remote_code)
    teacher_source = ModelSource(config.teacher, config.trust_remote_code) if config.teacher else None
    data = load_data(spec_for(replace(config.data_spec(), make_validation=False), source.load_config()))
    data = align_labels(data, source.load_config(), config.model, config.label_order or ())
    if teacher_source and data.unproven is None:
        _check_classes(config, data, teacher_source)
    names = {"evaluation": _split(config, data)} | (
        {"holdout": "holdout"} if "holdout" in data.splits else {}
    )
    roles = [Role("model", source, finished=True)]
    if teacher_source:
        roles.append(Role("teacher", teacher_source, finished=True))
    read = [data.splits[key] for key in names.values()]
    data.notes.extend(check_models(roles, read, config.max_tokens, config.allow_unknown_tokens))
    if config.out:
        claim_file(config.out)
    model = Teacher(source.load_trained_classifier(), source.load_tokenizer(), config.max_tokens)
    data = match_by_rows(data, model)
    teacher = None
    if teacher_source:
        teacher = Teacher(
            teacher_source.load_trained_classifier(), teacher_source.load_tokenizer(), config.max_tokens
        )
        data.notes.extend(_check_classes(config, data, teacher_source, teacher))
    scored = {name: data.splits[key] for name, key in names.items()}
    data.notes.extend(label_notes(data.task, scored))
    data.notes.extend(seen_rows(config.model, "model", scored))
    if config.teacher:
        data.notes.extend(seen_rows(config.teacher, "teacher", scored))
    for note in data.notes:
        log.warning("note: %s", note)
    logits, theirs = (
        {name: one.label(split.texts, split.pairs) for name, split in scored.items()} if one else {}
        for one in (model, teacher)
    )
    found = score_splits(data.task, scored, logits, theirs, config.model)
    for note in found.notes:
        log.warning("note: %s", note)
    if config.out:
        write_json(config.out, {name: value.model_dump() for name, value in found.scores.items()})
    return found.scores


def _check_classes(
    config: EvaluateConfig, data: TaskData, source: ModelSource, teacher: Teacher | None = None
) -> list[str]:
    """Refuse a teacher whose classes are not the model's; before it is loaded only what its names tell.

    Returns:
        Notes on how its classes were found to be these.
    """
    known, ours = source.load_config(), data.task.label_names
    names = class_names(known)
    # The user's word is on the labels of the data; names that both have still count.
    order = ours if config.label_order and set(names) != set(ours) else ()
    theirs = match_by_rows(align_labels(data, known, source.name, order), teacher)
    if theirs.unproven is not None:
        return []
    same = theirs.task.label_names == ours
    if not same and set(names) != set(ours) and theirs.task.outputs == data.task.outputs:
        # Other names for what may be the same classes: the rows say which is which.
        pairs = [(split.labels, data.splits[name].labels) for name, split in theirs.splits.items()]
        same = any(split.labelled for split in data.splits.values()) and all(
            their == our for their, our in pairs
        )
    if not same:
        raise InputError(
            f"{config.teacher} has the classes {', '.join(names[:10])}, {config.model} has {', '.join(ours[:10])}; "
            "give a teacher with the same classes in the same order, or say by --label-order that they are these."
        )
    return theirs.notes[len(data.notes) :]


def _split(config: EvaluateConfig, data: TaskData) -> str:
    """A lone file is scored whole."""
    return "train" if data.splits.keys() <= {"train", "holdout"} else choose_eval_split(config, data)
