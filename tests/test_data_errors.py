"""Every bad input gives one sentence that names the place and the mend."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from augpro.errors import InputError
from data_files import GOOD, TWO, bad, check_refused, lines, load, parquet_bytes, table_bytes

TWICE = table_bytes(pa.table([["x"], ["y"]], names=["text", "text"]))

BAD = [
    # text cells
    bad(
        "empty text",
        "f.csv",
        "text,label\ngood,a\n,b\n",
        "row 3",
        "'text'",
        "empty",
        "remove that row or fill",
    ),
    bad("blank text", "f.tsv", "text\tlabel\ngood\ta\n \tb\n", "row 3", "'text'", "remove that row or fill"),
    bad(
        "empty text after a cell of two lines",
        "f.csv",
        'text,label\n"go\nod",a\n\n,b\n',
        "row 5",
        "'text'",
        "remove that row",
    ),
    bad(
        "empty pair",
        "f.csv",
        "sentence1,sentence2,label\nx,y,a\nx,,b\n",
        "row 3",
        "'sentence2'",
        "remove that row or fill",
    ),
    bad(
        "null text", "f.jsonl", lines(TWO, {"text": None, "label": "b"}), "row 2", "'text'", "missing", "fill"
    ),
    bad("absent text", "f.jsonl", lines(TWO, {"label": "b"}), "row 2", "'text'", "missing", "fill it in"),
    bad(
        "NaN text", "f.jsonl", lines(TWO, {"text": float("nan"), "label": "b"}), "row 2", "'text'", "missing"
    ),
    bad(
        "number as text",
        "f.jsonl",
        lines(TWO, {"text": 5, "label": "b"}),
        "row 2",
        "'text'",
        "a number",
        "write it",
    ),
    bad(
        "list as text",
        "f.jsonl",
        lines(TWO, {"text": ["x"]}),
        "row 2",
        "'text'",
        "a list",
        "write it as text",
    ),
    bad(
        "half a surrogate",
        "f.jsonl",
        lines({"text": "\ud83d"}),
        "row 1",
        "'text'",
        "surrogate",
        "remove that char",
    ),
    bad(
        "null text in Parquet",
        "f.parquet",
        parquet_bytes({"text": ["x", None], "label": [0, 1]}),
        "row 2",
        "'text'",
        "fill it in",
    ),
    bad(
        "number as text in Parquet",
        "f.parquet",
        parquet_bytes({"text": [1, 2], "label": [0, 1]}),
        "row 1",
        "'text'",
        "--text-column",
    ),
    # files that are not what they seem
    bad("latin-1", "f.csv", b"text,label\ngood,a\ncaf\xe9,b\n", "row 3", "byte 21", "decode('cp1252')"),
    bad(
        "latin-1 after a mark", "f.csv", b"\xef\xbb\xbftext\ncaf\xe9\n", "row 2", "byte 11", "'café' is right"
    ),
    bad("UTF-16", "f.csv", GOOD.encode("utf-16"), "UTF-8", "decode('utf-16')"),
    bad("NUL", "f.csv", "text,label\ngood,a\nb\0d,b\n", "row 3", "NUL", "export it again"),
    bad("Parquet as CSV", "f.csv", parquet_bytes({"text": ["x"]}), "Parquet", ".csv", "rename it"),
    bad("workbook as CSV", "f.csv", b"PK\x03\x04abc", "Excel", ".csv", "export it as .csv"),
    bad("gzip as JSONL", "f.jsonl", b"\x1f\x8babc", "gzip", ".jsonl", "unpack"),
    bad("PNG as TSV", "f.tsv", b"\x89PNG\r\n\x1a\n", "PNG", ".tsv", "give a table"),
    bad("CSV as Parquet", "f.parquet", GOOD, "not the Parquet", "export it again"),
    bad("cut Parquet", "f.parquet", parquet_bytes({"text": ["x"]})[:-9], "cut short", "export it again"),
    bad("damaged Parquet", "f.parquet", b"PAR1" + b"x" * 50 + b"PAR1", "damaged", "export it again"),
    bad("CSV as JSONL", "f.jsonl", GOOD, "row 1", "not a JSON object", "one line"),
    bad("number in JSONL", "f.jsonl", '{"text": "x"}\n\n5\n', "row 3", "not a JSON object", "write each row"),
    bad(
        "broken JSONL",
        "f.jsonl",
        '{"text": "x"}\n{"text": \n',
        "row 2",
        "not a JSON object",
        "write each row",
    ),
    bad("deep JSONL", "f.jsonl", "[" * 100_000, "row 1", "not a JSON object"),
    bad("broken array", "f.json", '[{"text": "x"},\n', "not valid JSON", "write one array of objects"),
    bad("array of numbers", "f.json", '[{"text": "x"}, 4]', "row 2", "not a JSON object", "write each row"),
    bad("unknown ending", "f.xlsx", GOOD, "'.xlsx'", ".csv, .tsv, .jsonl, .ndjson, .json, .parquet"),
    bad("no ending", "data", GOOD, "ending", ".csv, .tsv"),
    # shape
    bad("empty", "f.csv", "", "is empty", "write at least"),
    bad("only a mark", "f.csv", b"\xef\xbb\xbf\n", "is empty", "write at least"),
    bad("header only", "f.csv", "text,label\n", "no rows", "'text', 'label'", "add rows"),
    bad("empty array", "f.json", "[]", "no rows", "add rows"),
    bad(
        "Parquet without rows",
        "f.parquet",
        parquet_bytes({"text": pa.array([], "string")}),
        "no rows",
        "add rows",
    ),
    bad("few cells", "f.csv", "text,label\ngood,a\nbad\n", "row 3", "1 cells", "double quotes"),
    bad("many cells", "f.csv", "text,label\ngood, really,a\nbad,b\n", "row 2", "3 cells", "double quotes"),
    bad(
        "rows within a quote",
        "f.tsv",
        'text\tlabel\n"Hello there\t1\nthe end"\t0\n',
        "row 2",
        "up to row 3",
        "twice",
    ),
    bad("open quote", "f.csv", 'text,label\ngood,a\n"bad,b\nx,c\n', "row 3", "quotes", "twice"),
    bad("text after a quote", "f.csv", 'text,label\n"a" b,a\n', "row 2", "quotes", "twice"),
    bad(
        "same column twice", "f.csv", "text,label,text\nx,a,y\n", "'text' is there twice", "rename or remove"
    ),
    bad("same key twice", "f.jsonl", '{"text": "x", "text": "y"}\n', "row 1", "'text' is there twice"),
    bad("same column twice in Parquet", "f.parquet", TWICE, "'text' is there twice", "rename or remove"),
    # columns
    bad("no text column", "f.csv", "a,b,label\nx,y,p\n", "'a', 'b', 'label'", "--text-column"),
    bad("said text missing", "f.csv", GOOD, "'body'", "'text', 'label'", "--text-column", text_column="body"),
    bad("said pair missing", "f.csv", GOOD, "'body'", "'text', 'label'", "--pair-column", pair_column="body"),
    bad("said label missing", "f.csv", GOOD, "'y'", "'text', 'label'", "--label-column", label_column="y"),
    # numbers of rows
    bad("holdout too large", "f.csv", GOOD, "1 holdout rows", "2 train rows", "at most 0", holdout_rows=1),
    bad("train rows too many", "f.csv", GOOD, "5 train rows", "1 available", "at most", train_rows=5),
    bad("one row", "f.csv", "text\nx\n", "one row", "add rows"),
]


@pytest.mark.parametrize(("name", "content", "said", "options"), BAD)
def test_bad_file(
    tmp_path: Path, name: str, content: str | bytes, said: tuple[str, ...], options: dict[str, Any]
) -> None:
    check_refused(tmp_path / name, content, said, options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"train_rows": 0}, "train rows"),
        ({"train_rows": -3}, "train rows"),
        ({"train_rows": 2.5}, "train rows"),
        ({"train_rows": float("nan")}, "train rows"),
        ({"train_rows": float("inf")}, "train rows"),
        ({"holdout_rows": -1}, "holdout rows"),
        ({"text_column": "text", "label_column": "text"}, "twice"),
    ],
)
def test_bad_options(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    (tmp_path / "f.csv").write_text(GOOD)
    with pytest.raises(InputError, match=said):
        load(tmp_path / "f.csv", **options)
