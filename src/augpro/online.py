"""Augmentation during training: candidates of every row of a batch, and the teacher's labels of them."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor

from augpro.augment.base import AugmentContext, Augmenter, EmbeddingSpace, ReplacementCounts, VirtualRows
from augpro.augment.gradient import without_dropout
from augpro.dataset import DistillationDataset
from augpro.draws import Draws
from augpro.losses import Objective
from augpro.meter import Meter
from augpro.selection import hardest
from augpro.tasks import SelectBy
from augpro.teacher import ROWS_AT_ONCE, Teacher
from augpro.tokens import TokenBatch, join


@dataclass
class OnlineAugmentation:
    """Augments a batch during training and finds out what the student shall answer.

    Attributes:
        augmenter: the method.
        space: embedding table and vocabulary of the student.
        teacher: labels the augmented rows.
        objective: its distillation loss is what FGSM climbs.
        seed: of the draws; every epoch is another copy.
        candidates: texts made of each row, of which one is kept.
        select_by: which one, see :mod:`augpro.selection`.
        bf16: whether teacher and student read augmented rows in bfloat16, as the Trainer runs its forward pass.
        meter: charged with the phases "prepare", "augment", "teacher" and "select".
        counts: what was replaced so far.
        labelled: rows that the teacher has labelled so far.
        loaded: what the method has loaded.
    """

    augmenter: Augmenter
    space: EmbeddingSpace
    teacher: Teacher
    objective: Objective
    seed: int = 0
    candidates: int = 1
    select_by: SelectBy = "disagreement"
    bf16: bool = False
    meter: Meter = field(default_factory=Meter)
    counts: ReplacementCounts = field(default_factory=ReplacementCounts)
    labelled: int = 0
    loaded: dict[Hashable, Any] = field(default_factory=dict)

    def __call__(
        self,
        batch: TokenBatch,
        teacher_logits: Tensor,
        dataset: DistillationDataset,
        student: Any,
        epoch: int,
    ) -> tuple[TokenBatch | VirtualRows, Tensor | None]:
        """Augmented rows, and the teacher's logits for them, [B, C]; None where the student labels them."""
        copies = range(epoch * self.candidates, (epoch + 1) * self.candidates)
        shared: dict[Hashable, Any] = {}
        made = [self.augment(batch, teacher_logits, dataset, student, copy, shared) for copy in copies]
        texts = [rows for rows in made if isinstance(rows, TokenBatch)]
        if len(texts) > 1:
            return self._select(texts, dataset.table.pad_id, student)
        return made[0], self._label(made[0])

    def _label(self, rows: TokenBatch | VirtualRows) -> Tensor | None:
        """The teacher's logits, [B, C]; None where the student labels the rows."""
        if isinstance(rows, TokenBatch):
            return self._label_text(rows)
        if rows.labelled_by == "student":
            return None
        with self.meter.phase("teacher"), self._precision(), torch.no_grad():
            logits = rows.run(self.teacher.model).float()
        self.labelled += len(logits)
        return logits

    def _label_text(self, rows: TokenBatch) -> Tensor:
        """The teacher's logits of rows of text, [B, C]."""
        with self.meter.phase("teacher"), self._precision():
            logits = self.teacher.label_tokens(rows, self.space.vocabulary)
        self.labelled += len(logits)
        return logits

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.space.table.device.type, torch.bfloat16, enabled=self.bf16)

    def _select(self, made: list[TokenBatch], pad_id: int, student: Any) -> tuple[TokenBatch, Tensor]:
        """One of the candidates of each row, and the teacher's logits of it."""
        candidates = reduce(partial(join, pad_id=pad_id), made)
        theirs = self._label(candidates) if self.select_by == "disagreement" else None
        with self.meter.phase("select"), torch.no_grad(), without_dropout(student), self._precision():
            shape = len(made), len(made[0].ids)
            parts = candidates.parts(ROWS_AT_ONCE)
            ours = torch.cat([student(**part.model_inputs()).logits.float() for part in parts])
            by_row = None if theirs is None else theirs.unflatten(0, shape)
            best = hardest(ours.unflatten(0, shape), by_row, self.objective.problem_type)
        chosen = best * shape[1] + torch.arange(shape[1], device=best.device)
        rows = candidates.take(chosen)
        labels = self._label(rows) if theirs is None else theirs[chosen]
        assert labels is not None
        return rows, labels

    def augment(
        self,
        batch: TokenBatch,
        teacher_logits: Tensor,
        dataset: DistillationDataset,
        student: Any,
        copy: int,
        shared: dict[Hashable, Any] | None = None,
    ) -> TokenBatch | VirtualRows:
        """Augmented rows alone; ``copy`` is the number of their draws, ``shared`` what other copies have computed."""
        context = AugmentContext(
            draws=Draws(self.seed, copy),
            space=self.space,
            table=dataset.table,
            classes=dataset.classes if self.objective.problem_type == "single_label" else None,
            student=student,
            target_logits=teacher_logits,
            label=self._label_text,
            teacher=self.teacher.model,
            row_loss=self.objective.kd,
            counts=self.counts,
            loaded=self.loaded,
            while_loading=partial(self.meter.phase, "prepare"),
            shared=shared,
        )
        with self.meter.phase("augment"), torch.no_grad():
            return self.augmenter(batch, context)
