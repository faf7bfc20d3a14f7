"""The values of options, as they are written on a command line."""

import json
from typing import Any


def parse_value(text: str) -> Any:
    """The value in ``key=value``: JSON where it is JSON (Python's True and None too), else the text itself.

    Not YAML, whose ``no`` is a boolean and whose ``1e-4`` is text.

    >>> [parse_value(text) for text in ("0.3", "1e-4", "true", "False", "no", "dot")]
    [0.3, 0.0001, True, False, 'no', 'dot']
    """
    try:
        return json.loads({"True": "true", "False": "false", "None": "null"}.get(text, text))
    except ValueError:
        return text
