"""What people do with a label store: look at it, check it, and carry its labels to another machine as Parquet."""

import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from augpro.errors import InputError
from augpro.files.checksums import sealed, unsealed
from augpro.files.durable import replacement
from augpro.results.output import check_file, claim_file
from augpro.tasks import HF_PROBLEM_TYPE
from augpro.teachers.labels import Label, TeacherRecord
from augpro.teachers.store import LabelStore, check_store, store_path

_ROWS_AT_ONCE = 4096
_TEACHERS = b"augpro teachers"  # key of the file's metadata
_COUNT = "augpro labels"  # how many there are, so that none is lost
_CRC = "crc"  # of a row; files of earlier versions have none
_SCHEMA = pa.schema(
    {
        "text": pa.string(),
        "pair": pa.string(),
        "key": pa.binary(16),
        "logits": pa.list_(pa.float32()),
        "label": pa.string(),
        "score": pa.float32(),
        "teacher": pa.string(),
        "identity": pa.string(),
        "date": pa.timestamp("s", tz="UTC"),
        "seconds": pa.float64(),
        _CRC: pa.uint32(),
    }
)


def open_store(path: Path) -> LabelStore:
    """A label store that is there.

    Raises:
        InputError: if there is none.
    """
    if not store_path(path).is_file():
        raise InputError(f"{store_path(path)}: there is no label store; name the file of --label-store.")
    check_store(path)
    return LabelStore(path)


@dataclass(frozen=True)
class Verified:
    """The result of checking every label.

    Attributes:
        labels: how many there are.
        damaged: number of the row and name of the teacher of those whose checksum is another.
    """

    labels: int
    damaged: list[tuple[int, str]]


def verify_labels(store: LabelStore, drop: bool = False) -> Verified:
    """Check the checksum of every label; with ``drop``, remove the damaged ones.

    Raises:
        InputError: if SQLite cannot read the file.
    """
    store.check_structure()
    names = {teacher.identity: teacher.name for teacher in store.teachers()}
    labels, damaged = 0, []
    for row, identity, label in store.rows():
        labels += 1
        if label is None:
            damaged.append((row, names.get(identity, "an unknown teacher")))
    if drop:
        store.remove([row for row, _ in damaged])
    return Verified(labels, damaged)


def export_labels(store: LabelStore, out: Path) -> int:
    """Write all labels to a Parquet file, which is whole or not there; damaged ones are left out.

    Args:
        store: the labels.
        out: the file; one that is there is replaced.

    Returns:
        How many were written.

    Raises:
        InputError: if the file cannot be written.
    """
    check_file(out, [store.path])
    if out.is_file() and not _is_parquet(out):
        raise InputError(f"{out}: is no Parquet file, and would be replaced by one; give another --out.")
    claim_file(out)
    teachers = {teacher.identity: teacher for teacher in store.teachers()}
    records = json.dumps([sealed(asdict(teacher)) for teacher in teachers.values()])
    schema, count = _SCHEMA.with_metadata({_TEACHERS: records.encode()}), 0
    rows = (_exported(label, teachers[identity]) for _, identity, label in store.rows() if label is not None)
    try:
        with replacement(out) as temporary, pq.ParquetWriter(temporary, schema) as writer:
            while part := list(islice(rows, _ROWS_AT_ONCE)):
                writer.write_table(pa.Table.from_pylist(part, schema))
                count += len(part)
            writer.add_key_value_metadata({_COUNT: str(count)})
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); give another --out.") from error
    return count


