"""Rows that are read some at a time: the same texts, checks and messages as when they are read whole."""

import csv
import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from augpro.data import stream
from augpro.data.division import divided_rows
from augpro.data.loading import DataSpec, load_data
from augpro.data.same_text import row_keys
from augpro.data.stream import open_train_rows
from augpro.errors import InputError

TEXTS = [f"the text, of row {row} {'again' if row % 7 else 'a, b'}" for row in range(50)]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(stream, "PART_ROWS", 7)


def write(path, texts, pairs=None):
    rows = [{"text": text, "label": "ab"[row % 2]} for row, text in enumerate(texts)]
    for row, pair in zip(rows, pairs or (), strict=False):
        row["text_pair"] = pair
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=9)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


def read(path, **options):
    """All texts of the train split, and second texts."""
    parts = list(open_train_rows(DataSpec(str(path), **options)).parts())
    return [text for texts, _ in parts for text in texts], [
        pair for _, pairs in parts for pair in pairs or ()
    ]


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "json", "parquet"])
@pytest.mark.parametrize("pairs", [None, TEXTS[::-1]])
def test_the_parts_are_the_rows_that_a_run_trains_on(tmp_path, ending, pairs):
    path = write(tmp_path / f"rows.{ending}", TEXTS, pairs)
    texts, seconds = read(path)
    assert (texts, seconds) == (TEXTS, pairs or [])
    spec = DataSpec(str(path), holdout_rows=4, train_rows=0.8, seed=3)
    order = divided_rows(spec, row_keys(texts, pairs), str(path), open_train_rows(spec).lone)["train"]
    assert [texts[row] for row in order] == load_data(spec).splits["train"].texts


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_few_rows_are_in_memory_at_once(tmp_path, ending):
    rows = open_train_rows(DataSpec(str(write(tmp_path / f"rows.{ending}", TEXTS))))
    assert [len(texts) for texts, _ in rows.parts()] == [7] * 7 + [1]


def test_shards_and_other_splits(tmp_path):
    for number, texts in enumerate((TEXTS[:20], TEXTS[20:])):
        write(tmp_path / f"train-0000{number}-of-00002.parquet", texts)
    assert open_train_rows(DataSpec(str(tmp_path))).lone
    write(tmp_path / "test.csv", TEXTS[:3])
    assert not open_train_rows(DataSpec(str(tmp_path))).lone
    assert read(tmp_path)[0] == TEXTS


def test_a_source_in_memory():
    rows = open_train_rows(DataSpec("helpdesk"))
    assert sum(len(texts) for texts, _ in rows.parts()) > 500
    assert not rows.files
    assert not rows.lone


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_row_without_text_is_named_by_its_place_in_the_file(tmp_path, ending):
    path = write(tmp_path / f"rows.{ending}", [*TEXTS[:30], " ", *TEXTS[31:]])
    row = {"csv": 32, "jsonl": 31, "parquet": 31}[ending]
    with pytest.raises(InputError, match=rf"row {row}, column 'text': the text is empty"):
        read(path)


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
@pytest.mark.parametrize("wrong", [b"\xff\xfe bad", b"a\0b", b'"never closed'])
def test_what_is_wrong_with_a_file_is_said_as_when_it_is_read_whole(tmp_path, name, wrong):
    path = write(tmp_path / name, TEXTS)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:40], wrong + b"," + lines[40], *lines[41:]]))
    with pytest.raises(InputError) as whole:
        load_data(DataSpec(str(path)))
    with pytest.raises(InputError) as parts:
        read(path)
    assert str(parts.value) == str(whole.value)


def test_a_key_that_the_first_lines_lack(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"text": text, **({"note": "x"} if row > 20 else {})} for row, text in enumerate(TEXTS)]
    rows[-1] = {"text": TEXTS[-1], "more": [{"a": 1}]}  # alone in its part
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read(path)[0] == TEXTS


def test_a_folder_without_a_train_file(tmp_path):
    write(tmp_path / "test.csv", TEXTS)
    with pytest.raises(InputError, match="there is no train split"):
        open_train_rows(DataSpec(str(tmp_path)))


def test_the_fingerprint_is_of_the_content(tmp_path):
    path = write(tmp_path / "rows.csv", TEXTS)
    spec = DataSpec(str(path))
    before = open_train_rows(spec).fingerprint()
    other = write(tmp_path / "again.csv", TEXTS)
    assert open_train_rows(replace(spec, source=str(other))).fingerprint() == before
    write(path, TEXTS[::-1])
    assert open_train_rows(spec).fingerprint() != before
