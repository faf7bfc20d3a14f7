"""The values of options, as they are written on a command line."""

import json
import os
from pathlib import Path
from typing import Any, TypeVar

from augpro.errors import InputError

P = TypeVar("P", str, Path)


def parse_value(text: str) -> Any:
    """The value in ``key=value``: JSON where it is JSON (Python's True and None too), else the text itself.

    Not YAML, whose ``no`` is a boolean and whose ``1e-4`` is text. A ``~`` in front is the home folder.

    >>> [parse_value(text) for text in ("0.3", "1e-4", "true", "False", "no", "dot")]
    [0.3, 0.0001, True, False, 'no', 'dot']
    """
    try:
        return json.loads({"True": "true", "False": "false", "None": "null"}.get(text, text))
    except ValueError:
        return os.path.expanduser(text)


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


def values_at_home(value: Any) -> Any:
    """The options of a method or a trainer, with the home folder in front of every text that begins with ``~/``."""
    if isinstance(value, dict):
        return {key: values_at_home(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(values_at_home(item) for item in value)
    return os.path.expanduser(value) if isinstance(value, str) else value
