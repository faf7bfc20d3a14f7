"""Exact nearest-token search: project a vector of embedding space onto a token.

``project(q) = argmax over v in C of sim(E[v], q)``, ties to the lowest id (METHOD: AugPro, arXiv
2210.11768). Exact means: the ids that a float64 computation over the whole vocabulary returns, and a tie is
an equal float64 score (rows that are the same up to a factor tie for cosine only as far as their norms round
alike). A mix of two tokens is mostly answered from neighbour lists (``neighbours``), anything else by a pass
over all candidates (``candidates``, and ``rays`` for a step of unknown length); all end in the same exact
ranking. Queries go through in blocks, so extra memory is bounded whatever their number.
"""

from typing import get_args

import torch
from torch import Tensor

from augpro.projection.candidates import Candidates, Metric, SearchStats
from augpro.projection.chunks import in_full_precision
from augpro.projection.neighbours import NeighbourLists
from augpro.projection.rays import Rays

__all__ = ["Metric", "Projection"]


class Projection:
    """Nearest tokens of an embedding table, within groups of candidates.

    What is prepared from the table is prepared again when the table was changed in place, as torch counts it.
    Fused optimizers and writes to ``.data`` are not counted: give a clone of such a table, and make another
    projection when it has changed.

    Args:
        table: embedding table E, float [V, D].
        groups: candidate group of each token, int64 [V]; -1 is never produced. A query of group g is
            projected onto tokens of group g alone. Default: all tokens are one group.
        metric: "cosine" (a zero vector has similarity 0 to everything), "l2" or "dot".

    Attributes:
        work: what the searches so far have cost.

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
        self._candidates = {
            group: Candidates(self.table, torch.nonzero(self.groups == group)[:, 0], self.metric, self.work)
            for group in present[present >= 0].tolist()
        }
        self._lists = {group: NeighbourLists(found) for group, found in self._candidates.items()}

    def _rows_of_groups(self, groups: Tensor | None, like: Tensor) -> list[tuple[int, Tensor]]:
        """The rows of each group among the queries; also where a changed table is noticed."""
        if self.table._version != self._version:
            self._prepare()
        if groups is None:
            groups = torch.zeros(len(like), dtype=torch.int64, device=like.device)
        present = groups.unique().tolist()
        for group in present:
            if group not in self._candidates:
                raise ValueError(f"group {group} has no candidate tokens")
        return [(group, torch.nonzero(groups == group)[:, 0]) for group in present]

    @in_full_precision
    def nearest(
        self, queries: Tensor, groups: Tensor | None = None, excluded: Tensor | None = None, k: int = 1
    ) -> Tensor:
        """The ``k`` most similar candidates of each query, best first.

        Cost: V D multiply-adds a query, of 8-bit integers where the processor has such products.

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
        _check_count(k)
        if excluded is None:
            excluded = torch.full((len(queries), 1), -1, device=queries.device)
        self.work.queries += len(queries)
        self.work.distinct += len(queries)
        found = torch.full((len(queries), k), -1, dtype=torch.int64, device=queries.device)
        for group, rows in self._rows_of_groups(groups, queries):
            candidates = self._candidates[group]
            for part in rows.split(candidates.block):  # so that the queries are not copied all at once
                found[part] = candidates.nearest(queries[part].float(), excluded[part], k)
        return found

    @in_full_precision
    def prepare(self, tokens: Tensor) -> None:
        """Build the neighbour lists of tokens, int64 [N], at once, which is faster than when they are met."""
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
        """The ``k`` candidates nearest to ``weight * E[own] + (1 - weight) * E[other]``, best first.

        The ids are those of :meth:`nearest`. Cost: V D multiply-adds for each token that was not met before,
        and some dozens of look-ups for each mix.

        Args:
            own: token ids, int64 [N].
            other: token ids, int64 [N].
            weight: share of ``own`` in [0, 1], one for all or float [N].
            groups: candidate group of each query, int64 [N]; default 0.
            exclude_parents: whether ``own`` and ``other`` may not come out.
            k: how many.

        Returns:
            As :meth:`nearest`.

        Raises:
            ValueError: if ``k`` is below 1, a weight is not in [0, 1], or a group has no candidates.
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
        """Straight lines from tokens, to ask where each token changes and into which one.

        Args:
            start: start tokens, each in its query's group, int64 [N].
            directions: unit vectors, or zero, float [N, D].
            groups: candidate group of each query, int64 [N]; default 0.

        Raises:
            ValueError: if a query names a group without candidates.
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
    """Each mix once where all have one weight, and which of them every query is, int64 [N]."""
    if len(own) and bool((weight == weight[0]).all()):
        pairs, inverse = torch.unique(own * size + other, return_inverse=True)
        return pairs // size, pairs % size, weight[: len(pairs)], inverse
    return own, other, weight, torch.arange(len(own), device=own.device)
