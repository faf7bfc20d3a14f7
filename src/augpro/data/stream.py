"""The texts of a train split, some rows at a time, for data that need not fit into memory.

CSV, TSV, JSON Lines and Parquet files are read in parts; any other source is loaded whole. The rules are those of
:mod:`augpro.data.loading`: the same rows, the same checks, the same errors. Labels are not read.
"""

import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path

from augpro.data.columns import Columns, check_second_texts, choose_columns, read_texts
from augpro.data.delimited import delimited_parts
from augpro.data.formats import not_a_table, text_of
from augpro.data.json_rows import read_json
from augpro.data.loading import fitting_glue
from augpro.data.readers import Table, parquet_parts, read_table
from augpro.data.sources import EMBEDDED, Source, is_saved, open_source, split_files
from augpro.data.spec import DataSpec, check_spec
from augpro.errors import InputError
from augpro.files.checksums import file_content
from augpro.tasks import GLUE
from augpro.values import at_home

PART_ROWS = 4096
_HEAD = 1 << 16  # bytes by which a file of another format is recognized

Texts = tuple[list[str], list[str] | None]  # of some rows, and their second texts


@dataclass(frozen=True)
class TrainRows:
    """The rows of a train split, read anew every time.

    Attributes:
        source: the file or data set, for messages.
        lone: whether there is no other split, so that validation rows are taken from this one.
        columns: names of the columns of the texts.
        notes: what the user should be told.
        files: the files; empty for a source that was loaded whole.
        table: the rows of such a source.
    """

    source: str
    lone: bool
    columns: Columns
    notes: tuple[str, ...]
    files: tuple[Path, ...] = ()
    table: Table | None = None

    def parts(self) -> Iterator[Texts]:
        """The texts of up to 4,096 rows at a time, checked.

        Raises:
            InputError: If a row has no text, or a file cannot be read; the message says where.
        """
        names = [name for name in (self.columns.text, self.columns.pair) if name is not None]
        tables = (
            [self.table] if self.table else (part for file in self.files for part in file_parts(file, names))
        )
        for table in tables:
            there = {name: table.columns.get(name, [None] * len(table)) for name in names}
            whole = replace(table, columns=there)
            yield read_texts([whole], self.columns.text, self.columns.pair)[0]

    def fingerprint(self) -> str:
        """Hash of the files' content, or of the texts of a source that was loaded whole."""
        digest = hashlib.blake2b(digest_size=16)
        for path in self.files:
            digest.update(file_content(path))
        if self.table:
            for column in self.parts():
                digest.update(repr(column).encode())
        return digest.hexdigest()


def open_train_rows(spec: DataSpec) -> TrainRows:
    """Find the train split that ``spec`` names and its columns; reads the first rows.

    Raises:
        InputError: If there is none, or a column is missing.
    """
    check_spec(spec)
    files: tuple[Path, ...] = ()
    found = _train_files(at_home(spec.source))
    if found is None:
        source = open_source(spec.source)
        lone = source.tables.keys() == {"train"}
    else:
        files, lone = found
        first = next(file_parts(files[0]))
        name = Path(at_home(spec.source)).resolve().name
        source = Source(spec.source, {"train": first}, GLUE.get(f"glue/{name.lower()}"))
    if "train" not in source.tables:
        raise InputError(
            f"{spec.source}: there is no train split (there are {', '.join(source.tables)}); add one to augment."
        )
    table, notes = source.tables["train"], [*source.notes]
    if glue := fitting_glue(spec, source):
        columns = Columns(glue.text_column, glue.pair_column, glue.label_column)
    else:
        columns, guessed = choose_columns(
            {"train": table}, spec.text_column, spec.pair_column, spec.label_column
        )
        notes += guessed[: len(guessed) - (columns.label is None)]  # labels are not read
    read_texts(
        [table], columns.text, columns.pair, columns.pair is not None and not (spec.pair_column or glue)
    )
    check_second_texts([table], columns, spec.classes)
    notes += table.notes
    return TrainRows(
        table.source, lone, columns, tuple(notes), files, None if found else source.tables["train"]
    )


