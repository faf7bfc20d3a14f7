"""A bound on the choice among candidates: those that are least similar to their original are left out.

The student trains on the candidate with the largest disagreement between teacher and student. This may be large
because a candidate has lost most of its original, or is no text any more.

Each row is bounded by its own candidates, so that its choice does not depend on the batch or the number of processes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from augpro.augment.base import EmbeddingSpace
from augpro.tokens import TokenBatch
from augpro.training.candidates import Candidates

_ROUNDING = 1e-6  # 0.29 of 100 candidates are 29


@dataclass(frozen=True)
class SimilarityBound:
    """Leaves out the candidates of a row that are below a quantile of their similarities to the row.

    The similarity is the cosine between the sums of the tokens' weighted embeddings
    (:func:`augpro.augment.spaces.weighted`): those of the student before training, without their mean, and with less
    weight for frequent tokens. It needs no model and does not change during training. Plain sums of word embeddings
    would mostly consist of what all tokens share, so that all texts would be similar.

    Attributes:
        quantile: in [0, 1).
        table: embeddings of the tokens, float [V, D].
    """

    quantile: float
    table: Tensor

    @classmethod
    def of(cls, quantile: float, space: EmbeddingSpace) -> "SimilarityBound":
        """The bound with the weighted embeddings of a space; tokens that it does not allow do not count."""
        return cls(quantile, space.embeddings("weighted").masked_fill(space.groups[:, None] < 0, 0.0))

    def within(self, originals: TokenBatch, candidates: Candidates) -> Candidates:
        """The candidates that may be chosen, at least one of each row.

        Args:
            originals: the rows, [B, T].
            candidates: of these rows.
        """
        rows = self._vectors(originals)[candidates.owners]
        similarity = F.cosine_similarity(self._vectors(candidates.rows), rows, dim=1)
        return candidates.take(most_similar(similarity, candidates.owners, self.quantile))

    def _vectors(self, rows: TokenBatch) -> Tensor:
        """Sum of the embeddings of each row's text, [B, D]."""
        text = (rows.segments >= 0).to(self.table.dtype)
        return F.embedding_bag(rows.ids, self.table, mode="sum", per_sample_weights=text)


def most_similar(similarity: Tensor, owners: Tensor, quantile: float) -> Tensor:
    """The candidates of each row without the least similar ones.

    Of the K candidates of a row, floor(quantile * K) are left out; of equal ones the earlier.

    Args:
        similarity: of each candidate to its row, float [N].
        owners: row index of each candidate, int64 [N], ascending from 0 without gaps.
        quantile: in [0, 1).

    Returns:
        Indices of candidates, int64 [M], ascending; at least one of each row.
    """
    counts = torch.bincount(owners)
    order = similarity.argsort(stable=True)
    order = order[owners[order].argsort(stable=True)]  # by row, the least similar first
    place = torch.arange(len(owners), device=owners.device) - (counts.cumsum(0) - counts)[owners]
    return order[place >= left_out(counts, quantile)[owners]].sort().values


def left_out(counts: Tensor, quantile: float) -> Tensor:
    """How many of so many candidates are left out, int64."""
    return (counts.double() * quantile + _ROUNDING).floor().long()
