"""Augmentation during training: makes candidates of every row of a batch and has the teacher label them."""

import math
from collections.abc import Hashable
from dataclasses import KW_ONLY, asdict, dataclass, field, replace
from functools import partial, reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from augpro.augment.base import (
    AugmentContext,
    Augmenter,
    EmbeddingSpace,
    Store,
    TrainingState,
    VirtualRows,
)
from augpro.augment.counts import ReplacementCounts
from augpro.losses import Objective
from augpro.models import processes
from augpro.models.reading import autocast
from augpro.row_random import RowRandom
from augpro.teachers.teacher import Teacher
from augpro.tokens import TokenBatch, join
from augpro.training.augmentation import Counted, HardestChoice
from augpro.training.candidates import CandidateStore
from augpro.training.dataset import DistillationDataset
from augpro.training.exchange import every_candidate, summed
from augpro.training.meter import Meter
from augpro.training.selection import new_texts
from augpro.training.similarity import SimilarityBound

_CANDIDATES = "candidates.safetensors"  # file in a checkpoint


@dataclass
class OnlineAugmentation:
    """Augments a batch during training and provides the teacher's logits for it.

    Attributes:
        augmenter: the augmentation method.
        space: embedding table and vocabulary of the student.
        teacher: labels the augmented rows.
        objective: FGSM follows the gradient of its distillation loss.
        seed: of the random numbers; every epoch uses another replica.
        candidates: candidates kept per row; one of them is chosen in every epoch.
        new_candidates: mean number of candidates made per row and epoch; each replaces the oldest.
        bound: which candidates may be chosen; None allows all.
        meter: records the phases "prepare", "augment", "teacher" and "select".
        counts: counts of replaced tokens so far.
        labelled: number of rows that the teacher has labelled so far.
        saved_seconds: what computing the labels of those that were in the label store took when it was done.
        loaded: objects that the method has loaded.
        kept: the candidates.
        half: precision of both models on augmented rows, bfloat16 or float16; None for float32. The Trainer sets it.
        choose: which of them the student trains on.
    """

    augmenter: Augmenter
    space: EmbeddingSpace
    teacher: Teacher
    objective: Objective
    _: KW_ONLY
    seed: int = 0
    candidates: int = 1
    new_candidates: float = 1.0
    bound: SimilarityBound | None = None
    meter: Meter = field(default_factory=Meter)
    counts: ReplacementCounts = field(default_factory=ReplacementCounts)
    labelled: int = 0
    saved_seconds: float = 0.0
    loaded: dict[Hashable, Any] = field(default_factory=dict)
    kept: CandidateStore = field(init=False)
    half: torch.dtype | None = field(default=None, init=False)
    choose: HardestChoice = field(init=False)

    def __post_init__(self) -> None:
        self.kept = CandidateStore(self.candidates)
        self.choose = HardestChoice(self.objective.problem_type, self.meter, self.bound)

    def __call__(
        self,
        batch: TokenBatch,
        teacher_logits: Tensor,
        dataset: DistillationDataset,
        student: Any,
        epoch: int,
    ) -> tuple[TokenBatch | VirtualRows, Tensor | None]:
        """Augmented rows and the teacher's logits for them, [B, C]; None if the student labels them."""
        if not self.augmenter.makes_text:
            virtual = self.augment(batch, teacher_logits, dataset, student, epoch)
            assert isinstance(virtual, VirtualRows)
            return virtual, self._label_virtual(virtual)
        made = self._make(batch, teacher_logits, dataset, student, epoch)
        if made or processes.count() > 1:
            self._keep(made, batch, teacher_logits, dataset)
        candidates = self.kept.of(batch.row_ids, dataset.table)
        return self.choose(batch, candidates, student, self.half)

    def counted(self) -> Counted:
        """Its counts, with those of other processes."""
        device = self.space.table.device
        labelled = int(processes.gather(torch.tensor([self.labelled], device=device)).sum())
        counts, searched = summed(self.counts, device), summed(self.space.searched(), device)
        return Counted(labelled, self.saved_seconds, counts, searched)

    def _keep(
        self, made: list[TokenBatch], batch: TokenBatch, teacher_logits: Tensor, dataset: DistillationDataset
    ) -> None:
        """Have new candidates labelled, and keep them, with those of other processes."""
        table = dataset.table
        texts = reduce(partial(join, pad_id=table.pad_id), made or [batch.take(batch.row_ids[:0])])
        logits = self._label_text(texts) if made else teacher_logits[:0]
        if processes.count() > 1:
            numbers = [torch.full_like(part.row_ids, number) for number, part in enumerate(made)]
            copies = torch.cat([texts.row_ids[:0], *numbers])
            texts, logits = every_candidate(texts, logits, copies, table.pad_id)
            texts = replace(texts, texts=table.texts_of(texts.row_ids.tolist()))
        self.kept.add(texts, logits)

    def _make(
        self,
        batch: TokenBatch,
        teacher_logits: Tensor,
        dataset: DistillationDataset,
        student: Any,
        epoch: int,
    ) -> list[TokenBatch]:
        """The new candidates of this epoch; a row may have none, one or several."""
        due = new_texts(batch.row_ids, epoch, self.new_candidates).maximum(self.kept.missing(batch.row_ids))
        first = epoch * math.ceil(self.new_candidates)
        made: list[TokenBatch] = []
        shared: dict[Hashable, Any] = {}
        for number in range(int(due.max())):
            rows = torch.nonzero(due > number)[:, 0]
            # If no row is left out, pass the same objects: candidates share computations by identity.
            every = len(rows) == len(due)
            part, logits = (batch, teacher_logits) if every else (batch.take(rows), teacher_logits[rows])
            texts = self.augment(part, logits, dataset, student, first + number, shared)
            assert isinstance(texts, TokenBatch)
            made.append(texts)
        return made

    def _label_virtual(self, rows: VirtualRows) -> Tensor | None:
        """The teacher's logits, [B, C]; None if the student labels the rows."""
        if rows.labelled_by == "student":
            return None
        with self.meter.phase("teacher"), self._precision(), torch.no_grad():
            logits = rows.run(self.teacher.model).float()
        self.labelled += len(logits)
        return logits

    def _label_text(self, rows: TokenBatch) -> Tensor:
        """The teacher's logits of augmented texts, [B, C]."""
        before = self.teacher.saved_seconds
        with self.meter.phase("teacher"), self._precision():
            logits = self.teacher.label_tokens(rows, self.space.vocabulary)
        self.saved_seconds += self.teacher.saved_seconds - before
        self.labelled += len(logits)
        return logits

    def _precision(self) -> torch.autocast:
        return autocast(self.space.table.device, self.half)

    def save(self, folder: Path) -> None:
        """Write the candidates to the folder of a checkpoint."""
        self.kept.save(folder / _CANDIDATES)

    def load(self, folder: Path) -> None:
        """Read the candidates of a checkpoint."""
        self.kept.load(folder / _CANDIDATES)

    def progress(self) -> dict[str, Any]:
        """Counts so far, as JSON."""
        return asdict(self.counted())

    def restore(self, progress: dict[str, Any]) -> None:
        """Continue with these counts."""
        if not processes.leads():  # they are those of all processes, and will be added up again
            return
        self.labelled, self.saved_seconds = progress["labelled"], progress.get("saved_seconds", 0.0)
        vars(self.counts).update(progress["replaced"])
        vars(self.space.earlier).update(progress["searched"])

    def augment(
        self,
        batch: TokenBatch,
        teacher_logits: Tensor,
        dataset: DistillationDataset,
        student: Any,
        copy: int,
        shared: dict[Hashable, Any] | None = None,
    ) -> TokenBatch | VirtualRows:
        """Augmented rows without labels.

        ``copy`` is the replica of the random numbers; ``shared`` holds what other candidates have computed.
        """
        problem = self.objective.problem_type
        state = TrainingState(
            student, self.objective.kd, teacher_logits, self._label_text, self.teacher.model, problem
        )
        context = AugmentContext(
            RowRandom(self.seed, copy),
            self.space,
            dataset.table,
            dataset.classes if problem == "single_label" else None,
            state,
            Store(self.loaded, partial(self.meter.phase, "prepare"), shared),
            self.counts,
        )
        with self.meter.phase("augment"), torch.no_grad():
            made = self.augmenter(batch, context)
        kind = TokenBatch if self.augmenter.makes_text else VirtualRows
        if not isinstance(made, kind):
            name = type(self.augmenter).__name__
            raise TypeError(f"{name} must return a {kind.__name__}, not a {type(made).__name__}")
        return made
