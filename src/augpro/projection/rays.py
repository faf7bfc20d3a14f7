"""Nearest tokens along rays: the step at which the nearest token changes, and the nearest tokens at a step.

On the ray ``E[o] + x u`` the score of an allowed token v is ``base_v + x slope_v``: its score on the start token o,
which the neighbour lists store, plus x times its score on the direction. So one matrix product answers both
questions. It may be approximate: what its error bound cannot rule out is computed exactly.
"""

from functools import cached_property

import torch
from torch import Tensor

from augpro.projection.allowed import affine_form
from augpro.projection.chunks import above, chunked, in_full_precision, places_of_best
from augpro.projection.neighbours import NeighbourLists

_FAR = 1e18  # replaces an infinite step
_KEPT = 16_000_000  # scores of directions kept between the two questions: 128 MiB


class Rays:
    """Rays from tokens in the directions of unit vectors.

    Args:
        parts: for each token group its lists, and the rows of its rays, int64.
        start: start tokens o, each in its group, int64 [N].
        directions: unit vectors u, or zero, float32 [N, D].
    """

    def __init__(self, parts: list[tuple[NeighbourLists, Tensor]], start: Tensor, directions: Tensor) -> None:
        self.start, self.directions = start, directions
        self._keep = sum(len(rows) * len(lists.allowed) for lists, rows in parts) <= _KEPT
        self._blocks = [
            (rows, _Block(lists, start[rows], directions[rows]))
            for lists, group_rows in parts
            for rows in group_rows.split(lists.allowed.block)
        ]

    @in_full_precision
    def flips(self) -> Tensor:
        """Smallest step at which each start token stops being the nearest, float32 [N].

        In the units of the table; inf if it is the nearest at every step, 0 if it is not the nearest at the start (a
        dot product may favour a longer vector).
        """
        steps = torch.full((len(self.start),), torch.inf, device=self.start.device)
        for rows, block in self._blocks:
            steps[rows] = block.flips()
            if not self._keep:
                block.forget()
        return steps

    @in_full_precision
    def nearest(self, steps: Tensor, exclude_start: bool, k: int = 1) -> Tensor:
        """The k allowed tokens nearest to the points at ``steps``, [N], best first, as ``Projection.nearest``."""
        nearest = torch.full((len(self.start), k), -1, device=self.start.device)
        for rows, block in self._blocks:
            nearest[rows] = block.nearest(steps[rows], exclude_start, k)
            if not self._keep:
                block.forget()
        return nearest


class _Block:
    """Rays of one token group, few enough to hold all their scores.

    On a ray, the score of token v minus that of the start token o is ``margin_v + x slope_v``, with margin_v =
    base_v - base_o and slope_v relative to o's.
    """

    def __init__(self, lists: NeighbourLists, start: Tensor, directions: Tensor) -> None:
        self.lists, self.allowed = lists, lists.allowed
        self.start, self.directions = start, directions
        self.rows = torch.arange(len(start), device=start.device)
        self.own = self.allowed.columns(start)

    @cached_property
    def _lines(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Margin and slope of every allowed token, [N, n], and their error bounds, [N]."""
        base_scores, base_error = self.lists.base_scores(self.start)
        slopes, slope_error = self.allowed.slopes(self.directions)
        own_base, own_slope = (own.float()[:, None] for own in self._own_line)
        return base_scores.sub_(own_base), slopes - own_slope, base_error, slope_error

    @cached_property
    def _own_line(self) -> tuple[Tensor, Tensor]:
        self.origins = self.allowed.table[self.start].float()
        return self._line(self.rows, self.own)

    def forget(self) -> None:
        """Free memory that can be recomputed."""
        self.__dict__.pop("_lines", None)

    def _line(self, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Base scores and slopes of pairs of ray and token, in float64: margins are small differences."""
        base, slope = torch.empty(2, len(rows), dtype=torch.float64, device=rows.device)
        for part in torch.arange(len(rows), device=rows.device).split(self.allowed.pairs):
            ids, ray = self.allowed.members[columns[part]], rows[part]
            a, b = affine_form(self.allowed.table[ids].double(), self.allowed.metric)
            base[part] = (a * self.origins[ray]).sum(1) + b
            slope[part] = (a * self.directions[ray]).sum(1)
        return base, slope

    def _step(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Steps at which tokens overtake the start tokens of their rays."""
        base, slope = self._line(rows, columns)
        own_base, own_slope = (line[rows] for line in self._own_line)
        deficit, relative_slope = own_base - base, slope - own_slope
        step = torch.where(relative_slope > 0, deficit / relative_slope, torch.inf)
        return torch.where(deficit < 0, 0.0, step).float()

    def flips(self) -> Tensor:
        margin, slope, margin_error, slope_error = self._lines
        speed = slope / torch.maximum(-margin, margin_error[:, None])
        speed[self.rows, self.own] = -torch.inf
        first = self._step(self.rows, places_of_best(*chunked(speed), k=1)[0][:, 0])
        # A token that overtakes earlier has a positive margin at this step or, for a dot product, at the start.
        reach = first.clamp_max(_FAR)
        margin_there = torch.addcmul(margin, slope, reach[:, None], out=speed)
        if self.allowed.metric == "dot":
            margin_there = torch.maximum(margin_there, margin)
        margin_there[self.rows, self.own] = -torch.inf
        rows, columns = above(*chunked(margin_there), -(margin_error + reach * slope_error))
        return first.scatter_reduce(0, rows, self._step(rows, columns), "amin")

    def nearest(self, steps: Tensor, exclude_start: bool, k: int) -> Tensor:
        margin, slope, margin_error, slope_error = self._lines
        margin_there = torch.addcmul(margin, slope, steps[:, None])
        if exclude_start:
            margin_there[self.rows, self.own] = -torch.inf
        chunks, peaks = chunked(margin_there)
        # As in AllowedTokens: rescore the k apparently best.
        likely, none = places_of_best(chunks, peaks, k)
        rows = self.rows.repeat_interleave(likely.shape[1])
        base, token_slope = self._line(rows, likely.view(-1).clamp_max(len(self.allowed) - 1))
        own_base, own_slope = (own[rows] for own in self._own_line)
        exact = (base - own_base + steps[rows] * (token_slope - own_slope)).float().view(likely.shape)
        floor = exact.masked_fill_(none, -torch.inf).amin(1)
        rows, columns = above(chunks, peaks, floor - (margin_error + steps * slope_error))
        queries = self.origins + steps[:, None] * self.directions
        return self.allowed.rank(queries, rows, columns, k)
