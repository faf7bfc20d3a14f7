"""A counter-based random number generator keyed by row.

Every number is a hash of (seed, replica, name of the draw, row id, position). So a row's augmentation does not depend
on its batch, the number of workers, earlier draws or a restart, and a whole batch is drawn without a loop. The hash
is SplitMix64's finalizer (Steele, Lea and Flood, OOPSLA 2014), which passes BigCrush on counters.
"""

import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MULTIPLY_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MULTIPLY_2 = -7723592293110705685  # 0x94D049BB133111EB


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical right shift; torch's ``>>`` fills with the sign bit."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _scramble(x: Tensor) -> Tensor:
    """SplitMix64 finalizer, a bijection of 64-bit integers."""
    x = (x ^ _shift_right(x, 30)) * _MULTIPLY_1
    x = (x ^ _shift_right(x, 27)) * _MULTIPLY_2
    return x ^ _shift_right(x, 31)


@lru_cache(maxsize=1024)
def _state(seed: int, replica: int, name: str) -> int:
    """Initial state of the draws of a name; cached because every batch of an epoch needs it."""
    state = torch.zeros((), dtype=torch.int64)
    for part in torch.tensor([seed, replica, zlib.crc32(name.encode())], dtype=torch.int64):
        state = _scramble(state + part * _GOLDEN + _GOLDEN)
    return int(state)


@dataclass(frozen=True)
class RowRandom:
    """Random numbers for one augmented version of every row.

    Attributes:
        seed: the run's seed.
        replica: number of the augmented version of a row: the epoch in online training.
        scope: prefix of every name; separates the steps of a composed method.
    """

    seed: int
    replica: int = 0
    scope: str = ""

    def within(self, scope: str) -> "RowRandom":
        """The same seed and replica with independent draws."""
        return self if scope == self.scope else replace(self, scope=scope)

    def uniform(self, name: str, row_ids: Tensor, positions: int = 1) -> Tensor:
        """Uniform draws in [0, 1), one for each row and position.

        Args:
            name: what the draw is for; draws of different names are independent.
            row_ids: int64 [B].
            positions: number of draws per row.

        Returns:
            float32 [B, positions]; the first T columns are the same for every ``positions`` >= T.
        """
        bits: Tensor = _shift_right(self._bits(name, row_ids, positions), 40)
        return bits.float() * 2.0**-24

    def normal(self, name: str, row_ids: Tensor, positions: int) -> Tensor:
        """Standard normal draws by the inverse distribution function, float32 [B, positions]."""
        # Half a step up, so that 0 and 1 are never reached and the result is finite.
        normal: Tensor = torch.special.ndtri(self.uniform(name, row_ids, positions).double() + 2.0**-25)
        return normal.float()

    def _bits(self, name: str, row_ids: Tensor, positions: int) -> Tensor:
        rows = _scramble(
            row_ids.to(torch.int64) * _GOLDEN + _state(self.seed, self.replica, self.scope + name)
        )
        steps = torch.arange(1, positions + 1, device=row_ids.device)
        return _scramble(rows[:, None] + steps * _GOLDEN)


@contextmanager
def global_random_kept() -> Iterator[None]:
    """Leave the random states of the process as they were: Python's, numpy's and torch's on every device."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
