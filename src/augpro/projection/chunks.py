"""Finding the high scores of very long rows.

Every chunk of 64 scores is represented by its maximum, so a row is read once. Argmax, topk and nonzero over whole
rows take several times as long.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

CHUNK = 64
P = ParamSpec("P")
R = TypeVar("R")


def in_full_precision(method: Callable[P, R]) -> Callable[P, R]:
    """Disable autocast: the error bounds assume the precision of the tensors."""

    @wraps(method)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            return method(*args, **kwargs)

    return run


def lowest(scores: Tensor) -> float:
    """The score of a token that must not be returned."""
    return -torch.inf if scores.is_floating_point() else torch.iinfo(scores.dtype).min


def chunked(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Scores in chunks, [N, n / 64, 64], and the maximum of each chunk, [N, n / 64]."""
    spare = -scores.shape[1] % CHUNK
    if spare:
        scores = torch.nn.functional.pad(scores, (0, spare), value=lowest(scores))
    chunks = scores.unflatten(1, (-1, CHUNK))
    return chunks, chunks.amax(2)


def places_of_best(chunks: Tensor, peaks: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Columns of k high scores of every row, and a mask of those with the lowest possible score, both [N, k].

    With k = 1 it is the maximum. There are fewer columns if the row is shorter; masked columns may be padding.
    """
    if k > peaks.shape[1]:
        best, places = chunks.flatten(1).topk(min(k, chunks.shape[1] * CHUNK), dim=1)
        return places, best == lowest(chunks)
    chunk = peaks.argmax(1, keepdim=True) if k == 1 else peaks.topk(k, dim=1).indices
    best, inside = chunks.gather(1, chunk[:, :, None].expand(-1, -1, CHUNK)).max(2)
    return chunk * CHUNK + inside, best == lowest(chunks)


def above(chunks: Tensor, peaks: Tensor, floor: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs (row, column) of scores that are at least their row's floor, [N], and not the lowest possible."""
    least = torch.finfo(torch.float32).min if chunks.is_floating_point() else 0.99 * lowest(chunks)
    floor = floor.clamp_min(least)
    rows, chunk = torch.nonzero(peaks.float() >= floor[:, None], as_tuple=True)
    inside, place = torch.nonzero(chunks[rows, chunk].float() >= floor[rows, None], as_tuple=True)
    return rows[inside], chunk[inside] * CHUNK + place
