"""Exact nearest-token search: projects a vector of embedding space onto a token.

``project(q) = argmax over v in C of sim(E[v], q)``, where C are the allowed tokens; ties go to the lowest id (AugPro,
arXiv 2210.11768). Exact means: the ids of a float64 computation over the whole vocabulary. A tie is an equal float64
score; for cosine, rows that differ by a factor tie only if their norms round alike. Most mixes of two tokens are
answered from neighbour lists (``neighbours``); all other queries search all allowed tokens (``allowed``, and ``rays``
for steps of unknown length). All end in the same exact ranking. Queries are processed in blocks, so extra memory is
bounded.
"""

from typing import get_args

import torch
from torch import Tensor

from augpro.projection.allowed import AllowedTokens, Metric, SearchStats
from augpro.projection.chunks import in_full_precision
from augpro.projection.neighbours import NeighbourLists
from augpro.projection.rays import Rays

__all__ = ["Metric", "Projection"]


class Projection:
    """Nearest tokens of an embedding table, within token groups.

    Everything precomputed from the table is recomputed after an in-place change that torch counts. Fused optimizers
    and writes to ``.data`` are not counted: pass a clone of such a table, and make a new projection after a change.

    Args:
        table: embedding table E, float [V, D].
        groups: group of each token, int64 [V]; tokens of group -1 are never returned. A query of group g is
            projected only onto tokens of group g. Default: all tokens are one group.
        metric: "cosine" (a zero vector has similarity 0 to everything), "l2" or "dot".

    Attributes:
        work: statistics of the searches so far.

    Raises:
        ValueError: if the metric is unknown or the shapes do not fit.

    Example:
        >>> import torch
        >>> projection = Projection(torch.eye(3))
        >>> projection.nearest(torch.tensor([[0.9, 0.8, 0.1]]))
        tensor([[0]])
        >>> projection.nearest(torch.tensor([[0.9, 0.8, 0.1]]), excluded=torch.tensor([[0]]), k=2)
        tensor([[1, 2]])
        >>> projection.nearest_mix(torch.tensor([0]), torch.tensor([1]), 0.6)
        tensor([[2]])
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
        self.work = SearchStats()
        self._prepare()

    def _prepare(self) -> None:
        self._version = self.table._version
        present = self.groups.unique()
        self._allowed = {
            group: AllowedTokens(
                self.table, torch.nonzero(self.groups == group)[:, 0], self.metric, self.work
            )
            for group in present[present >= 0].tolist()
        }
        self._lists = {group: NeighbourLists(allowed) for group, allowed in self._allowed.items()}

    def _rows_of_groups(self, groups: Tensor | None, like: Tensor) -> list[tuple[int, Tensor]]:
        """The query rows of each group; also detects a changed table."""
        if self.table._version != self._version:
            self._prepare()
        if groups is None:
            groups = torch.zeros(len(like), dtype=torch.int64, device=like.device)
        present = groups.unique().tolist()
        for group in present:
            if group not in self._allowed:
                raise ValueError(f"group {group} has no allowed tokens")
        return [(group, torch.nonzero(groups == group)[:, 0]) for group in present]

    @in_full_precision
    def nearest(
        self, queries: Tensor, groups: Tensor | None = None, excluded: Tensor | None = None, k: int = 1
    ) -> Tensor:
        """The ``k`` most similar allowed tokens of each query, best first.

        Cost: V D multiply-adds per query, of 8-bit integers if the processor supports such products.

        Args:
            queries: [N, D], converted to float32.
            groups: token group of each query, int64 [N]; default 0.
            excluded: ids that a query must not return, int64 [N, X]; -1 excludes nothing.
            k: number of tokens.

        Returns:
            Token ids, int64 [N, k]; -1 if fewer than k tokens are left, and for a query whose scores are nan or
            overflow float32.

        Raises:
            ValueError: if ``k`` is below 1, the width is wrong, or a query's group has no tokens.
        """
        if queries.ndim != 2 or queries.shape[1] != self.table.shape[1]:
            raise ValueError(f"queries must be [N, {self.table.shape[1]}], not {list(queries.shape)}")
        _check_count(k)
        if excluded is None:
            excluded = torch.full((len(queries), 1), -1, device=queries.device)
        self.work.queries += len(queries)
        self.work.distinct += len(queries)
        found = torch.full((len(queries), k), -1, dtype=torch.int64, device=queries.device)
        for group, rows in self._rows_of_groups(groups, queries):
            allowed = self._allowed[group]
            for part in rows.split(allowed.block):  # avoids a copy of all queries
                found[part] = allowed.nearest(queries[part].float(), excluded[part], k)
        return found

    @in_full_precision
    def prepare(self, tokens: Tensor) -> None:
        """Build the neighbour lists of tokens, int64 [N], at once; faster than on first use."""
        for lists in self._lists.values():
            lists.add(tokens)

    @in_full_precision
    def nearest_mix(
        self,
        own: Tensor,
        other: Tensor,
        weight: Tensor | float,
        groups: Tensor | None = None,
        exclude_parents: bool = True,
        k: int = 1,
    ) -> Tensor:
        """The ``k`` allowed tokens nearest to ``weight * E[own] + (1 - weight) * E[other]``, best first.

        The result is that of :meth:`nearest`. Cost: V D multiply-adds for each new token, and some dozens of look-ups
        for each mix.

        Args:
            own: token ids, int64 [N].
            other: token ids, int64 [N].
            weight: weight of ``own`` in [0, 1], one for all or float [N].
            groups: token group of each query, int64 [N]; default 0.
            exclude_parents: whether ``own`` and ``other`` must not be returned.
            k: number of tokens.

        Returns:
            As :meth:`nearest`.

        Raises:
            ValueError: if ``k`` is below 1, a weight is not in [0, 1], or a group has no tokens.
        """
        _check_count(k)
        weights = torch.as_tensor(weight, dtype=torch.float32, device=own.device).expand(len(own))
        if not bool(((weights >= 0) & (weights <= 1)).all()):
            raise ValueError("weight must be in [0, 1]")
        found = torch.full((len(own), k), -1, device=own.device)
        for group, rows in self._rows_of_groups(groups, own):
            a, b, share, inverse = _distinct(own[rows], other[rows], weights[rows], len(self.table))
            self.work.queries += len(rows)
            self.work.distinct += len(a)
            found[rows] = self._lists[group].nearest(a, b, share, exclude_parents, k)[inverse]
        return found

    @in_full_precision
    def rays(self, start: Tensor, directions: Tensor, groups: Tensor | None = None) -> Rays:
        """Rays from tokens; they compute the step at which the nearest token changes, and the nearest tokens.

        Args:
            start: start tokens, each in its query's group, int64 [N].
            directions: unit vectors, or zero, float [N, D].
            groups: token group of each query, int64 [N]; default 0.

        Raises:
            ValueError: if a query's group has no tokens.
        """
        parts = [(self._lists[group], rows) for group, rows in self._rows_of_groups(groups, start)]
        self.work.queries += len(start)
        self.work.distinct += len(start)
        self.work.in_full += len(start)
        return Rays(parts, start, directions.float())


def _check_count(k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")


def _distinct(own: Tensor, other: Tensor, weight: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The distinct mixes and the index of each query's mix, int64 [N]; all of them if weights differ."""
    if len(own) and bool((weight == weight[0]).all()):
        pairs, inverse = torch.unique(own * size + other, return_inverse=True)
        return pairs // size, pairs % size, weight[: len(pairs)], inverse
    return own, other, weight, torch.arange(len(own), device=own.device)
