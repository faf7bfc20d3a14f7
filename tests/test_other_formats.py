"""Files that are no table of UTF-8 text are named as what they are, and who follows the message can read them."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import re
import shutil
import sqlite3
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from augpro.data.readers import read_table
from augpro.errors import InputError
from data_files import GOOD, load, rows_of, write_parquet

ROWS = [("bad", "b"), ("good", "a")]
FRAME = pd.DataFrame({"text": ["good", "bad"], "label": ["a", "b"]})
RECORDS = [{"text": "good", "label": "a"}, {"text": "bad", "label": "b"}]
UMLAUTS = "text,label\ngute “Größe”,a\nnicht schön,b\n"


def zipped(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("train.csv"))
    return buffer.getvalue()


def database() -> bytes:
    with sqlite3.connect(":memory:") as connection:
        FRAME.to_sql("tickets", connection, index=False)
        return connection.serialize()


def arrow() -> bytes:
    buffer = io.BytesIO()
    FRAME.to_feather(buffer)
    return buffer.getvalue()


def refused(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "; " in message
    assert "\n" not in message
    return message


# --- named, with a step that a person takes ---

TABLE, SHEET = "give a table of texts and labels", "as 'CSV UTF-8'"
NAMED: list[Any] = [
    ("f.pdf", b"%PDF-1.7\n", "a PDF document, which is not read", TABLE),
    ("f.csv", b"%PDF-1.7\n", "a PDF document, not the .csv that its ending says", TABLE),
    ("f.jpg", b"\xff\xd8\xff\xe0", "a JPEG image", TABLE),
    ("f.csv", b"GIF89a", "a GIF image", TABLE),
    ("f.docx", zipped(word__document="x"), "a Word document", TABLE),
    ("f.xlsx", zipped(xl__workbook="x"), "an Excel workbook", SHEET),
    ("f.csv", zipped(xl__workbook="x"), "an Excel workbook, not the .csv", SHEET),
    ("f.ods", zipped(**{"content.xml": "x"}), "a spreadsheet or document of LibreOffice", SHEET),
    ("f.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook", SHEET),
    ("f.7z", b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it"),
    ("f.tar", tar(), "a tar archive", "unpack it: tar -xf"),
    ("f.csv", " \n<!DOCTYPE html><html>", "a web page or XML", "download the file itself"),
    ("f.xml", '<?xml version="1.0"?><rows/>', "a web page or XML", "download the file itself"),
    (
        "f.jsonl",
        "version https://git-lfs.github.com/spec/v1\noid x",
        "the pointer that Git LFS",
        "git lfs pull",
    ),
    ("f.parquet", database(), "an SQLite database, not the .parquet", "read_sql"),
    ("f.npy", b"\x93NUMPY", "a NumPy array", TABLE),
    ("f.txt", GOOD, "the ending '.txt' is not one that can be read", ".csv for cells with commas"),
]


@pytest.mark.parametrize(
    ("name", "content", "what", "fix"),
    NAMED,
    ids=lambda value: str(value)[:20] if isinstance(value, str) else "bytes",
)
def test_what_a_file_is(tmp_path: Path, name: str, content: str | bytes, what: str, fix: str) -> None:
    message = refused(tmp_path / name, content)
    assert what in message
    assert fix in message


# --- named, with a command that makes a file that can be read ---

COMMANDS: list[Any] = [
    ("f.csv.gz", gzip.compress(GOOD.encode(), mtime=0), "f.csv"),
    ("f.csv", gzip.compress(GOOD.encode(), mtime=0), "f-unpacked.csv"),
    ("f.csv.bz2", bz2.compress(GOOD.encode()), "f.csv"),
    ("f.csv.xz", lzma.compress(GOOD.encode()), "f.csv"),
    ("f.zip", zipped(data__train=GOOD, **{"more.csv": GOOD}), "more.csv"),
    ("f.pkl", pickle.dumps(FRAME), "f-table.parquet"),
    ("f.db", database(), "f-table.parquet"),
    ("f.feather", arrow(), "f-table.parquet"),
    ("f.json", json.dumps({"version": 1, "data": RECORDS}), "f-rows.json"),
    ("f.json", json.dumps({"train": RECORDS, "test": RECORDS}, indent=1), "f-rows.json"),
    ("f.jsonl", json.dumps({"data": RECORDS}), "f-rows.json"),
    ("f.json", FRAME.to_json(), "f-rows.json"),
    ("f.json", FRAME.to_json(orient="split"), "f-rows.json"),
    ("f.json", json.dumps(FRAME.to_dict("list"), indent=1), "f-rows.json"),
    ("f.csv", GOOD.encode("utf-16"), "f-utf8.csv"),
    ("f.csv", GOOD.replace(",", "\t").encode("utf-16"), "f-utf8.csv"),
    ("f.csv", GOOD.encode("utf-16-le"), "f-utf8.csv"),
    ("f.csv", GOOD.encode("utf-16-be"), "f-utf8.csv"),
    ("f.tsv", GOOD.replace(",", "\t").encode("utf-32"), "f-utf8.tsv"),
    ("f.jsonl", "\n".join(map(json.dumps, RECORDS)).encode("utf-16"), "f-utf8.jsonl"),
    ("my tickets.csv", GOOD.encode("utf-16"), "my tickets-utf8.csv"),
]


def follow(message: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what a message says: Python's part of it here, the rest in a shell."""
    code = re.search(r'python -c "(.*)"', message)
    if code:
        exec(code[1].replace("TABLE", "tickets"), {})
        return
    command = re.search(r"unpack it: (.*?)(?: and give .*)?$", message)
    assert command
    subprocess.run(command[1], shell=True, check=True, cwd=folder)


