"""What the Trainer asks of augmentation: made in the training (:mod:`augpro.training.online`), or read from disk."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from augpro.augment.base import VirtualRows
from augpro.augment.counts import ReplacementCounts
from augpro.augment.gradient import without_dropout
from augpro.models.memory import RowsAtOnce
from augpro.models.reading import ROWS_AT_ONCE, autocast
from augpro.projection.allowed import SearchStats
from augpro.tasks import ProblemType
from augpro.tokens import TokenBatch
from augpro.training.candidates import Candidates
from augpro.training.dataset import DistillationDataset
from augpro.training.meter import Meter
from augpro.training.selection import select_hardest
from augpro.training.similarity import SimilarityBound


@dataclass(frozen=True)
class Counted:
    """What an augmentation has done so far, in all processes.

    Attributes:
        labelled: rows that the teacher has labelled.
        saved_seconds: what the labels from the store took, in this process.
        replaced: counts of replaced tokens.
        searched: cost of the projection.
    """

    labelled: int
    saved_seconds: float
    replaced: ReplacementCounts
    searched: SearchStats = field(default_factory=SearchStats)

    def shares(self) -> dict[str, float]:
        """Measurements of the whole run, for ``result.replacement``."""
        return self.replaced.shares() | self.searched.shares()


class Augmentation(Protocol):
    """Gives the augmented rows of a batch, with the teacher's logits.

    Attributes:
        meter: records the phases "augment" and "select", and those of the teacher.
        half: precision of the models on augmented rows, bfloat16 or float16; None for float32. The Trainer sets it.
    """

    meter: Meter
    half: torch.dtype | None

    def __call__(
        self,
        batch: TokenBatch,
        teacher_logits: Tensor,
        dataset: DistillationDataset,
        student: Any,
        epoch: int,
    ) -> tuple[TokenBatch | VirtualRows, Tensor | None]:
        """Augmented rows and the teacher's logits for them, [B, C]; None if the student labels them."""

    def counted(self) -> Counted:
        """What it has done so far, in all processes."""

    def save(self, folder: Path) -> None:
        """Write what a resumed run needs to the folder of a checkpoint."""

    def load(self, folder: Path) -> None:
        """Read what :meth:`save` has written."""

    def progress(self) -> dict[str, Any]:
        """Counts so far, as JSON, for the state of a checkpoint."""

    def restore(self, progress: dict[str, Any]) -> None:
        """Continue with the counts of :meth:`progress`."""


@dataclass
class HardestChoice:
    """Chooses the candidate of each row on which student and teacher disagree most.

    Attributes:
        problem_type: of the task.
        meter: records the phase "select".
        bound: which candidates may be chosen; None allows all.
        memory: how many candidates the student reads at once, during a whole training.
    """

    problem_type: ProblemType
    meter: Meter
    bound: SimilarityBound | None = None
    memory: RowsAtOnce = field(default_factory=lambda: RowsAtOnce("choosing candidates"), init=False)

    def __call__(
        self, originals: TokenBatch, candidates: Candidates, student: Any, half: torch.dtype | None
    ) -> tuple[TokenBatch, Tensor]:
        """The chosen rows and the teacher's logits for them, [B, C].

        The student reads all candidates without dropout, unless there is one for each row.
        """
        if self.bound:
            with self.meter.phase("select"):
                candidates = self.bound.within(originals, candidates)
        owners = candidates.owners
        if len(owners) > int(owners[-1]) + 1:
            with (
                self.meter.phase("select"),
                torch.no_grad(),
                without_dropout(student),
                autocast(owners.device, half),
            ):
                candidates = candidates.take(self._hardest(candidates, student))
        return candidates.rows, candidates.logits

    def _hardest(self, candidates: Candidates, student: Any) -> Tensor:
        logits = [
            self.memory.joined(len(batch.ids), partial(_logits, student, batch))
            for batch in candidates.rows.parts(ROWS_AT_ONCE)
        ]
        return select_hardest(torch.cat(logits), candidates.logits, candidates.owners, self.problem_type)


def _logits(student: Any, batch: TokenBatch, part: slice) -> Tensor:
    logits: Tensor = student(**batch.some(part).model_inputs()).logits.float()
    return logits
