"""Exact projection of a mix of two tokens from the neighbour lists of the two.

Scores are affine in the query, so a candidate v scores ``w s_a(v) + (1 - w) s_b(v)`` on the mix
``w E[a] + (1 - w) E[b]``, where ``s_t(v)`` is its score on token t itself. Stored for every token that has
occurred are the best candidates with their scores, in order, and one row of scores of all candidates. Two
facts then prove most answers from a few look-ups:

- a candidate in neither list scores at most the same mix of the two last scores in the lists;
- a candidate in one list has its own score there, and the other one from the row.

What the first lists do not prove is tried with longer ones, and what is left is searched in full. Rows are
8-bit integers, rounded up, and where the rows of many tokens outgrow their room, several candidates share a
place that holds the largest of their scores: both are upper bounds, which is all that a proof needs.
"""

import torch
from torch import Tensor

from augpro.projection.candidates import Candidates, norms

DEPTHS = (24, 96, 384)  # entries of the lists that are tried in turn
ROW_BYTES = 2**30  # for the rows of all tokens: 35,000 of them for 30,000 candidates
_SHARED = 8  # candidates that share a place at most
_STEPS = 127  # of a row, from 0 to its largest score
_BLOCK = 2**18  # list entries looked at at once


class NeighbourLists:
    """Lists and rows of the tokens that have occurred, within one group of candidates.

    Memory: a byte for each token and candidate. Cost: one full search a token, once.

    Args:
        candidates: the group.
    """

    def __init__(self, candidates: Candidates) -> None:
        self.candidates = candidates
        self.depth = min(DEPTHS[-1], len(candidates))
        self.places = -(-len(candidates) // _SHARED) * _SHARED  # can be halved until 8 candidates share one
        table = candidates.table
        self.slots = torch.full((len(table),), -1, device=table.device)
        self.size = 0  # tokens stored; the arrays may have room for more
        empty = table.new_empty
        self.columns = empty(0, self.depth, dtype=torch.int32)  # halves what a look-up has to move
        self.scores = empty(0, self.depth, dtype=torch.float32)
        self.rows = empty(0, self.places, dtype=torch.int8)
        self.steps = empty(0, 1, dtype=torch.float32)  # what one means in a row
        self.norms = empty(0, 1, dtype=torch.float32)

    def _reserve(self, count: int) -> None:
        """Room for so many tokens."""
        for name in ("columns", "scores", "rows", "steps", "norms"):
            old: Tensor = getattr(self, name)
            new = old.new_empty(count, old.shape[1])
            new[: self.size] = old[: self.size]
            setattr(self, name, new)

    def add(self, tokens: Tensor) -> None:
        """Build what is missing for these tokens, int64 [N], as far as there is room."""
        new = tokens[self.slots[tokens] < 0].unique()
        while (self.size + len(new)) * self.places > ROW_BYTES and self.shared < _SHARED:
            self._fold()
        new = new[: max(0, ROW_BYTES // self.places - self.size)]
        if not len(new):
            return
        if self.size + len(new) > len(self.columns):
            room = max(self.size + len(new), ROW_BYTES // self.places)
            self._reserve(min(room, max(self.size + len(new), self.size * 3 // 2)))
        for block in new.split(self.candidates.block):
            self._build(block)

    @property
    def shared(self) -> int:
        """Candidates to a place."""
        return -(-len(self.candidates) // self.places)

    def _fold(self) -> None:
        """Halve the rows: each place of the second half shares one of the first."""
        self.places //= 2
        self.rows = self.rows.unflatten(1, (2, self.places)).amax(1)

    def _build(self, tokens: Tensor) -> None:
        vectors = self.candidates.table[tokens].float()
        scores = self.candidates.scores(vectors)
        slots = torch.arange(self.size, self.size + len(tokens), device=tokens.device)
        self.scores[slots], columns = scores.topk(self.depth, dim=1)
        self.columns[slots] = columns.int()
        self.norms[slots, 0] = norms(vectors)
        step = (scores.abs().amax(1, keepdim=True) / _STEPS).clamp_min(torch.finfo(torch.float32).tiny)
        # A little more than rounded up, because the division rounds; what is not a number spoils the step too.
        rows = (scores / step + 1e-3).ceil_().clamp_(-_STEPS, _STEPS).to(torch.int8)
        spare = self.shared * self.places - rows.shape[1]
        padded = torch.nn.functional.pad(rows, (0, spare), value=-_STEPS)
        self.rows[slots], self.steps[slots] = padded.unflatten(1, (self.shared, -1)).amax(1), step
        self.slots[tokens] = slots
        self.size += len(tokens)

    def heights(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of every candidate on tokens, float32 [N, n], and the error of each row, [N]."""
        self.add(tokens)
        slots = self.slots[tokens]
        if self.shared > 1 or bool((slots < 0).any()):
            vectors = self.candidates.table[tokens].float()
            return self.candidates.scores(vectors), 2 * self.candidates.rounding(norms(vectors))
        steps = self.steps[slots]
        error = 2 * self.candidates.rounding(self.norms[slots, 0]) + 0.51 * steps[:, 0]
        rows = self.rows.index_select(0, slots)[:, : len(self.candidates)]
        return (rows.float() - 0.5) * steps, error

    def nearest(self, own: Tensor, other: Tensor, weight: Tensor, exclude: bool, k: int) -> Tensor:
        """The k best candidates of every mix.

        Args:
            own: token a, int64 [N].
            other: token b, int64 [N].
            weight: share of ``own``, float32 [N].
            exclude: whether the two may not come out.
            k: how many.

        Returns:
            Token ids, best first, int64 [N, k], as :meth:`Candidates.nearest` would return them.
        """
        self.add(torch.cat([own, other]))
        found = torch.full((len(own), k), -1, device=own.device)
        left = torch.arange(len(own), device=own.device)
        for depth in sorted({min(depth, self.depth) for depth in DEPTHS if k <= min(depth, self.depth)}):
            listed = (self.slots[own[left]] >= 0) & (self.slots[other[left]] >= 0)
            proven = torch.zeros_like(listed)
            for part in torch.nonzero(listed)[:, 0].split(_BLOCK // depth):
                rows = left[part]
                pairs = own[rows], other[rows], weight[rows]
                proven[part], found[rows] = self._look_up(*pairs, exclude, k, depth)
            left = left[~proven]
            if not len(left):
                return found
        parents = torch.stack([own[left], other[left]], 1)
        queries = mixed(self.candidates.table, own[left], other[left], weight[left])
        found[left] = self.candidates.nearest(queries, parents if exclude else parents[:, :0], k)
        return found

    def _look_up(
        self, own: Tensor, other: Tensor, weight: Tensor, exclude: bool, k: int, depth: int
    ) -> tuple[Tensor, Tensor]:
        """Which answers the first ``depth`` list entries prove, bool [N], and these answers, int64 [N, k]."""
        a, b = self.slots[own], self.slots[other]
        share, rest = weight[:, None], 1 - weight[:, None]
        columns = [self.columns[:, :depth].index_select(0, slot) for slot in (a, b)]
        scores = [self.scores[:, :depth].index_select(0, slot) for slot in (a, b)]
        upper = torch.cat([share * scores[0] + rest * self._upper(b, columns[0]),
                           share * self._upper(a, columns[1]) + rest * scores[1]], dim=1)  # fmt: skip
        if k > 1:  # the k-th best counts each candidate once
            upper[:, :depth].masked_fill_((columns[0][:, :, None] == columns[1][:, None]).any(2), -torch.inf)
        listed = torch.cat(columns, dim=1)
        if exclude:
            for parent in (own, other):
                upper.masked_fill_(listed == self.candidates.columns(parent).int()[:, None], -torch.inf)
        self.candidates.work.multiply_adds += upper.numel()

        # Twice the rounding of a score: that of the stored ones, and that of the mix itself.
        slack = 2 * self.candidates.rounding(torch.maximum(self.norms[a], self.norms[b])[:, 0])
        floor = self._floor(own, other, weight, listed, upper, k) - slack
        outside = (share * scores[0][:, -1:] + rest * scores[1][:, -1:])[:, 0] + slack
        proven = floor > (outside if depth < len(self.candidates) else -torch.inf)
        kept = upper >= (floor - slack)[:, None]
        winner = torch.where(upper >= upper.amax(1, keepdim=True), listed, -1).amax(1)
        found = self.candidates.members[winner][:, None].repeat(1, k)
        unsure = proven if k > 1 else proven & (kept & (listed != winner[:, None])).any(1)
        unsure = torch.nonzero(unsure)[:, 0]
        if len(unsure):
            rows, places = torch.nonzero(kept[unsure], as_tuple=True)
            # A candidate in both lists is a pair once.
            pairs = (rows * len(self.candidates) + listed[unsure[rows], places]).unique()
            rows, candidates = pairs // len(self.candidates), pairs % len(self.candidates)
            queries = mixed(self.candidates.table, own[unsure], other[unsure], weight[unsure])
            found[unsure] = self.candidates.rank(queries, rows, candidates, k)
        return proven, found

    def _upper(self, slots: Tensor, columns: Tensor) -> Tensor:
        """At least the score of each candidate on the token of its row, [N, K]."""
        places = columns if self.shared == 1 else columns % self.places
        starts = (slots * self.places).int()[:, None]  # ROW_BYTES keeps them below 2^31
        stored = self.rows.view(-1).index_select(0, (places + starts).view(-1))
        return stored.view(columns.shape) * self.steps[slots]

    def _floor(
        self, own: Tensor, other: Tensor, weight: Tensor, listed: Tensor, upper: Tensor, k: int
    ) -> Tensor:
        """At most the k-th best score, but for its rounding, [N]."""
        if self.shared == 1:
            last = upper.amax(1) if k == 1 else upper.topk(k, dim=1).values[:, -1]
            steps = torch.maximum(weight * self.steps[self.slots[own], 0],
                                  (1 - weight) * self.steps[self.slots[other], 0])  # fmt: skip
            return last - 1.01 * steps
        # The largest upper bound may be a wide one, so a few more than k are scored.
        best, places = upper.topk(min(k + 3, upper.shape[1]), dim=1)
        queries = mixed(self.candidates.table, own, other, weight)
        rows = torch.arange(len(own), device=own.device).repeat_interleave(best.shape[1])
        scores = self.candidates.pair_scores(queries, rows, listed.gather(1, places).view(-1).long())
        scores = scores.view(best.shape).masked_fill_(best.isinf(), -torch.inf)
        if k == 1:
            return scores.amax(1)
        return scores.topk(k, dim=1).values[:, -1]


def mixed(table: Tensor, own: Tensor, other: Tensor, weight: Tensor) -> Tensor:
    """``w E[a] + (1 - w) E[b]``, float32 [N, D]."""
    own_vectors, other_vectors = (table.index_select(0, tokens).float() for tokens in (own, other))
    return mix(own_vectors, other_vectors, weight[:, None])


def mix(own: Tensor, other: Tensor, weight: Tensor | float) -> Tensor:
    """Convex combination ``weight * own + (1 - weight) * other`` (mixup, Zhang et al. 2018, arXiv 1710.09412)."""
    return weight * own + (1 - weight) * other
