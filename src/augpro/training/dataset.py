"""The Trainer's dataset: tokens, gold labels and the teacher's logits, padded batch by batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from augpro.data.loading import Label
from augpro.losses import NO_LABEL
from augpro.tasks import Task
from augpro.tokens import TokenTable


def label_tensor(labels: Sequence[Label], task: Task) -> Tensor:
    """Labels in the form of the loss: ids [N] with -100, scores [N] with nan, or 0/1 [N, C] with nan rows."""
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
    """Rows for the Trainer: tokens, gold labels and the teacher's logits.

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
        """The row's number and dataset for `collate`, and its tokens, whose length the Trainer groups by."""
        start, end = self.table.offsets[row], self.table.offsets[row + 1]
        return {"row": row, "dataset": self, "input_ids": self.table.flat[0, start:end]}

    @cached_property
    def classes(self) -> Tensor | None:
        """The teacher's predicted class of every row, int64 [rows]; None without teacher logits."""
        return None if self.teacher_logits is None else self.teacher_logits.argmax(1)

    @staticmethod
    def collate(rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Pad rows of one dataset into a batch of tensors."""
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
