"""Which of several augmented texts of a row the student is trained on: where it has most to learn.

Choosing by disagreement is a step towards the teacher's and the student's difference without a gradient: it
works with any augmenter and any teacher, and costs a pass of both for each candidate.
"""

import torch
from torch import Tensor

from augpro.losses import divergence, entropy
from augpro.tasks import ProblemType


def hardest(student: Tensor, teacher: Tensor | None, problem_type: ProblemType) -> Tensor:
    """The candidate of every row on which the student has most to learn.

    Args:
        student: its logits of each candidate, [K, B, C].
        teacher: the teacher's, to choose the candidate on which the two differ most; None to choose that of
            which the student is least sure, for which no teacher is asked.
        problem_type: of the task.

    Returns:
        Numbers of candidates, int64 [B]; the first of those that are alike.

    Raises:
        ValueError: if a regression has no teacher's answers: a score does not say how sure it is.
    """
    if teacher is not None:
        distance = divergence(student.flatten(0, 1), teacher.flatten(0, 1), problem_type)
        return distance.view(student.shape[:2]).argmax(0)
    if problem_type == "regression":
        raise ValueError("select_by='uncertainty' needs classes; use 'disagreement' for a regression")
    return uncertainty(student, problem_type).argmax(0)


def uncertainty(logits: Tensor, problem_type: ProblemType) -> Tensor:
    """Entropy of a classifier's answers [..., C] in nats, [...]; of several labels that of each, added up."""
    if problem_type == "multi_label":  # there or not: logits x and 0
        return entropy(torch.stack([logits, torch.zeros_like(logits)], dim=-1)).sum(-1)
    return entropy(logits)