def _is_parquet(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(4) in (b"PAR1", b"")


def _exported(label: Label, teacher: TeacherRecord) -> dict[str, Any]:
    """A row of the file."""
    name, score = decision(label.logits, teacher)
    return {
        "text": label.text, "pair": label.pair, "key": label.key, "logits": label.logits, "label": name,
        "score": score, "teacher": teacher.name, "identity": teacher.identity, "date": label.date,
        "seconds": label.seconds, _CRC: _checksum(label, teacher.identity),
    }  # fmt: skip


def _checksum(label: Label, identity: str) -> int:
    """CRC-32 of a row."""
    return zlib.crc32(repr((label.seconds, label.date)).encode(), label.checksum(identity))


def decision(logits: np.ndarray, teacher: TeacherRecord) -> tuple[str | None, float | None]:
    """The name of the class with the highest logit, or of each that is likely, separated by ``|``; or a score."""
    config = json.loads(teacher.config)
    names = config.get("id2label") or {}
    if config.get("problem_type") == HF_PROBLEM_TYPE["regression"] or teacher.classes == 1:
        return None, float(logits[0])
    if config.get("problem_type") == HF_PROBLEM_TYPE["multi_label"]:
        chosen = np.flatnonzero(logits > 0)
    else:
        chosen = np.array([logits.argmax()])
    return "|".join(str(names.get(str(place), place)) for place in chosen), None


@dataclass
class Imported:
    """What became of the labels of a file.

    Attributes:
        added: labels that are new in the store.
        there: labels that it had.
        conflicts: those of them with other logits; the store keeps its own.
    """

    added: int = 0
    there: int = 0
    conflicts: int = 0


def import_labels(store: LabelStore, file: Path) -> Imported:
    """Add the labels of a Parquet file that :func:`export_labels` has written; labels that are there stay.

    Raises:
        InputError: if the file is no such file, or a row does not fit its teacher; the rows before it are added.
    """
    result, first = Imported(), 1
    for teachers, part in _parts(file):
        for identity in dict.fromkeys(row["identity"] for row in part):
            rows = [(number, row) for number, row in enumerate(part, first) if row["identity"] == identity]
            if identity not in teachers:
                raise InputError(
                    f"{file}, row {rows[0][0]}: its teacher is not described; export the file again."
                )
            labels = [_imported(row, teachers[identity], f"{file}, row {number}") for number, row in rows]
            known = store.read(teachers[identity], [label.key for label in labels])
            added = store.write(teachers[identity], [label for label in labels if label.key not in known])
            result.added += added
            result.there += len(labels) - added
            result.conflicts += sum(
                label.key in known and not np.array_equal(label.logits, known[label.key].logits)
                for label in labels
            )
        first += len(part)
    return result


def _parts(file: Path) -> Iterator[tuple[dict[str, TeacherRecord], list[dict[str, Any]]]]:
    """The teachers of a file, and its rows, some at a time."""
    try:
        with pq.ParquetFile(file) as opened:
            records = json.loads((opened.schema_arrow.metadata or {})[_TEACHERS])
            teachers = {record["identity"]: TeacherRecord(**unsealed(record, file)) for record in records}
            old = _CRC not in opened.schema_arrow.names
            schema = _SCHEMA.remove(_SCHEMA.get_field_index(_CRC)) if old else _SCHEMA
            left = int(opened.metadata.metadata.get(_COUNT.encode(), opened.metadata.num_rows))
            for part in opened.iter_batches(_ROWS_AT_ONCE, columns=schema.names):
                left -= len(part)
                yield teachers, pa.Table.from_batches([part]).cast(schema).to_pylist()
            if left:
                raise ValueError("rows are missing")
    except FileNotFoundError as error:
        raise InputError(
            f"{file}: no such file; give the file that augpro labels export has written."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{file}: is no file of augpro labels export, or damaged; export the labels again."
        ) from error


def _imported(row: dict[str, Any], teacher: TeacherRecord, place: str) -> Label:
    logits = np.array(row["logits"] or [], dtype=np.float32)
    if len(logits) != teacher.classes or not np.isfinite(logits).all() or None in (row["key"], row["text"]):
        raise InputError(
            f"{place}: needs a key, a text and {teacher.classes} finite logits; export the file again."
        )
    date = 0 if row["date"] is None else int(row["date"].timestamp())
    label = Label(row["key"], logits, row["text"], row["pair"], row["seconds"] or 0.0, date)
    if row.get(_CRC) not in (None, _checksum(label, teacher.identity)):
        raise InputError(f"{place}: does not match its checksum; export the file again.")
    return label
