"""Fingerprints of the data, the models and the code of a run, computed from their content, not their location."""

import hashlib
import inspect
import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from augpro.augment import AUGMENTERS, Augmenter
from augpro.augment.methods.combined import Combined, read_parts
from augpro.config import DistillConfig, FinetuneConfig
from augpro.data.loading import TaskData
from augpro.distillation.plan import Plan
from augpro.files import fingerprint
from augpro.losses import LOSSES
from augpro.models.held import HeldModel
from augpro.models.named import model_location
from augpro.models.source import ModelSource
from augpro.results.output import PREDICTIONS
from augpro.results.provenance import TRAINING_ROWS

_MODEL_FILES = {"config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "merges.txt",
                "spiece.model"}  # fmt: skip
_NOT_WEIGHTS = {PREDICTIONS, TRAINING_ROWS}


def input_fingerprints(plan: Plan) -> dict[str, str]:
    """Hash of each input of a run, by its role: the data, the student, the teacher, ...

    Returns:
        An empty dict for a run without checkpoints: it cannot be resumed, so there is no need to read large models.
    """
    config = plan.config
    if config.trainer_options.get("save_strategy") == "no":
        return {}
    models = {"student": [plan.student], "teacher": [plan.teacher] if plan.teacher else []}
    if isinstance(config, DistillConfig):
        models["model of the method"] = models_among(config.augment_options)
    hashes = {"data": data_fingerprint(plan.data)}
    if plan.pool is not None:
        hashes["unlabelled texts"] = fingerprint([json.dumps([plan.pool.texts, plan.pool.pairs]).encode()])
    if code := _foreign_code(config):
        hashes["code of other packages"] = fingerprint(code)
    if plan.augmenter:
        hashes["method of augmentation"] = fingerprint(_made_of(plan.augmenter))
    if not isinstance(plan.objective.kd_loss, str):
        hashes["loss"] = fingerprint([_own_source(plan.objective.kd_loss)])
    for role, sources in models.items():
        if sources:
            hashes[role] = fingerprint(model_content(source) for source in sources)
    return hashes


def _foreign_code(config: FinetuneConfig | DistillConfig) -> list[bytes]:
    """Source code of the method and the loss if they come from another package."""
    if not isinstance(config, DistillConfig):
        return []
    parts = [name for name, _ in read_parts(config.augment_options.get("of", []))]
    methods = [name for name in (config.augment, *parts) if name in AUGMENTERS]
    losses = [config.kd_loss] if config.kd_loss in LOSSES else []  # else a function given in Python
    sources = [*map(AUGMENTERS.source, methods), *map(LOSSES.source, losses)]
    return [source for source in sources if source]


def _made_of(method: Augmenter) -> Iterator[bytes]:
    """Parameters of a method, and the source of those parts of it that are not ours."""
    yield json.dumps(method.parameters, sort_keys=True).encode()
    parts = method.methods if isinstance(method, Combined) else ()
    own: list[Any] = [getattr(method, field.name) for field in fields(method)] if is_dataclass(method) else []
    for part in (method, *parts, *own):
        if not type(part).__module__.startswith(("augpro.", "builtins")):
            yield _own_source(part)


def _own_source(thing: Any) -> bytes:
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


def data_fingerprint(data: TaskData) -> str:
    """Hash of the texts, the labels and the classes of every split, as 32 hexadecimal digits."""
    splits = {name: (split.texts, split.pairs, split.labels) for name, split in data.splits.items()}
    classes = (data.task.problem_type, data.task.label_names)
    return fingerprint([json.dumps([classes, splits]).encode()])


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


def file_content(path: Path) -> bytes:
    """Hash of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


def code_version() -> bytes:
    """Hash of the package's own source files."""
    root = Path(__file__).parents[1]
    return fingerprint(path.read_bytes() for path in sorted(root.rglob("*.py"))).encode()
