"""Matches labels of the data to classes of a model: by name, by number if the names contain it, or by the user.

If none of these is possible, the labels stay unproven until the model has read labelled rows
(:mod:`augpro.teachers.label_check`).
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from augpro.data.label_cells import fold
from augpro.data.loading import DataSpec, Split, TaskData
from augpro.data.readers import listed
from augpro.errors import InputError
from augpro.tasks import DEFAULT_METRIC, HF_PROBLEM_TYPE, ProblemType, Task, UnprovenLabels

_PLACE = re.compile(r"LABEL_(\d+)")  # default class name of transformers
_NO_NAME = re.compile(r"(?:label|class|category)?[ _-]?\d+", re.IGNORECASE)
_VALUE = re.compile(r"[+-]?\d+(?:\.\d+)?")
_WITHIN = re.compile(r"(?:(?<!\w)[+-])?\d+(?:\.\d+)?")  # the hyphen of "class-1" is not a sign
_PROBLEM_TYPE = {name: problem_type for problem_type, name in HF_PROBLEM_TYPE.items()}


def spec_for(spec: DataSpec, config: Any) -> DataSpec:
    """The data to load, with the class names of a model as a hint for reading labels.

    Args:
        spec: what to load.
        config: the model's Hugging Face config.
    """
    return replace(spec, classes=class_names(config) if config.num_labels > 1 else ())


def class_names(config: Any) -> tuple[str, ...]:
    """Names of a model's classes, from its Hugging Face config.

    Raises:
        InputError: if they are not numbered from 0.
    """
    missing = [index for index in range(config.num_labels) if index not in config.id2label]
    if missing:
        raise InputError(
            f"{config.name_or_path}: id2label of its config.json has no class {missing[0]}; number its "
            f"{config.num_labels} classes from 0."
        )
    return tuple(str(config.id2label[index]) for index in range(config.num_labels))


def align_labels(data: TaskData, config: Any, name: str, order: Sequence[str] = ()) -> TaskData:
    """Give the data a model's classes, in the same order, so that labels and logits correspond.

    Args:
        data: the task as it was read; unlabelled data has no classes yet.
        config: the model's Hugging Face config.
        name: the model's name, for messages.
        order: the user's order: the data's label of every class of the model; empty to match by name.

    Returns:
        The data with the model's classes; or unchanged with ``unproven`` set, if only labelled rows can decide.

    Raises:
        InputError: if the data has a label that the model does not have, or the problem types differ.
    """
    task = data.task
    problem = problem_of(config, task.problem_type)
    labelled = any(split.labelled for split in data.splits.values())
    if labelled and problem != task.problem_type:
        raise InputError(
            f"{name} is a {problem} teacher but column {task.label_column!r} of {_a_source(data)} is "
            f"{task.problem_type}; give a teacher of that type or set --problem-type."
        )
    data = replace(data, task=replace(task, problem_type=problem, metric=_metric(task, problem)))
    if problem == "regression":
        if order:
            raise InputError(f"--label-order has no effect: {name} gives a score; leave it out.")
        return replace(data, task=replace(data.task, label_names=()))
    classes = class_names(config)
    if order:
        if not labelled and not _say_nothing(classes) and list(map(fold, order)) != list(map(fold, classes)):
            raise InputError(
                f"--label-order has no effect: no row of {_a_source(data)} has a label; leave it out."
            )
        return with_classes(data, _ordered(data, name, classes, order), classes, order)
    if not labelled:  # nothing has to be matched
        return replace(data, task=replace(data.task, label_names=classes))
    own = task.label_names
    if (mapping := _by_name(own, classes)) is not None:
        return with_classes(data, mapping, classes)
    if (mapping := _by_number(own, classes)) is not None:
        which = ", ".join(f"{label} = {classes[place]}" for label, place in zip(own, mapping, strict=True))
        note = f"labels were matched to {name} by number ({which}): check its accuracy below"
        return with_classes(replace(data, notes=[*data.notes, note]), mapping, classes)
    _check_unproven(data, name, classes)
    return replace(data, unproven=UnprovenLabels(name, classes, _expected(own, len(classes))))


def with_classes(
    data: TaskData, mapping: Sequence[int], classes: Sequence[str], names: Sequence[str] = ()
) -> TaskData:
    """The data with its labels converted to classes of a model.

    Args:
        data: the data with its own labels.
        mapping: class of the model for each label of the data.
        classes: names of the model's classes.
        names: the data's names for all classes, if the user gave them; they replace names such as LABEL_0.
    """
    own, kept = data.task.label_names, list(classes)
    if _say_nothing(classes):
        if names:
            kept = list(names)
        elif len(own) == len(classes) or not all(_value(label) is not None for label in own):
            for label, place in zip(own, mapping, strict=True):
                kept[place] = label
    splits = {key: _relabel(split, mapping) for key, split in data.splits.items()}
    return replace(data, task=replace(data.task, label_names=tuple(kept)), splits=splits, unproven=None)


def _say_nothing(classes: Sequence[str]) -> bool:
    return all(_NO_NAME.fullmatch(label) for label in classes)


def _by_name(own: Sequence[str], classes: Sequence[str]) -> list[int] | None:
    """The class with each label's name, in the same or another spelling; None if a label has none."""
    exact = {label: place for place, label in enumerate(classes)}
    counts = Counter(map(fold, classes))
    folded = {fold(label): place for place, label in enumerate(classes) if counts[fold(label)] == 1}
    mapping = [exact.get(label, folded.get(fold(label), -1)) for label in own]
    return None if -1 in mapping or len(set(mapping)) < len(own) else mapping


