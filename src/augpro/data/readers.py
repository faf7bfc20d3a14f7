"""Reads a CSV, TSV, JSON Lines, JSON or Parquet file into raw rows, with the position of every row.

The meaning of the columns is decided in :mod:`augpro.data.loading`.
"""

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources.abc import Traversable
from itertools import chain
from pathlib import Path, PurePath
from typing import Any

from augpro.data.delimited import read_delimited
from augpro.data.formats import not_a_table, text_of
from augpro.data.json_rows import read_json
from augpro.errors import InputError

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Table:
    """Raw rows, column by column; ``rows[i]`` is the number of row ``i`` in its file, as a user counts it.

    ``files`` holds the first index and the name of each file that the rows came from. ``typed`` is false for
    CSV and TSV, where every cell is a string. ``class_names`` are the names of the class ids of a column. ``notes``
    are what the user should be told about how the file was read.
    """

    columns: dict[str, list[object]]
    rows: Sequence[int]
    files: list[tuple[int, str]]
    typed: bool
    class_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

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
    data = _content(path, name, ending)
    found = None if ending == ".parquet" and data.startswith(b"PAR1") else not_a_table(name, data)
    if found:
        what, fix = found
        said = f"not the {ending} that its ending says" if ending in ENDINGS else "which is not read"
        raise InputError(f"{name}: the file is {what}, {said}; {fix}")
    if ending not in ENDINGS:
        raise _unknown_ending(name, ending)
    if ending == ".parquet":
        table = _read_parquet(name, data)
    elif ending in (".csv", ".tsv"):
        cells = read_delimited(name, text_of(name, data), ending)
        table = Table(cells.columns, cells.rows, [(0, name)], typed=False, notes=tuple(cells.notes))
    else:
        columns, rows = read_json(name, text_of(name, data), ending)
        table = Table(columns, rows, [(0, name)], typed=True)
    if not len(table):
        raise InputError(
            f"{name}: the file has columns ({listed(list(table.columns))}) but no rows; add rows to it"
        )
    return table


def _content(path: Path | Traversable, name: str, ending: str) -> bytes:
    """The bytes of a non-empty file."""
    if path.is_dir():
        raise InputError(f"{name}: this is a folder; give one of the files in it")
    if ending not in ENDINGS and not path.is_file():  # missing, or for example a pipe, which would block
        raise _unknown_ending(name, ending)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{name}: the file cannot be read ({error.strerror or error}); check its path and permissions"
        ) from error
    if not data.removeprefix(_BOM).strip():
        raise InputError(f"{name}: the file is empty; write at least a few rows of text and label into it")
    return data


def _unknown_ending(name: str, ending: str) -> InputError:
    return InputError(
        f"{name}: the ending {ending!r} is not one that can be read; use one of {', '.join(ENDINGS)} "
        "(.csv for cells with commas or semicolons between them, .jsonl for one JSON object a line)"
    )


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
    notes = tuple(dict.fromkeys(note for table in tables for note in table.notes))
    return Table(columns, rows, files, first.typed, first.class_names, notes)


def check_columns(name: str, header: Sequence[str]) -> None:
    """Refuse a table in which two columns have the same name.

    Raises:
        InputError: naming the column.
    """
    doubled = sorted({column for column in header if header.count(column) > 1})
    if doubled:
        raise InputError(f"{name}: column {doubled[0]!r} is there twice; rename or remove one of the two")


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
        raise _damaged(name, error) from error


def parquet_parts(path: Path, most: int, columns: Sequence[str] | None = None) -> Iterator[Table]:
    """The rows of a Parquet file, ``most`` at a time, so that they need not fit into memory.

    Args:
        path: the file.
        most: rows of a part.
        columns: the columns to read; all of them if None.

    Raises:
        InputError: If the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    name, start = str(path), 1
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(most, columns=columns):
                table = arrow_table(name, pa.Table.from_batches([batch]))
                yield replace(table, rows=range(start, start + len(table)))
                start += len(table)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> InputError:
    reason = str(error).split("\n")[0]
    return InputError(f"{name}: the Parquet file is damaged ({reason}); export it again")


def arrow_table(name: str, table: Any) -> Table:
    """Turn a ``pyarrow.Table`` into raw rows, with the class names that ``datasets`` left in its metadata.

    Raises:
        InputError: If two columns have the same name.
    """
    check_columns(name, table.column_names)
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
        return {}  # other metadata: only the optional names are lost
