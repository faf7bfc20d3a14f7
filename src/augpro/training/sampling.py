"""The order of the training rows; it depends only on the seed and the number of the epoch."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices


class EpochOrder(Sampler[int]):
    """Rows in batches of similar length, as the Trainer groups them, but shuffled by (seed, epoch) only.

    The Trainer's own sampler uses the global random state at the start of an epoch. A run that is resumed within an
    epoch does not have that state, so it would see some rows twice and others not at all.

    Args:
        lengths: number of tokens of every row.
        batch_size: rows per optimizer step.
        seed: of the run.
        epoch: returns the number of finished epochs; called when an epoch starts or resumes.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, epoch: Callable[[], int]) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        """Row numbers, each once."""
        # Hashed: with seed + epoch, epoch 2 of seed 0 would have the order of epoch 1 of seed 1.
        state = np.random.SeedSequence((self.seed, self.epoch())).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(state[0]))
        rows: list[int] = get_length_grouped_indices(self.lengths, self.batch_size, generator=generator)
        return iter(rows)
