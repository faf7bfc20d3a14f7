"""Which of several augmented texts of a row the student is trained on: where it has most to learn.

Choosing by disagreement is a step towards the teacher's and the student's difference without a gradient: it
works with any augmenter and any teacher, and costs a pass of both for each candidate.
"""

import math

import torch
from torch import Tensor

from augpro.losses import divergence, entropy
from augpro.tasks import ProblemType


def hardest(
    student: Tensor, teacher: Tensor | None, problem_type: ProblemType, within: Tensor | None = None
) -> Tensor:
    """The candidate of every row on which the student has most to learn.

    Args:
        student: its logits of each candidate, [K, B, C].
        teacher: the teacher's, to choose the candidate on which the two differ most; None to choose that of
            which the student is least sure, for which no teacher is asked.
        problem_type: of the task.
        within: the candidates among which to choose, bool [K, B], at least one of each row; None for all. See
            :func:`nearest_share`.

    Returns:
        Numbers of candidates, int64 [B]; the first of those that are alike.

    Raises:
        ValueError: if a regression has no teacher's answers: a score does not say how sure it is.
    """
    to_learn = _to_learn(student, teacher, problem_type)
    return (to_learn if within is None else to_learn.masked_fill(~within, -torch.inf)).argmax(0)


def _to_learn(student: Tensor, teacher: Tensor | None, problem_type: ProblemType) -> Tensor:
    """How much the student has to learn from each candidate, [K, B]."""
    if teacher is not None:
        return _divergences(student, teacher, problem_type)
    if problem_type == "regression":
        raise ValueError("select_by='uncertainty' needs classes; use 'disagreement' for a regression")
    if problem_type == "multi_label":  # of each label, there or not: logits x and 0
        return entropy(torch.stack([student, torch.zeros_like(student)], dim=-1)).sum(2)
    return entropy(student)


def nearest_share(similarity: Tensor, share: float) -> Tensor:
    """The candidates of each row that are most like its original, so that a hard text is not a senseless one.

    Args:
        similarity: of each candidate to its original, larger for more, [K, B]; see :func:`kept_share` and
            :func:`answer_similarity`.
        share: of the K candidates, in (0, 1], rounded up: at least one is left, and with 1 all are.

    Returns:
        bool [K, B]; those as like as the last of them are in too.

    Raises:
        ValueError: if the share is out of range.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, not {share!r}")
    number = math.ceil(share * len(similarity) - 1e-9)  # 0.2 of 5 is 1, whatever the rounding
    return similarity >= similarity.topk(number, dim=0).values[-1]


def kept_share(candidates: Tensor, original: Tensor, editable: Tensor) -> Tensor:
    """Share of a row's tokens that a candidate has left as they were, [K, B]; 1 for a row without any.

    Args:
        candidates: token ids, [K, B, T].
        original: token ids, [B, T].
        editable: positions that could be replaced, bool [B, T].
    """
    changed = ((candidates != original) & editable).sum(2)
    return 1 - changed / editable.sum(1).clamp_min(1)


def answer_similarity(candidates: Tensor, original: Tensor, problem_type: ProblemType) -> Tensor:
    """How like the teacher's answers to the candidates are to its answer to the original, [K, B], 0 at most.

    The divergence of its probabilities, or the squared error of scores, taken negative.

    Args:
        candidates: its logits, [K, B, C].
        original: its logits, [B, C].
        problem_type: of the task.
    """
    return -_divergences(candidates, original.expand_as(candidates), problem_type)


def _divergences(student: Tensor, teacher: Tensor, problem_type: ProblemType) -> Tensor:
    """:func:`~augpro.losses.divergence` of each candidate, [K, B]."""
    distance = divergence(student.flatten(0, 1), teacher.flatten(0, 1), problem_type)
    return distance.view(student.shape[:2])
