"""Exact projection of a mix of two tokens, from the neighbour lists of the two.

Scores are affine in the query, so the score of an allowed token v on the mix ``w E[a] + (1 - w) E[b]`` is
``w s_a(v) + (1 - w) s_b(v)``, where ``s_t(v)`` is its score on token t. Stored for every token that has occurred are
a list of its nearest allowed tokens with their scores, and a row with the scores of all allowed tokens. Two facts
then prove most results with a few look-ups:

- a token in neither list scores at most the same mix of the two lists' last scores;
- a token in one list has its exact score there, and the other score in the row.

If the first entries of the lists do not prove a result, more entries are used; the remaining queries are searched in
full. Rows are 8-bit integers, rounded up. If the rows of many tokens exceed the memory limit, several allowed tokens
share an entry with the maximum of their scores. Both give upper bounds, which suffice for the proof.
"""

import torch
from torch import Tensor

from augpro.projection.allowed import AllowedTokens, norms

DEPTHS = (24, 96, 384)  # numbers of list entries that are tried in turn
ROW_BYTES = 2**30  # memory for all rows: 35,000 rows of 30,000 allowed tokens
_SHARED = 8  # maximum number of allowed tokens that share an entry
_STEPS = 127  # quantization steps from 0 to a row's largest score
_BLOCK = 2**18  # list entries processed at once


