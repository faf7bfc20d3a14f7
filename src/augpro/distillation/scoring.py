"""Scoring of the splits of a run, and of a saved model (``augpro evaluate``)."""

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
from augpro.files.durable import write_json
from augpro.models import processes
from augpro.models.compatibility import Role, check_models
from augpro.models.finite import check_logits
from augpro.models.reading import fastest_device
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


def label_split(teacher: Teacher, split: Split) -> Tensor:
    """The teacher's logits of a split, [N, C]; several processes label a part each."""

    def label(rows: slice) -> Tensor:
        return teacher.label(split.texts[rows], None if split.pairs is None else split.pairs[rows])

    return processes.in_shares(len(split), label, teacher.device)


def label_scored(plan: Plan, teacher: Teacher | None, meter: Meter) -> dict[str, Tensor]:
    """The teacher's logits of every scored split, [N, C]; empty without a teacher.

    Computed before the training, so that a teacher that fails does not waste it.
    """
    if teacher is None:
        return {}
    with meter.phase("evaluate"):
        return {name: label_split(teacher, split) for name, split in plan.scored_splits().items()}


@dataclass
class Scored:
    """Scores of a model and its teacher by split, with their predictions.

    Attributes:
        scores: the model's.
        teacher: the teacher's; empty without one.
        predictions: logits of both, labels and row keys, by their names in the predictions file.
        notes: what to know when reading the scores.
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
        model: its name in messages.

    Raises:
        InputError: if the model's logits are nan or infinite.
    """
    result = Scored()
    for name, split in splits.items():
        labels, target = label_tensor(split.labels, task), teacher_logits.get(name)
        check_logits(logits[name], split.texts, model)
        result.notes += answer_notes(task, logits[name], labels, f"{model}, {name}")
        result.scores[name] = score(task, logits[name], labels, target, split.keys)
        keys = torch.tensor(split.keys, dtype=torch.int64)
        result.predictions |= {
            f"{name}.student": logits[name],
            f"{name}.labels": labels,
            f"{name}.row_keys": keys,
        }
        if target is not None:
            result.notes += answer_notes(task, target, labels, f"the teacher, {name}")
            result.teacher[name] = score(task, target, labels, keys=split.keys)
            result.predictions[f"{name}.teacher"] = target
    return result


@dataclass(frozen=True)
class CheckedModels:
    """A model, a teacher and the rows that they are to be run on, which fit each other; no weights are loaded.

    Attributes:
        config: their options.
        source: the model.
        teacher_source: the teacher; None without one.
        data: the rows.
        names: split of each set of rows that is scored, by the name that the result gives it.
    """

    config: EvaluateConfig
    source: ModelSource
    teacher_source: ModelSource | None
    data: TaskData
    names: dict[str, str]


@dataclass(frozen=True)
class LoadedModels:
    """A model and a teacher with their weights, and the rows to run them on, whose labels are the model's classes.

    Attributes:
        task: of the rows.
        model: the model, which is asked as a teacher is.
        teacher: the teacher; None without one.
        scored: the rows, by the name that the result gives them.
        notes: what to know of data and models.
    """

    task: Task
    model: Teacher
    teacher: Teacher | None
    scored: dict[str, Split]
    notes: list[str]


def check_models_and_rows(config: EvaluateConfig) -> CheckedModels:
    """Read the rows, and check that model and teacher fit them.

    Raises:
        InputError: if data or models do not fit.
    """
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
    return CheckedModels(config, source, teacher_source, data, names)


def load_models(checked: CheckedModels, store: Path | None = None) -> LoadedModels:
    """Load the weights, and match the classes by the models' answers where names do not tell.

    Args:
        checked: what to load.
        store: label store of the teacher.

    Raises:
        InputError: if the classes do not fit.
    """
    config, device = checked.config, fastest_device()

    def load(source: ModelSource, store: Path | None = None) -> Teacher:
        model, tokenizer = source.load_trained_classifier(), source.load_tokenizer()
        return Teacher(model, tokenizer, config.max_tokens, device, store)

    model = load(checked.source)
    data = match_by_rows(checked.data, model)
    teacher = None
    if checked.teacher_source:
        teacher = load(checked.teacher_source, store)
        data.notes.extend(_check_classes(config, data, checked.teacher_source, teacher))
    scored = {name: data.splits[key] for name, key in checked.names.items()}
    return LoadedModels(data.task, model, teacher, scored, data.notes)


def evaluate_model(config: EvaluateConfig) -> dict[str, Scores]:
    """Score a model on the evaluation split and, if requested, on the holdout; notes are logged.

    Args:
        config: model, data and options.

    Raises:
        InputError: if data or models do not fit.
    """
    if config.out:
        check_file(config.out, [Path(config.data)])
    checked = check_models_and_rows(config)
    if config.out:
        claim_file(config.out)
    loaded = load_models(checked)
    task, scored = loaded.task, loaded.scored
    notes = [*loaded.notes, *label_notes(task, scored), *seen_rows(config.model, "model", scored)]
    if config.teacher:
        notes.extend(seen_rows(config.teacher, "teacher", scored))
    for note in notes:
        log.warning("note: %s", note)
    logits, teacher_logits = (
        {name: one.label(split.texts, split.pairs) for name, split in scored.items()} if one else {}
        for one in (loaded.model, loaded.teacher)
    )
    result = score_splits(task, scored, logits, teacher_logits, config.model)
    for note in result.notes:
        log.warning("note: %s", note)
    if config.out:
        write_json(config.out, {name: value.model_dump() for name, value in result.scores.items()})
    return result.scores


def _check_classes(
    config: EvaluateConfig, data: TaskData, source: ModelSource, teacher: Teacher | None = None
) -> list[str]:
    """Raise ``InputError`` unless the teacher has the model's classes; without the loaded teacher only by name.

    Returns:
        Notes on how its classes were matched.
    """
    known, classes = source.load_config(), data.task.label_names
    names = class_names(known)
    # --label-order is about the labels of the data; names that both models have still count.
    order = classes if config.label_order and set(names) != set(classes) else ()
    aligned = match_by_rows(align_labels(data, known, source.name, order), teacher)
    if aligned.unproven is not None:
        return []
    same = aligned.task.label_names == classes
    if not same and set(names) != set(classes) and aligned.task.outputs == data.task.outputs:
        # Different names may mean the same classes: compare the labels of the rows.
        pairs = [(split.labels, data.splits[name].labels) for name, split in aligned.splits.items()]
        same = any(split.labelled for split in data.splits.values()) and all(
            teacher_labels == labels for teacher_labels, labels in pairs
        )
    if not same:
        raise InputError(
            f"{config.teacher} has the classes {', '.join(names[:10])}, {config.model} has "
            f"{', '.join(classes[:10])}; give a teacher with the same classes in the same order, or match them by "
            "--label-order."
        )
    return aligned.notes[len(data.notes) :]


def _split(config: EvaluateConfig, data: TaskData) -> str:
    """The split to score; a single file is scored as a whole."""
    return "train" if data.splits.keys() <= {"train", "holdout"} else choose_eval_split(config, data)
