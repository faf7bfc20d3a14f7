"""What a model folder's weights say of their shapes, read from the headers of its safetensors files alone."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from augpro.errors import InputError
from augpro.named_models import WEIGHTS

_INDEX = f"{WEIGHTS}.index.json"
Shape = tuple[int, ...]


def stored_shapes(folder: Path, name: str) -> dict[str, Shape]:
    """Shape of every tensor of a model folder, whose weights are one file or several.

    Args:
        folder: of the model.
        name: the model's, for messages.

    Raises:
        InputError: if a file is missing or damaged.
    """
    shapes: dict[str, Shape] = {}
    file = WEIGHTS
    try:
        for file in _files(folder):
            with safe_open(folder / file, "pt") as weights:
                shapes |= {key: tuple(weights.get_slice(key).get_shape()) for key in weights.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".") or type(error).__name__
        raise InputError(
            f"{name}: cannot load a model in this folder (its {file} cannot be read: {reason}); save it again with "
            "save_pretrained."
        ) from error
    return shapes


def _files(folder: Path) -> list[str]:
    if (folder / WEIGHTS).is_file() or not (folder / _INDEX).is_file():
        return [WEIGHTS]
    index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    return sorted({Path(file).name for file in index["weight_map"].values()})


def without_weights(loader: Any, config: Any, trusted: bool) -> PreTrainedModel | None:
    """The model that a configuration describes, in shapes alone; None where its own code fails, as loading it will.

    Args:
        loader: such as ``transformers.AutoModel``.
        config: the model's.
        trusted: whether code that comes with the model may run.
    """
    model: PreTrainedModel | None = None
    with suppress(Exception), torch.device("meta"):
        model = loader.from_config(config, trust_remote_code=trusted)
    return model


def check_shapes(config: Any, shapes: dict[str, Shape], name: str, finished: bool, trusted: bool) -> None:
    """Refuse weights that are not of the model that the configuration describes.

    Args:
        config: the model's.
        shapes: of its weights.
        name: of the model, for messages.
        finished: whether its classifier must fit too; else one that does not is made anew.
        trusted: whether code that comes with the model may run.

    Raises:
        InputError: naming the first tensor that does not fit.
    """
    if getattr(config, "quantization_config", None) is not None:
        return  # packed numbers have shapes of their own
    model = without_weights(AutoModelForSequenceClassification, config, trusted)
    if model is None:
        return
    body = f"{model.base_model_prefix}."
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    for key, shape in sorted(shapes.items()):
        own = key if key in expected else f"{body}{key}"
        if shape != expected.get(own, shape) and (finished or own.startswith(body)):
            raise misfit(name, key, shape, expected[own])


def misfit(name: str, key: str, stored: Sequence[int], made: Sequence[int]) -> InputError:
    """The error of a tensor whose shape is not what the configuration makes it."""
    one, other = (" x ".join(map(str, shape)) for shape in (stored, made))
    return InputError(
        f"{name}: {key} is {one} in its weights, but {other} by its config.json; save model, configuration and "
        "tokenizer again together (a tokenizer with added tokens needs model.resize_token_embeddings)."
    )
