"""A training step in parts: if memory is too small, the gradients of its halves add up to that of the whole."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from augpro.augment.base import VirtualRows
from augpro.errors import InputError
from augpro.models.memory import FEWER_ROWS, RowsAtOnce, is_out_of_memory
from augpro.tokens import TokenBatch

PART = "part"  # of the inputs of a training step, beside those of the whole batch


@dataclass(frozen=True)
class Step:
    """The rows of a batch, augmented once, or a part of them.

    Attributes:
        own: the rows that this process takes, N.
        rows: number of rows of the batch, over all processes.
        augmented: an augmented version of each of them; None without augmentation.
        targets: the teacher's logits for these, [N, C], or None.
        labels: gold labels of the batch, or None.
        teacher_logits: the teacher's logits of the batch, or None.
        share: of the rows of the batch; 1 for a whole batch.
    """

    own: TokenBatch
    rows: int
    augmented: TokenBatch | VirtualRows | None
    targets: Tensor | None
    labels: Tensor | None
    teacher_logits: Tensor | None
    share: float = 1.0

    def some(self, part: slice) -> "Step":
        """Consecutive rows of a step of one process.

        Raises:
            InputError: for rows without text, which are made for whole batches.
        """
        rows = len(range(self.rows)[part])
        if rows == self.rows:
            return self
        if isinstance(self.augmented, VirtualRows):
            raise InputError(
                f"memory runs out for a batch of {self.rows} rows, and augmented rows without text are not computed "
                f"in parts; {FEWER_ROWS}."
            )
        tensors = {name: getattr(self, name) for name in ("targets", "labels", "teacher_logits")}
        return replace(
            self,
            own=self.own.some(part),
            rows=rows,
            augmented=self.augmented and self.augmented.some(part),
            share=rows / self.rows,
            **{name: None if tensor is None else tensor[part] for name, tensor in tensors.items()},
        )


@dataclass
class Part:
    """A part of a step, which is made when the first of its parts is computed, and only then.

    Attributes:
        rows: of the batch.
        made: the whole step, once it is there.
    """

    rows: slice = field(default_factory=lambda: slice(None))
    made: list[Step] = field(default_factory=list)

    def step(self, make: Callable[[], Step]) -> Step:
        """The rows of this part."""
        if not self.made:
            self.made.append(make())
        return self.made[0].some(self.rows)


def in_parts(
    memory: RowsAtOnce, inputs: dict[str, Any], model: Any, compute: Callable[[dict[str, Any]], Tensor]
) -> Tensor:
    """The loss of a batch, whose gradients are added to those of the model, in halves if memory runs out.

    Args:
        memory: of the training.
        inputs: of the batch.
        model: whose parameters have the gradients.
        compute: the loss of a part, weighted by its share of the rows, after its backward pass.
    """
    made: list[Step] = []

    def part_of(rows: slice) -> Tensor:
        with _gradients_apart(model):
            return compute({**inputs, PART: Part(rows, made)})

    losses = list(memory.parts(len(inputs["input_ids"]), part_of))
    return losses[0] if len(losses) == 1 else torch.stack(losses).sum()


@contextmanager
def _gradients_apart(model: Any) -> Iterator[None]:
    """Keep the gradients of earlier batches apart, so that those of a failed backward pass can be dropped.

    Nothing is copied; there are two gradients of each weight while a second batch is accumulated.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    earlier = [weight.grad for weight in weights]
    for weight in weights:
        weight.grad = None
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            for weight, gradient in zip(weights, earlier, strict=True):
                weight.grad = gradient
        raise
    for weight, gradient in zip(weights, earlier, strict=True):
        if gradient is not None:
            weight.grad = gradient if weight.grad is None else gradient.add_(weight.grad)
