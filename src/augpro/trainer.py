"""Distillation as a ``transformers.Trainer``: accumulation, bf16, resume, callbacks and logging are its own.

One step: augment the batch, let the teacher label what came out, run originals and augmented rows
through the student in one forward pass (virtual rows in a second one), and add up the terms of the loss.
The teacher's logits of the originals are a stored column.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial, reduce
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import Trainer

from augpro.augment.base import AugmentContext, Augmenter, EmbeddingSpace, ReplacementCounts, VirtualRows
from augpro.augment.gradient import without_dropout
from augpro.counting import CountsCallback, store_counts
from augpro.data import Label
from augpro.draws import Draws
from augpro.losses import NO_LABEL, Objective
from augpro.meter import Meter
from augpro.sampling import EpochOrder
from augpro.selection import hardest
from augpro.tasks import SelectBy, Task
from augpro.teacher import Teacher
from augpro.tokens import TokenBatch, TokenTable, join


def label_tensor(labels: Sequence[Label], task: Task) -> Tensor:
    """Labels as the loss wants them: ids [N] with -100, scores [N] with nan, or 0/1 [N, C] with nan rows."""
    if task.problem_type == "single_label":
        return torch.tensor([NO_LABEL if label is None else label for label in labels])
    if task.problem_type == "regression":
        return torch.tensor(
            [float("nan") if label is None else label for label in labels], dtype=torch.float32
        )
    rows = torch.full((len(labels), task.outputs), float("nan"))
    for row, label in zip(rows, labels, strict=True):
        if isinstance(label, tuple):
            row[:] = 0.0
            row[list(label)] = 1.0
    return rows


@dataclass(frozen=True)
class DistillationDataset(Dataset[dict[str, Any]]):
    """Rows for the trainer: tokens, gold labels, and the teacher's logits as a stored column.

    Attributes:
        table: tokens of all rows.
        labels: see :func:`label_tensor`.
        teacher_logits: [rows, C], or None to train on labels alone.
    """

    table: TokenTable
    labels: Tensor
    teacher_logits: Tensor | None = None

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, row: int) -> dict[str, Any]:
        """Where `collate` finds the row, and its tokens, by which the Trainer groups lengths."""
        start, end = self.table.offsets[row], self.table.offsets[row + 1]
        return {"row": row, "dataset": self, "input_ids": self.table.flat[0, start:end]}

    @cached_property
    def classes(self) -> Tensor | None:
        """The teacher's class of every row, int64 [rows], where it has answered."""
        return None if self.teacher_logits is None else self.teacher_logits.argmax(1)

    @staticmethod
    def collate(rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Pad rows of any one dataset into one batch of tensors."""
        dataset: DistillationDataset = rows[0]["dataset"]
        batch = dataset.table.batch([item["row"] for item in rows])
        inputs = batch.model_inputs() | {
            "segments": batch.segments,
            "row_ids": batch.row_ids,
            "labels": dataset.labels[batch.row_ids],
        }
        if dataset.teacher_logits is not None:
            inputs["teacher_logits"] = dataset.teacher_logits[batch.row_ids]
        return inputs


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
        meter: charged with the phases "augment", "teacher" and "select".
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
        made = [self.augment(batch, teacher_logits, dataset, student, copy) for copy in copies]
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
            ours = student(**candidates.model_inputs()).logits.float().unflatten(0, shape)
            by_row = None if theirs is None else theirs.unflatten(0, shape)
            best = hardest(ours, by_row, self.objective.problem_type)
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
    ) -> TokenBatch | VirtualRows:
        """Augmented rows alone; ``copy`` is the number of their draws."""
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
        )
        with self.meter.phase("augment"), torch.no_grad():
            return self.augmenter(batch, context)


class DistillationTrainer(Trainer):
    """A ``transformers.Trainer`` whose loss is the distillation loss of :mod:`augpro.losses`.

    Args:
        model: the student.
        objective: weights, temperature and problem type.
        train_dataset: rows to train on; with ``teacher_logits`` None and no augmentation this is plain
            fine-tuning.
        augmentation: makes and labels augmented rows; None trains on the originals alone.
        meter: its seconds are kept in the checkpoints, as the counts are; default is the augmentation's.
        **trainer: anything else a Trainer takes: args, eval_dataset, callbacks, optimizers, ...

    Raises:
        ValueError: if augmentation is asked for without the teacher's logits of the originals.
    """

    def __init__(
        self,
        model: Any,
        objective: Objective,
        train_dataset: DistillationDataset,
        augmentation: OnlineAugmentation | None = None,
        meter: Meter | None = None,
        **trainer: Any,
    ) -> None:
        if augmentation is not None and train_dataset.teacher_logits is None:
            raise ValueError("augmentation needs train_dataset.teacher_logits: label the original rows first")
        super().__init__(
            model=model, train_dataset=train_dataset, data_collator=DistillationDataset.collate, **trainer
        )
        # The loss is a mean over rows, so the Trainer must average it over accumulated batches.
        self.model_accepts_loss_kwargs = False
        self.objective: Objective = objective
        self.rows = train_dataset
        self.augmentation = augmentation
        self.meter = meter or (Meter() if augmentation is None else augmentation.meter)
        self.rows_seen = 0  # by the student in training, augmented ones counted
        self.add_callback(CountsCallback(self))

    @property
    def finished_epochs(self) -> int:
        """Whole passes over the rows so far; the margin is for the rounding of their sum."""
        return int((self.state.epoch or 0.0) + 1e-6)

    def finished_student(self) -> Any:
        """The student as it is saved, which computes in float32; call it when the training is over.

        Accelerate leaves its autocast on the model's ``forward``, and its ``unwrap_model`` removes more than that.
        """
        vars(self.model).pop("forward", None)
        if self.augmentation is not None:
            self.augmentation.bf16 = False
        return self.model

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        rows = self.rows if train_dataset is None else train_dataset
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        batch_size = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return EpochOrder(rows.table.lengths.tolist(), batch_size, seed, lambda: self.finished_epochs)

    def _save_checkpoint(self, *arguments: Any, **options: Any) -> None:
        store_counts(self)
        super()._save_checkpoint(*arguments, **options)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Distillation loss of one batch; augmented rows are part of it in training only."""
        batch = TokenBatch(
            inputs["input_ids"],
            inputs["attention_mask"],
            inputs["segments"],
            inputs["row_ids"],
            inputs.get("token_type_ids"),
        )
        teacher_logits = inputs.get("teacher_logits")
        rows, forward, augmented, theirs = len(batch.ids), batch, None, None
        if self.augmentation is not None and model.training and teacher_logits is not None:
            # Compiled code would not see the hooks by which a gradient at the embeddings is taken.
            student = self.accelerator.unwrap_model(model, keep_torch_compile=False)
            epoch = self.finished_epochs
            augmented, theirs = self.augmentation(batch, teacher_logits, self.rows, student, epoch)
            if isinstance(augmented, TokenBatch):
                forward = join(batch, augmented, self.rows.table.pad_id)
        logits = model(**forward.model_inputs()).logits
        loss = self.objective.originals(logits[:rows], inputs.get("labels"), teacher_logits)
        if model.training:
            self.rows_seen += rows * (1 if augmented is None else 2)
        if augmented is not None:
            ours = augmented.run(model) if isinstance(augmented, VirtualRows) else logits[rows:]
            if theirs is None:
                loss = loss + self.objective.smoothness(ours, logits[:rows])
            else:
                loss = loss + self.objective.augmented(ours, theirs)
        return (loss, {"logits": logits[:rows]}) if return_outputs else loss
