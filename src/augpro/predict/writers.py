"""Tables written some rows at a time, in the format that the ending says."""

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from augpro.errors import InputError
from augpro.files.durable import plain_json

Columns = dict[str, list[object]]
Write = Callable[[Columns], None]
ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")


@contextmanager
def writing(path: Path, ending: str, name: str) -> Iterator[Write]:
    """What appends rows to a new file.

    Args:
        path: of the file.
        ending: decides the format.
        name: of the file that the rows come from, for messages.
    """
    kinds = {".csv": _delimited, ".tsv": _delimited, ".jsonl": _json_lines, ".parquet": _parquet}
    with kinds[ending](path, ending, name) as write:

        def checked(columns: Columns) -> None:
            with _friendly(name):
                write(columns)

        yield checked


@contextmanager
def _friendly(name: str) -> Iterator[None]:
    """One sentence for values that were read, and that no file or not this one can hold."""
    try:
        yield
    except UnicodeEncodeError as error:
        raise InputError(
            f"{name}: a column or its name holds half of a surrogate pair, which is no character; remove it."
        ) from error
    except RecursionError as error:
        raise InputError(
            f"{name}: a cell holds lists or objects too deep in one another; leave that column out."
        ) from error


@contextmanager
def _delimited(path: Path, ending: str, name: str) -> Iterator[Write]:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="," if ending == ".csv" else "\t", lineterminator="\n")
        header: list[str] = []

        def write(columns: Columns) -> None:
            if not header:
                header.extend(columns)
                writer.writerow(header)
            _check_columns(header, columns, name)
            lines = zip(*(columns[column] for column in header), strict=True)
            writer.writerows([_cell(value) for value in line] for line in lines)

        yield write


def _cell(value: object) -> object:
    return (
        json.dumps(plain_json(value), ensure_ascii=False, default=str)
        if isinstance(value, list | dict)
        else value
    )


@contextmanager
def _json_lines(path: Path, ending: str, name: str) -> Iterator[Write]:
    with open(path, "w", encoding="utf-8") as file:

        def write(columns: Columns) -> None:
            for line in zip(*columns.values(), strict=True):
                row = plain_json(dict(zip(columns, line, strict=True)))
                file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")

        yield write


@contextmanager
def _parquet(path: Path, ending: str, name: str) -> Iterator[Write]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    held: list[Any] = []

    def write(columns: Columns) -> None:
        try:
            if not held:
                table = pa.table(columns)
                # A column without a value so far can hold any; most are texts.
                fields = [
                    field.with_type(pa.string()) if pa.types.is_null(field.type) else field
                    for field in table.schema
                ]
                held.append(pq.ParquetWriter(path, pa.schema(fields)))
            _check_columns(held[0].schema.names, columns, name)
            held[0].write_table(pa.table(columns, schema=held[0].schema))
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"{name}: a column holds values of several types, or too large ones, which Parquet does not "
                f"({reason}); give an --out that ends in .jsonl."
            ) from error

    try:
        yield write
    finally:
        for writer in held:
            writer.close()


def _check_columns(header: list[str], columns: Columns, name: str) -> None:
    new = [column for column in columns if column not in header]
    if new:
        raise InputError(
            f"{name}: column {new[0]!r} is not in the first rows, whose columns the file to write has; give an --out "
            "that ends in .jsonl, or write the column in the first row too."
        )
    for column in header:
        columns.setdefault(column, [None] * len(next(iter(columns.values()))))
