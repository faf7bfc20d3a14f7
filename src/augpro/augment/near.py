"""Similar training rows: nearest by the weighted mean of their word embeddings.

The result depends only on the fixed embedding table, so it is the same in every epoch and after a restart.
"""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from augpro.projection.chunks import in_full_precision
from augpro.tokens import TokenTable

NEAREST = 10
NEAR_BLOCK_ROWS = 4096
_RARE = 1e-3  # a token with this relative frequency has half the weight of an unseen token
_SCORES = 2**24  # similarities in memory at once: 64 MiB


@in_full_precision
def near_rows(table: TokenTable, embeddings: Tensor) -> Tensor:
    """The 10 most similar rows of each row, among the others of its block of 4,096 consecutive row ids.

    A row's vector is the weighted mean of its tokens' embeddings minus the mean vector of the block; rows are
    compared by cosine. Blocks make time and memory linear in the rows; the last block takes the remainder.

    Args:
        table: the rows, at least 2.
        embeddings: word embeddings E, float [V, D].

    Returns:
        Row numbers, most similar first, int64 [rows, 10], with fewer columns if there are fewer rows; never the row
        itself.

    Source: Arora et al. 2017, "A Simple but Tough-to-Beat Baseline for Sentence Embeddings" (ICLR): weight
    a / (a + relative frequency of the token) with a = 0.001. They subtract the first principal component; here it is
    the mean.
    """
    rows, device, embeddings = len(table), embeddings.device, embeddings.float()
    counts = np.bincount(table.flat[0][table.flat[1] >= 0], minlength=len(embeddings))
    weight = torch.from_numpy(_RARE / (_RARE + counts / max(1, counts.sum()))).to(device, torch.float32)
    starts = [block * NEAR_BLOCK_ROWS for block in range(max(1, rows // NEAR_BLOCK_ROWS))]
    nearest = []
    for start, end in pairwise([*starts, rows]):
        first, last = table.offsets[[start, end]]
        ids, segments, _ = torch.from_numpy(table.flat[:, first:last]).to(device, torch.int64)
        offsets = torch.from_numpy(table.offsets[start:end] - first).to(device)
        words = weight[ids] * (segments >= 0)
        vectors = F.embedding_bag(ids, embeddings, offsets, mode="sum", per_sample_weights=words)
        nearest.append(start + _nearest(F.normalize(vectors - vectors.mean(0), dim=1)))
    return torch.cat(nearest)


def _nearest(vectors: Tensor) -> Tensor:
    """Indices of the nearest other vectors, of unit vectors [n, D], int64 [n, k]."""
    indices = torch.arange(len(vectors), device=vectors.device)
    nearest = []
    for part in indices.split(max(1, _SCORES // len(vectors))):
        scores = vectors[part] @ vectors.T
        scores[indices[: len(part)], part] = -torch.inf
        nearest.append(scores.topk(min(NEAREST, len(vectors) - 1)).indices)
    return torch.cat(nearest)
