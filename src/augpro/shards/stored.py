"""Augmentation read from disk: every row has some versions, and the student trains on the hardest of a few."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from augpro.augment.counts import ReplacementCounts
from augpro.row_random import RowRandom
from augpro.shards.read import ShardSet, StoredVersions
from augpro.tasks import ProblemType
from augpro.tokens import TokenBatch
from augpro.training.augmentation import Counted, HardestChoice
from augpro.training.candidates import Candidates
from augpro.training.dataset import DistillationDataset
from augpro.training.meter import Meter
from augpro.training.similarity import SimilarityBound


@dataclass
class StoredAugmentation:
    """Gives stored augmented rows of a batch, with the stored logits of the teacher.

    In every epoch a row has ``candidates`` of its stored versions, drawn by row id and epoch: none is drawn again
    before all were. The one on which student and teacher disagree most is chosen. So it depends on nothing but the
    epoch and the student, and a resumed run needs nothing from a checkpoint.

    Attributes:
        stored: the set.
        versions: its augmented rows.
        problem_type: of the task.
        seed: of the draw.
        candidates: versions of a row in an epoch.
        meter: records the phases "augment" and "select".
        tokenizer: the student's.
        bound: which candidates may be chosen; None allows all.
        counts: counts of replaced tokens of the whole set.
        half: precision of the student; the Trainer sets it.
        choose: which of them the student trains on.
    """

    stored: ShardSet
    versions: StoredVersions
    problem_type: ProblemType
    seed: int
    candidates: int
    meter: Meter
    tokenizer: PreTrainedTokenizerBase
    bound: SimilarityBound | None = None
    counts: ReplacementCounts = field(init=False)
    half: torch.dtype | None = field(default=None, init=False)
    choose: HardestChoice = field(init=False)

    def __post_init__(self) -> None:
        self.choose = HardestChoice(self.problem_type, self.meter, self.bound)
        # No rows: they are not made in this run, so they have no speed.
        self.counts = replace(self.stored.manifest.counts, rows=0)

    def __call__(
        self,
        batch: TokenBatch,
        teacher_logits: Tensor,
        dataset: DistillationDataset,
        student: Any,
        epoch: int,
    ) -> tuple[TokenBatch, Tensor]:
        """Augmented rows and the teacher's logits for them, [B, C]."""
        with self.meter.phase("augment"):
            candidates = self._drawn(batch, teacher_logits, epoch)
        return self.choose(batch, candidates, student, self.half)

    def _drawn(self, batch: TokenBatch, teacher_logits: Tensor, epoch: int) -> Candidates:
        """This epoch's versions of every row."""
        row_ids, device = batch.row_ids.cpu(), batch.row_ids.device
        numbers = drawn_versions(
            row_ids,
            torch.from_numpy(self.versions.counts(row_ids.numpy())),
            self.stored.manifest.configuration.copies,
            self.candidates,
            epoch,
            self.seed,
        )
        owners, places = (numbers >= 0).nonzero(as_tuple=True)
        starts = torch.from_numpy(self.versions.starts)[row_ids[owners]]
        versions = torch.from_numpy(self.versions.order)[starts + numbers[owners, places]]
        rows = self.versions.table.batch(versions)
        logits = self.versions.logits[versions].to(device)
        rows = replace(rows.to(device), row_ids=batch.row_ids[owners.to(device)])
        return Candidates(rows, logits, owners.to(device))

    def counted(self) -> Counted:
        """Counts of replaced tokens in the whole set."""
        return Counted(0, 0.0, self.counts)

    def save(self, folder: Path) -> None:
        """Nothing to write."""

    def load(self, folder: Path) -> None:
        """Nothing to read."""

    def progress(self) -> dict[str, Any]:
        """No counts of this run."""
        return {}

    def restore(self, progress: dict[str, Any]) -> None:
        """Nothing to continue with."""


def drawn_versions(row_ids: Tensor, counts: Tensor, copies: int, size: int, epoch: int, seed: int) -> Tensor:
    """Which versions of each row are candidates in an epoch.

    The versions of a row are shuffled, and the epochs take ``size`` of them each until all were taken; then they are
    shuffled anew. If the last epoch of such a cycle has fewer left, it also takes the first ones of the cycle.

    Args:
        row_ids: int64 [B].
        counts: versions of each row, int64 [B], at most ``copies``.
        copies: versions of a row that has all.
        size: candidates of a row.
        epoch: number of the epoch.
        seed: of the run.

    Returns:
        Numbers of versions from 0, int64 [B, size]; -1 where a row has fewer than ``size``.
    """
    parts = -(-copies // size)
    cycle, part = divmod(epoch, parts)
    draw = RowRandom(seed, cycle).uniform("stored versions", row_ids, copies)
    draw[torch.arange(copies) >= counts[:, None]] = 2.0  # versions that are missing come last
    shuffled = draw.argsort(dim=1, stable=True)
    places = part * size + torch.arange(size)
    taken = shuffled.gather(1, places % counts.clamp_min(1)[:, None])
    return taken.masked_fill(torch.arange(size) >= counts[:, None], -1)
