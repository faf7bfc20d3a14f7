"""The values of options, as they are written on a command line and in a YAML file."""

import difflib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from augpro.errors import InputError

P = TypeVar("P", str, Path)

_LARGEST = 2**32 - 1  # of a number; the libraries below take no larger seed, count or step
_DECIMAL = re.compile(r"[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?")  # such as .5 and 1., which JSON lacks


def parse_value(text: str) -> Any:
    """The value in ``key=value``: JSON where it is JSON (True, None, .5 and 1. too), else the text itself.

    Not YAML, whose ``no`` is a boolean and whose ``1e-4`` is text. A ``~`` in front is the home folder.

    >>> [parse_value(text) for text in ("0.3", ".5", "1e-4", "true", "False", "no", "dot")]
    [0.3, 0.5, 0.0001, True, False, 'no', 'dot']
    """
    try:
        return json.loads({"True": "true", "False": "false", "None": "null"}.get(text, text))
    except ValueError:
        return float(text) if _DECIMAL.fullmatch(text) else os.path.expanduser(text)


def parse_mapping(options: Any) -> Any:
    """Options by name, read alike wherever they come from: names with underscores, texts by :func:`parse_value`.

    Lists and mappings are gone through. None is no options; anything else that is no mapping is left to be refused.

    >>> parse_mapping({"weight-decay": "1e-2", "bf16": True, "lr_scheduler_kwargs": {"min_lr": "1e-6"}})
    {'weight_decay': 0.01, 'bf16': True, 'lr_scheduler_kwargs': {'min_lr': 1e-06}}
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        return options
    return {str(key).strip().replace("-", "_"): _parsed(value) for key, value in options.items()}


def split_list(value: Any) -> Any:
    """The items of ``a,b,c``; anything but text stays as it is."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def key_values(items: Iterable[str]) -> dict[str, str]:
    """Options that are written as ``key=value``, the values as they stand.

    Raises:
        ValueError: naming the first that is not written so.

    >>> key_values(["top_k=5", "metric=l2"])
    {'top_k': '5', 'metric': 'l2'}
    """
    pairs = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise ValueError(item)
        pairs[key] = value.strip()
    return pairs


def _parsed(value: Any) -> Any:
    if isinstance(value, str):
        return parse_value(value)
    if isinstance(value, Mapping):
        return {key: _parsed(part) for key, part in value.items()}
    return [_parsed(part) for part in value] if isinstance(value, list | tuple) else value


def at_home(path: P) -> P:
    """A path or a name, with the home folder in place of ``~`` or ``~user``; any other as it is.

    A shell does this only where ``~`` begins a word, so not in ``--out=~/runs`` and not in a file.

    Raises:
        InputError: if there is no such user, or the name cannot be written into the files of a run.
    """
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError("the name is not UTF-8, so no file can name it; rename it") from error
    if text.startswith("./~"):  # a file of that name; absolute, as a Path would lose its './'
        return type(path)(os.path.abspath(text))
    expanded = os.path.expanduser(text)
    if text.startswith("~") and expanded == text:
        raise InputError(
            f"there is no home folder {text.split('/')[0]}; write the whole path, or ./{text} if that is its name"
        )
    return type(path)(expanded) if expanded != text else path


class _TextLoader(yaml.SafeLoader):
    """Leaves every value but null as the text that it is, so that a file is read as flags are: ``no``, ``1e-2``."""


_TextLoader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in found if tag.rpartition(":")[2] in ("null", "merge")]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(path: Path) -> dict[str, Any]:
    """Options from a YAML file: texts, lists and mappings of them, or None.

    Raises:
        InputError: if it is missing, not YAML, or not a mapping of options.
    """
    path = at_home(path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_TextLoader)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; give the YAML file with your options.") from error
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); give the YAML file with your options."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}; fix that place.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: must hold 'option: value' lines, such as 'epochs: 10'.")
    return {str(key).replace("-", "_"): value for key, value in content.items()}


class Values(BaseModel):
    """Options whose numbers are numbers that can be calculated with: finite, not too large, not true or false."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_flag(cls, value: Any, info: ValidationInfo) -> Any:
        kind = cls.model_fields[info.field_name or ""].annotation
        kinds = (kind, *get_args(kind))
        if isinstance(value, bool) and (int in kinds or float in kinds) and bool not in kinds:
            raise ValueError("write a number, not true or false")
        return value

    @field_validator("*")
    @classmethod
    def _not_too_large(cls, value: Any) -> Any:
        numbers = value if isinstance(value, tuple) else (value,)
        if any(isinstance(number, int | float) and abs(number) > _LARGEST for number in numbers):
            raise ValueError(f"write a number of at most {_LARGEST:,}")
        return value


C = TypeVar("C", bound=BaseModel)


def build(kind: type[C], options: dict[str, Any], source: str = "options") -> C:
    """Check options and make the configuration object.

    Raises:
        InputError: one sentence that names every wrong option.
    """
    try:
        return kind(**options)
    except ValidationError as error:
        raise InputError(
            f"{source}: " + "; ".join(_format_error(item, kind) for item in error.errors()) + "."
        ) from error


def _format_error(item: Any, kind: type[BaseModel]) -> str:
    name = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name.replace("-", "_"), kind.model_fields, 1)
        guess = f"did you mean {near[0]!r}? " if near else ""
        return f"unknown option {name!r} ({guess}known: {', '.join(kind.model_fields)})"
    if item["type"] == "missing":
        return f"--{name.replace('_', '-')} is missing"
    told: str = item["msg"].removeprefix("Value error, ")
    if not name:  # of options that do not go together, which the sentence names itself
        return told
    option = f"--{name.replace('_', '-')}"
    if item["input"] is None:
        return f"{option} has no value (in YAML, ~ alone is none); write one, or leave the option out"
    return f"{option} {item['input']!r}: {told[0].lower()}{told[1:]}"
