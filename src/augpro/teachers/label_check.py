"""Which class of a teacher each label is, shown by rows: the teacher reads labelled ones, and its answers tell.

Of all ways to give each label a class of its own, the best is found by the assignment problem (scipy) on the share
of each label's rows that the teacher puts into each class. It holds where it is clearly better than every other; the
usual order (ids by number, names sorted) needs less, as it is likely before any row is seen.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import binom

from augpro.data.loading import Split, TaskData
from augpro.data.readers import listed
from augpro.errors import InputError
from augpro.evaluation.resampling import Array
from augpro.tasks import UnprovenLabels
from augpro.teachers.alignment import with_classes
from augpro.teachers.teacher import Teacher

_ROWS = 400  # read for the check, or so many of each label:
_ROWS_OF_A_LABEL = 8
_CLEARLY = (
    0.005  # largest chance that a match that is right by luck beats another, or luck itself, by so much
)
_USUALLY = 0.05  # the same for the usual order
_TOO_FEW = 10  # rows on which two matches differ; fewer do not speak against the usual order


def match_by_rows(data: TaskData, teacher: Teacher | None) -> TaskData:
    """The data with the teacher's classes, where its labels are unproven; otherwise as it is.

    Args:
        data: see :func:`augpro.teachers.alignment.align_labels`.
        teacher: labels up to 400 labelled rows, or 8 of each label: of the train split, then of the others.

    Raises:
        InputError: if the rows do not show which label is which class.
    """
    unproven = data.unproven
    if unproven is None or teacher is None:
        return data
    rows = _rows_of_labels(data)
    reader = copy.copy(teacher)
    reader.store = (
        None  # nothing may be written yet, and the check is no part of what the labels of a run take
    )
    logits = reader.label(rows.texts, rows.pairs)
    answers = _Answers(
        np.array(rows.labels), logits.argmax(1).numpy(), len(data.task.label_names), logits.shape[1]
    )
    usual = np.array(unproven.expected)
    best = answers.best(usual)
    if answers.is_usual(usual):
        best = usual
    elif not answers.is_clear(best):
        raise _unclear(data, unproven, answers, best)
    return _matched(data, unproven, answers, best)


def _rows_of_labels(data: TaskData) -> Split:
    """Labelled rows, as many of each label as there are, up to a limit; in an order that the texts decide."""
    most = max(_ROWS_OF_A_LABEL, _ROWS // len(data.task.label_names))
    taken: dict[object, int] = {}
    parts = []
    for split in data.splits.values():
        chosen = []
        for row in sorted(range(len(split)), key=lambda row: split.keys[row]):
            label = split.labels[row]
            if label is not None and taken.get(label, 0) < most:
                taken[label] = taken.get(label, 0) + 1
                chosen.append(row)
        parts.append(split.select(chosen))
    pairs = None if parts[0].pairs is None else [text for part in parts for text in part.pairs or ()]
    texts = [text for part in parts for text in part.texts]
    labels = [label for part in parts for label in part.labels]
    return Split(texts, pairs, labels, parts[0].source)


@dataclass(frozen=True)
class _Answers:
    """Labels of some rows, [N], and the teacher's classes for them, [N]; L labels, C classes."""

    labels: Array
    answers: Array
    label_count: int
    class_count: int

    def accuracy(self, mapping: Array) -> float:
        """Share of the rows that the teacher puts into the class of their label."""
        return float((mapping[self.labels] == self.answers).mean())

    def best(self, usual: Array, without: tuple[int, int] | None = None) -> Array:
        """The best class of each label, [L], in the usual order where that is as good, ``without`` one pair."""
        shares = np.zeros((self.label_count, self.class_count))
        np.add.at(shares, (self.labels, self.answers), 1.0)
        shares /= np.maximum(shares.sum(1, keepdims=True), 1.0)
        shares[np.arange(self.label_count), usual] += 1e-9
        if without is not None:
            shares[without] = -self.label_count
        return np.asarray(linear_sum_assignment(shares, maximize=True)[1])

    def rivals(self, mapping: Array) -> list[tuple[int, int]]:
        """For the best other match without each of its pairs: rows on which only it is right, and only the other.

        Every label in which the two differ counts with as many rows, so that a teacher that always gives one answer
        shows nothing.
        """
        found = []
        for label in range(self.label_count):
            if self.class_count == 1:
                break
            other = self.best(mapping, (label, int(mapping[label])))
            differ = [each for each in range(self.label_count) if other[each] != mapping[each]]
            rows = min(int((self.labels == each).sum()) for each in differ)
            said = [(each, self.answers[self.labels == each][:rows]) for each in differ]
            found.append(
                (sum(int((a == mapping[each]).sum()) for each, a in said),
                 sum(int((a == other[each]).sum()) for each, a in said))
            )  # fmt: skip
        return found

    def above_chance(self, mapping: Array) -> bool:
        """Whether it is right more often than the same answers in any order would be."""
        shares = np.bincount(self.answers, minlength=self.class_count) / len(self.answers)
        by_chance = float(shares[mapping[self.labels]].mean())
        right = int((mapping[self.labels] == self.answers).sum())
        return _luck(right, len(self.labels), by_chance) < _CLEARLY

    def is_clear(self, mapping: Array) -> bool:
        """Whether a match is clearly better than chance and than every other one."""
        better = all(_luck(own, own + other) < _CLEARLY for own, other in self.rivals(mapping))
        return better and self.above_chance(mapping)

    def is_usual(self, usual: Array) -> bool:
        """Whether the rows speak for the usual order, and for no other."""

        def holds(own: int, other: int) -> bool:
            few = own + other < _TOO_FEW and _luck(other, own + other) > _USUALLY
            return few or _luck(own, own + other) < _USUALLY

        return self.above_chance(usual) and all(holds(own, other) for own, other in self.rivals(usual))


def _luck(right: int, rows: int, chance: float = 0.5) -> float:
    """How likely at least so many of the rows would be right by chance."""
    return float(binom.sf(right - 1, rows, chance))


def _matched(data: TaskData, unproven: UnprovenLabels, answers: _Answers, mapping: Array) -> TaskData:
    own, classes = data.task.label_names, unproven.classes
    pairs = [f"{label} = {classes[place]}" for label, place in zip(own, mapping, strict=True)]
    usual = np.array(unproven.expected)
    beside = "" if (mapping == usual).all() else f", {answers.accuracy(usual):.2f} in the usual order"
    note = (
        f"labels were matched to {unproven.model} by its answers to {len(answers.labels)} labelled rows: "
        f"{', '.join(pairs[:20])}{' ...' if len(pairs) > 20 else ''} "
        f"(accuracy {answers.accuracy(mapping):.2f}{beside})"
    )
    return with_classes(replace(data, notes=[*data.notes, note]), [int(place) for place in mapping], classes)


def _unclear(data: TaskData, unproven: UnprovenLabels, answers: _Answers, best: Array) -> InputError:
    own: Sequence[str] = data.task.label_names
    source = next(iter(data.splits.values())).source
    others = [answers.best(best, (label, int(best[label]))) for label in range(len(own))]
    second = max(answers.accuracy(other) for other in others)
    classes = ", ".join(unproven.classes[:10])
    return InputError(
        f"{source}, column {data.task.label_column!r}: {len(answers.labels)} labelled rows do not show which label "
        f"({listed(own, 10)}) is which class of {unproven.model} ({classes}): the best match has an accuracy of "
        f"{answers.accuracy(best):.2f}, another one {second:.2f}; give the labels in the order of its classes by "
        "--label-order."
    )
