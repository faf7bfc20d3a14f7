"""The training rows on disk, in the order of training, so that each shard reads only its own.

The texts are read once from the data, some rows at a time, and written one after the other to a file; an array holds
where each begins. Files and arrays are read through memory maps. They are removed when all shards are made.
"""

import logging
import shutil
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from augpro.data.division import divided_rows
from augpro.data.same_text import row_keys
from augpro.data.spec import DataSpec
from augpro.data.stream import Texts, TrainRows
from augpro.files.checksums import SUMS, DamagedError, check_sums, write_sums
from augpro.files.durable import new_folder, writing

Places = Any  # an ``array`` of int64; the class takes no type of its items in Python 3.11
ROWS = "rows"  # folder in that of the shards
log = logging.getLogger(__name__)
_TEXT, _STARTS, _ORDER = "texts.utf8", "starts.npy", "order.npy"


@dataclass(frozen=True)
class StoredRows:
    """Rows that :func:`store_rows` has written.

    Attributes:
        folder: of the rows.
    """

    folder: Path

    def texts(self, first: int, end: int) -> Texts:
        """The texts of the training rows with these ids, from ``first`` to ``end``, and their second texts."""
        starts, order = (
            np.load(self.folder / name, mmap_mode="r", allow_pickle=False) for name in (_STARTS, _ORDER)
        )
        with open(self.folder / _TEXT, "rb") as file:
            columns = [
                [
                    _read(file, starts[row, column], starts[row, column + 1])
                    for row in order[first:end].tolist()
                ]
                for column in range(starts.shape[1] - 1)
            ]
        return columns[0], columns[1] if len(columns) > 1 else None


def _read(file: BinaryIO, start: int, end: int) -> str:
    file.seek(start)
    return file.read(end - start).decode()


def count_rows(rows: TrainRows, spec: DataSpec) -> int:
    """Number of training rows; reads and checks all of the data, and writes nothing.

    Raises:
        InputError: if a row has no text, or there are too few rows.
    """
    return len(_order(rows, spec, _keys(rows.parts())))


def store_rows(rows: TrainRows, spec: DataSpec, folder: Path) -> int:
    """Write the rows to a new folder, whole or not at all.

    Args:
        rows: the train split of the data.
        spec: which of its rows are trained on, and their order.
        folder: in which a folder ``rows`` is made.

    Returns:
        Number of training rows.

    Raises:
        InputError: as :func:`count_rows`.
    """
    with writing(folder), new_folder(folder / ROWS) as temporary:
        starts = array("q")
        with open(temporary / _TEXT, "wb") as file:
            keys = _keys(_copied(rows.parts(), file, starts))
        order = _order(rows, spec, keys)
        np.save(
            temporary / _STARTS, np.frombuffer(starts, np.int64).reshape(len(keys), -1), allow_pickle=False
        )
        np.save(temporary / _ORDER, np.frombuffer(order, np.int64), allow_pickle=False)
        write_sums(temporary)
    return len(order)


def rows_are_whole(folder: Path) -> bool:
    """Whether the rows of :func:`store_rows` are there as they were written."""
    try:
        check_sums(folder / ROWS, complete=True)
    except DamagedError as error:
        log.warning("note: %s, so the training rows are stored again", error)
        return False
    return (folder / ROWS / SUMS).is_file()


def remove_rows(folder: Path) -> None:
    """Remove the rows of :func:`store_rows`, and what a killed one has left."""
    for path in (folder / ROWS, *folder.glob(f".{ROWS}.*")):
        shutil.rmtree(path, ignore_errors=True)


def _order(rows: TrainRows, spec: DataSpec, keys: Places) -> Places:
    order = divided_rows(spec, keys, rows.source, rows.lone)["train"]
    return order if isinstance(order, array) else array("q", order)


def _keys(parts: Iterator[Texts]) -> Places:
    keys = array("q")
    for texts, pairs in parts:
        keys.extend(row_keys(texts, pairs))
    return keys


def _copied(parts: Iterator[Texts], file: BinaryIO, starts: Places) -> Iterator[Texts]:
    """The parts as they are; their texts are written to the file, and the places of each row to ``starts``.

    The places of a row are the start of its text, of its second text if there is one, and the end.
    """
    place = 0
    for texts, pairs in parts:
        for row in zip(texts, strict=True) if pairs is None else zip(texts, pairs, strict=True):
            starts.append(place)
            for text in row:
                place += file.write(text.encode())
                starts.append(place)
        yield texts, pairs
