"""Which scores of a row are high, for rows as long as a vocabulary.

The best score of every 64 neighbours stands for them, so that a row is read once; argmax, topk and nonzero
over whole rows are several times as slow.
"""

import torch
from torch import Tensor

_CHUNK = 64


def chunked(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Scores in chunks of neighbours, [N, n / 64, 64], and the best of each chunk, [N, n / 64]."""
    spare = -scores.shape[1] % _CHUNK
    if spare:
        scores = torch.nn.functional.pad(scores, (0, spare), value=-torch.inf)
    chunks = scores.unflatten(1, (-1, _CHUNK))
    return chunks, chunks.amax(2)


def kth_best(scores: Tensor, peaks: Tensor, k: int) -> Tensor:
    """At most the k-th best score of every row, [N]: k peaks are scores of k candidates."""
    if k == 1:
        return peaks.amax(1)
    return (peaks if k <= peaks.shape[1] else scores).topk(min(k, scores.shape[1]), dim=1).values[:, -1]


def above(chunks: Tensor, peaks: Tensor, floor: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs (row, column) of scores that are at least their row's floor, [N], and are not -inf."""
    floor = floor.clamp_min(torch.finfo(torch.float32).min)
    rows, chunk = torch.nonzero(peaks.float() >= floor[:, None], as_tuple=True)
    inside, place = torch.nonzero(chunks[rows, chunk].float() >= floor[rows, None], as_tuple=True)
    return rows[inside], chunk[inside] * _CHUNK + place


def place_of_best(scores: Tensor) -> Tensor:
    """Column of the largest score of every row, [N]; several times as fast as argmax over long rows."""
    chunks, peaks = chunked(scores)
    chunk = peaks.argmax(1)
    inside: Tensor = chunks[torch.arange(len(scores), device=scores.device), chunk].argmax(1)
    return chunk * _CHUNK + inside
