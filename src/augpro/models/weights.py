"""Checks of a model folder's weights, using only the headers of its safetensors files."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers.utils import logging

from augpro.errors import InputError
from augpro.models.named import WEIGHTS

_INDEX = f"{WEIGHTS}.index.json"
_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin", "tf_model*.h5", "flax_model*.msgpack")
_ONE_DOWNLOAD = (
    600.0  # seconds in which a model's files arrive in any order, the same weights in several formats
)
_POOLER = re.compile(r"\bpooler\b")
Shape = tuple[int, ...]
Loaded = dict[str, Any]  # the library's own names: missing_keys, unexpected_keys, mismatched_keys


def stored_shapes(folder: Path, name: str) -> dict[str, Shape]:
    """Shape of every tensor of a model folder, in one weight file or several.

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
    """The model that a configuration describes, on the meta device; None if its code fails, as loading will too.

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
    """Check that the weights are those of the model that the configuration describes.

    Args:
        config: the model's.
        shapes: shapes of its weights.
        name: of the model, for messages.
        finished: whether the classification head must fit too; else it may be initialized.
        trusted: whether code that comes with the model may run.

    Raises:
        InputError: names the first tensor that is missing or does not fit.
    """
    if getattr(config, "quantization_config", None) is not None:
        return  # packed weights have other shapes
    model: Any = without_weights(AutoModelForSequenceClassification, config, trusted)
    if model is None:
        return
    info: Loaded | None = None
    empty = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    options: dict[str, Any] = {
        "ignore_mismatched_sizes": True,
        "output_loading_info": True,
        "device_map": "meta",
    }
    # Loaded like the real weights, so that the library handles older names and shared weights.
    with suppress(Exception), torch.random.fork_rng(devices=[]), _silence():
        _, info = type(model).from_pretrained(None, config=config, state_dict=empty, **options)
    if info is not None:
        check_loaded(
            info, name, "classifier" if finished else "model", "" if finished else model.base_model_prefix
        )


@contextmanager
def _silence() -> Iterator[None]:
    """Suppress the library's reports and progress bars; errors are raised anyway."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def check_loaded(info: Loaded, name: str, kind: str, body: str = "") -> None:
    """Check that no weight was missing or had the wrong shape.

    Args:
        info: the loading info of ``from_pretrained``.
        name: of the model, for messages.
        kind: what it should be, such as "classifier".
        body: name of the part that must be complete, except its pooler, which belongs to the head; the whole model if
            empty.

    Raises:
        InputError: names the first such tensor.
    """

    def needed(key: str) -> bool:
        return not body or key.startswith(f"{body}.")

    for key, stored, made in sorted(info["mismatched_keys"]):
        if needed(key):
            raise misfit(name, key, stored, made)
    missing = sorted(
        key for key in info["missing_keys"] if needed(key) and not (body and _POOLER.search(key))
    )
    for key in missing:
        wrapped = min((other for other in info["unexpected_keys"] if other.endswith(f".{key}")), default="")
        if wrapped:
            raise InputError(
                f"{name}: its weights are those of a wrapped model (their names start with "
                f"{wrapped.removesuffix(key)!r}); save the model inside it with save_pretrained."
            )
    if missing:
        raise InputError(f"{name}: not a trained {kind} ({missing[0]} is missing); name one that is.")


def newer_weights(folder: Path) -> str | None:
    """A note if the folder has newer weights in another format than those that are read.

    Args:
        folder: of the model.
    """
    read = {folder / file for file in _files(folder)}
    others = {path for names in _WEIGHTS for path in folder.glob(names)} - read
    newest = max(others, key=_written, default=None)
    if newest is None or _written(newest) < max(map(_written, read)) + _ONE_DOWNLOAD:
        return None
    return f"its weights are read from {min(read).name}, and not from {newest.name} beside it, which is newer"


def _written(path: Path) -> float:
    return path.stat().st_mtime


def misfit(name: str, key: str, stored: Sequence[int], made: Sequence[int]) -> InputError:
    """The error for a tensor whose shape does not match the configuration."""
    one, other = (" x ".join(map(str, shape)) for shape in (stored, made))
    return InputError(
        f"{name}: {key} is {one} in its weights, but {other} by its config.json; save model, configuration and "
        "tokenizer again together (a tokenizer with added tokens needs model.resize_token_embeddings)."
    )
