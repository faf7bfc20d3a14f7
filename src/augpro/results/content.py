"""Hashes of what a model or a method is, computed from its content, not from its location."""

import inspect
import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from augpro.augment import Augmenter
from augpro.augment.methods.combined import Combined, read_parts
from augpro.files.checksums import file_content
from augpro.files.durable import fingerprint
from augpro.models.held import HeldModel
from augpro.models.named import model_location
from augpro.models.source import ModelSource
from augpro.results.output import PREDICTIONS
from augpro.results.provenance import TRAINING_ROWS

_MODEL_FILES = {"config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "merges.txt",
                "spiece.model"}  # fmt: skip
_NOT_WEIGHTS = {PREDICTIONS, TRAINING_ROWS}


def method_content(method: Augmenter) -> Iterator[bytes]:
    """Parameters of a method, and the source of those parts of it that are not ours."""
    yield json.dumps(method.parameters, sort_keys=True).encode()
    parts = method.methods if isinstance(method, Combined) else ()
    own: list[Any] = [getattr(method, field.name) for field in fields(method)] if is_dataclass(method) else []
    for part in (method, *parts, *own):
        if not type(part).__module__.startswith(("augpro.", "builtins")):
            yield own_source(part)


def own_source(thing: Any) -> bytes:
    """Source of a function, or of an object's class; the code of a function for which there is none, as typed in."""
    code = getattr(thing, "__code__", None)  # tells two functions of one line from each other
    compiled = b"" if code is None else code.co_code + repr(code.co_names).encode()
    try:
        return compiled + inspect.getsource(thing if inspect.isroutine(thing) else type(thing)).encode()
    except (OSError, TypeError):
        return compiled


def models_among(options: dict[str, object]) -> list[ModelSource]:
    """Model folders named by the options of a method, such as that of a masked language model."""
    parts = read_parts(options["of"]) if "of" in options else []
    values = [*options.values(), *(value for _, own in parts for value in own.values())]
    return [ModelSource(value) for value in values if isinstance(value, str) and Path(value).is_dir()]


def model_content(source: ModelSource) -> bytes:
    """Hash of a model's configuration, tokenizer and weights; for a hub model its name and commit."""
    if isinstance(source, HeldModel):
        tokenizer = json.dumps(source.tokenizer.backend_tokenizer.to_str()).encode()
        config = source.load_config().to_json_string().encode()
        return fingerprint(chain([config, tokenizer], source.weights())).encode()
    folder = Path(model_location(source.name))
    if not folder.is_dir():
        commit = getattr(source.load_config(), "_commit_hash", None)
        return f"{source.name}@{commit}".encode()
    files = sorted(path for path in folder.iterdir() if path.name in _MODEL_FILES
                   or (path.suffix == ".safetensors" and path.name not in _NOT_WEIGHTS))  # fmt: skip
    return fingerprint(file_content(path) for path in files).encode()
