"""The values of options, as they are written on a command line and in a YAML file."""

import json
import re
from collections.abc import Mapping
from typing import Any

_DECIMAL = re.compile(r"[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?")  # such as .5 and 1., which JSON lacks


def parse_value(text: str) -> Any:
    """The value in ``key=value``: JSON where it is JSON (True, None, .5 and 1. too), else the text itself.

    Not YAML, whose ``no`` is a boolean and whose ``1e-4`` is text.

    >>> [parse_value(text) for text in ("0.3", ".5", "1e-4", "true", "False", "no", "dot")]
    [0.3, 0.5, 0.0001, True, False, 'no', 'dot']
    """
    try:
        return json.loads({"True": "true", "False": "false", "None": "null"}.get(text, text))
    except ValueError:
        return float(text) if _DECIMAL.fullmatch(text) else text


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


def _parsed(value: Any) -> Any:
    if isinstance(value, str):
        return parse_value(value)
    if isinstance(value, Mapping):
        return {key: _parsed(part) for key, part in value.items()}
    return [_parsed(part) for part in value] if isinstance(value, list | tuple) else value
