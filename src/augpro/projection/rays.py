"""Where tokens go on a straight line: at which step each becomes another token, and which one.

On the ray ``E[o] + x u`` the score of candidate v is ``h_v + x s_v``: its score on the start token o, which
the neighbour lists store, plus x times its score on the direction. So one matrix product serves both
questions. It may be coarse: what its error cannot rule out is computed anew.
"""

from functools import cached_property

import torch
from torch import Tensor

from augpro.projection.candidates import affine_form
from augpro.projection.chunks import above, chunked, in_full_precision, places_of_best
from augpro.projection.neighbours import NeighbourLists

_FAR = 1e18  # stands for a step without end
_KEPT = 16_000_000  # scores of directions kept from the first question to the second: 128 MiB


class Rays:
    """Rays from tokens in the directions of unit vectors.

    Args:
        parts: for each candidate group its lists, and the rows of its rays, int64.
        start: start tokens o, each in its group, int64 [N].
        directions: unit vectors u, or zero, float32 [N, D].
    """

    def __init__(self, parts: list[tuple[NeighbourLists, Tensor]], start: Tensor, directions: Tensor) -> None:
        self.start, self.directions = start, directions
        self._keep = sum(len(rows) * len(lists.candidates) for lists, rows in parts) <= _KEPT
        self._blocks = [
            (rows, _Block(lists, start[rows], directions[rows]))
            for lists, group_rows in parts
            for rows in group_rows.split(lists.candidates.block)
        ]

    @in_full_precision
    def flips(self) -> Tensor:
        """Smallest step at which each start token stops being the nearest, float32 [N].

        In the units of the table; inf where no step does it, 0 where the token is not the nearest to begin with
        (a dot product may favour a longer vector).
        """
        steps = torch.full((len(self.start),), torch.inf, device=self.start.device)
        for rows, block in self._blocks:
            steps[rows] = block.flips()
            if not self._keep:
                block.forget()
        return steps

    @in_full_precision
    def nearest(self, steps: Tensor, exclude_start: bool, k: int = 1) -> Tensor:
        """The k candidates nearest to the point at ``steps``, [N], best first, as ``Projection.nearest``."""
        found = torch.full((len(self.start), k), -1, device=self.start.device)
        for rows, block in self._blocks:
            found[rows] = block.nearest(steps[rows], exclude_start, k)
            if not self._keep:
                block.forget()
        return found


class _Block:
    """Rays of one candidate group, few enough that all their scores can be held.

    On its ray, candidate v leads the start token by ``lead_v + x gain_v``, with lead = h_v - h_o and gain =
    s_v - s_o.
    """

    def __init__(self, lists: NeighbourLists, start: Tensor, directions: Tensor) -> None:
        self.lists, self.candidates = lists, lists.candidates
        self.start, self.directions = start, directions
        self.rows = torch.arange(len(start), device=start.device)
        self.own = self.candidates.columns(start)

    @cached_property
    def _lines(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Lead and gain of every candidate, [N, n], and the errors of both, [N]."""
        heights, height_error = self.lists.heights(self.start)
        slopes, slope_error = self.candidates.slopes(self.directions)
        height, slope = (own.float()[:, None] for own in self._own_line)
        return heights.sub_(height), slopes - slope, height_error, slope_error

    @cached_property
    def _own_line(self) -> tuple[Tensor, Tensor]:
        self.origins = self.candidates.table[self.start].float()
        return self._line(self.rows, self.own)

    def forget(self) -> None:
        """Free what can be computed anew."""
        self.__dict__.pop("_lines", None)

    def _line(self, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Heights and slopes of pairs of ray and candidate, float64: a lead is a small difference of large ones."""
        height, slope = torch.empty(2, len(rows), dtype=torch.float64, device=rows.device)
        for part in torch.arange(len(rows), device=rows.device).split(self.candidates.pairs):
            ids, ray = self.candidates.members[columns[part]], rows[part]
            a, b = affine_form(self.candidates.table[ids].double(), self.candidates.metric)
            height[part] = (a * self.origins[ray]).sum(1) + b
            slope[part] = (a * self.directions[ray]).sum(1)
        return height, slope

    def _step(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Steps at which candidates overtake the start tokens of their rays."""
        height, slope = self._line(rows, columns)
        own_height, own_slope = (line[rows] for line in self._own_line)
        lag, gain = own_height - height, slope - own_slope
        step = torch.where(gain > 0, lag / gain, torch.inf)
        return torch.where(lag < 0, 0.0, step).float()

    def flips(self) -> Tensor:
        lead, gain, lead_error, gain_error = self._lines
        speed = gain / torch.maximum(-lead, lead_error[:, None])
        speed[self.rows, self.own] = -torch.inf
        first = self._step(self.rows, places_of_best(*chunked(speed), k=1)[0][:, 0])
        # What overtakes before that one leads at its step or, where it led from the start, at once.
        reach = first.clamp_max(_FAR)
        ahead = torch.addcmul(lead, gain, reach[:, None], out=speed)
        if self.candidates.metric == "dot":
            ahead = torch.maximum(ahead, lead)
        ahead[self.rows, self.own] = -torch.inf
        rows, columns = above(*chunked(ahead), -(lead_error + reach * gain_error))
        return first.scatter_reduce(0, rows, self._step(rows, columns), "amin")

    def nearest(self, steps: Tensor, exclude_start: bool, k: int) -> Tensor:
        lead, gain, lead_error, gain_error = self._lines
        ahead = torch.addcmul(lead, gain, steps[:, None])
        if exclude_start:
            ahead[self.rows, self.own] = -torch.inf
        chunks, peaks = chunked(ahead)
        # As in Candidates: the k that seem best are scored anew.
        likely, none = places_of_best(chunks, peaks, k)
        rows = self.rows.repeat_interleave(likely.shape[1])
        height, slope = self._line(rows, likely.view(-1).clamp_max(len(self.candidates) - 1))
        own_height, own_slope = (own[rows] for own in self._own_line)
        exact = (height - own_height + steps[rows] * (slope - own_slope)).float().view(likely.shape)
        floor = exact.masked_fill_(none, -torch.inf).amin(1)
        rows, columns = above(chunks, peaks, floor - (lead_error + steps * gain_error))
        queries = self.origins + steps[:, None] * self.directions
        return self.candidates.rank(queries, rows, columns, k)