@pytest.mark.parametrize(
    ("name", "content", "made"),
    COMMANDS,
    ids=lambda value: str(value)[:20] if isinstance(value, str) else "bytes",
)
def test_the_command_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str | bytes, made: str
) -> None:
    message = refused(tmp_path / name, content)
    program = re.search(r"unpack it: (\w+)", message)
    if program and shutil.which(program[1]) is None:
        pytest.skip(f"{program[1]} is not here")
    before = (tmp_path / name).read_bytes()
    follow(message, tmp_path, monkeypatch)
    assert rows_of(load(tmp_path / made)) == ROWS
    assert (tmp_path / name).read_bytes() == before


def test_a_file_of_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message shows a word as it would be read, as bytes do not say which encoding they are of."""
    message = refused(tmp_path / "f.csv", UMLAUTS.encode("cp1252"))
    assert "row 2: the file is not UTF-8 (byte 16); if '“Größe”' is right there, convert it" in message
    follow(message, tmp_path, monkeypatch)
    assert rows_of(load(tmp_path / "f-utf8.csv")) == [("gute “Größe”", "a"), ("nicht schön", "b")]
    message = refused(tmp_path / "f.csv", "text,label\nочень хорошо,a\nплохо,b\n".encode("cp1251"))
    assert "if 'î÷åíü' is right there" in message
    assert "else write the encoding that it was saved in for cp1252" in message
    follow(message.replace("cp1252", "cp1251"), tmp_path, monkeypatch)
    assert rows_of(load(tmp_path / "f-utf8.csv")) == [("очень хорошо", "a"), ("плохо", "b")]
    message = refused(tmp_path / "f.csv", b"text,label\n\x82\xb1\x81\x81,a\n")
    assert "save it as UTF-8 in the program that wrote it" in message


def test_a_few_damaged_bytes(tmp_path: Path) -> None:
    rows = "".join(f"größer {row},{'ab'[row % 2]}\n" for row in range(9)).encode()
    message = refused(tmp_path / "f.csv", b"text,label\n" + rows + b"gr\xf6\xdfer,a\nna\xefv,b\n")
    assert "row 11: the file is UTF-8, but not here (byte 130)" in message
    assert "correct the damaged letters of that row (2 such rows: 11, 12)" in message
    assert len(rows_of(load(write(tmp_path, b"text,label\n" + rows)))) == 9


def write(folder: Path, content: bytes) -> Path:
    (folder / "g.csv").write_bytes(content)
    return folder / "g.csv"


def test_rows_are_counted_whatever_ends_them(tmp_path: Path) -> None:
    for end in (b"\n", b"\r\n", b"\r"):
        message = refused(tmp_path / "f.csv", b"text,label\nx,a\ny\0,b\nz,a\n\0,b\n".replace(b"\n", end))
        assert "row 3: the file holds a NUL byte" in message
        assert "(2 such rows: 3, 5)" in message


@pytest.mark.parametrize(
    ("name", "content", "ending"),
    [
        ("f.csv", "\n".join(map(json.dumps, RECORDS)), ".jsonl"),
        ("f.csv", json.dumps(RECORDS, indent=1), ".json"),
        ("f.tsv", json.dumps(RECORDS), ".json"),
        ("f.jsonl", json.dumps(RECORDS), ".json"),
        ("f.ndjson", json.dumps(RECORDS, indent=1), ".json"),
    ],
)
def test_json_under_another_ending(tmp_path: Path, name: str, content: str, ending: str) -> None:
    message = refused(tmp_path / name, content)
    assert re.search(rf"rename it to (end in )?\{ending}$", message)
    path = (tmp_path / name).rename((tmp_path / name).with_suffix(ending))
    assert rows_of(load(path)) == ROWS


def test_a_lone_row_of_json_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text('{"text": "x", "labels": ["a", "b"]}\n')
    assert len(read_table(path)) == 1
    path.write_text('{\n"text": "x"\n}\n')
    assert "one JSON object over several lines (with the keys 'text')" in refused(path, path.read_text())


def test_names_that_a_shell_would_run_are_not_in_a_command(tmp_path: Path) -> None:
    message = refused(tmp_path / "$(touch x).csv.gz", gzip.compress(b"x", mtime=0))
    assert 'gunzip < "FILE" > "FILE-unpacked"' in message
    assert "Path('FILE')" in refused(tmp_path / "`x`'.csv", GOOD.encode("utf-16"))
    hostile = json.dumps({"$(touch x)": RECORDS})
    assert "['KEY']" in refused(tmp_path / "f.json", hostile)


# --- folders ---


def test_folders_that_datasets_has_saved(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_pandas(FRAME)
    rows.save_to_disk(str(tmp_path / "one"))
    assert rows_of(load(tmp_path / "one")) == ROWS
    datasets.DatasetDict({"train": rows, "validation": rows, "mine": rows}).save_to_disk(
        str(tmp_path / "splits")
    )
    data = load(tmp_path / "splits")
    assert list(data.splits) == ["train", "validation"]
    assert data.task.name == "splits"
    assert any("left out the splits 'mine'" in note for note in data.notes)
    (file,) = (tmp_path / "one").glob("*.arrow")
    message = refused(file, file.read_bytes())
    assert "an Arrow stream, as datasets keeps it" in message
    exec(re.search(r'python -c "(.*)"', message)[1], {})  # type: ignore[index]
    assert rows_of(load(file.with_name(f"{file.stem}-table.parquet"))) == ROWS
    file.write_bytes(b"damaged")
    with pytest.raises(
        InputError, match=r"save_to_disk of datasets has written cannot be read .*; save the data set"
    ):
        load(tmp_path / "one")


def test_the_folder_of_a_model(tmp_path: Path, teacher_folder: Path) -> None:
    with pytest.raises(InputError, match="is the folder of a model; give it as --teacher or --model"):
        load(teacher_folder)
    write_parquet(tmp_path / "train.parquet", {"text": ["x", "y"], "label": [0, 1]})
    (tmp_path / "config.json").write_text("{}")
    assert len(rows_of(load(tmp_path))) == 2


def test_a_folder_where_a_file_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="this is a folder; give one of the files in it"):
        read_table(tmp_path)
