"""Reading of CSV and TSV files as people and spreadsheet programs write them.

A spreadsheet program may write semicolons instead of commas, a first line ``sep=;``, and separators for empty cells
that were once used. All this is accepted; ambiguous files are errors.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TextIO

from augpro.data.formats import more_rows
from augpro.errors import InputError

_SAID = re.compile(r'"?sep=([^\w"\r\n ])"?(\r\n|\r|\n)', re.IGNORECASE)
_MARKS = ",;\t|"
_LINE_END = re.compile(r"\r\n|\r|\n")
_SAMPLE = 1 << 16  # characters for the detection of the separator
_QUOTES = 'put the cell in double quotes and write each quote within it twice ("")'


@dataclass(frozen=True)
class Cells:
    """Columns of text; ``rows[i]`` is the line of the file on which row ``i`` begins."""

    columns: dict[str, list[object]]
    rows: list[int]
    notes: list[str] = field(default_factory=list)


def read_delimited(name: str, text: str, ending: str) -> Cells:
    """Read the rows of a file with a header.

    Rows and columns without any content are left out.

    Args:
        name: of the file, for messages.
        text: its content.
        ending: .csv or .tsv, whose separators are tried first.

    Raises:
        InputError: if it is JSON, or rows do not fit the header.
    """
    _refuse_json(name, text, ending)
    return next(delimited_parts(name, io.StringIO(text, newline=""), ending), Cells({}, []))


def delimited_parts(name: str, file: TextIO, ending: str, most: int | None = None) -> Iterator[Cells]:
    """:func:`read_delimited`, some rows at a time, so that a file need not fit into memory.

    Args:
        name: of the file, for messages.
        file: its content, opened with ``newline=""``.
        ending: .csv or .tsv.
        most: rows of a part; all of them if None.

    Raises:
        InputError: if rows of a part do not fit the header.
    """
    usual = "," if ending == ".csv" else "\t"
    sample = file.read(_SAMPLE + 1)
    said = _SAID.match(sample)
    mark = said[1] if said else _separator(sample, usual)
    notes = [] if said or mark == usual else [
        f"{name}: read with {mark!r} between the cells, as its rows do not fit {usual!r}"
    ]  # fmt: skip
    file.seek(0)
    if said:
        file.readline()
    records = _records(name, file, mark, 2 if said else 1)
    heading = next((row for row in records if _trimmed(row[1])), None)
    if heading is None:
        return
    header = _header(name, *heading)
    part = list(islice(records, most))
    notes += _names_among_cells(name, header, part)
    yield Cells(*_columns(name, mark, header, part), notes)
    while part := list(islice(records, most)):
        yield Cells(*_columns(name, mark, header, part))


def _header(name: str, line: int, first: list[str]) -> list[str]:
    """The names of the columns, of the row on this line."""
    header = [
        column.strip().strip("\ufeff").strip() for column in _trimmed(first)
    ]  # some files have two marks
    doubled = sorted({column for column in header if column and header.count(column) > 1})
    if doubled:
        raise InputError(
            f"{name}, row {line}: column {doubled[0]!r} is there twice; rename or remove one of the two"
        )
    return header


def _names_among_cells(name: str, header: list[str], part: list[tuple[int, list[str]]]) -> list[str]:
    """A note on rows that are the header of a single column once more, which could be texts."""
    again = [line for line, row in part if len(header) == 1 and [cell.strip() for cell in row] == header]
    if not again:
        return []
    note = (
        f"{name}, row {again[0]}: this row is {header[0]!r}, as the header is, and is read as a text; remove it if "
        f"it is a header once more{more_rows(again)}"
    )
    return [note]


def _columns(
    name: str, mark: str, header: list[str], numbered: list[tuple[int, list[str]]]
) -> tuple[dict[str, list[object]], list[int]]:
    """The cells of rows, column by column, and the line of each row."""
    # With one column, a blank cell is a row with a missing text.
    numbered = [row for row in numbered if _trimmed(row[1]) or len(row[1]) == len(header) == 1]
    _check_quotes(name, mark, header, numbered)
    _check_rows(name, header, numbered)
    records = [record for _, record in numbered]
    columns: dict[str, list[object]] = {}
    for index, column in enumerate(header):
        cells = [record[index] for record in records]
        # A table with row numbers in front has no name for them.
        if column or (index == 0 and any(map(str.strip, cells))):
            columns[column] = list(cells)
    return columns, [line for line, _ in numbered]


def _refuse_json(name: str, text: str, ending: str) -> None:
    start = text.lstrip()
    if start[:1] not in ("{", "["):
        return
    for content, right in ((start.split("\n", 1)[0], ".jsonl"), (start, ".json")):
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            continue
        right = ".json" if isinstance(found, list) else right
        raise InputError(
            f"{name}: the file is JSON, not the {ending} that its ending says; rename it to {right}"
        )


def _separator(text: str, usual: str) -> str:
    """The usual separator, unless more of the first rows fit the header with another one."""
    shares = {mark: _share(text, mark) for mark in (usual, *_MARKS)}
    best: str = max(shares, key=shares.__getitem__)  # the first of equals
    return best


def _share(text: str, mark: str) -> float:
    """Share of the first rows that fit the header; 0 if there is only one column."""
    rows = csv.reader(io.StringIO(text[:_SAMPLE], newline=""), delimiter=mark)
    records = [record for record in islice(rows, 200) if _trimmed(record)]
    if len(text) > _SAMPLE and len(records) > 1:
        records.pop()  # perhaps incomplete
    width = len(_trimmed(records[0])) if records else 0
    return sum(_fits(record, width) for record in records) / len(records) if width > 1 else 0.0


def _trimmed(record: list[str]) -> list[str]:
    """A row without the empty cells at its end."""
    width = len(record)
    while width and not record[width - 1].strip():
        width -= 1
    return record[:width]


def _fits(record: list[str], width: int) -> bool:
    return len(_trimmed(record)) <= width <= len(record)


def _records(name: str, file: TextIO, mark: str, start: int) -> Iterator[tuple[int, list[str]]]:
    """Every non-blank row with the line on which it begins; ``start`` is the number of the first line."""
    # The limit protects servers from huge cells; here the file is the user's own.
    csv.field_size_limit(max(csv.field_size_limit(), 2**31 - 1))
    reader = csv.reader(file, delimiter=mark, strict=True)
    line, before = start, start - 1
    try:
        for record in reader:
            if record:
                yield line, record
            line = before + reader.line_num + 1
    except csv.Error as error:
        problem = "a quote that is opened here is never closed" if "end of data" in str(error) else (
            f"the quotes of this row do not match ({error})"
        )  # fmt: skip
        raise InputError(f"{name}, row {line}: {problem}; {_QUOTES}") from error


def _check_quotes(name: str, mark: str, header: list[str], numbered: list[tuple[int, list[str]]]) -> None:
    """Raise ``InputError`` for a cell whose lines are rows themselves, because of an unmatched quote."""
    several = [row for row in numbered if any("\n" in cell or "\r" in cell for cell in row[1])]
    if not several:
        return
    apart = {line for line, _ in several}
    plain = [record for line, record in numbered if line not in apart]
    known = [
        {record[index] for record in plain if index < len(record) and record[index].strip()}
        for index in range(len(header))
    ]
    for line, record in several:
        for index, cell in enumerate(record):
            lines = _LINE_END.split(cell) if mark in cell else [cell]
            # A text contains no tab, but may contain a comma.
            if len(lines) > 1 and (mark == "\t" or _are_rows(lines[:-1], record[:index], mark, known)):
                last = line + sum(len(_LINE_END.findall(each)) for each in record)
                raise InputError(
                    f"{name}, row {line}: a quote opened here takes in whole rows, up to row {last}; {_QUOTES}"
                )


def _are_rows(lines: list[str], before: list[str], mark: str, known: list[set[str]]) -> bool:
    """Whether the lines of a cell, except its last, are rows rather than lines of a text with separators.

    Each must have as many cells as the header, without a space after a separator. At least one cell must be a value
    that other rows have in this column, or a number in a column of numbers, but not after a decimal comma.

    Args:
        lines: lines of the cell without the last one, which continues with the rest of its row in either case.
        before: the cells before it.
        mark: the separator.
        known: values of single-line rows, column by column.
    """
    own, width = len(before), len(known)
    rows = []
    for number, line in enumerate(lines):
        row = line.split(mark) if number else [*before, *line.split(mark)]
        if line.strip() or not number:
            if not _fits(row, width) or any(cell[:1].isspace() for cell in row[1:]):
                return False
            rows.append(row)
    return any(
        not (index and row[index][:1].isdigit() and row[index - 1][-1:].isdigit())
        and _is_like(row[index], known[index])
        for number, row in enumerate(rows)
        for index in range(0 if number else own + 1, width)
        if index != own
    )


def _is_like(cell: str, others: set[str]) -> bool:
    return cell in others or bool(others and is_number(cell) and all(map(is_number, others)))


def is_number(cell: str) -> bool:
    """Whether a cell is a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _check_rows(name: str, header: list[str], numbered: list[tuple[int, list[str]]]) -> None:
    """Raise ``InputError`` for rows that do not fit the header, repeated headers, and cells in unnamed columns."""
    wrong = [(line, record) for line, record in numbered if not _fits(record, len(header))]
    if wrong:
        line, record = wrong[0]
        count = max(len(_trimmed(record)), min(len(record), len(header)))
        raise InputError(
            f"{name}, row {line}: the row has {count} cells, and the header {len(header)}; put cells that hold a "
            f'separator, quote or line break in double quotes ("..."){more_rows([line for line, _ in wrong])}'
        )
    again = [
        line for line, record in numbered
        if len(header) > 1 and [cell.strip("\ufeff \t") for cell in _trimmed(record)] == header
    ]  # fmt: skip
    if again:
        raise InputError(
            f"{name}, row {again[0]}: this row is the header once more; remove it{more_rows(again)}"
        )
    for index in (index for index, column in enumerate(header) if index and not column):
        used = [line for line, record in numbered if record[index].strip()]
        if used:
            raise InputError(
                f"{name}, row {used[0]}: cell {index + 1} is under a column without a name; name the column in the "
                f"header, or empty these cells{more_rows(used)}"
            )
