"""Gradients of a loss at the word embeddings, for methods that follow the student."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from augpro.augment.base import AugmentContext
from augpro.tokens import TokenBatch


def require_student(method: str, context: AugmentContext) -> tuple[Any, Callable[[Tensor, Tensor], Tensor]]:
    """The student and its loss, for a method that climbs its gradient.

    Raises:
        ValueError: if the context has none; the message names the method.
    """
    state = context.training
    if state.student is None or state.row_loss is None:
        raise ValueError(f"{method} follows the student's gradient: it runs only inside training")
    return state.student, state.row_loss


def embedding_gradient(
    model: Any,
    batch: TokenBatch,
    row_loss: Callable[[Tensor, Tensor], Tensor],
    target: Any,
    offset: Tensor | float = 0.0,
) -> Tensor:
    """Gradient of each row's loss at its word embeddings plus ``offset``, [B, T, D].

    The target is the logits that the model should give, [B, C], or a second model, whose embeddings are moved
    along with the first one's.

    Dropout is off, and neither the parameters' gradients nor the modules' training flags are changed:
    only the embeddings are differentiated. The rows' losses are summed, not averaged, so that a row's
    gradient does not depend on the batch.
    """
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
        answers = target if isinstance(target, Tensor) else logits[1]
        # The difference alone, not what a student like the teacher would lose too (of fixed answers it has no slope).
        loss = (row_loss(logits[0], answers) - row_loss(answers, answers)).sum()
        gradient: Tensor = torch.autograd.grad(loss, shift)[0]
    return gradient


@contextmanager
def without_dropout(model: Any) -> Iterator[None]:
    """Evaluation mode for a while; every module's own flag comes back."""
    flags = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, flag in flags.items():
            module.training = flag


@contextmanager
def override_output(module: Any, change: Callable[[Any, Any, Any], Any]) -> Iterator[None]:
    """``change(module, inputs, output)`` replaces what the module returns, for a while.

    The word embeddings are replaced so, not by ``inputs_embeds``: ids and mask still reach the model, and
    with them what some architectures take from them (positions after padding, the last token of a row).

    Raises:
        ValueError: if the module was not called meanwhile, so that nothing was replaced.
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
        f"{type(module).__name__} was not called, so nothing was moved: the model is compiled or an "
        "encoder-decoder; use a method that makes text"
    )