class NeighbourLists:
    """Neighbour lists and score rows of the tokens that have occurred, for one token group.

    Memory: one byte for each pair of stored and allowed token. Cost: one full search per stored token.

    Args:
        allowed: the allowed tokens of the group.
    """

    def __init__(self, allowed: AllowedTokens) -> None:
        self.allowed = allowed
        self.depth = min(DEPTHS[-1], len(allowed))
        self.places = -(-len(allowed) // _SHARED) * _SHARED  # divisible, for halving until 8 tokens share one
        table = allowed.table
        self.slots = torch.full((len(table),), -1, device=table.device)
        self.size = 0  # number of stored tokens; the arrays may have room for more
        empty = table.new_empty
        self.columns = empty(0, self.depth, dtype=torch.int32)  # half the memory traffic of int64
        self.scores = empty(0, self.depth, dtype=torch.float32)
        self.rows = empty(0, self.places, dtype=torch.int8)
        self.steps = empty(0, 1, dtype=torch.float32)  # score of one quantization step in a row
        self.norms = empty(0, 1, dtype=torch.float32)

    def _reserve(self, count: int) -> None:
        """Allocate room for ``count`` tokens."""
        for name in ("columns", "scores", "rows", "steps", "norms"):
            old: Tensor = getattr(self, name)
            new = old.new_empty(count, old.shape[1])
            new[: self.size] = old[: self.size]
            setattr(self, name, new)

    def add(self, tokens: Tensor) -> None:
        """Build the missing lists and rows of these tokens, int64 [N], as far as the memory limit allows."""
        new = tokens[self.slots[tokens] < 0].unique()
        while (self.size + len(new)) * self.places > ROW_BYTES and self.shared < _SHARED:
            self._halve_width()
        new = new[: max(0, ROW_BYTES // self.places - self.size)]
        if not len(new):
            return
        if self.size + len(new) > len(self.columns):
            room = max(self.size + len(new), ROW_BYTES // self.places)
            self._reserve(min(room, max(self.size + len(new), self.size * 3 // 2)))
        for block in new.split(self.allowed.block):
            self._build(block)

    @property
    def shared(self) -> int:
        """Number of allowed tokens that share an entry of a row."""
        return -(-len(self.allowed) // self.places)

    def _halve_width(self) -> None:
        """Halve the width of the rows: entries of the second half are merged with those of the first."""
        self.places //= 2
        self.rows = self.rows.unflatten(1, (2, self.places)).amax(1)

    def _build(self, tokens: Tensor) -> None:
        vectors = self.allowed.table[tokens].float()
        scores = self.allowed.scores(vectors)
        slots = torch.arange(self.size, self.size + len(tokens), device=tokens.device)
        self.scores[slots], columns = scores.topk(self.depth, dim=1)
        self.columns[slots] = columns.int()
        self.norms[slots, 0] = norms(vectors)
        step = (scores.abs().amax(1, keepdim=True) / _STEPS).clamp_min(torch.finfo(torch.float32).tiny)
        # Plus a margin for the rounding of the division; a nan also makes the step nan.
        rows = (scores / step + 1e-3).ceil_().clamp_(-_STEPS, _STEPS).to(torch.int8)
        spare = self.shared * self.places - rows.shape[1]
        padded = torch.nn.functional.pad(rows, (0, spare), value=-_STEPS)
        self.rows[slots], self.steps[slots] = padded.unflatten(1, (self.shared, -1)).amax(1), step
        self.slots[tokens] = slots
        self.size += len(tokens)

    def base_scores(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of every allowed token on the given tokens, float32 [N, n], and an error bound per row, [N]."""
        self.add(tokens)
        slots = self.slots[tokens]
        if self.shared > 1 or bool((slots < 0).any()):
            vectors = self.allowed.table[tokens].float()
            return self.allowed.scores(vectors), 2 * self.allowed.rounding(norms(vectors))
        steps = self.steps[slots]
        error = 2 * self.allowed.rounding(self.norms[slots, 0]) + 0.51 * steps[:, 0]
        rows = self.rows.index_select(0, slots)[:, : len(self.allowed)]
        return (rows.float() - 0.5) * steps, error

    def nearest(self, own: Tensor, other: Tensor, weight: Tensor, exclude: bool, k: int) -> Tensor:
        """The k nearest allowed tokens of every mix.

        Args:
            own: token a, int64 [N].
            other: token b, int64 [N].
            weight: weight of ``own``, float32 [N].
            exclude: whether the two must not be returned.
            k: number of tokens.

        Returns:
            Token ids, best first, int64 [N, k], as :meth:`AllowedTokens.nearest` would return them.
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
        queries = mixed(self.allowed.table, own[left], other[left], weight[left])
        found[left] = self.allowed.nearest(queries, parents if exclude else parents[:, :0], k)
        return found

    def _look_up(
        self, own: Tensor, other: Tensor, weight: Tensor, exclude: bool, k: int, depth: int
    ) -> tuple[Tensor, Tensor]:
        """Which results the first ``depth`` list entries prove, bool [N], and these results, int64 [N, k]."""
        a, b = self.slots[own], self.slots[other]
        share, rest = weight[:, None], 1 - weight[:, None]
        columns = [self.columns[:, :depth].index_select(0, slot) for slot in (a, b)]
        scores = [self.scores[:, :depth].index_select(0, slot) for slot in (a, b)]
        upper = torch.cat([share * scores[0] + rest * self._upper(b, columns[0]),
                           share * self._upper(a, columns[1]) + rest * scores[1]], dim=1)  # fmt: skip
        if k > 1:  # the k-th best must count each token once
            upper[:, :depth].masked_fill_((columns[0][:, :, None] == columns[1][:, None]).any(2), -torch.inf)
        listed = torch.cat(columns, dim=1)
        if exclude:
            for parent in (own, other):
                upper.masked_fill_(listed == self.allowed.columns(parent).int()[:, None], -torch.inf)
        self.allowed.work.multiply_adds += upper.numel()

        # Twice the rounding error of a score: of the stored scores and of the mix.
        slack = 2 * self.allowed.rounding(torch.maximum(self.norms[a], self.norms[b])[:, 0])
        floor = self._floor(own, other, weight, listed, upper, k) - slack
        outside = (share * scores[0][:, -1:] + rest * scores[1][:, -1:])[:, 0] + slack
        proven = floor > (outside if depth < len(self.allowed) else -torch.inf)
        kept = upper >= (floor - slack)[:, None]
        winner = torch.where(upper >= upper.amax(1, keepdim=True), listed, -1).amax(1)
        found = self.allowed.members[winner][:, None].repeat(1, k)
        unsure = proven if k > 1 else proven & (kept & (listed != winner[:, None])).any(1)
        unsure = torch.nonzero(unsure)[:, 0]
        if len(unsure):
            rows, places = torch.nonzero(kept[unsure], as_tuple=True)
            # A token in both lists counts as one pair.
            pairs = (rows * len(self.allowed) + listed[unsure[rows], places]).unique()
            rows, members = pairs // len(self.allowed), pairs % len(self.allowed)
            queries = mixed(self.allowed.table, own[unsure], other[unsure], weight[unsure])
            found[unsure] = self.allowed.rank(queries, rows, members, k)
        return proven, found

    def _upper(self, slots: Tensor, columns: Tensor) -> Tensor:
        """Upper bound on the score of each allowed token on the token of its row, [N, K]."""
        places = columns if self.shared == 1 else columns % self.places
        starts = (slots * self.places).int()[:, None]  # below 2^31 because of ROW_BYTES
        stored = self.rows.view(-1).index_select(0, (places + starts).view(-1))
        return stored.view(columns.shape) * self.steps[slots]

    def _floor(
        self, own: Tensor, other: Tensor, weight: Tensor, listed: Tensor, upper: Tensor, k: int
    ) -> Tensor:
        """Lower bound on the k-th best score, apart from rounding, [N]."""
        if self.shared == 1:
            last = upper.amax(1) if k == 1 else upper.topk(k, dim=1).values[:, -1]
            steps = torch.maximum(weight * self.steps[self.slots[own], 0],
                                  (1 - weight) * self.steps[self.slots[other], 0])  # fmt: skip
            return last - 1.01 * steps
        # The largest upper bounds may be loose, so a few more than k are scored.
        best, places = upper.topk(min(k + 3, upper.shape[1]), dim=1)
        queries = mixed(self.allowed.table, own, other, weight)
        rows = torch.arange(len(own), device=own.device).repeat_interleave(best.shape[1])
        scores = self.allowed.pair_scores(queries, rows, listed.gather(1, places).view(-1).long())
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
