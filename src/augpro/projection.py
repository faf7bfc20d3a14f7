"""Exact nearest-token search: project a vector of embedding space onto a token.

``project(q) = argmax over v in C of sim(E[v], q)``, ties to the lowest id (METHOD: AugPro, arXiv
2210.11768). Cosine, negative squared L2 and dot product all rank tokens by a function that is affine in
the query, ``a_v . q + b_v``, so one matrix product serves all three.

Exact means: the ids that a float64 computation over the whole vocabulary returns, and a tie is an equal
float64 score (rows that are the same up to a factor tie for cosine only as far as their norms round
alike). A float32 matrix product finds every token within its own rounding bound of the winner; those few
are scored again in float64. Queries go through in blocks, so extra memory is bounded whatever their
number. Cost: 2 V D multiply-adds a query.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

Metric = Literal["cosine", "l2", "dot"]
BLOCK_SCORES = 4_000_000  # scores held at once: 16 MiB in float32


class Projection:
    """Nearest tokens of an embedding table, within groups of candidates.

    Args:
        table: embedding table E, float [V, D].
        groups: candidate group of each token, int64 [V]; -1 is never produced. A query of group g is
            projected onto tokens of group g alone. Default: all tokens are one group.
        metric: "cosine" (a zero vector has similarity 0 to everything), "l2" or "dot".

    Raises:
        ValueError: if the metric is unknown or the shapes do not fit.

    Example:
        >>> import torch
        >>> projection = Projection(torch.eye(3))
        >>> projection.nearest(torch.tensor([[0.9, 0.8, 0.1]]))
        tensor([[0]])
        >>> projection.nearest(torch.tensor([[0.9, 0.8, 0.1]]), excluded=torch.tensor([[0]]), k=2)
        tensor([[1, 2]])
    """

    def __init__(self, table: Tensor, groups: Tensor | None = None, metric: Metric = "cosine") -> None:
        if metric not in get_args(Metric):
            raise ValueError(f"metric must be one of {', '.join(get_args(Metric))}, not {metric!r}")
        if table.ndim != 2:
            raise ValueError(f"table must be [V, D], not {list(table.shape)}")
        if groups is None:
            groups = torch.zeros(len(table), dtype=torch.int64)
        if groups.shape != table.shape[:1]:
            raise ValueError(f"groups must be [{len(table)}] like the table, not {list(groups.shape)}")
        self.metric: Metric = metric
        self.table = table.detach()
        self.groups = groups.to(table.device)
        self._members = {
            int(group): torch.nonzero(self.groups == group)[:, 0]
            for group in self.groups.unique()
            if group >= 0
        }
        self._affine = {group: self._affine_form(ids) for group, ids in self._members.items()}
        self._largest = {
            group: (float(a.norm(dim=1).max()), float(b.abs().max()))
            for group, (a, b) in self._affine.items()
        }

    def _affine_form(self, ids: Tensor, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """``a`` [n, D] and ``b`` [n] with rank order of sim(E[v], q) = a_v . q + b_v."""
        vectors = self.table[ids].to(dtype)
        zero = vectors.new_zeros(len(ids))
        if self.metric == "cosine":
            # Scaled first, so that the squares of very small or large entries neither vanish nor overflow.
            largest = vectors.abs().amax(1, keepdim=True)
            scaled = vectors / torch.where(largest > 0, largest, 1.0)
            return torch.nn.functional.normalize(scaled, dim=1), zero
        if self.metric == "l2":
            return 2 * vectors, -vectors.square().sum(1)
        return vectors, zero

    def nearest(
        self, queries: Tensor, groups: Tensor | None = None, excluded: Tensor | None = None, k: int = 1
    ) -> Tensor:
        """The ``k`` most similar candidates of each query, best first.

        Args:
            queries: [N, D], taken as float32.
            groups: candidate group of each query, int64 [N]; default 0.
            excluded: ids that a query must not get, int64 [N, X]; -1 excludes nothing.
            k: how many.

        Returns:
            Token ids, int64 [N, k]; -1 where fewer than k candidates are left, and for a query whose scores
            are nan or overflow float32.

        Raises:
            ValueError: if ``k`` is below 1, the width is wrong, or a query names a group without candidates.
        """
        if queries.ndim != 2 or queries.shape[1] != self.table.shape[1]:
            raise ValueError(f"queries must be [N, {self.table.shape[1]}], not {list(queries.shape)}")
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        if groups is None:
            groups = torch.zeros(len(queries), dtype=torch.int64, device=queries.device)
        if excluded is None:
            excluded = torch.full((len(queries), 1), -1, device=queries.device)
        found = torch.full((len(queries), k), -1, dtype=torch.int64, device=queries.device)
        for group in groups.unique().tolist():
            if group not in self._members:
                raise ValueError(f"group {group} has no candidate tokens")
            rows = torch.nonzero(groups == group)[:, 0]
            for block in rows.split(max(1, BLOCK_SCORES // len(self._members[group]))):
                found[block] = self._nearest_block(queries[block].float(), group, excluded[block], k)
        return found

    def flip_step(self, start: Tensor, origin: Tensor, direction: Tensor, groups: Tensor) -> Tensor:
        """Smallest step along a direction at which the start token stops being the nearest.

        Scores are affine in the query, so token v overtakes the start token o on ``origin + step * direction``
        exactly at ``((a_o - a_v) . origin + b_o - b_v) / ((a_v - a_o) . direction)`` where that divisor is
        positive; the flip is at the smallest of these. One pass over the table instead of a search over steps.

        Args:
            start: token ids o, int64 [N], each in its query's group.
            origin: embedding of the start token, float [N, D].
            direction: unit vectors, float [N, D].
            groups: candidate group of each query, int64 [N].

        Returns:
            float32 [N], in the units of the table; inf where no step leaves the start token, 0 where it is not
            the nearest to begin with (a dot product may favour a longer vector).
        """
        steps = torch.full((len(start),), torch.inf, device=start.device)
        for group in groups.unique().tolist():
            a, b = self._affine[group]
            rows = torch.nonzero(groups == group)[:, 0]
            for block in rows.split(max(1, BLOCK_SCORES // (2 * len(a)))):
                own = torch.searchsorted(self._members[group], start[block])[:, None]
                height = origin[block].float() @ a.T + b
                slope = direction[block].float() @ a.T
                ahead = height.gather(1, own) - height
                gain = slope - slope.gather(1, own)
                step = torch.where(gain > 0, ahead / gain, torch.inf).masked_fill_(ahead < 0, 0.0)
                steps[block] = step.scatter(1, own, torch.inf).amin(1)
        return steps

    def _nearest_block(self, queries: Tensor, group: int, excluded: Tensor, k: int) -> Tensor:
        members, (a, b) = self._members[group], self._affine[group]
        scores = torch.addmm(b, queries, a.T)
        self._mask_excluded(scores, members, excluded)
        k_found = min(k, len(members))
        best = scores.amax(1) if k_found == 1 else scores.topk(k_found, dim=1).values[:, -1]
        # Two scores this close may swap places in exact arithmetic; -inf (excluded) is never among them.
        within = (best - 2 * self._rounding_bound(queries, group)).clamp_min(torch.finfo(scores.dtype).min)
        rows, columns = torch.nonzero(scores >= within[:, None], as_tuple=True)
        exact = self._exact_scores(queries, members, rows, columns)
        # Stable sorts, so that equal scores stay in the order of their ids.
        order = exact.argsort(descending=True, stable=True)
        order = order[rows[order].argsort(stable=True)]
        rows, columns = rows[order], columns[order]
        first = torch.searchsorted(rows, torch.arange(len(queries), device=rows.device))
        rank = torch.arange(len(rows), device=rows.device) - first[rows]
        kept = rank < k
        found = torch.full((len(queries), k), -1, dtype=torch.int64, device=queries.device)
        found[rows[kept], rank[kept]] = members[columns[kept]]
        return found

    def _exact_scores(self, queries: Tensor, members: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Scores of (query, candidate) pairs in float64, computed pair by pair so that equal rows tie."""
        parts = []
        # A query that ties with the whole vocabulary (a zero vector) makes V pairs: bound the pairs too.
        pairs = max(1, BLOCK_SCORES // (4 * queries.shape[1]))
        for row, column in zip(rows.split(pairs), columns.split(pairs), strict=True):
            query = queries[row].double()
            if self.metric == "l2":  # the difference itself: exact ties half way between two tokens
                parts.append(-(self.table[members[column]].double() - query).square().sum(1))
            else:
                parts.append((self._affine_form(members[column], torch.float64)[0] * query).sum(1))
        return torch.cat(parts)

    def _rounding_bound(self, queries: Tensor, group: int) -> Tensor:
        """Largest float32 error of a score, [N]: (D + 8) eps (||a|| ||q|| + |b|), Higham 2002, section 3.1.

        The 8 covers the rounding of ``a`` and ``b`` themselves (normalization, squared norms of D terms
        are summed pairwise).
        """
        largest_a, largest_b = self._largest[group]
        size = queries.norm(dim=1) * largest_a + largest_b
        bound: Tensor = (queries.shape[1] + 8) * torch.finfo(torch.float32).eps * size
        return bound

    @staticmethod
    def _mask_excluded(scores: Tensor, members: Tensor, excluded: Tensor) -> None:
        """Set the scores of excluded ids to -inf, in place."""
        position = torch.searchsorted(members, excluded.contiguous()).clamp_max(len(members) - 1)
        rows, columns = torch.nonzero(members[position] == excluded, as_tuple=True)
        scores[rows, position[rows, columns]] = -torch.inf
