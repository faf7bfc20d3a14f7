"""Matches labels to a teacher's classes by its predictions on labelled rows.

The best one-to-one matching solves the assignment problem (scipy) on the share of each label's rows that the teacher
predicts as each class. It is accepted if it is clearly better than every other matching. The usual order (ids by
number, names sorted) needs less evidence, because it is likely a priori.
"""

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

_ROWS = 400  # rows for the check, or this many of each label if that is more:
_ROWS_OF_A_LABEL = 8
_CLEARLY = 0.005  # significance level for a matching against every other one, and against chance
_USUALLY = 0.05  # the same for the usual order
_TOO_FEW = 10  # fewer rows on which two matchings differ do not count against the usual order


def match_by_rows(data: TaskData, teacher: Teacher | None) -> TaskData:
    """The data with the teacher's classes if its labels are unproven; else unchanged.

    Args:
        data: see :func:`augpro.teachers.alignment.align_labels`.
        teacher: predicts up to 400 labelled rows, or 8 of each label: of the train split first, then of the others.

    Raises:
        InputError: if the rows do not determine the class of each label.
    """
    unproven = data.unproven
    if unproven is None or teacher is None:
        return data
    rows = _rows_of_labels(data)
    logits = teacher.beside_the_run().label(rows.texts, rows.pairs)
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
    """Labelled rows, up to a limit for each label; their order depends only on the texts."""
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
    """Labels of some rows, [N], and the teacher's predicted classes, [N]; L labels, C classes."""

    labels: Array
    answers: Array
    label_count: int
    class_count: int

    def accuracy(self, mapping: Array) -> float:
        """The teacher's accuracy under a matching."""
        return float((mapping[self.labels] == self.answers).mean())

    def best(self, usual: Array, without: tuple[int, int] | None = None) -> Array:
        """The best matching, [L], without the pair ``without``; the usual order wins ties."""
        shares = np.zeros((self.label_count, self.class_count))
        np.add.at(shares, (self.labels, self.answers), 1.0)
        shares /= np.maximum(shares.sum(1, keepdims=True), 1.0)
        shares[np.arange(self.label_count), usual] += 1e-9
        if without is not None:
            shares[without] = -self.label_count
        return np.asarray(linear_sum_assignment(shares, maximize=True)[1])

    def rivals(self, mapping: Array) -> list[tuple[int, int]]:
        """For each pair: rows right only under this matching, and only under the best one without the pair.

        Every label on which the two differ counts with the same number of rows, so a teacher that always predicts one
        class is no evidence.
        """
        counts = []
        for label in range(self.label_count):
            if self.class_count == 1:
                break
            other = self.best(mapping, (label, int(mapping[label])))
            differ = [each for each in range(self.label_count) if other[each] != mapping[each]]
            rows = min(int((self.labels == each).sum()) for each in differ)
            answers = [(each, self.answers[self.labels == each][:rows]) for each in differ]
            counts.append(
                (sum(int((a == mapping[each]).sum()) for each, a in answers),
                 sum(int((a == other[each]).sum()) for each, a in answers))
            )  # fmt: skip
        return counts

    def above_chance(self, mapping: Array) -> bool:
        """Whether the accuracy is above that of the same predictions in random order."""
        shares = np.bincount(self.answers, minlength=self.class_count) / len(self.answers)
        by_chance = float(shares[mapping[self.labels]].mean())
        right = int((mapping[self.labels] == self.answers).sum())
        return _p_value(right, len(self.labels), by_chance) < _CLEARLY

    def is_clear(self, mapping: Array) -> bool:
        """Whether a matching is clearly better than chance and than every other one."""
        better = all(_p_value(own, own + other) < _CLEARLY for own, other in self.rivals(mapping))
        return better and self.above_chance(mapping)

    def is_usual(self, usual: Array) -> bool:
        """Whether the rows support the usual order and no other."""

        def holds(own: int, other: int) -> bool:
            few = own + other < _TOO_FEW and _p_value(other, own + other) > _USUALLY
            return few or _p_value(own, own + other) < _USUALLY

        return self.above_chance(usual) and all(holds(own, other) for own, other in self.rivals(usual))


def _p_value(right: int, rows: int, chance: float = 0.5) -> float:
    """Probability that at least ``right`` of the rows are right by chance."""
    return float(binom.sf(right - 1, rows, chance))


def _matched(data: TaskData, unproven: UnprovenLabels, answers: _Answers, mapping: Array) -> TaskData:
    own, classes = data.task.label_names, unproven.classes
    pairs = [f"{label} = {classes[place]}" for label, place in zip(own, mapping, strict=True)]
    usual = np.array(unproven.expected)
    usual_accuracy = "" if (mapping == usual).all() else f", {answers.accuracy(usual):.2f} in the usual order"
    note = (
        f"labels were matched to {unproven.model} by its answers to {len(answers.labels)} labelled rows: "
        f"{', '.join(pairs[:20])}{' ...' if len(pairs) > 20 else ''} "
        f"(accuracy {answers.accuracy(mapping):.2f}{usual_accuracy})"
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
