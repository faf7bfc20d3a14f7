"""Answers and losses that are no finite numbers: told, with the weight that may be to blame, before they spread."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from augpro.errors import InputError

_NAMED = 3  # texts in a message


def check_logits(logits: Tensor, texts: Sequence[str], title: str, model: Any = None) -> None:
    """Refuse answers that are nan or infinite: the largest of them would still count as a decision.

    Args:
        logits: of each text, [N, C].
        texts: N texts.
        title: what answered, for the message.
        model: in which the reason is looked for.

    Raises:
        InputError: naming the first texts.
    """
    wrong = torch.nonzero(~torch.isfinite(logits).all(1))[:, 0].tolist()
    if wrong:
        named = ", ".join(repr(texts[row][:60]) for row in wrong[:_NAMED])
        raise InputError(
            f"{title}: its answers to {len(wrong)} of {len(texts)} texts are no finite numbers{blamed(model)}, the "
            f"first to {named}; give a model that was trained and saved without overflow, such as in float32."
        )


def blamed(model: Any) -> str:
    """In brackets, the first weight of a model with a value that is nan or infinite; empty if there is none."""
    for name, value in model.named_parameters() if model is not None else ():
        if value.is_floating_point() and not torch.isfinite(value).all():
            return f" ({name} holds nan or infinity)"
    return ""
