"""Gradients of a loss with respect to the word embeddings."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from augpro.augment.base import AugmentContext
from augpro.models.memory import RowsAtOnce
from augpro.tokens import TokenBatch


def require_student(method: str, context: AugmentContext) -> tuple[Any, Callable[[Tensor, Tensor], Tensor]]:
    """The student and its loss, for a method that uses its gradient.

    Raises:
        ValueError: if the context has none; the message names the method.
    """
    state = context.training
    if state.student is None or state.row_loss is None:
        raise ValueError(f"{method} needs the student's gradient, so it runs only during training")
    return state.student, state.row_loss


def embedding_gradient(
    model: Any,
    batch: TokenBatch,
    row_loss: Callable[[Tensor, Tensor], Tensor],
    target: Any,
    offset: Tensor | float = 0.0,
) -> Tensor:
    """Gradient of each row's loss with respect to its word embeddings, at the embeddings plus ``offset``, [B, T, D].

    The target is the logits of the teacher, [B, C], or a second model, whose embeddings get the same offset.

    Dropout is off. Only the embeddings are differentiated: gradients of parameters and training flags of modules do
    not change. The losses are summed over the rows, so a row's gradient does not depend on the batch, and a batch for
    which memory runs out is computed in parts.
    """

    def gradient_of(part: slice) -> Tensor:
        own_target, own_offset = (
            value[part] if isinstance(value, Tensor) else value for value in (target, offset)
        )
        return _gradient(model, batch.some(part), row_loss, own_target, own_offset)

    memory = RowsAtOnce("gradients of embeddings")
    return memory.joined(len(batch.ids), gradient_of)


def _gradient(
    model: Any,
    batch: TokenBatch,
    row_loss: Callable[[Tensor, Tensor], Tensor],
    target: Any,
    offset: Tensor | float,
) -> Tensor:
    """:func:`embedding_gradient` of some rows at once."""
    models = [model] if isinstance(target, Tensor) else [model, target]
    shift: Tensor | None = None

    def moved(_module: Any, _inputs: Any, output: Tensor) -> Tensor:
        nonlocal shift
        if shift is None:
            shift = torch.zeros_like(output, requires_grad=True)
        return output.detach() + offset + shift

    with ExitStack() as stack, torch.enable_grad():
        for one in models:
            stack.enter_context(without_dropout(one))
            stack.enter_context(override_output(one.get_input_embeddings(), moved))
        logits = [one(**batch.model_inputs()).logits for one in models]
        if shift is None:
            raise _not_called(model.get_input_embeddings())
        targets = target if isinstance(target, Tensor) else logits[1]
        # Subtract the loss at perfect agreement, so that only the disagreement is differentiated. With fixed targets
        # the subtracted loss is constant.
        loss = (row_loss(logits[0], targets) - row_loss(targets, targets)).sum()
        gradient: Tensor = torch.autograd.grad(loss, shift)[0]
    return gradient


@contextmanager
def without_dropout(model: Any) -> Iterator[None]:
    """Evaluation mode inside the context; every module's training flag is restored."""
    flags = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, flag in flags.items():
            module.training = flag


@contextmanager
def override_output(module: Any, change: Callable[[Any, Any, Any], Any]) -> Iterator[None]:
    """Replace the module's output by ``change(module, inputs, output)`` inside the context.

    This replaces word embeddings without ``inputs_embeds``: ids and mask still reach the model, because some
    architectures compute positions or the last token of a row from them.

    Raises:
        ValueError: if the module was not called, so that nothing was replaced.
    """
    called = False

    def changed(*arguments: Any) -> Any:
        nonlocal called
        called = True
        return change(*arguments)

    handle = module.register_forward_hook(changed)
    try:
        yield
    finally:
        handle.remove()
    if not called:
        raise _not_called(module)


def _not_called(module: Any) -> ValueError:
    return ValueError(
        f"{type(module).__name__} was not called, so its output was not replaced: the model is compiled or an "
        "encoder-decoder; use a method that makes text"
    )
