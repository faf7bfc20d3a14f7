"""Choice among the candidates of a row: the one with the largest disagreement between teacher and student.

This is a gradient-free search for disagreement, so it works with any augmenter and any teacher. It costs one forward
pass of the teacher per candidate, and one of the student per candidate and choice.
"""

import torch
from torch import Tensor

from augpro.losses import divergence
from augpro.tasks import ProblemType


def select_hardest(student: Tensor, teacher: Tensor, owners: Tensor, problem_type: ProblemType) -> Tensor:
    """The candidate of every row with the largest disagreement between student and teacher.

    Args:
        student: the student's logits of each candidate, [N, C].
        teacher: the teacher's logits, [N, C].
        owners: row index of each candidate, int64 [N], ascending from 0 without gaps.
        problem_type: of the task.

    Returns:
        Indices of candidates, int64 [B]; ties go to the first.
    """
    distance = divergence(student, teacher, problem_type)
    first = torch.searchsorted(owners, torch.arange(int(owners[-1]) + 1, device=owners.device))
    place = torch.arange(len(owners), device=owners.device) - first[owners]
    table = distance.new_full((len(first), int(place.max()) + 1), -torch.inf)
    table[owners, place] = distance
    return first + table.argmax(1)


def new_texts(row_ids: Tensor, epoch: int, rate: float) -> Tensor:
    """Number of candidates to make of each row in an epoch; ``rate`` on average.

    Rows take turns by the fractional parts of multiples of the golden ratio (Weyl sequence), which spreads the work
    evenly over batches.

    Args:
        row_ids: int64 [B].
        epoch: number of the epoch.
        rate: candidates per row and epoch, above 0.

    Returns:
        int64 [B].
    """
    phase = (row_ids.double() * 0.6180339887498949) % 1
    before, after = ((phase + step * rate).floor() for step in (epoch, epoch + 1))
    return (after - before).long()
