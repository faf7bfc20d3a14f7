"""Partner rows for methods that mix two rows: choice of the partner, and alignment of its tokens."""

from typing import Literal

import torch
from torch import Tensor

from augpro.row_random import RowRandom
from augpro.tokens import TokenBatch

Partner = Literal["random", "same-class", "other-class", "near"]
BLOCK_ROWS = 256


def check_partner(partner: str, rows: int, has_classes: bool) -> None:
    """Raise ``ValueError`` unless the rule works with this many rows, and with or without classes."""
    if rows < 2:
        raise ValueError("mixing needs at least 2 training rows")
    if partner in ("same-class", "other-class") and not has_classes:
        raise ValueError(
            f"partner={partner!r} needs one predicted class a row, which a regression or multi-label task "
            "does not have; use 'random' or 'near'"
        )


def partner_rows(
    row_ids: Tensor,
    rows: int,
    partner: Partner,
    rng: RowRandom,
    classes: Tensor | None = None,
    near: Tensor | None = None,
    first_row: int = 0,
) -> Tensor:
    """Draw a partner for each row from its block of row ids, or from its nearest rows.

    A block is 256 consecutive row ids, so the partner does not depend on the batch. Rows are shuffled when they are
    loaded; the last block takes the remainder. A part of the rows that starts and ends where blocks do gives the
    same partners as all rows.

    Args:
        row_ids: int64 [B].
        rows: number of rows in the table.
        partner: the rule; if no row of the block satisfies it, any other row of the block is drawn.
        rng: random numbers of this augmented version.
        classes: the teacher's predicted class of every row, int64 [rows], for the two class rules.
        near: the nearest rows of each row, int64 [rows, k], for the rule "near"; see
            :func:`augpro.augment.near.near_rows`.
        first_row: row id of the table's first row, a multiple of 256; ``classes`` and ``near`` start there too.

    Returns:
        Row ids, int64 [B]; never the row itself.

    Raises:
        ValueError: if there is only one row, or an argument that the rule needs is missing.
    """
    check_partner(partner, rows, classes is not None)
    draw = rng.uniform("partner", row_ids)
    row_ids = row_ids - first_row
    if partner == "near":
        if near is None:
            raise ValueError("partner='near' needs the nearest rows of each row: pass them as near")
        near = near.to(row_ids.device)
        return first_row + near[row_ids].gather(1, (draw * near.shape[1]).long())[:, 0]
    blocks = max(1, rows // BLOCK_ROWS)
    block = (row_ids // BLOCK_ROWS).clamp_max(blocks - 1)
    start = block * BLOCK_ROWS
    size = torch.where(block == blocks - 1, rows - start, BLOCK_ROWS)
    offsets = torch.arange(int(size.max()), device=row_ids.device)
    others = (offsets < size[:, None]) & (start[:, None] + offsets != row_ids[:, None])
    if classes is not None and partner in ("same-class", "other-class"):
        classes = classes.to(row_ids.device)
        same = classes[(start[:, None] + offsets).clamp_max(rows - 1)] == classes[row_ids][:, None]
        fitting = others & (same if partner == "same-class" else ~same)
        others = torch.where(fitting.any(1, keepdim=True), fitting, others)
    reached = others.cumsum(1)
    drawn = (draw[:, 0] * reached[:, -1]).long()
    return first_row + start + (reached > drawn[:, None]).int().argmax(1)


def aligned_ids(batch: TokenBatch, partner: TokenBatch, repeat: bool = False) -> Tensor:
    """The partner's token at the same position of the same segment.

    Args:
        batch: rows, [B, T].
        partner: their partners, [B, T'].
        repeat: whether a shorter segment of the partner is repeated.

    Returns:
        int64 [B, T]; -1 at special tokens and padding, and where the partner has no token at the position.
    """
    partner_ids, partner_segments = partner.ids.to(batch.ids.device), partner.segments.to(batch.ids.device)
    aligned = torch.full_like(batch.ids, -1)
    for segment in (0, 1):
        own, other = batch.segments == segment, partner_segments == segment
        place = torch.arange(own.shape[1], device=own.device) - _first(own)
        start, length = _first(other), other.shape[1] - _first(other) - _first(other.flip(1))
        inside = own & ((place < length) | repeat)
        position = (start + place.clamp_min(0) % length.clamp_min(1)).clamp_max(other.shape[1] - 1)
        # A special token typed in the partner's text has a position but is not part of the segment.
        present = inside & other.gather(1, position)
        aligned = torch.where(present, partner_ids.gather(1, position), aligned)
    return aligned


def _first(segment: Tensor) -> Tensor:
    """First true position of each row, [B, 1]; 0 if there is none."""
    return segment.int().argmax(1, keepdim=True)