def _train_files(source: str) -> tuple[tuple[Path, ...], bool] | None:
    """The files of the train split, and whether there is no other split; None if the source is loaded whole."""
    path = Path(source or "./")
    if source in (EMBEDDED, "") or not os.path.exists(path) or (path.is_dir() and is_saved(path)):
        return None
    if not path.is_dir():
        return (path,), True
    splits = split_files(path)
    return (tuple(splits["train"]), len(splits) == 1) if "train" in splits else None


def file_parts(path: Path, columns: Sequence[str] | None = None) -> Iterator[Table]:
    """The rows of a file, in the format that its ending says, up to 4,096 at a time where the format allows it.

    Args:
        path: the file.
        columns: the columns that are needed; all if None.

    Raises:
        InputError: as :func:`augpro.data.readers.read_table`.
    """
    ending = path.suffix.lower()
    readers: dict[str, Callable[[Path], Iterator[Table]]] = {
        **dict.fromkeys((".csv", ".tsv"), _delimited),
        **dict.fromkeys((".jsonl", ".ndjson"), _json_lines),
        ".parquet": partial(parquet_parts, most=PART_ROWS, columns=columns),
    }
    if ending not in readers or not path.is_file() or not _is_usual(path, ending):
        yield read_table(path)  # or it says what is wrong
        return
    rows = 0
    try:
        for table in readers[ending](path):
            rows += len(table)
            if len(table):
                yield table
    except (UnicodeDecodeError, InputError):
        read_table(path)  # which sees the whole file, and names every such row
        raise
    if not rows:
        read_table(path)


def text_lines(path: Path, most: int) -> Iterator[list[str]]:
    """The lines of a text file that are not blank, ``most`` of the file's at a time.

    Raises:
        InputError: If it is not text in UTF-8; the message says what it is.
        OSError: If it cannot be read.
    """
    with open(path, "rb") as file:
        kind = not_a_table(str(path), file.read(_HEAD))
        if kind:
            raise InputError(f"{path}: the file is {kind[0]}, not a text a line; {kind[1]}")
        file.seek(0)
        try:
            for lines in iter(lambda: list(islice(file, most)), []):
                text = text_of(str(path), b"".join(lines))
                found = [line.rstrip("\n") for line in io.StringIO(text, newline=None) if line.strip()]
                if found:
                    yield found
        except InputError:
            text_of(str(path), path.read_bytes())  # which sees the whole file, and names its rows
            raise


def _is_usual(path: Path, ending: str) -> bool:
    """Whether the file begins as its ending says."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    if ending == ".parquet":
        return head.startswith(b"PAR1")
    return bool(head.strip()) and not_a_table(str(path), head) is None


def _delimited(path: Path) -> Iterator[Table]:
    name = str(path)
    with open(path, encoding="utf-8-sig", newline="") as file:
        for cells in delimited_parts(name, file, path.suffix.lower(), PART_ROWS):
            texts = chain(cells.columns, *cells.columns.values())
            if any("\0" in str(cell) for cell in texts):
                raise InputError(f"{name}: the file holds a NUL byte, which no text does; remove it")
            yield Table(cells.columns, cells.rows, [(0, name)], typed=False, notes=tuple(cells.notes))


def _json_lines(path: Path) -> Iterator[Table]:
    name, before = str(path), 0
    with open(path, "rb") as file:
        while lines := list(islice(file, PART_ROWS)):
            text = text_of(name, b"".join(lines))
            columns, rows = read_json(
                name, text, path.suffix.lower(), part=before > 0 or len(lines) == PART_ROWS
            )
            yield Table(columns, [before + row for row in rows], [(0, name)], typed=True)
            before += len(lines)
