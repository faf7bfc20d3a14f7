"""The label store: one SQLite file with every answer of every teacher, text by text.

What a label belongs to is in :mod:`augpro.teachers.labels`.
Every batch of answers is one transaction, so a kill loses the answers in flight. Several processes may read and write
(write-ahead log); of two that compute the same label one is kept, and both are equal. Every row has a checksum.
"""

import logging
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from augpro.errors import InputError
from augpro.files.durable import make_folder
from augpro.results.output import check_folder
from augpro.teachers.labels import Label, LabelSummary, TeacherRecord

FILE = "labels.sqlite"
_APPLICATION = int.from_bytes(b"augL", "big")  # marks the file as a label store
_VERSION = 1
_MAGIC = b"SQLite format 3\x00"
_WAIT = 60.0  # seconds for another process to end its transaction
_KEYS_AT_ONCE = 500
_TEACHER = "identity, name, kind, model, tokenizer, precision, tokens, longest, classes, config"
_COLUMNS = "id, key, text, pair, logits, crc, seconds, date"
_SCHEMA = """
CREATE TABLE teachers (
    id INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE, name TEXT NOT NULL, kind TEXT NOT NULL,
    model TEXT NOT NULL, tokenizer TEXT NOT NULL, precision TEXT NOT NULL, tokens INTEGER NOT NULL,
    longest INTEGER NOT NULL, classes INTEGER NOT NULL, config TEXT NOT NULL,
    seen INTEGER NOT NULL, checksum INTEGER NOT NULL
);
CREATE TABLE labels (
    id INTEGER PRIMARY KEY, teacher INTEGER NOT NULL REFERENCES teachers (id), key BLOB NOT NULL,
    text TEXT NOT NULL, pair TEXT, logits BLOB NOT NULL, crc INTEGER NOT NULL, seconds REAL NOT NULL,
    date INTEGER NOT NULL, UNIQUE (teacher, key)
);
"""
_PROBLEMS = {
    sqlite3.SQLITE_NOTADB: "is no label store; name another file as --label-store",
    sqlite3.SQLITE_CORRUPT: "is damaged; move it away, and its labels are made anew, or restore a copy",
    sqlite3.SQLITE_FULL: "cannot grow, because the disk is full; make room there or give another --label-store",
    sqlite3.SQLITE_BUSY: "is locked by another program for too long; end that program",
}
log = logging.getLogger(__name__)


def store_path(path: Path) -> Path:
    """The file of a label store: the path itself, or ``labels.sqlite`` in it if it is, or would be, a folder."""
    return path / FILE if path.is_dir() or (not path.exists() and not path.suffix) else path


def check_store(path: Path) -> list[str]:
    """Check a label store without opening or making it.

    Args:
        path: as of ``--label-store``.

    Returns:
        Notes about files of earlier versions in its folder, whose labels cannot be found by text.

    Raises:
        InputError: if it cannot be written, or is another file.
    """
    file = store_path(path)
    check_folder(file.parent, "--label-store")
    with _one_sentence(file), suppress(FileNotFoundError):
        with open(file, "rb+") as opened:
            header = opened.read(100)
        if header and (header[:16] != _MAGIC or int.from_bytes(header[68:72], "big") != _APPLICATION):
            raise InputError(f"{file}: {_PROBLEMS[sqlite3.SQLITE_NOTADB]}.")
    old = [] if file == path else [found for found in path.glob("*.safetensors") if len(found.stem) == 32]
    note = (
        f"{path} holds {len(old)} label files of an earlier version of augpro, which are not read: their logits "
        f"depended on other rows; the labels are made anew in {FILE}, and the old files can be deleted"
    )
    return [note] if old else []


