"""Which places of a row take the partner's token, where whole runs of its text come instead of single tokens.

Every unit takes the same share of a row's places on average; they differ in how much text stays together.
"""

from typing import Literal

import torch
from torch import Tensor

from augpro.row_random import RowRandom

Unit = Literal["token", "span", "two-spans", "clause"]


def spans(editable: Tensor, share: float, row_ids: Tensor, rng: RowRandom, number: int = 1) -> Tensor:
    """One run of a row's places, or two with at least one place between them; together they are the share.

    Args:
        editable: places that may be chosen, bool [B, T].
        share: of them, in [0, 1]; the length is rounded up or down by a draw.
        row_ids: int64 [B].
        rng: random numbers of this version.
        number: 1 or 2 runs; two are alike in length, and one where nothing would be left between them.

    Returns:
        bool [B, T].
    """
    count = editable.sum(1)
    start, rounding, *more = rng.uniform("span", row_ids, number + 1).unbind(1)
    length = (count * share + rounding).floor().clamp_max(count)
    left = count - length  # places that are not chosen
    before = (start * (left + 1)).floor()  # of those, how many come before the run
    first, between = length, torch.zeros_like(length)
    if number == 2:
        # Two different numbers from 0 to `left`, each pair as likely.
        other = (more[0] * left).floor()
        other = torch.where(left > 0, other + (other >= before), before)
        before, between = torch.minimum(before, other), (before - other).abs()
        first = (length / 2).floor()
    place = editable.cumsum(1) - 1 - before[:, None]
    second = place - (first + between)[:, None]
    chosen = (place >= 0) & (place < first[:, None])
    return editable & (chosen | ((second >= 0) & (second < (length - first)[:, None])))


def clauses(editable: Tensor, number: Tensor, share: float, row_ids: Tensor, rng: RowRandom) -> Tensor:
    """Whole clauses, one after the other from a drawn one on, the first again after the last.

    The clause at which the share is passed comes with a probability that makes the share right on average.

    Args:
        editable: places that may be chosen, bool [B, T].
        number: which clause each place is in, int64 [B, T], from 0 and never falling in a row.
        share: of the editable places, in [0, 1].
        row_ids: int64 [B].
        rng: random numbers of this version.

    Returns:
        bool [B, T]; one run, as from :func:`spans`, where a row's places are all in one clause.
    """
    count = editable.sum(1, keepdim=True)
    size = torch.zeros(len(editable), number.shape[1] + 2, dtype=torch.int64, device=number.device)
    size = size.scatter_add(1, number, editable.long())
    first = size.cumsum(1) - size
    start, rounding = rng.uniform("span", row_ids, 2).split(1, dim=1)
    drawn = (editable & (editable.cumsum(1) - 1 == (start * count).floor())).int().argmax(1, keepdim=True)
    origin = first.gather(1, number.gather(1, drawn))
    taken_before = (first.gather(1, number) - origin) % count.clamp_min(1)
    chosen = taken_before + rounding * size.gather(1, number) < count * share
    alone = size.amax(1, keepdim=True) == count
    return editable & torch.where(alone, spans(editable, share, row_ids, rng), chosen)


def clause_numbers(marks: Tensor, segments: Tensor) -> Tensor:
    """Which clause each place is in: a mark ends one, and so does the first text of a pair.

    Args:
        marks: where the partner has a punctuation mark, bool [B, T].
        segments: as in :class:`~augpro.tokens.TokenBatch`, [B, T].

    Returns:
        int64 [B, T].
    """
    return marks.cumsum(1) - marks.long() + (segments == 1).long().cummax(1).values
