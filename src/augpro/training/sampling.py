"""The order of the training rows: that of an epoch depends on the seed and its number, and on nothing before it."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices


class EpochOrder(Sampler[int]):
    """Rows in batches of like length, as the Trainer groups them, but shuffled by (seed, epoch) alone.

    The Trainer's own sampler draws from the global random state as it is when an epoch starts. A run that is
    resumed within an epoch does not have that state, so it would see some rows twice and others not at all.

    Args:
        lengths: tokens of every row.
        batch_size: rows of one step of the optimizer.
        seed: of the run.
        epoch: returns the number of finished epochs; called whenever an epoch starts or is gone on with.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, epoch: Callable[[], int]) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        """Row numbers, each once."""
        # Hashed, as with seed + epoch the second epoch of seed 0 would have the order of the first of seed 1.
        state = np.random.SeedSequence((self.seed, self.epoch())).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(state[0]))
        rows: list[int] = get_length_grouped_indices(self.lengths, self.batch_size, generator=generator)
        return iter(rows)
