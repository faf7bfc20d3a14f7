"""CSV files as people and spreadsheet programs leave them: read as they are meant, or refused with the fix."""

from pathlib import Path
from typing import Any

import pytest

from augpro.distillation.pool import load_pool
from augpro.errors import InputError
from data_files import load, rows_of, write_jsonl

ROWS = [("bad, really", "b"), ("good", "a")]


def read(folder: Path, content: str, name: str = "f.csv", **options: Any) -> Any:
    path = folder / name
    path.write_bytes(content.encode())
    return load(path, **options)


def refused(folder: Path, content: str, name: str = "f.csv", **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(folder, content, name, **options)
    message = str(caught.value)
    assert "; " in message
    assert "\n" not in message
    return message


# --- read ---


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("f.csv", 'text,label,,\ngood,a,,\n"bad, really",b,,\n,,,\n,,,\n'),
        ("f.csv", 'text,label\ngood,a,,\n"bad, really",b\n,\n , \n'),
        ("f.csv", ',,\n,,\ntext,label,\n\ngood,a,\n,,\n"bad, really",b,\n'),
        ("f.csv", 'text,,label\ngood,,a\n"bad, really",,b\n'),
        ("f.csv", ',text,label\n0,good,a\n1,"bad, really",b\n'),
        ("f.csv", "sep=;\ntext;label\ngood;a\nbad, really;b\n"),
        ("f.csv", "\ufeffSEP=;\r\ntext;label\r\ngood;a\r\nbad, really;b\r\n"),
        ("f.tsv", 'sep=,\ntext,label\ngood,a\n"bad, really",b\n'),
        ("f.csv", "text;label\ngood;a\nbad, really;b\n"),
        ("f.csv", "the text, as sent;label\ngood;a\nbad, really;b\n"),
        ("f.csv", "text;label;;\ngood;a;;\nbad, really;b;;\n;;;\n"),
        ("f.csv", "text\tlabel\ngood\ta\nbad, really\tb\n"),
        ("f.csv", "text|label\ngood|a\nbad, really|b\n"),
        ("f.tsv", 'text,label\ngood,a\n"bad, really",b\n'),
        ("f.tsv", "text;label\ngood;a\nbad, really;b\n"),
    ],
)
def test_files_of_spreadsheet_programs(tmp_path: Path, name: str, content: str) -> None:
    data = read(tmp_path, content, name)
    assert rows_of(data) == ROWS
    assert data.task.label_column == "label"


def test_another_separator_is_told(tmp_path: Path) -> None:
    told = "f.csv: read with ';' between the cells, as its rows do not fit ','"
    assert any(told in note for note in read(tmp_path, "text;label\nx;a\ny, z;b\n").notes)
    for content in ("text,label\nx;y,a\ny;z,b\n", "sep=;\ntext;label\nx;a\ny;b\n"):
        assert not any("read with" in note for note in read(tmp_path, content).notes)


@pytest.mark.parametrize("text", ["a; b; c", "one | two", "x\ty", "f(a, b)"])
def test_separators_within_texts_change_nothing(tmp_path: Path, text: str) -> None:
    for count in (2, 500):
        rows = [(f"{text} {row}", "ab"[row % 2]) for row in range(count)]
        content = "text,label\n" + "".join(f'"{one}",{label}\n' for one, label in rows)
        assert rows_of(read(tmp_path, content)) == sorted(rows)


def test_a_column_with_a_name_is_kept(tmp_path: Path) -> None:
    data = read(tmp_path, "text,label,\nx,,\ny,,\n")
    assert data.task.label_column == "label"
    assert "train: 2 of 2 rows have no label" in data.notes


def test_line_ends_within_quotes(tmp_path: Path) -> None:
    data = read(tmp_path, 'text,label\r\n"two\r\nlines",a\r\none,b\r\n')
    assert rows_of(data) == [("one", "b"), ("two\r\nlines", "a")]
    message = refused(tmp_path, 'text,label\r\n"two\r\nlines",a\r\n,b\r\none,b\r\n')
    assert "row 4, column 'text'" in message


# --- rows that do not fit ---


def test_rows_of_another_width_are_counted(tmp_path: Path) -> None:
    wrong = "".join(f"well, number {row},a\n" for row in range(5))
    message = refused(tmp_path, f"text,label\ngood,a\n{wrong}x\n")
    assert "row 3: the row has 3 cells, and the header 2" in message
    assert "(6 such rows: 3, 4, 5, 6 and 2 more)" in message
    message = refused(tmp_path, "sep=;\ntext;label\ngood;a\nbad\n")
    assert "row 4: the row has 1 cells" in message


