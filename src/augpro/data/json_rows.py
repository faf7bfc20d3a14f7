"""Reading of JSON and JSON Lines files into columns."""

import json
from pathlib import PurePath
from typing import Any

from augpro.data.formats import more_rows, pasted
from augpro.errors import InputError

_LINE = 'write each row on one line such as {"text": "...", "label": "..."}'


def read_json(
    name: str, text: str, ending: str, part: bool = False
) -> tuple[dict[str, list[object]], list[int]]:
    """Columns, with None for missing keys, and the number of every row: its line or its index in an array.

    Args:
        name: of the file, for messages.
        text: its content.
        ending: .json may hold one array of objects; all may hold one object per line.
        part: whether the text is only some of the file's lines.

    Raises:
        InputError: if it holds neither.
    """
    array = text.lstrip().startswith("[")
    numbered = _array(name, text, ending) if array else _lines(name, text, part)
    wrong = [number for number, record in numbered if not isinstance(record, dict)]
    if wrong:
        raise InputError(
            f"{name}, row {wrong[0]}: this is not a JSON object; "
            f'write each row as one object such as {{"text": "...", "label": "..."}}{more_rows(wrong)}'
        )
    columns: dict[str, list[object]] = {}
    for count, (_, record) in enumerate(numbered):
        for key in record:
            if key not in columns:
                columns[key] = [None] * count
        for key, cells in columns.items():
            cells.append(record.get(key))
    return columns, [number for number, _ in numbered]


def _array(name: str, text: str, ending: str) -> list[tuple[int, Any]]:
    try:
        values = _load(text)
    except (ValueError, RecursionError) as error:
        if ending != ".json":
            return _lines(name, text, part=False)
        raise InputError(
            f"{name}: the file is not valid JSON ({_reason(error)}); write one array of objects, or one object a line"
        ) from error
    if ending != ".json":
        raise InputError(
            f"{name}: the file is one JSON array, not one object a line; rename it to end in .json"
        )
    return list(enumerate(values, 1))


def _lines(name: str, text: str, part: bool) -> list[tuple[int, Any]]:
    # Not splitlines(): JSON strings may hold U+2028 and similar, which editors do not count as line ends.
    found: list[tuple[int, Any]] = []
    wrong: list[tuple[int, Exception]] = []
    for number, line in enumerate(text.split("\n"), 1):
        try:
            if line.strip():
                found.append((number, _load(line)))
        except (ValueError, RecursionError) as error:
            wrong.append((number, error))
    if not part and (wrong or len(found) == 1):
        _refuse_whole(name, text)
    if wrong:
        number, reason = wrong[0]
        raise InputError(
            f"{name}, row {number}: this line is not a JSON object ({_reason(reason)}); {_LINE}"
            f"{more_rows([line for line, _ in wrong])}"
        ) from reason
    return found


def _refuse_whole(name: str, text: str) -> None:
    """Raise ``InputError`` for a file with one object around all rows, with a command that extracts them."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return
    if not isinstance(content, dict) or not content:
        return
    path = PurePath(safe := pasted(name))
    new = repr(str(path.with_name(f"{path.stem}-rows.json")))
    within = [
        key
        for key, value in content.items()
        if isinstance(value, list) and value and isinstance(value[0], dict)
    ]
    if within:
        keys, key = ", ".join(map(repr, within[:5])), pasted(within[0], "KEY")
        raise InputError(
            f'{name}: the file is one JSON object, with the rows under {keys}; take them out: python -c "'
            f"import json; json.dump(json.load(open({safe!r}, encoding='utf-8'))[{key!r}], open({new}, 'w'))\""
        )
    kinds = {type(value) for value in content.values()}
    if kinds in ({list}, {dict}):
        orient = ", orient='split'" if {"columns", "data"} <= content.keys() else ""
        raise InputError(
            f'{name}: the file is one JSON object that holds columns, not rows; turn it: python -c "import pandas; '
            f"pandas.read_json({safe!r}, dtype=False{orient}).to_json({new}, orient='records')\""
        )
    if "\n" in text.strip():
        raise InputError(
            f"{name}: the file is one JSON object over several lines (with the keys "
            f"{', '.join(map(repr, list(content)[:5]))}), not rows; write one array of objects, or one object a line"
        )


def _load(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_no_double_keys)


def _no_double_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"column {next(k for k in keys if keys.count(k) > 1)!r} is there twice")
    return record


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
