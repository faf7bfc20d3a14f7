"""Which of several augmented texts of a row the student is trained on: where it has most to learn.

Choosing by disagreement is a step towards the teacher's and the student's difference without a gradient: it
works with any augmenter and any teacher. A text costs the teacher one pass, and the student one for each choice.
"""

import torch
from torch import Tensor

from augpro.losses import divergence
from augpro.tasks import ProblemType


def select_hardest(student: Tensor, teacher: Tensor, owners: Tensor, problem_type: ProblemType) -> Tensor:
    """The text of every row on which student and teacher differ most.

    Args:
        student: its logits of each text, [N, C].
        teacher: the teacher's, [N, C].
        owners: number of the row that each text was made of, int64 [N], ascending from 0, none left out.
        problem_type: of the task.

    Returns:
        Numbers of texts, int64 [B]; the first of those that are alike.
    """
    distance = divergence(student, teacher, problem_type)
    first = torch.searchsorted(owners, torch.arange(int(owners[-1]) + 1, device=owners.device))
    place = torch.arange(len(owners), device=owners.device) - first[owners]
    table = distance.new_full((len(first), int(place.max()) + 1), -torch.inf)
    table[owners, place] = distance
    return first + table.argmax(1)


def new_texts(row_ids: Tensor, epoch: int, rate: float) -> Tensor:
    """How many texts to make of each row in an epoch: ``rate`` on average.

    Rows take turns, by the fractional parts of multiples of the golden ratio (Weyl's sequence), so that every batch
    has its share of the work.

    Args:
        row_ids: int64 [B].
        epoch: number of the epoch.
        rate: texts a row and epoch, above 0.

    Returns:
        int64 [B].
    """
    phase = (row_ids.double() * 0.6180339887498949) % 1
    before, after = ((phase + step * rate).floor() for step in (epoch, epoch + 1))
    return (after - before).long()