class LabelStore:
    """A label store; the file is made when it is first used.

    Args:
        path: a file, or a folder, see :func:`store_path`.
        wait: seconds for another process to end its transaction; a minute if None.

    Raises:
        InputError: by every method, if the file is another one, damaged, or cannot be written.
    """

    def __init__(self, path: Path, wait: float | None = None) -> None:
        self.path, self._wait = store_path(path), _WAIT if wait is None else wait
        self._numbers: dict[str, int] = {}
        self._opened: tuple[int, int] | None = None

    def read(self, teacher: TeacherRecord, keys: Sequence[bytes]) -> dict[bytes, Label]:
        """The labels of those keys that are stored; damaged ones are removed, with a warning."""
        found: dict[bytes, Label] = {}
        with _one_sentence(self.path):
            self._follow()
            number = self._number(teacher)
            for start in range(0, len(keys), _KEYS_AT_ONCE):
                part = keys[start : start + _KEYS_AT_ONCE]
                marks = ",".join("?" * len(part))
                query = f"SELECT {_COLUMNS} FROM labels WHERE teacher = ? AND key IN ({marks})"
                for row in self.connection.execute(query, [number, *part]).fetchall():
                    label = _checked(row, teacher.identity)
                    if label is None:
                        log.warning("%s: the label of %.60r is damaged and was removed", self.path, row[2])
                        self.remove([row[0]])
                    else:
                        found[label.key] = label
        return found

    def write(self, teacher: TeacherRecord, labels: Sequence[Label]) -> int:
        """Add labels in one transaction; those that are there stay. Returns how many were added."""
        with _one_sentence(self.path), self._transaction():
            number, before = self._number(teacher), self.connection.total_changes
            self.connection.executemany(
                "INSERT OR IGNORE INTO labels (teacher, key, text, pair, logits, crc, seconds, date)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (number, label.key, label.text, label.pair, label.logits.tobytes(),
                     label.checksum(teacher.identity), label.seconds, label.date or int(time.time()))
                    for label in labels
                ],
            )  # fmt: skip
            return self.connection.total_changes - before

    def remove(self, rows: Sequence[int]) -> None:
        """Remove rows of the table of labels."""
        with _one_sentence(self.path), self._transaction():
            self.connection.executemany("DELETE FROM labels WHERE id = ?", [(row,) for row in rows])

    def teachers(self) -> list[TeacherRecord]:
        """All teachers, the one that was used last at the end."""
        query = f"SELECT {_TEACHER}, checksum FROM teachers ORDER BY seen, id"
        with _one_sentence(self.path):
            rows = [(TeacherRecord(*row), crc) for *row, crc in self.connection.execute(query)]
        for teacher, crc in rows:
            if teacher.checksum() != crc:
                raise InputError(
                    f"{self.path}: the description of the teacher {str(teacher.name)!r} is damaged; start a run with "
                    "that teacher and this label store, which writes it anew."
                )
        return [teacher for teacher, _ in rows]

    def rows(self) -> Iterator[tuple[int, str, Label | None]]:
        """Everything in the file: the number of the row, its teacher's identity, and the label; None if damaged."""
        query = f"SELECT labels.{_COLUMNS}, identity FROM labels LEFT JOIN teachers ON teachers.id = teacher"
        with _one_sentence(self.path):
            for *row, identity in self.connection.execute(f"{query} ORDER BY labels.id"):
                yield row[0], str(identity), _checked(row, str(identity))

    def summary(self) -> list[tuple[TeacherRecord, LabelSummary]]:
        """Every teacher with the sum of its labels, the first seen first."""
        size = "LENGTH(logits) + LENGTH(CAST(text AS BLOB)) + COALESCE(LENGTH(CAST(pair AS BLOB)), 0)"
        query = f"""
            SELECT identity, COUNT(*), MIN(date), MAX(date), SUM({size})
            FROM labels JOIN teachers ON teachers.id = teacher GROUP BY teacher
        """
        with _one_sentence(self.path):
            sums = {row[0]: LabelSummary(*row[1:]) for row in self.connection.execute(query)}
        return [(teacher, sums.get(teacher.identity, LabelSummary())) for teacher in self.teachers()]

    def check_structure(self) -> None:
        """Raise ``InputError`` if a page of the file is damaged; checksums are another matter."""
        with _one_sentence(self.path):
            (found,) = self.connection.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise InputError(f"{self.path}: {_PROBLEMS[sqlite3.SQLITE_CORRUPT]}.")

    def _number(self, teacher: TeacherRecord) -> int:
        """The teacher's number in the file; it is described there as it is now."""
        if teacher.identity not in self._numbers:
            values = (*vars(teacher).values(), time.time_ns(), teacher.checksum())
            marks = ", ".join("?" * len(values))
            new = ", ".join(f"{name} = excluded.{name}" for name in (*vars(teacher), "seen", "checksum"))
            self.connection.execute(
                f"INSERT INTO teachers ({_TEACHER}, seen, checksum) VALUES ({marks})"
                f" ON CONFLICT (identity) DO UPDATE SET {new}", values
            )  # fmt: skip
            query = "SELECT id FROM teachers WHERE identity = ?"
            (self._numbers[teacher.identity],) = self.connection.execute(query, [teacher.identity]).fetchone()
        return self._numbers[teacher.identity]

    @cached_property
    def connection(self) -> sqlite3.Connection:
        """The open file."""
        make_folder(self.path.parent)
        connection = sqlite3.connect(
            self.path, timeout=self._wait, isolation_level=None, check_same_thread=False
        )
        connection.text_factory = partial(
            str, encoding="utf-8", errors="replace"
        )  # damage shows in the checksum
        self._set_up(connection)
        self._opened = self._place()
        return connection

    def _place(self) -> tuple[int, int] | None:
        """What tells the file that has the name from another one; None if there is none."""
        with suppress(FileNotFoundError, NotADirectoryError):
            found = self.path.stat()
            return found.st_dev, found.st_ino
        return None

    def _follow(self) -> None:
        """Open the file that has the name now: what goes into one that was deleted or moved away is lost."""
        if "connection" in vars(self) and self._place() != self._opened:
            self.connection.close()
            del self.connection
            self._numbers.clear()

    def _set_up(self, connection: sqlite3.Connection) -> None:
        """Make the tables of a new file; refuse one that is not ours."""
        connection.execute("BEGIN IMMEDIATE")
        (application,), (version,) = (
            connection.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
        )
        if not application and not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        elif application != _APPLICATION:
            raise InputError(f"{self.path}: {_PROBLEMS[sqlite3.SQLITE_NOTADB]}.")
        elif version > _VERSION:
            raise InputError(f"{self.path}: was written by a later version of augpro; update augpro.")
        connection.execute("COMMIT")
        connection.execute("PRAGMA synchronous = NORMAL")
        until = time.monotonic() + self._wait
        while True:
            try:
                connection.execute(
                    "PRAGMA journal_mode = WAL"
                )  # some file systems keep the slower rollback journal
                return
            except sqlite3.OperationalError as error:  # does not wait for others by itself
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(0.01)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._follow()
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            self._numbers.clear()
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise


def _checked(row: Sequence[Any], identity: str) -> Label | None:
    """The label in a row of the table; None if its checksum is another."""
    _, key, text, pair, logits, crc, seconds, date = row
    blobs = isinstance(key, bytes) and isinstance(logits, bytes) and len(logits) % 4 == 0
    if not blobs or not isinstance(text, str) or not isinstance(pair, str | None):
        return None
    label = Label(key, np.frombuffer(logits, dtype=np.float32), text, pair, float(seconds), int(date))
    return label if label.checksum(identity) == crc else None


@contextmanager
def _one_sentence(path: Path) -> Iterator[None]:
    """What SQLite or the system says of the file, as an ``InputError`` with the fix."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without the details
        problem = f"cannot be used ({error}); change its permissions or give another --label-store"
        raise InputError(f"{path}: {_PROBLEMS.get(code, problem)}.") from error
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"{path}: cannot be written ({reason}); change its permissions or give another --label-store."
        ) from error
