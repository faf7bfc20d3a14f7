"""Rows that a program holds, as the tables that a file would give: texts, pairs, data frames and data sets."""

import math
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from augpro.data.columns import read_texts
from augpro.data.readers import Table, check_columns
from augpro.data.sources import Source, open_splits
from augpro.errors import InputError

_TEXT, _PAIR = "text", ("text_a", "text_b")  # usual names, by which the columns are found
_HOW = "give a list of texts or of pairs of texts, a datasets.Dataset or a pandas DataFrame"
_SPLITS = (
    "give {'train': ..., 'validation': ...}, or columns as a datasets.Dataset.from_dict or a pandas DataFrame"
)


def held_source(name: str, data: Any, labels: Any = None) -> Source:
    """Data that a program holds.

    Args:
        name: of it, for messages.
        data: texts or pairs of texts, in a list or anything else that gives them one by one; rows as dictionaries;
            a ``datasets.Dataset`` or a pandas ``DataFrame``, whose columns are found as in a file; or a mapping
            (such as a ``DatasetDict``) from train, validation and test to any of these.
        labels: of the texts, where ``data`` has no columns: names, numbers or scores, None where there is none.

    Raises:
        InputError: if it is none of these, or the labels are not as many.
    """
    splits = {key: f"{name} ({key})" for key in data} if isinstance(data, Mapping) else {"train": name}
    rows = data if isinstance(data, Mapping) else {"train": data}
    if labels is not None and (data is rows or _has_columns(data)):
        where = "each of its splits" if data is rows else "a column"
        raise InputError(
            f"{name}: labels= go with a list of texts; those of a {type(data).__name__} belong into {where}."
        )
    given = {str(key): _rows(splits[key], rows[key], labels) for key in rows}
    return open_splits(name, name, given, fix=_SPLITS)


def held_texts(name: str, texts: Any, pairs: Any = None) -> tuple[list[str], list[str] | None]:
    """Texts that a program holds, and second texts if there are any, checked.

    Args:
        name: of them, for messages.
        texts: in a list or anything else that gives them one by one.
        pairs: as many second texts, or None.

    Raises:
        InputError: if one of them is no text, or they are not as many.
    """
    columns = {_TEXT: _values(name, texts, "give a list of texts")}
    if pairs is not None:
        columns["pair"] = _values(f"{name}: pairs", pairs, "give a list of second texts")
        _check_count(name, columns["pair"], "second texts", columns[_TEXT])
    read = read_texts([_table(name, columns)], _TEXT, "pair" if pairs is not None else None)
    return read[0]


def _has_columns(data: Any) -> bool:
    """Whether it is a data frame or data set, by what all of them have."""
    return hasattr(data, "column_names") or (hasattr(data, "columns") and hasattr(data, "iloc"))


def _rows(name: str, data: Any, labels: Any) -> Any:
    """One split: a ``datasets.Dataset`` as it is, or a table."""
    if isinstance(data, Table):
        return data
    if hasattr(data, "iloc") and hasattr(data, "columns"):
        check_columns(name, [str(column) for column in data.columns])
        places = enumerate(map(str, data.columns))
        return _table(name, {column: _values(name, data.iloc[:, place], "") for place, column in places})
    if hasattr(data, "column_names"):
        if hasattr(data, "__len__"):
            return data
        raise InputError(
            f"{name}: {type(data).__name__} reads its rows as they come; give those that are wanted, as "
            "datasets.Dataset.from_list(list(data.take(1000)))"
        )
    rows = _values(name, data, _HOW)
    if not rows:
        raise InputError(f"{name}: {type(data).__name__} holds no texts; {_HOW}")
    columns = _columns(name, rows)
    if labels is not None:
        if next((row for row in rows if row is not None), None).__class__ is dict:
            raise InputError(
                f"{name}: labels= go with a list of texts; rows that are dictionaries hold their own."
            )
        columns["label"] = _values(f"{name}: labels", labels, "give a list of one label a text")
        _check_count(name, columns["label"], "labels", rows)
    return _table(name, columns)


def _values(name: str, values: Any, fix: str) -> list[Any]:
    """Values one by one as Python has them, None where one is missing."""
    no_rows = isinstance(values, str | bytes | Mapping | AbstractSet) or _has_columns(values)
    if no_rows or not isinstance(values, Iterable):
        raise InputError(f"{name}: {type(values).__name__} holds no rows; {fix}")
    return [_plain(value) for value in values]


def _plain(value: Any) -> Any:
    """A value without the types of numpy, torch and pandas; what has no order gets one."""
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, AbstractSet):
        return sorted(map(_plain, value), key=str)
    if hasattr(value, "tolist"):
        return _plain(value.tolist()) if getattr(value, "shape", ()) else value.tolist()
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _columns(name: str, rows: list[Any]) -> dict[str, list[Any]]:
    """Columns of rows that are all texts, all pairs, or all dictionaries; a row may be missing."""
    kinds = [_kind(row) for row in rows]
    kind = next((kind for kind in kinds if kind != "missing"), "text")
    for number, (row, own) in enumerate(zip(rows, kinds, strict=True), start=1):
        if own is None or own not in (kind, "missing"):
            size = f" of {len(row)}" if isinstance(row, list) else ""
            raise InputError(
                f"{name}, row {number}: {type(row).__name__}{size} is neither a text nor a pair of texts"
                + (f", and the rows before are each a {kind}" if own and number > 1 else "")
                + "; give one or the other, and labels as labels="
            )
    if kind == "row":
        keys = dict.fromkeys(str(key) for row in rows if row is not None for key in row)
        return {key: [None if row is None else _plain(row.get(key)) for row in rows] for key in keys}
    if kind == "text":
        return {_TEXT: rows}
    return {
        column: [None if row is None else row[place] for row in rows] for place, column in enumerate(_PAIR)
    }


def _kind(row: Any) -> str | None:
    if row is None or (isinstance(row, float) and math.isnan(row)):
        return "missing"
    if isinstance(row, str):
        return "text"
    if isinstance(row, dict):
        return "row"
    return "pair" if isinstance(row, list) and len(row) == 2 else None


def _check_count(name: str, values: list[Any], what: str, texts: list[Any]) -> None:
    if len(values) != len(texts):
        raise InputError(
            f"{name}: {len(values)} {what} for {len(texts)} texts; give one a text"
            + (", None for unknown" if what == "labels" else "")
        )


def _table(name: str, columns: dict[str, list[Any]]) -> Table:
    rows = len(next(iter(columns.values()), []))
    return Table(columns, range(1, rows + 1), [(0, name)], typed=True)
