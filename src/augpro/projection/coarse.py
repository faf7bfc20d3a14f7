"""Scores from 8-bit integers: several times as fast as float32 where the processor has such products (VNNI).

Vectors are turned by a random rotation first, which changes no product but evens out their coordinates, so
that one unit for the whole table rounds little. The integer product is exact; with a and q rounded to a' and
q', the error of ``a . q`` is at most ``||a|| ||q - q'|| + ||a - a'|| ||q'||``, with the norms as they are.
"""

import torch
from torch import Tensor

from augpro.projection.chunks import CHUNK

_LARGEST = 127


class Coarse:
    """An 8-bit copy of some vectors.

    Args:
        vectors: float32 [n, D].
        norms: their norms, [n].
    """

    def __init__(self, vectors: Tensor, norms: Tensor) -> None:
        count, width = vectors.shape
        draws = torch.randn(width, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        self._turn = torch.linalg.qr(draws).Q.float()
        turned = vectors @ self._turn
        self._unit = float(turned.abs().max()) / _LARGEST
        coarse = (turned / self._unit).round_()
        self._reach = float(norms.max())
        self._error = float((turned - coarse * self._unit).double().norm(dim=1).max())
        self._table = torch.zeros(count + -count % CHUNK, width, dtype=torch.int8)
        self._table[:count] = coarse.to(torch.int8)
        self._count = count

    def product(self, queries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``a . q`` for all vectors as integers, [N, n and padding], their unit, [N], and the error, [N].

        The padding is the least integer.
        """
        turned = queries @ self._turn
        unit = (turned.abs().amax(1, keepdim=True) / _LARGEST).clamp_min(torch.finfo(torch.float32).tiny)
        scaled = turned / unit
        coarse = scaled.round()
        size = (coarse.norm(dim=1, keepdim=True) * unit)[:, 0]
        error = (scaled - coarse).norm(dim=1, keepdim=True)[:, 0] * unit[:, 0] * self._reach
        scores = torch._int_mm(coarse.to(torch.int8), self._table.T)
        scores[:, self._count :] = torch.iinfo(torch.int32).min
        return scores, unit[:, 0] * self._unit, error + size * self._error


def coarse_of(vectors: Tensor, norms: Tensor) -> Coarse | None:
    """The 8-bit copy where it pays, else None."""
    # torch 2.13 multiplies single columns wrongly; a GPU's float32 is fast.
    possible = vectors.device.type == "cpu" and vectors.shape[1] > 1 and hasattr(torch, "_int_mm")
    fast = possible and getattr(torch.cpu, "_is_vnni_supported", bool)()
    return Coarse(vectors, norms) if fast and float(norms.max()) > 0 else None
