"""The cleaned label cells of all splits, and the values that count as no label."""

import math
import unicodedata
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal

from augpro.data.readers import Table, listed
from augpro.errors import InputError

# Missing values as programs write them: those of pandas.read_csv, in exactly this spelling.
_MISSING = {
    *("nan", "NaN", "-nan", "-NaN", "NA", "N/A", "n/a", "#NA", "#N/A", "#N/A N/A", "<NA>", "NaT"),
    *("NULL", "null", "None", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
}
_MINUS_ONE = {"-1", "-1.0"}


class Cells:
    """The label cells of all splits: ``None``, a string, a number, a boolean or a list of them.

    Args:
        tables: the raw rows of each split.
        column: the label column; a split may lack it.
    """

    def __init__(self, tables: dict[str, Table], column: str) -> None:
        self.tables, self.column = tables, column
        self.values: dict[str, list[object]] = {
            split: [_clean(value) for value in table.columns.get(column, [None] * len(table))]
            for split, table in tables.items()
        }

    def each(self) -> Iterator[tuple[str, int, object]]:
        """Split, index and value of every non-empty cell."""
        for split, values in self.values.items():
            for index, value in enumerate(values):
                if value is not None:
                    yield split, index, value

    def strings(self) -> list[tuple[str, int, str]]:
        """The cells that hold text."""
        return [(split, index, value) for split, index, value in self.each() if isinstance(value, str)]

    def untyped(self) -> list[tuple[str, int, str]]:
        """The text cells of CSV and TSV files, where numbers are text too."""
        return [cell for cell in self.strings() if not self.tables[cell[0]].typed]

    def error(self, split: str, index: int, problem: str, fix: str) -> InputError:
        """An error that names the cell."""
        return InputError(f"{self.tables[split].place(index, self.column)}: {problem}; {fix}")


def _clean(value: object) -> object:
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, float) and math.isnan(value):  # as pandas writes a missing number
        return None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return value


def fold(name: str) -> str:
    r"""A name normalized for comparison: case, white space and the Unicode form of accents are ignored.

    >>> fold("Caf\u00e9  Latte") == fold("cafe\u0301 latte ")
    True
    """
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())


def show(value: object) -> str:
    """A value for a message, shortened."""
    return repr(value if len(str(value)) <= 60 else f"{str(value)[:57]}...")


def drop_missing(cells: Cells, classes: tuple[str, ...]) -> list[str]:
    """Treat words such as "nan" and "N/A" as no label unless they name a class; returns a note."""
    known = {fold(name) for name in classes}
    dropped: Counter[str] = Counter()
    for split, index, value in cells.strings():
        if value in _MISSING and fold(value) not in known:
            cells.values[split][index] = None
            dropped[value] += 1
    if not dropped:
        return []
    words = listed(list(dropped))
    return [
        f"{dropped.total()} rows have the label {words}, which counts as no label; if it is a class, rename it"
    ]


def drop_minus_one(cells: Cells, everywhere: bool) -> list[str]:
    """Treat -1 as no label in a split without other labels, as in GLUE's test splits; returns notes.

    Args:
        cells: the labels.
        everywhere: whether -1 is no label beside other labels too, because the classes are known to have other ids.
    """
    dropped = beside = 0
    for values in cells.values.values():
        here = [index for index, value in enumerate(values) if _is_minus_one(value)]
        if everywhere or len(here) == sum(value is not None for value in values):
            dropped += len(here)
            for index in here:
                values[index] = None
        else:
            beside += len(here)
    notes = []
    if dropped:
        notes.append(
            f"{dropped} rows have the label -1, which counts as no label; if it is a class, write its name"
        )
    if beside:
        notes.append(
            f"column {cells.column!r}: the label -1 occurs beside other labels, so it counts as a label; leave the "
            "cells of rows without a label empty"
        )
    return notes


def _is_minus_one(value: object) -> bool:
    return value == -1 or (isinstance(value, str) and value in _MINUS_ONE)
