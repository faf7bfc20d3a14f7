"""Bootstrap resamples of an evaluation set, made a few at a time, so that memory does not grow with their number.

Rows with the same text are not independent. So whole clusters of equal texts are drawn with replacement (cluster
bootstrap: Davison & Hinkley 1997, section 3.8). If all texts differ, this is the ordinary bootstrap over rows.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
_NUMBERS = 2**20  # random numbers drawn at once


def clusters_of(keys: Sequence[int] | Array) -> Array:
    """Number the different keys from 0 in the order of their first occurrence, int64 [N].

    >>> clusters_of([7, 3, 7, 5]).tolist()
    [0, 1, 0, 2]
    """
    _, first, inverse = np.unique(np.asarray(keys), return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    clusters: Array = rank[inverse]
    return clusters


@dataclass(frozen=True)
class Resampling:
    """The same resamples for every method, for paired comparisons.

    Attributes:
        clusters: cluster of each row, 0 to G - 1, int64 [N]; see :func:`clusters_of`.
        draws: number of resamples, R.
        seed: of the random numbers.
    """

    clusters: Array
    draws: int = 1000
    seed: int = 0

    def __iter__(self) -> Iterator[Array]:
        """Row numbers of each resample, int64 [N] if every cluster has one row, else about N numbers."""
        order, starts, sizes = self._layout
        for picked in (picked for block in self._picks() for picked in block):
            if len(sizes) == len(order):
                yield picked
                continue
            counts = sizes[picked]
            inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            yield order[np.repeat(starts[picked], counts) + inside]

    def metric(self, metric: Callable[[Array, Array], float], gold: Array, predicted: Array) -> Array:
        """A metric on every resample, float64 [R].

        Args:
            metric: a function of (gold, predicted), such as those in :data:`augpro.evaluation.metrics.METRICS`.
            gold: [N] or [N, C].
            predicted: of the same shape.
        """
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # scikit-learn warns about a resample of one class, which is scored 0
            return np.array([metric(gold[rows], predicted[rows]) for rows in self], dtype=float)

    def means(self, values: Array) -> Array:
        """Mean of per-row values [..., N], such as KL divergences, on every resample: [..., R]."""
        order, starts, sizes = self._layout
        sums = np.add.reduceat(np.asarray(values, dtype=float)[..., order], starts, axis=-1)
        count, means = len(sizes), []
        for picked in self._picks():
            each = picked + count * np.arange(len(picked))[:, None]
            times = np.bincount(each.ravel(), minlength=picked.size).reshape(picked.shape)
            means.append((sums @ times.T) / (times @ sizes))
        return np.concatenate(means, axis=-1)

    def _picks(self) -> Iterator[Array]:
        """Drawn clusters, several resamples at a time, int32 [block, G]; about a million numbers at most."""
        random, count = np.random.default_rng(self.seed), len(self._layout[2])
        block = max(1, _NUMBERS // count)
        for start in range(0, self.draws, block):
            yield random.integers(0, count, (min(block, self.draws - start), count), dtype=np.int32)

    @cached_property
    def _layout(self) -> tuple[Array, Array, Array]:
        """Rows sorted by cluster, the start of each cluster among them, and its number of rows."""
        sizes = np.bincount(self.clusters)
        return np.argsort(self.clusters, kind="stable"), np.cumsum(sizes) - sizes, sizes