def test_empty_texts_are_counted_over_all_files(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("sentence1,sentence2,label\nx,,a\ny,p,b\n,q,a\n")
    (tmp_path / "test.csv").write_text("sentence1,sentence2,label\n,,a\ny,,b\n")
    with pytest.raises(InputError) as caught:
        load(tmp_path)
    message = str(caught.value)
    for part in ("train.csv, row 2, column 'sentence2': the text is empty; remove that row", "5 cells cannot be read",
                 "train.csv, row 4, column 'sentence1'; ", "test.csv, row 2, column 'sentence2' and 1 more",
                 "--text-column sentence1 reads that column alone"):  # fmt: skip
        assert part in message
    (tmp_path / "train.csv").write_text("sentence1,sentence2,label\nx,,a\ny,p,b\n")
    (tmp_path / "test.csv").write_text("sentence1,sentence2,label\nw,,a\n")
    assert load(tmp_path, text_column="sentence1").splits["test"].texts == ["w"]
    with pytest.raises(InputError) as caught:
        load(tmp_path, text_column="sentence1", pair_column="sentence2")
    assert "reads that column alone" not in str(caught.value)


def test_bad_lines_of_json_are_counted(tmp_path: Path) -> None:
    message = refused(tmp_path, '{"text": "x"}\n{text: 1}\n{"text": "y"}\n{\n}\n', "f.jsonl")
    assert "row 2: this line is not a JSON object" in message
    assert "(3 such rows: 2, 4, 5)" in message
    path = write_jsonl(tmp_path / "g.jsonl", [{"text": "x"}, 4, 5])
    with pytest.raises(InputError, match=r"row 2: .*\(2 such rows: 2, 3\)"):
        load(path)


def test_an_open_quote_says_where_it_is_opened(tmp_path: Path) -> None:
    message = refused(tmp_path, 'text,label\ngood,a\n"bad,b\nx,c\ny,d\n')
    assert "row 3: a quote that is opened here is never closed; put the cell in double quotes" in message


def test_a_cell_under_no_name(tmp_path: Path) -> None:
    message = refused(tmp_path, "text,,label\nx,note,a\ny,,b\nz,note,b\n")
    assert "row 2: cell 2 is under a column without a name" in message
    assert "(2 such rows: 2, 4)" in message
    assert rows_of(read(tmp_path, "text,note,label\nx,note,a\ny,,b\n")) == [("x", "a"), ("y", "b")]


def test_a_header_in_the_middle(tmp_path: Path) -> None:
    message = refused(tmp_path, "text,label\nx,a\ny,b\n\ufefftext,label\nz,a\ntext, label\n")
    assert "row 4: this row is the header once more; remove it (2 such rows: 4, 6)" in message
    assert len(rows_of(read(tmp_path, "text\nx\ntext\n"))) == 2  # may be a text


def test_names_that_are_there_twice(tmp_path: Path) -> None:
    message = refused(tmp_path, "text;label;text\nx;a;y\n")
    assert "f.csv, row 1: column 'text' is there twice; rename or remove one of the two" in message


# --- no header ---

HEADLESS = {
    "labels below": (
        "a very good film,pos\nso bad,neg\nfine,pos\n",
        "'pos' is among the cells below it",
        "text,label",
    ),
    "numbers below": ("1,a very good film\n0,bad\n1,fine\n", "'1' is among the cells below it", "label,text"),
    "a score": ("a very good film,4.5\nso bad,1\nfine,3\n", "'4.5' a number as below it", "text,score"),
    "texts alone": ("a very good film\nso bad\nfine\n", "'a very good film' is a whole text", "text"),
    "three columns": (
        "3,Oil falls,Prices fell\n2,Ball,They won\n3,Gold,It rose\n",
        "'3' is among",
        "label,title,body",
    ),
    "a text twice": ("thanks\nso bad\nthanks\n", "'thanks' is among the cells below it", "text"),
}


@pytest.mark.parametrize("case", HEADLESS)
def test_a_file_without_a_header(tmp_path: Path, case: str) -> None:
    content, why, fix = HEADLESS[case]
    message = refused(tmp_path, content)
    assert "f.csv, row 1: this looks like data, not like a header" in message
    assert why in message
    assert "write a first line with the names of its columns, such as text" in message
    data = read(tmp_path, f"{fix}\n{content}")
    assert len(rows_of(data)) == 3


def test_a_header_that_looks_like_data_is_one_if_it_is_named(tmp_path: Path) -> None:
    content = "What is it that you think of us?\ngood\nbad\n"
    assert "name one of its columns by --text-column" in refused(tmp_path, content)
    data = read(tmp_path, content, text_column="What is it that you think of us?")
    assert rows_of(data) == [("bad", None), ("good", None)]


@pytest.mark.parametrize("header", ["0,1", "id,words", "Frage zum Produkt,Art", "utterance_text,class_name"])
def test_other_headers_are_taken_for_one(tmp_path: Path, header: str) -> None:
    text, label = header.split(",")
    data = read(tmp_path, f"{header}\nhello you,a b\nhi,c d\n", text_column=text, label_column=label)
    assert len(rows_of(data)) == 2
    data = read(tmp_path, f"{header}\n5,a b\n6,c d\n")
    assert (data.task.text_column, len(rows_of(data))) == (label, 2)


def test_split_files_and_texts_without_a_header(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\nx,a\ny,b\n")
    (tmp_path / "test.csv").write_text("so good,a\nso bad,b\nfine,a\n")
    with pytest.raises(InputError, match=r"test.csv, row 1: this looks like data"):
        load(tmp_path)
    data = load(tmp_path / "train.csv")
    pool = tmp_path / "pool.csv"
    pool.write_text("what a very good film\nso bad\n")
    with pytest.raises(InputError, match=r"pool.csv, row 1: this looks like data.*such as text;"):
        load_pool(pool, data)
    pool.write_text("text\nwhat a very good film\nso bad\n")
    assert len(load_pool(pool, data)) == 2


def test_notes_on_a_pool(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("text,label\nx,a\ny,b\n")
    data = load(tmp_path / "f.csv")
    (tmp_path / "pool.csv").write_text("text;more\nnew;1\nold;2\n")
    load_pool(tmp_path / "pool.csv", data)
    assert any("pool.csv: read with ';'" in note for note in data.notes)