def _value(label: str) -> float | None:
    """The number that a label consists of, or that of a default name."""
    return (
        float(label)
        if _VALUE.fullmatch(label)
        else float(place[1])
        if (place := _PLACE.fullmatch(label))
        else None
    )


def _by_number(own: Sequence[str], classes: Sequence[str]) -> list[int] | None:
    """The class whose name contains each label's number and no other; None if that is ambiguous."""
    values = [_value(label) for label in own]
    within = [_WITHIN.findall(label) for label in classes]
    numbers = [float(matches[0]) if len(matches) == 1 else None for matches in within]
    places = all(_PLACE.fullmatch(label) for label in own)
    if places:  # indices of classes, counted from 0
        numbers = [number if number == place else None for place, number in enumerate(numbers)]
    elif (
        _say_nothing(classes) and 0 not in values
    ):  # labels that start from 1 may be numbered differently from the classes
        return None
    if None in values or any(numbers.count(value) != 1 for value in values) or len(set(values)) < len(values):
        return None
    return [numbers.index(value) for value in values]


def _expected(own: Sequence[str], classes: int) -> tuple[int, ...]:
    """The class of each label in the usual order: ids by number, everything else sorted."""
    values = [_value(label) for label in own]
    if any(value is None for value in values):
        return tuple(range(len(own)))
    numbers = [value for value in values if value is not None]
    if all(number in range(classes) for number in numbers):
        return tuple(int(number) for number in numbers)
    return tuple(sorted(numbers).index(number) for number in numbers)


def _check_unproven(data: TaskData, name: str, classes: Sequence[str]) -> None:
    """Raise ``InputError`` for labels that labelled rows could not match either."""
    own, task = data.task.label_names, data.task
    model_classes = f"{name} ({', '.join(classes[:10])})"
    column = f"column {task.label_column!r} of {_a_source(data)}"
    numbers = all(_value(label) is not None for label in own)
    if len(own) > len(classes) or not (numbers or _say_nothing(classes)):
        known = {fold(label) for label in classes} | {
            number for label in classes for number in _WITHIN.findall(label)
        }
        strays = [label for label in own if fold(label) not in known]
        stray = own[len(classes)] if len(strays) == len(own) > len(classes) else (strays or own)[0]
        raise InputError(
            f"label {stray!r} in {column} is not a class of {model_classes}; remove those rows, give a teacher that "
            "was trained on them, or give the labels in the order of its classes by --label-order."
        )
    if task.problem_type == "multi_label":
        raise InputError(
            f"the labels in {column} ({listed(own, 10)}) cannot be matched by name to the classes of "
            f"{model_classes}; give the labels in the order of its classes by --label-order."
        )


def _ordered(data: TaskData, name: str, classes: Sequence[str], order: Sequence[str]) -> list[int]:
    """The class of each label by the user's order."""
    option = f"--label-order {','.join(order)}"
    if len(order) != len(classes) or len(set(order)) < len(order):
        raise InputError(
            f"{option}: name one label for each of the {len(classes)} classes of {name} ({', '.join(classes[:10])})."
        )
    mapping = _by_name(data.task.label_names, order)
    if mapping is None:
        known = {fold(label) for label in order}
        missing = [
            label for label in data.task.label_names if fold(label) not in known
        ] or data.task.label_names
        raise InputError(
            f"{option}: label {missing[0]!r} in column {data.task.label_column!r} of {_a_source(data)} is not in it; "
            f"name the labels in the order of the classes of {name} ({', '.join(classes[:10])})."
        )
    return mapping


def problem_of(config: Any, of_rows: ProblemType = "single_label") -> ProblemType:
    """What a model's logits mean, from its Hugging Face config, and where that does not say from the rows.

    Raises:
        InputError: if the config names a type that is not known.
    """
    if config.problem_type is not None:
        if config.problem_type not in _PROBLEM_TYPE:
            raise InputError(
                f"{config.name_or_path}: problem_type {config.problem_type!r} of its config.json is not known; write "
                f"one of {', '.join(_PROBLEM_TYPE)}, or leave it out."
            )
        return _PROBLEM_TYPE[config.problem_type]
    if config.num_labels == 1:
        return "regression"
    return "single_label" if of_rows == "regression" else of_rows


def _metric(task: Task, problem: ProblemType) -> str:
    return task.metric if task.problem_type == problem else DEFAULT_METRIC[problem]


def _a_source(data: TaskData) -> str:
    return next(iter(data.splits.values())).source


def _relabel(split: Split, mapping: Sequence[int]) -> Split:
    def new(label: Any) -> Any:
        if label is None:
            return None
        return tuple(mapping[i] for i in label) if isinstance(label, tuple) else mapping[label]

    return replace(split, labels=[new(label) for label in split.labels])
