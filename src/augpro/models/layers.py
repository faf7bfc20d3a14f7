"""Cutting a model to some of its layers, and the check that the cut model can be saved and loaded.

A loaded model is built from its configuration. Properties that depend on a layer's index (a window, a scale, omitted
positions) change after a cut unless the configuration lists them layer by layer. So the cut model is tried.
"""

import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from augpro.errors import InputError
from augpro.models.finite import blamed

_PLACES = {"layer_idx", "layer_id"}  # a decoder layer's index in the cache
_ROUNDING = 1e-5  # relative to the largest logit: sums may be in another order


class UncuttableError(InputError):
    """A model that cannot be cut to these layers; other layers may work."""


def encoder_layers(model: PreTrainedModel) -> torch.nn.ModuleList:
    """The model's layers, first to last.

    Raises:
        InputError: if they cannot be found.
    """
    module, name = _layer_list(model)
    layers: torch.nn.ModuleList = getattr(module, name)
    return layers


def keep_layers(model: PreTrainedModel, keep: Sequence[int], load: Callable[[str], PreTrainedModel]) -> None:
    """Keep only some encoder layers of a model, in the given order, in place.

    Args:
        model: a sequence classifier in float32.
        keep: numbers of layers, counted from 0.
        load: loads the model from a folder. The cut model is saved and loaded once to try it, which needs its disk
            space in the folder for temporary files.

    Raises:
        InputError: if a layer number does not exist, the model's layers cannot be found, or the cut model cannot be
            saved and loaded faithfully.
    """
    depth = _text_config(model).num_hidden_layers
    option = f"--student-layers {','.join(map(str, keep))}"
    wrong = [layer for layer in keep if not 0 <= layer < depth]
    if wrong:
        raise InputError(f"--student-layers {wrong[0]}: the model has layers 0 to {depth - 1}.")
    if len(set(keep)) < len(keep):
        raise InputError(f"{option}: a layer is named twice; name each one once.")
    cut_layers(model, keep)
    _check_that_it_loads(model, load, option)


def cut_layers(model: PreTrainedModel, keep: Sequence[int]) -> None:
    """:func:`keep_layers` without checks, for a model that is never saved.

    Raises:
        InputError: if the model's layers cannot be found.
    """
    module, name = _layer_list(model)
    layers = getattr(module, name)
    kept = torch.nn.ModuleList([layers[layer] for layer in keep])
    for index, layer in enumerate(kept):
        for part in layer.modules():
            for place in _PLACES:
                if vars(part).get(place) is not None:
                    setattr(part, place, index)
    setattr(module, name, kept)
    _cut_config(_text_config(model), len(layers), keep)


def _cut_config(config: Any, depth: int, keep: Sequence[int]) -> None:
    """Adapt the configuration to the kept layers, including lists with one entry per layer."""
    common = set(vars(PreTrainedConfig()))  # class names, token ids, ...: never one per layer
    for name, value in list(vars(config).items()):
        by_layer = isinstance(value, list | tuple) and len(value) == depth
        if by_layer and name not in common and "token" not in name:
            setattr(config, name, [value[layer] for layer in keep])
    config.num_hidden_layers = len(keep)


def _check_that_it_loads(model: PreTrainedModel, load: Callable[[str], PreTrainedModel], option: str) -> None:
    """Raise ``InputError`` unless the model gives the same logits after saving and loading."""
    kind, fix = type(model).__name__, "keep its first layers or give another --student."
    with tempfile.TemporaryDirectory(prefix="augpro-") as folder, torch.random.fork_rng(devices=[]):
        try:
            model.save_pretrained(folder)
            logits, loaded_logits = (_trial_logits(each) for each in (model, load(folder)))
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"{tempfile.gettempdir()}: the cut student cannot be saved there to try it ({error}); "
                "make room, or set TMPDIR to another folder."
            ) from error
        except Exception as error:  # the model's own code may fail in any way
            reason = _reason(error).removeprefix(f"{folder}: ")
            raise UncuttableError(
                f"{option}: a {kind} cut to these layers cannot be saved, loaded and run ({reason}); {fix}"
            ) from error
    if not torch.isfinite(logits).all():
        raise InputError(
            f"{option}: the logits of this {kind} are not finite{blamed(model)}; give a model that was "
            "trained and saved without overflow, for example in float32."
        )
    if not (logits - loaded_logits).abs().max() <= _ROUNDING * logits.abs().max():
        raise UncuttableError(
            f"{option}: a {kind} cut to these layers gives other logits after saving and loading; {fix}"
        )


def _reason(error: Exception) -> str:
    """The beginning of the original error's message."""
    lines = str(error.__cause__ or error).strip().splitlines()
    return lines[0].split(";")[0].rstrip(".") if lines else type(error).__name__


def _trial_logits(model: PreTrainedModel) -> Tensor:
    """Logits of two rows of random tokens, the second one padded."""
    config = _text_config(model)
    padding, ends = int(config.pad_token_id), getattr(config, "eos_token_id", None)
    ends = ends if isinstance(ends, list) else [ends]
    tokens = range(len(model.get_input_embeddings().get_parameter("weight")))
    ordinary = torch.tensor([token for token in tokens if token not in (padding, *ends)])
    ids = ordinary[torch.randint(len(ordinary), (2, 12), generator=torch.Generator().manual_seed(0))]
    if model.config.is_encoder_decoder:
        ids[0, -1] = ids[1, 7] = ends[0]  # an encoder-decoder classifies at the end token
    mask = torch.ones_like(ids)
    ids[1, 8:], mask[1, 8:] = padding, 0
    training = model.training
    with torch.no_grad():
        logits: Tensor = model.eval()(input_ids=ids, attention_mask=mask).logits.float()
    model.train(training)
    return logits


def _text_config(model: PreTrainedModel) -> Any:
    """The configuration of the model's text part."""
    return model.config.get_text_config()


def _layer_list(model: PreTrainedModel) -> tuple[torch.nn.Module, str]:
    """The module that holds the list of layers, and the name of this attribute."""
    depth = _text_config(model).num_hidden_layers
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, torch.nn.ModuleList) and len(child) == depth:
                return module, name
    raise InputError(
        f"cannot find the {depth} layers of {type(model).__name__}; give a model whose layers are one list."
    )
