"""Small files of every format for the tests of reading data."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from augpro.data.loading import DataSpec, TaskData, load_data
from augpro.errors import InputError


def load(source: Path | str, **options: Any) -> TaskData:
    return load_data(DataSpec(str(source), **options))


def train_of(data: TaskData) -> dict[str, Any]:
    """Labels of the train rows by their text: train rows are shuffled."""
    train = data.splits["train"]
    return dict(zip(train.texts, train.labels, strict=True))


def rows_of(data: TaskData) -> list[tuple[str, Any]]:
    """All rows of all splits with the names of their labels, sorted, however they were divided."""
    names = data.task.label_names
    rows = [row for split in data.splits.values() for row in zip(split.texts, split.labels, strict=True)]
    return sorted(
        ((text, names[label] if names and isinstance(label, int) else label) for text, label in rows), key=str
    )


def write_csv(path: Path, rows: Sequence[Any], **options: Any) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, **options).writerows(rows)
    return path


def write_jsonl(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8", newline="")
    return path


def write_parquet(path: Path, columns: dict[str, Any], features: dict[str, Any] | None = None) -> Path:
    table = pa.table(columns)
    if features:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)
    return path


def write_all(folder: Path, texts: list[str], labels: list[Any]) -> dict[str, Path]:
    records = [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]
    rows = [["text", "label"], *zip(texts, labels, strict=True)]
    array = folder / "array.json"
    array.write_text(json.dumps(records, indent=1), encoding="utf-8")
    return {
        "csv": write_csv(folder / "a.csv", rows),
        "tsv": write_csv(folder / "a.tsv", rows, delimiter="\t"),
        "jsonl": write_jsonl(folder / "a.jsonl", records),
        "ndjson": write_jsonl(folder / "a.ndjson", records),
        "json": write_jsonl(folder / "lines.json", records),
        "array": array,
        "parquet": write_parquet(folder / "a.parquet", {"text": texts, "label": labels}),
    }


GOOD = "text,label\ngood,a\nbad,b\n"
TWO = {"text": "x", "label": "a"}


def table_bytes(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def parquet_bytes(columns: dict[str, Any]) -> bytes:
    return table_bytes(pa.table(columns))


def lines(*records: Any) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def bad(case: str, name: str, content: str | bytes, *said: str, **options: Any) -> Any:
    """A file of this name and content, read with these options, and what the message must say."""
    return pytest.param(name, content, said, options, id=case)


def check_refused(path: Path, content: str | bytes, said: tuple[str, ...], options: dict[str, Any]) -> None:
    """A file with this content ends in one sentence about it, with all that is to be said."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        load(path, **options)
    message = str(caught.value)
    assert str(path) in message
    for part in said:
        assert part in message
    assert "\n" not in message
    assert not message.endswith(".")
    assert "; " in message  # what is wrong; the mend
