"""Scores from 8-bit integer products: several times as fast as float32 if the processor has VNNI.

Vectors are first multiplied by a random rotation. It changes no product but makes the coordinates similar in size, so
one quantization unit for the whole table is precise. The integer product is exact. With a and q rounded to a' and q',
the error of ``a . q`` is at most ``||a|| ||q - q'|| + ||a - a'|| ||q'||``.
"""

import torch
from torch import Tensor

from augpro.projection.chunks import CHUNK

_LARGEST = 127


class Coarse:
    """An 8-bit copy of vectors.

    Args:
        vectors: float32 [n, D].
        norms: their norms, [n].
    """

    def __init__(self, vectors: Tensor, norms: Tensor) -> None:
        count, width = vectors.shape
        draws = torch.randn(width, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        self._rotation = torch.linalg.qr(draws).Q.float()
        rotated = vectors @ self._rotation
        self._unit = float(rotated.abs().max()) / _LARGEST
        coarse = (rotated / self._unit).round_()
        self._reach = float(norms.max())
        self._error = float((rotated - coarse * self._unit).double().norm(dim=1).max())
        self._table = torch.zeros(count + -count % CHUNK, width, dtype=torch.int8)
        self._table[:count] = coarse.to(torch.int8)
        self._count = count

    def product(self, queries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``a . q`` for all vectors as integers, [N, n plus padding], their unit, [N], and an error bound, [N].

        The padding is the smallest integer.
        """
        rotated = queries @ self._rotation
        unit = (rotated.abs().amax(1, keepdim=True) / _LARGEST).clamp_min(torch.finfo(torch.float32).tiny)
        scaled = rotated / unit
        coarse = scaled.round()
        size = (coarse.norm(dim=1, keepdim=True) * unit)[:, 0]
        error = (scaled - coarse).norm(dim=1, keepdim=True)[:, 0] * unit[:, 0] * self._reach
        scores = torch._int_mm(coarse.to(torch.int8), self._table.T)
        scores[:, self._count :] = torch.iinfo(torch.int32).min
        return scores, unit[:, 0] * self._unit, error + size * self._error


def coarse_of(vectors: Tensor, norms: Tensor) -> Coarse | None:
    """The 8-bit copy if it is faster, else None."""
    # torch 2.13 computes products of width 1 wrongly; on a GPU float32 is fast.
    possible = vectors.device.type == "cpu" and vectors.shape[1] > 1 and hasattr(torch, "_int_mm")
    fast = possible and getattr(torch.cpu, "_is_vnni_supported", bool)()
    return Coarse(vectors, norms) if fast and float(norms.max()) > 0 else None
