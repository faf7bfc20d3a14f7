"""Checks for logits and weights that are not finite."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from augpro.errors import InputError

_NAMED = 3  # texts in a message
_FIX = "give a model that was trained and saved without overflow, for example in float32"


def check_logits(logits: Tensor, texts: Sequence[str], title: str, model: Any = None) -> None:
    """Raise ``InputError`` for logits that are nan or infinite; their argmax would look like a valid prediction.

    Args:
        logits: of each text, [N, C].
        texts: N texts.
        title: name of the model in the message.
        model: if given, its first non-finite weight is named.

    Raises:
        InputError: names the first such texts.
    """
    wrong = torch.nonzero(~torch.isfinite(logits).all(1))[:, 0].tolist()
    if wrong:
        named = ", ".join(repr(texts[row][:60]) for row in wrong[:_NAMED])
        raise InputError(
            f"{title}: its logits for {len(wrong)} of {len(texts)} texts are not finite{blamed(model)}, first for "
            f"{named}; {_FIX}."
        )


def check_finite(logits: Tensor, title: str, model: Any) -> None:
    """:func:`check_logits` for logits of token ids that no text was given for.

    Raises:
        InputError: if one is nan or infinite.
    """
    if not torch.isfinite(logits).all():
        raise InputError(f"{title}: its logits are not finite{blamed(model)}; {_FIX}.")


def blamed(model: Any) -> str:
    """Name of a model's first weight with nan or infinity, in brackets; empty if there is none."""
    for name, value in model.named_parameters() if model is not None else ():
        if value.is_floating_point() and not torch.isfinite(value).all():
            return f" ({name} holds nan or infinity)"
    return ""
