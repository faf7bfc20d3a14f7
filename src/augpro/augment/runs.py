"""Choice of contiguous positions that take the partner's tokens: spans or clauses instead of single tokens.

Every unit takes the same share of a row's positions on average; they differ in how much text stays together.
"""

from typing import Literal

import torch
from torch import Tensor

from augpro.row_random import RowRandom

Unit = Literal["token", "span", "two-spans", "clause"]


def spans(editable: Tensor, share: float, row_ids: Tensor, rng: RowRandom, number: int = 1) -> Tensor:
    """One span of a row's positions, or two with a gap between them; together they cover the share.

    Args:
        editable: positions that may be chosen, bool [B, T].
        share: share of them to choose, in [0, 1]; the length is rounded up or down at random.
        row_ids: int64 [B].
        rng: random numbers of this augmented version.
        number: 1 or 2 spans; two have similar lengths, and merge if no position is left for a gap.

    Returns:
        bool [B, T].
    """
    count = editable.sum(1)
    start, rounding, *more = rng.uniform("span", row_ids, number + 1).unbind(1)
    length = (count * share + rounding).floor().clamp_max(count)
    left = count - length  # positions that are not chosen
    before = (start * (left + 1)).floor()  # how many of them come before the span
    first, between = length, torch.zeros_like(length)
    if number == 2:
        # Two different numbers from 0 to `left`; all pairs are equally likely.
        other = (more[0] * left).floor()
        other = torch.where(left > 0, other + (other >= before), before)
        before, between = torch.minimum(before, other), (before - other).abs()
        first = (length / 2).floor()
    place = editable.cumsum(1) - 1 - before[:, None]
    second = place - (first + between)[:, None]
    chosen = (place >= 0) & (place < first[:, None])
    return editable & (chosen | ((second >= 0) & (second < (length - first)[:, None])))


def clauses(editable: Tensor, number: Tensor, share: float, row_ids: Tensor, rng: RowRandom) -> Tensor:
    """Consecutive whole clauses from a random one on, cyclically, until they cover the share.

    The last clause is included with a probability that makes the share right on average.

    Args:
        editable: positions that may be chosen, bool [B, T].
        number: index of each position's clause, int64 [B, T], from 0 and non-decreasing in a row.
        share: share of the editable positions, in [0, 1].
        row_ids: int64 [B].
        rng: random numbers of this augmented version.

    Returns:
        bool [B, T]; one span, as from :func:`spans`, if all positions of a row are in one clause.
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
    single = size.amax(1, keepdim=True) == count
    return editable & torch.where(single, spans(editable, share, row_ids, rng), chosen)


def clause_numbers(marks: Tensor, segments: Tensor) -> Tensor:
    """Index of each position's clause; a clause ends at a punctuation mark and at the end of a pair's first text.

    Args:
        marks: positions of the partner's punctuation marks, bool [B, T].
        segments: as in :class:`~augpro.tokens.TokenBatch`, [B, T].

    Returns:
        int64 [B, T].
    """
    return marks.cumsum(1) - marks.long() + (segments == 1).long().cummax(1).values
