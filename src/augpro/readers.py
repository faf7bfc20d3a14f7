"""From one file to raw rows: CSV, TSV, JSON Lines, JSON and Parquet, with the place of every row.

Nothing here knows about texts or labels; :mod:`augpro.data` gives the columns their meaning.
"""

import csv
import io
import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from itertools import chain
from pathlib import Path, PurePath
from typing import Any

from augpro.errors import InputError

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
_BOM = b"\xef\xbb\xbf"
# First bytes of formats that people rename, or export under a wrong name.
_MAGIC = {
    b"PAR1": "a Parquet file",
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\x1f\x8b": "gzip-compressed",
    b"\x89PNG": "a PNG image",
}


@dataclass(frozen=True)
class Table:
    """Raw rows, column by column; ``rows[i]`` is the number of row ``i`` in its file, as a user counts it.

    ``files`` holds the first index and the name of each file that the rows came from. ``typed`` is false for
    CSV and TSV, where every cell is a string. ``class_names`` are the names of the class ids of a column.
    """

    columns: dict[str, list[object]]
    rows: Sequence[int]
    files: list[tuple[int, str]]
    typed: bool
    class_names: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def source(self) -> str:
        """The file that the rows came from; the first of several shards."""
        more = len(self.files) - 1
        return self.files[0][1] + (f" (and {more} more)" if more else "")

    def place(self, index: int, column: str) -> str:
        """Say where a cell is: file, row and column."""
        part = bisect_right(self.files, index, key=lambda start_and_file: start_and_file[0]) - 1
        return f"{self.files[part][1]}, row {self.rows[index]}, column {column!r}"


