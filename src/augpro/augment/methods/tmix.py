"""TMix: interpolation of two rows in a hidden layer of the model."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor

from augpro.augment.base import AugmentContext, Augmenter, VirtualRows
from augpro.augment.checks import check_range
from augpro.augment.gradient import override_output
from augpro.augment.methods.perturb import check_mixing
from augpro.augment.methods.virtual import Pairing, pair
from augpro.augment.partners import Partner
from augpro.models.layers import encoder_layers
from augpro.tokens import TokenBatch, join


@dataclass(frozen=True)
class TMix(Augmenter):
    """Mixup of hidden states after a random layer, in the teacher at the same relative depth.

    Cost: two more rows for the teacher and for the student, because the partner is run too. Needs the same
    tokenizer, and models whose layers are one list of modules.

    Attributes:
        depths: relative depths after which states may be mixed, each in [0, 1]; one is drawn for each row. With 12
            layers the default is after layers 7, 9 and 12.
        weight: weight of the row's own state, lambda in [0, 1]; used if ``beta`` is none.
        beta: lambda is drawn for each row from Beta(beta, beta).
        partner: as in :class:`~augpro.augment.methods.perturb.Mix`.

    Raises:
        ValueError: if a value is out of range.

    Source: Chen, Yang and Yang 2020 (MixText, arXiv 2004.12239).
    """

    mixes_rows: ClassVar[bool] = True
    makes_text: ClassVar[bool] = False
    teacher_shares: ClassVar[Literal["text", "tokens", "width"]] = "tokens"

    excludes: ClassVar[tuple[str, ...]] = ("gradient_checkpointing", "torch_compile")

    depths: tuple[float, ...] = (7 / 12, 9 / 12, 1.0)
    weight: float = 0.5
    beta: float | None = 16.0
    partner: Partner = "random"

    def __post_init__(self) -> None:
        if not isinstance(self.depths, list | tuple) or not self.depths:
            raise ValueError(f"depths must be a list of shares between 0 and 1, not {self.depths!r}")
        for depth in self.depths:
            check_range("depths", depth, 0.0, 1.0)
        object.__setattr__(self, "depths", tuple(self.depths))  # JSON has only lists
        check_mixing(self.weight, self.beta, self.partner)

    def __call__(self, batch: TokenBatch, context: AugmentContext) -> VirtualRows:
        """Mix every row with a partner at a random layer."""
        pairing = pair(batch, context, self, "tmix")
        draw = context.rng.uniform("depth", batch.row_ids)[:, 0]
        depth = torch.tensor(self.depths, device=draw.device)[(draw * len(self.depths)).long()]
        both = join(pairing.own, pairing.other, 0)  # they have the same length, so nothing is padded

        def run(model: Any) -> Tensor:
            with mixed_layers(model, pairing, depth):
                logits: Tensor = model(**both.model_inputs()).logits
            return logits[: len(depth)]

        return VirtualRows(run)


@contextmanager
def mixed_layers(model: Any, pairing: Pairing, depth: Tensor) -> Iterator[None]:
    """Mix the hidden states of rows [0, B) with those of rows [B, 2B) after each row's layer.

    The layer is ``round(depth * layers)``, counted from 1; 0 is the output of the embedding layer. Later layers of a
    mixed row attend to the tokens of both texts.

    Raises:
        ValueError: if the model uses gradient checkpointing, which would recompute activations without the mixing.
    """
    unwrapped = extract_model_from_parallel(model)
    recomputes = any(getattr(module, "gradient_checkpointing", False) for module in unwrapped.modules())
    if recomputes and unwrapped.training:
        raise ValueError(
            "tmix cannot be combined with gradient checkpointing; switch gradient_checkpointing off"
        )
    layers = encoder_layers(unwrapped)
    layer_of_row = (depth * len(layers)).round().long()
    with ExitStack() as stack:
        for number, layer in enumerate(layers):
            now, before = layer_of_row == number, layer_of_row < number
            before_layer = _before_layer(pairing, now, now | before)
            handle = layer.register_forward_pre_hook(before_layer, with_kwargs=True)
            stack.callback(handle.remove)
        last = layer_of_row == len(layers)

        def after_last(_module: Any, _inputs: Any, output: Any) -> Any:
            if isinstance(output, tuple):
                return (_mix_first(output[0], pairing, last), *output[1:])
            return _mix_first(output, pairing, last)

        stack.enter_context(override_output(layers[-1], after_last))
        yield


def _before_layer(pairing: Pairing, now: Tensor, mixed: Tensor) -> Callable[..., tuple[Any, Any]]:
    """A hook that mixes the rows ``now`` and lets the ``mixed`` rows attend to both texts."""

    def change(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        values = list(args)
        if values:
            values[0] = _mix_first(values[0], pairing, now)
        else:
            kwargs = kwargs | {"hidden_states": _mix_first(kwargs["hidden_states"], pairing, now)}
        if isinstance(kwargs.get("attention_mask"), Tensor):
            kwargs = kwargs | {"attention_mask": _either_mask(kwargs["attention_mask"], mixed)}
        elif len(values) > 1 and isinstance(values[1], Tensor):
            values[1] = _either_mask(values[1], mixed)
        return tuple(values), kwargs

    return change


def _mix_first(states: Tensor, pairing: Pairing, rows: Tensor) -> Tensor:
    """States [2B, T, D] with the given rows of the first half mixed with the second half."""
    count = len(rows)
    combined = pairing.mixed(states[:count], states[count:])
    return torch.cat([torch.where(rows[:, None, None], combined, states[:count]), states[count:]])


def _either_mask(mask: Tensor, rows: Tensor) -> Tensor:
    """A mask [2B, ...] in which the given rows attend to their own tokens and their partner's.

    The larger value means "attend", for boolean, 0/1 and 0/-inf masks.
    """
    count = len(rows)
    own, other = mask[:count], mask[count:]
    either = own | other if mask.dtype == torch.bool else torch.maximum(own, other)
    chosen = rows.view(-1, *[1] * (mask.ndim - 1))
    return torch.cat([torch.where(chosen, either, own), other])
