"""The allowed tokens of one group: scoring, full search and exact ranking.

Cosine, negative squared L2 and dot product all rank tokens by a function that is affine in the query,
``a_v . q + b_v``, so one matrix product serves all three. Every search ends the same way: a cheap pass keeps the few
pairs of query and token that its rounding bound cannot separate from the best, and :meth:`AllowedTokens.rank` ranks
these in float64.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from augpro.projection.chunks import above, chunked, lowest, places_of_best
from augpro.projection.coarse import coarse_of

Metric = Literal["cosine", "l2", "dot"]
BLOCK_SCORES = 4_000_000  # scores in memory at once: 16 MiB in float32
PAIR_VALUES = 100_000  # values of gathered vectors at once, so that they fit the cache
_TINY = 1e-30  # covers denormal numbers that the hardware flushes to zero


@dataclass
class SearchStats:
    """Cumulative cost of searches.

    Attributes:
        queries: number of queries.
        distinct: number of queries, equal ones of a call counted once.
        in_full: distinct queries that were compared with every allowed token.
        multiply_adds: of scores; a look-up of a stored score counts as one.
    """

    queries: int = 0
    distinct: int = 0
    in_full: int = 0
    multiply_adds: int = 0

    def shares(self) -> dict[str, float]:
        """Share of the distinct queries that needed a full search; empty without a query."""
        return {"searched_in_full": self.in_full / self.distinct} if self.distinct else {}


class AllowedTokens:
    """The allowed tokens of one group.

    Args:
        table: embedding table E, float [V, D].
        members: ids of the allowed tokens, ascending, int64 [n].
        metric: "cosine" (a zero vector has similarity 0 to everything), "l2" or "dot".
        work: the statistics to add costs to.

    Attributes:
        vectors: ``a`` of every member, float32 [n, D].
        offsets: ``b`` of every member, float32 [n].
        reach: largest ``||a||``.
    """

    def __init__(self, table: Tensor, members: Tensor, metric: Metric, work: SearchStats) -> None:
        self.table, self.members, self.metric, self.work = table, members, metric, work
        self._places = torch.full((len(table),), -1, device=table.device)
        self._places[members] = torch.arange(len(members), device=table.device)
        self.vectors, self.offsets = affine_form(table[members].float(), metric)
        sizes = norms(self.vectors)
        self.reach = float(sizes.max())
        self.largest_offset = float(self.offsets.abs().max())
        self._coarse = None if metric == "l2" else coarse_of(self.vectors, sizes)

    def __len__(self) -> int:
        return len(self.members)

    def columns(self, ids: Tensor) -> Tensor:
        """Indices of token ids among the members, -1 for other tokens."""
        return torch.where(ids >= 0, self._places[ids], -1)

    def scores(self, queries: Tensor) -> Tensor:
        """Float32 scores of every member, [N, n]."""
        self.work.multiply_adds += len(queries) * self.vectors.numel()
        return torch.addmm(self.offsets, queries, self.vectors.T)

    def rounding(self, sizes: Tensor) -> Tensor:
        """Bound on the float32 error of a score, for queries with norms ``sizes``, [N].

        ``(D + 8) u (||a|| ||q|| + |b|)`` (Higham 2002, section 3.1); the 8 covers the rounding of ``a`` and
        ``b`` themselves (normalization; squared norms of D terms are summed pairwise).
        """
        # If torch is set to compute float32 products with lower precision, it uses at least bfloat16.
        try:
            full_precision = torch.get_float32_matmul_precision() == "highest"
        except RuntimeError:  # raised if the newer setting was used
            full_precision = False
        unit = torch.finfo(torch.float32).eps if full_precision else torch.finfo(torch.bfloat16).eps
        return (self.table.shape[1] + 8) * unit * (sizes * self.reach + self.largest_offset) + _TINY

    def nearest(self, queries: Tensor, excluded: Tensor, k: int) -> Tensor:
        """Compare every query with every member.

        Args:
            queries: float32 [N, D].
            excluded: ids that a query must not return, int64 [N, X]; -1 excludes nothing.
            k: number of tokens.

        Returns:
            Token ids, best first, int64 [N, k]; -1 if fewer are left, and for scores that are nan or overflow.
        """
        self.work.in_full += len(queries)
        columns = self.columns(excluded)
        nearest = [
            self.rank(block, *self._contenders(block, excluded_columns, k), k)
            for block, excluded_columns in zip(
                *(part.split(self.block) for part in (queries, columns)), strict=True
            )
        ]
        return torch.cat(nearest) if nearest else excluded.new_empty(0, k)

    @property
    def block(self) -> int:
        """Number of queries whose scores are in memory at once."""
        return max(1, BLOCK_SCORES // len(self))

    @property
    def pairs(self) -> int:
        """Number of pairs of query and token whose vectors are in memory at once."""
        return max(1, PAIR_VALUES // self.table.shape[1])

    def _contenders(self, queries: Tensor, excluded: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Pairs (row, column) that include the k best of every row, despite rounding."""
        scores, unit, error = self._approximate(queries)
        rows, places = torch.nonzero(excluded >= 0, as_tuple=True)
        scores[rows, excluded[rows, places]] = lowest(scores)
        chunks, peaks = chunked(scores)
        # Rescore the k apparently best: the true k-th best is at least as good as the worst of them.
        likely, none = places_of_best(chunks, peaks, k)
        rows = torch.arange(len(queries), device=queries.device).repeat_interleave(likely.shape[1])
        exact = self.pair_scores(queries, rows, likely.view(-1).clamp_max(len(self) - 1))
        floor = exact.view(likely.shape).masked_fill_(none, -torch.inf).amin(1)
        return above(chunks, peaks, (floor - error) / unit)

    def slopes(self, directions: Tensor) -> tuple[Tensor, Tensor]:
        """``a . u`` for directions u, float32 [N, n], and an error bound for each row, [N]."""
        scores, unit, error = self._approximate(directions)
        scores = scores[:, : len(self)] * unit[:, None]
        return scores.sub_(self.offsets) if self.metric == "l2" else scores, error

    def _approximate(self, queries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores from the cheapest product, [N, n] plus padding, their unit, [N], and their error bound, [N]."""
        # Five roundings: the product, the rotations of both sides, the use of the scores, and the rescoring.
        error = 5 * self.rounding(norms(queries))
        if self._coarse is None:
            return self.scores(queries), torch.ones_like(error), error
        self.work.multiply_adds += len(queries) * self.vectors.numel()
        scores, unit, coarse = self._coarse.product(queries)
        return scores, unit, coarse + error

    def rank(self, queries: Tensor, rows: Tensor, columns: Tensor, k: int) -> Tensor:
        """The k best of the given pairs of every row, by float64 score, then by id.

        Args:
            queries: float32 [N, D].
            rows: row of each pair, int64 [P].
            columns: member of each pair, int64 [P]; pairs are distinct.
            k: number of tokens.

        Returns:
            Token ids, int64 [N, k]; -1 where a row has fewer pairs.
        """
        if k == 1:
            rows, columns = self._narrow(queries, rows, columns)
            if torch.equal(rows, torch.arange(len(queries), device=rows.device)):
                return self.members[columns][:, None]  # one pair is left per row
        exact = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
        undecided = torch.nonzero(torch.bincount(rows, minlength=len(queries))[rows] > 1)[:, 0]
        for part in undecided.split(self.pairs):
            exact[part] = self._exact_scores(queries[rows[part]], columns[part])
        # Stable sorts keep equal scores in the order of their ids.
        order = columns.argsort(stable=True)
        order = order[exact[order].argsort(descending=True, stable=True)]
        order = order[rows[order].argsort(stable=True)]
        rows, columns = rows[order], columns[order]
        first = torch.searchsorted(rows, torch.arange(len(queries), device=rows.device))
        place = torch.arange(len(rows), device=rows.device) - first[rows]
        kept = place < k
        best = torch.full((len(queries), k), -1, dtype=torch.int64, device=queries.device)
        best[rows[kept], place[kept]] = self.members[columns[kept]]
        return best

    def _narrow(self, queries: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """The pairs that float32 cannot separate from the best of their row."""
        error = self.rounding(norms(queries))
        scores = self.pair_scores(queries, rows, columns)
        best = torch.full((len(queries),), -torch.inf, device=queries.device)
        best.scatter_reduce_(0, rows, scores, "amax")
        kept = scores >= (best - 2 * error)[rows]
        return rows[kept], columns[kept]

    def pair_scores(self, queries: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Float32 scores of pairs, [P]."""
        self.work.multiply_adds += len(rows) * queries.shape[1]
        parts = [
            (self.vectors.index_select(0, column) * queries.index_select(0, row)).sum(1)
            for row, column in zip(rows.split(self.pairs), columns.split(self.pairs), strict=True)
        ]
        return (torch.cat(parts) if parts else queries.new_empty(0)) + self.offsets[columns]

    def _exact_scores(self, queries: Tensor, columns: Tensor) -> Tensor:
        """Float64 scores, [P], computed pair by pair so that equal embeddings tie."""
        self.work.multiply_adds += queries.numel()
        vectors, query = self.table[self.members[columns]].double(), queries.double()
        if self.metric == "l2":  # from the difference, for exact ties half way between two tokens
            return -(vectors - query).square().sum(1)
        return (affine_form(vectors, self.metric)[0] * query).sum(1)


def norms(vectors: Tensor) -> Tensor:
    """Euclidean norm of every row, [n], without intermediate underflow."""
    lengths: Tensor = vectors.double().norm(dim=1)
    return lengths.float()


def affine_form(vectors: Tensor, metric: Metric) -> tuple[Tensor, Tensor]:
    """``a`` [n, D] and ``b`` [n] with the rank order of sim(E[v], q) = a_v . q + b_v."""
    zero = vectors.new_zeros(len(vectors))
    if metric == "cosine":
        # Scaled first, so that the squares of very small or large entries neither underflow nor overflow.
        largest = vectors.abs().amax(1, keepdim=True)
        return torch.nn.functional.normalize(vectors / torch.where(largest > 0, largest, 1.0), dim=1), zero
    if metric == "l2":
        return 2 * vectors, -vectors.square().sum(1)
    return vectors, zero
