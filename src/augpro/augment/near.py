"""Which training rows are about the same: nearest by the mean of their words' embeddings.

No model reads a row, so the answer is as fixed as the embedding table: the same in every epoch and after a restart.
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
_RARE = 1e-3  # a token of this share of the text has half the weight of a token that is never met
_SCORES = 2**24  # similarities held at once: 64 MiB


@in_full_precision
def near_rows(table: TokenTable, embeddings: Tensor) -> Tensor:
    """The 10 most similar rows of each row, among the others of its block of 4,096 consecutive row ids.

    A row's vector is the weighted mean of its tokens' embeddings, less the mean vector of the block; rows are
    compared by cosine. Blocks keep time and memory in proportion to the rows; the last one takes the remainder.

    Args:
        table: the rows, at least 2.
        embeddings: word embeddings E, float [V, D].

    Returns:
        Row numbers, most similar first, int64 [rows, 10], fewer columns where there are fewer rows; never the row
        itself.

    Source: Arora et al. 2017, "A Simple but Tough-to-Beat Baseline for Sentence Embeddings" (ICLR), the weight
    a / (a + share of the token) with a = 0.001; they take off the first principal component, here it is the mean.
    """
    rows, device, embeddings = len(table), embeddings.device, embeddings.float()
    counts = np.bincount(table.flat[0][table.flat[1] >= 0], minlength=len(embeddings))
    weight = torch.from_numpy(_RARE / (_RARE + counts / max(1, counts.sum()))).to(device, torch.float32)
    starts = [block * NEAR_BLOCK_ROWS for block in range(max(1, rows // NEAR_BLOCK_ROWS))]
    found = []
    for start, end in pairwise([*starts, rows]):
        first, last = table.offsets[[start, end]]
        ids, segments, _ = torch.from_numpy(table.flat[:, first:last]).to(device, torch.int64)
        offsets = torch.from_numpy(table.offsets[start:end] - first).to(device)
        words = weight[ids] * (segments >= 0)
        vectors = F.embedding_bag(ids, embeddings, offsets, mode="sum", per_sample_weights=words)
        found.append(start + _nearest(F.normalize(vectors - vectors.mean(0), dim=1)))
    return torch.cat(found)


def _nearest(vectors: Tensor) -> Tensor:
    """Numbers of the nearest others of unit vectors [n, D], int64 [n, k]."""
    places = torch.arange(len(vectors), device=vectors.device)
    found = []
    for part in places.split(max(1, _SCORES // len(vectors))):
        scores = vectors[part] @ vectors.T
        scores[places[: len(part)], part] = -torch.inf
        found.append(scores.topk(min(NEAREST, len(vectors) - 1)).indices)
    return torch.cat(found)