def listed(names: Sequence[str], most: int = 20) -> str:
    """Enumerate names for a message, at most ``most`` of them."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more


def read_table(path: Path | Traversable) -> Table:
    """Read one file in the format that its ending says.

    Raises:
        InputError: If the file cannot be read, is empty, or is not what its ending says.
    """
    name, ending = str(path), PurePath(path.name).suffix.lower()
    if ending not in ENDINGS:
        raise InputError(
            f"{name}: the ending {ending!r} is not one that can be read; use one of {', '.join(ENDINGS)}"
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{name}: the file cannot be read ({error.strerror or error}); check its path and permissions"
        ) from error
    if not data.removeprefix(_BOM).strip():
        raise InputError(f"{name}: the file is empty; write at least a few rows of text and label into it")
    if ending == ".parquet":
        table = _read_parquet(name, data)
    elif ending in (".csv", ".tsv"):
        table = _read_csv(name, _decode(name, ending, data), "," if ending == ".csv" else "\t")
    else:
        table = _read_json(name, _decode(name, ending, data), ending)
    if not len(table):
        raise InputError(
            f"{name}: the file has columns ({listed(list(table.columns))}) but no rows; add rows to it"
        )
    return table


def join_tables(tables: Sequence[Table]) -> Table:
    """Put the shards of one split one after the other.

    Raises:
        InputError: If a shard has other columns, or other class names, than the first.
    """
    first = tables[0]
    files: list[tuple[int, str]] = []
    start = 0
    for table in tables:
        if set(table.columns) != set(first.columns) or table.class_names != first.class_names:
            raise InputError(
                f"{table.source}: its columns ({listed(list(table.columns))}) or class names are not those "
                f"of {first.source} ({listed(list(first.columns))}); write all shards of a split alike"
            )
        files += [(start + offset, file) for offset, file in table.files]
        start += len(table)
    columns = {name: list(chain.from_iterable(t.columns[name] for t in tables)) for name in first.columns}
    rows = list(chain.from_iterable(t.rows for t in tables))
    return Table(columns, rows, files, first.typed, first.class_names)


def _decode(name: str, ending: str, data: bytes) -> str:
    for magic, what in _MAGIC.items():
        if data.startswith(magic):
            raise InputError(
                f"{name}: the file is {what}, not the {ending} that its ending says; "
                f"rename it, or unpack or export it as {ending}"
            )
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(
            f"{name}: the file is not UTF-8 (byte 0, row 1) but UTF-16; "
            f"convert it: iconv -f utf-16 -t utf-8 {name} > utf8{ending}"
        )
    if (nul := data.find(b"\0")) >= 0:
        row = data.count(b"\n", 0, nul) + 1
        raise InputError(
            f"{name}, row {row}: the file holds a NUL byte (byte {nul}), so it is not "
            f"the {ending} text that its ending says; export it again as {ending} in UTF-8"
        )
    body = data.removeprefix(_BOM)
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        offset = error.start + len(data) - len(body)
        row = data.count(b"\n", 0, offset) + 1
        raise InputError(
            f"{name}, row {row}: the file is not UTF-8 (byte {offset}); "
            f"convert it: iconv -f latin1 -t utf-8 {name} > utf8{ending}"
        ) from error


def _check_header(name: str, header: Sequence[str]) -> None:
    doubled = sorted({column for column in header if header.count(column) > 1})
    if doubled:
        raise InputError(f"{name}: column {doubled[0]!r} is there twice; rename or remove one of the two")


def _read_csv(name: str, text: str, delimiter: str) -> Table:
    # The limit guards servers against huge cells; here the file already is in memory.
    csv.field_size_limit(max(csv.field_size_limit(), 2**31 - 1))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    records: list[list[str]] = []
    rows: list[int] = []
    start = 1
    try:
        for record in reader:
            line, start = start, reader.line_num + 1
            if not record:  # a blank line
                continue
            if not header:
                header = [column.strip() for column in record]
                _check_csv_header(name, header, delimiter)
                continue
            if len(record) != len(header):
                raise InputError(
                    f"{name}, row {line}: the row has {len(record)} cells, and the header {len(header)}; "
                    'put cells that hold a separator, quote or line break in double quotes ("...")'
                )
            if delimiter == "\t" and any("\t" in cell and "\n" in cell for cell in record):
                raise InputError(
                    f"{name}, row {line}: a quote opened here takes in whole rows, up to row {reader.line_num}; "
                    'put cells that hold a quote in double quotes and write each quote within twice ("")'
                )
            records.append(record)
            rows.append(line)
    except csv.Error as error:
        raise InputError(
            f"{name}, row {start}: the quotes of this row do not fit together ({error}); "
            'put the cell in double quotes and write each quote within it twice ("")'
        ) from error
    cells = zip(*records, strict=True) if records else ([] for _ in header)
    columns: dict[str, list[object]] = {c: list(v) for c, v in zip(header, cells, strict=True)}
    return Table(columns, rows, [(0, name)], typed=False)


def _check_csv_header(name: str, header: list[str], delimiter: str) -> None:
    _check_header(name, header)
    # One column alone would be taken for the text, with the labels inside it.
    other = next((mark for mark in ";\t,|" if mark in header[0] and mark != delimiter), None)
    if len(header) == 1 and other:
        raise InputError(
            f"{name}, row 1: the header {header[0]!r} looks separated by {other!r}, not by {delimiter!r}; "
            "export the file with commas as .csv or with tabs as .tsv"
        )


def _no_double_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"column {next(k for k in keys if keys.count(k) > 1)!r} is there twice")
    return record


def _read_json(name: str, text: str, ending: str) -> Table:
    if ending == ".json" and text.lstrip().startswith("["):
        try:
            values = json.loads(text, object_pairs_hook=_no_double_keys)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{name}: the file is not valid JSON ({_reason(error)}); "
                "write one array of objects, or one object a line"
            ) from error
        numbered = list(enumerate(values, 1))
    else:
        # Not splitlines(): JSON strings may hold U+2028 and the like, which no editor counts as a line.
        lines = enumerate(text.split("\n"), 1)
        numbered = [(number, _parse_line(name, number, line)) for number, line in lines if line.strip()]
    columns: dict[str, list[object]] = {}
    for count, (number, record) in enumerate(numbered):
        if not isinstance(record, dict):
            raise InputError(
                f"{name}, row {number}: this is not a JSON object; "
                'write each row as one object such as {"text": "...", "label": "..."}'
            )
        for key in record:
            if key not in columns:
                columns[key] = [None] * count
        for key, cells in columns.items():
            cells.append(record.get(key))
    return Table(columns, [number for number, _ in numbered], [(0, name)], typed=True)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _parse_line(name: str, number: int, line: str) -> object:
    try:
        return json.loads(line, object_pairs_hook=_no_double_keys)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{name}, row {number}: this line is not a JSON object ({_reason(error)}); "
            'write each row on one line such as {"text": "...", "label": "..."}'
        ) from error


def _read_parquet(name: str, data: bytes) -> Table:
    if not (data.startswith(b"PAR1") and data.endswith(b"PAR1")):
        raise InputError(
            f"{name}: the file is not the Parquet that its ending says, or was cut short; "
            "download or export it again, or rename it to the ending of its format"
        )
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return arrow_table(name, pq.ParquetFile(pa.BufferReader(data)).read())
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"{name}: the Parquet file is damaged ({reason}); export it again") from error


def arrow_table(name: str, table: Any) -> Table:
    """Turn a ``pyarrow.Table`` into raw rows, with the class names that ``datasets`` left in its metadata.

    Raises:
        InputError: If two columns have the same name.
    """
    _check_header(name, table.column_names)
    columns: dict[str, list[object]] = {c: table.column(c).to_pylist() for c in table.column_names}
    names = _class_names((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    return Table(columns, range(1, table.num_rows + 1), [(0, name)], typed=True, class_names=names)


def _class_names(metadata: bytes) -> dict[str, tuple[str, ...]]:
    try:
        features = json.loads(metadata)["info"]["features"]
        inner = {column: feature.get("feature", feature) for column, feature in features.items()}
        return {
            column: tuple(map(str, feature["names"]))
            for column, feature in inner.items()
            if feature.get("_type") == "ClassLabel" and feature.get("names")
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}  # metadata of another kind: only the names are lost, and they are optional
