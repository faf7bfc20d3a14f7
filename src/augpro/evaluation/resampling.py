"""Bootstrapped evaluation sets, made a few at a time, so that memory does not grow with their number.

Rows of one text are not independent: a model is right on all of them or on none. So whole clusters of equal
texts are drawn with replacement (cluster bootstrap: Davison & Hinkley 1997, section 3.8); where all texts
differ that is the ordinary bootstrap over rows.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
_NUMBERS = 2**20  # drawn at once


def clusters_of(keys: Sequence[int] | Array) -> Array:
    """Number the different keys from 0 in the order in which they come, int64 [N].

    >>> clusters_of([7, 3, 7, 5]).tolist()
    [0, 1, 0, 2]
    """
    _, first, inverse = np.unique(np.asarray(keys), return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    found: Array = rank[inverse]
    return found


@dataclass(frozen=True)
class Resampling:
    """The same resamples for every method, which makes a comparison of them paired.

    Attributes:
        clusters: cluster of each row, 0 to G - 1, int64 [N]; see :func:`clusters_of`.
        draws: number of resamples, R.
        seed: decides them.
    """

    clusters: Array
    draws: int = 1000
    seed: int = 0

    def __iter__(self) -> Iterator[Array]:
        """Row numbers of each resample, int64 [N] where all clusters are of one row, else about N."""
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
            metric: takes (gold, predicted), as those in :data:`augpro.evaluation.metrics.METRICS` do.
            gold: [N] or [N, C].
            predicted: of the same shape.
        """
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # a resample of one class makes scikit-learn warn, rightly scored 0
            return np.array([metric(gold[rows], predicted[rows]) for rows in self], dtype=float)

    def means(self, values: Array) -> Array:
        """Mean of per-row values [..., N], such as the KL of each row, on every resample: [..., R]."""
        order, starts, sizes = self._layout
        sums = np.add.reduceat(np.asarray(values, dtype=float)[..., order], starts, axis=-1)
        count, found = len(sizes), []
        for picked in self._picks():
            each = picked + count * np.arange(len(picked))[:, None]
            times = np.bincount(each.ravel(), minlength=picked.size).reshape(picked.shape)
            found.append((sums @ times.T) / (times @ sizes))
        return np.concatenate(found, axis=-1)

    def _picks(self) -> Iterator[Array]:
        """Drawn clusters of some resamples after another, int32 [some, G]; a million numbers at the most."""
        random, count = np.random.default_rng(self.seed), len(self._layout[2])
        some = max(1, _NUMBERS // count)
        for start in range(0, self.draws, some):
            yield random.integers(0, count, (min(some, self.draws - start), count), dtype=np.int32)

    @cached_property
    def _layout(self) -> tuple[Array, Array, Array]:
        """Rows sorted by cluster, where each cluster starts among them, and its number of rows."""
        sizes = np.bincount(self.clusters)
        return np.argsort(self.clusters, kind="stable"), np.cumsum(sizes) - sizes, sizes
