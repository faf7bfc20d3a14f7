"""Label cells of every spelling: read as what they say, or refused with their row and the fix."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from augpro.data.label_lists import read_list
from augpro.errors import InputError
from data_files import load, rows_of, write_csv, write_jsonl, write_parquet

Write = Any


@pytest.fixture
def csv_of(tmp_path: Path) -> Write:
    def write(*cells: Any, name: str = "train") -> Path:
        return write_csv(
            tmp_path / f"{name}.csv", [["text", "label"], *([f"{i:03}", c] for i, c in enumerate(cells))]
        )

    return write


@pytest.fixture
def jsonl_of(tmp_path: Path) -> Write:
    def write(*cells: Any) -> Path:
        records = [{"text": f"{i:03}", "labels": cell} for i, cell in enumerate(cells)]
        return write_jsonl(tmp_path / "f.jsonl", records)

    return write


def read(source: Path, **options: Any) -> tuple[list[Any], Any]:
    """Names of the labels of every row, in the order of the file, and the data."""
    data = load(source, **options)
    names = data.task.label_names
    return [
        tuple(names[each] for each in label) if isinstance(label, tuple) else label
        for _, label in rows_of(data)
    ], data


# --- a 0 or 1 for each label ---

FLAGS = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]
SETS = [("0",), ("1",), ("0", "1"), ()]


@pytest.mark.parametrize(
    "flags",
    [
        FLAGS,
        [[int(flag) for flag in row] for row in FLAGS],
        [[bool(flag) for flag in row] for row in FLAGS],
        [[str(int(flag)) for flag in row] for row in FLAGS],
    ],
)
def test_flags_are_no_names(jsonl_of: Write, tmp_path: Path, flags: list[Any]) -> None:
    labels, data = read(jsonl_of(*flags, None))
    assert (data.task.problem_type, labels) == ("multi_label", [*SETS, None])
    assert any(
        "column 'labels': its rows of 2 zeros and ones are read as flags" in note for note in data.notes
    )
    path = write_parquet(tmp_path / "f.parquet", {"text": ["a", "b", "c", "d"], "labels": flags})
    assert read(path)[0] == SETS


def test_flags_take_the_names_of_the_classes(jsonl_of: Write) -> None:
    path = jsonl_of([1, 0, 1], [0, 0, 1])
    assert read(path, classes=("red", "green", "blue"))[0] == [("red", "blue"), ("blue",)]
    with pytest.raises(
        InputError, match=r"row 1, column 'labels': the row has 3 flags, and the model has 2 classes"
    ):
        load(path, classes=("red", "green"))


def test_one_flag_in_every_row_may_be_one_class(jsonl_of: Write, csv_of: Write) -> None:
    path = jsonl_of([0, 0, 1], [1, 0, 0], [0, 0, 1])
    labels, data = read(path)
    assert labels == [("2",), ("0",), ("2",)]
    assert any(
        "one flag is 1 in every row, so --problem-type single_label may be" in note for note in data.notes
    )
    assert read(path, problem_type="single_label")[0] == ["2", "0", "2"]
    assert read(path, problem_type="multi_label")[0] == [("2",), ("0",), ("2",)]
    text = csv_of("[0 1]", "[1 0]")
    assert read(text, problem_type="single_label", classes=("no", "yes"))[0] == ["yes", "no"]
    with pytest.raises(InputError, match=r"row 2, .*not one of its flags is 1.*--problem-type multi_label"):
        load(jsonl_of([0, 1], [1, 1]), problem_type="single_label")


def test_class_ids_in_lists_are_ids(jsonl_of: Write, tmp_path: Path) -> None:
    assert read(jsonl_of([0, 2], [1], [0, 1]))[0] == [("0", "2"), ("1",), ("0", "1")]
    feature = {"feature": {"names": ["p", "q"], "_type": "ClassLabel"}, "_type": "List"}
    columns = {"text": ["x", "y"], "label": [[0, 1], [1, 0]]}
    assert read(write_parquet(tmp_path / "f.parquet", columns, {"label": feature}))[0] == [("p", "q")] * 2


# --- lists as text ---


@pytest.mark.parametrize(
    "cells",
    [
        ['["a", "b c"]', '["b c"]', "[]"],
        ["['a', 'b c']", "['b c']", "[]"],
        ["['a' 'b c']", "['b c']", "[]"],
        ["('a', 'b c')", "('b c',)", "()"],
        ["{'a', 'b c'}", "{'b c'}", "set()"],
        ["frozenset({'a', 'b c'})", "frozenset({'b c'})", "frozenset()"],
        ["array(['a', 'b c'], dtype=object)", "array(['b c'], dtype=object)", "array([], dtype=object)"],
        ["[np.str_('a'), np.str_('b c')]", "[np.str_('b c')]", "[]"],
        ["[a, b c]", "[b c]", "[]"],
        ["{a,b c}", '{"b c"}', "{}"],
        ["a, b c", "b c", "[]"],
        ["a; b c", "b c", "[]"],
        ["a|b c", "b c", "[]"],
        ["a + b c", "b c", "[]", "a"],
        ["a\nb c", "b c", "[]"],
    ],
)
def test_every_spelling_of_a_list_is_read(csv_of: Write, jsonl_of: Write, cells: list[str]) -> None:
    expected = [("a", "b c"), ("b c",), (), ("a",)][: len(cells)]
    assert read(csv_of(*cells), problem_type="multi_label")[0] == expected
    assert read(jsonl_of(*cells), problem_type="multi_label")[0] == expected


@pytest.mark.parametrize(
    "cells",
    [
        ["[0 1 1]", "[1 0 0]", "[0 0 0]"],
        ["[0. 1. 1.]", "[1. 0. 0.]", "[0. 0. 0.]"],
        ["[False  True  True]", "[ True False False]", "[False False False]"],
        ["0,1,1", "1,0,0", "0,0,0"],
        ["0 1 1", "1 0 0", "0 0 0"],
        ["0|1|1", "1|0|0", "0|0|0"],
        ["011", "100", "000"],
        ["[0, 1, 1]", "(1, 0, 0)", "array([0, 0, 0])"],
    ],
)
def test_every_spelling_of_flags_is_read(csv_of: Write, cells: list[str]) -> None:
    assert read(csv_of(*cells), problem_type="multi_label")[0] == [("1", "2"), ("0",), ()]


def test_ids_in_text_are_numbers(csv_of: Write) -> None:
    labels, data = read(csv_of("[10, 9]", "2", "9,2"), problem_type="multi_label")
    assert (labels, data.task.label_names) == ([("9", "10"), ("2",), ("2", "9")], ("2", "9", "10"))


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (
            ["[a, b", "a"],
            r"row 2, column 'label': the label '\[a, b' cannot be read as a list; write .* \| between",
        ),
        (["a", "[0 0 ... 0]"], r"row 3, .*cannot be read as a list"),
        (["a", "[[0, 1]]"], r"row 3, .*cannot be read as a list"),
        (["a", "[a,,b]"], r"row 3, .*cannot be read as a list"),
        (
            ["a, b", "a|b", "b|a"],
            r"row 2, .*'a, b' looks like several labels with ',' between them; write \|",
        ),
        (
            ["a/b", "a", "b", "and/or"],
            r"row 2, .*'a/b' looks like several labels with '/' between them; write \|",
        ),
    ],
)
def test_what_is_no_list_is_refused(csv_of: Write, cells: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        load(csv_of(*cells), problem_type="multi_label")


def test_a_comma_that_separates_is_told_and_one_in_a_name_stays(csv_of: Write) -> None:
    _, data = read(csv_of("a, b", "b"), problem_type="multi_label")
    assert any("labels are split at ','" in note for note in data.notes)
    labels, data = read(csv_of("Washington, DC|Paris", "Paris"), problem_type="multi_label")
    assert labels == [("Paris", "Washington, DC"), ("Paris",)]
    assert not any("labels are split" in note for note in data.notes)
    assert read(csv_of("(other)|b", "(other)"), problem_type="multi_label")[0] == [
        ("(other)", "b"),
        ("(other)",),
    ]


@pytest.mark.parametrize(
    ("cells", "row"),
    [
        (["billing", "billing, refund", "refund"], 3),
        (["billing, refund", "refund, login", "login, billing"], 2),
        (["billing; refund", "Refund", "billing"], 2),
        (["billing|refund", "login"], 2),
        (["billing+refund", "refund", "billing"], 2),
        (['["billing"]', '["refund"]'], 2),
        (["['billing', 'refund']", "[]"], 2),
        (["[0 1 0]", "[1 1 0]"], 2),
        (["{'a'}", "{'b'}"], 2),
    ],
)
def test_text_that_looks_like_lists_is_asked_about(
    csv_of: Write, jsonl_of: Write, cells: list[str], row: int
) -> None:
    with pytest.raises(
        InputError, match=f"row {row}, column 'label': .*looks like a list of labels; give --problem-type "
    ):
        load(csv_of(*cells))
    with pytest.raises(
        InputError, match=f"row {row - 1}, .*--problem-type multi_label .* --problem-type single_label"
    ):
        load(jsonl_of(*cells))
    assert load(csv_of(*cells), problem_type="multi_label").task.problem_type == "multi_label"


@pytest.mark.parametrize(
    "cells",
    [
        ["Washington, DC", "Paris", "London"],
        ["Paris, France", "Lyon, France", "Rome, Italy"],
        ["food, drink", "travel"],
        ["R&D", "sales", "[other]"],
        ["C++", "C", "A/B test"],
        ["(none)", "some"],
    ],
)
def test_ordinary_names_are_not_asked_about(csv_of: Write, cells: list[str]) -> None:
    assert read(csv_of(*cells))[0] == cells


def test_names_stay_whole_if_one_class_is_asked_for(csv_of: Write) -> None:
    cells = ["a, b", "a", "b"]
    assert read(csv_of(*cells), problem_type="single_label")[0] == cells


def test_a_list_may_hold_any_name() -> None:
    names = ["it's, so", 'say "hi"', "back\\slash", "line\nbreak", "[x]", "é"]
    for text in (json.dumps(names), repr(names), repr(tuple(names)), json.dumps(names, ensure_ascii=False)):
        assert read_list(text) == names
    assert read_list("[]") == []
    assert read_list("name") is None


# --- cells of other types ---


def test_a_parquet_dictionary_is_its_values(tmp_path: Path) -> None:
    labels = pa.array(["b", "a", None]).dictionary_encode()
    path = write_parquet(tmp_path / "f.parquet", {"text": ["x", "y", "z"], "label": labels})
    assert rows_of(load(path)) == [("x", "b"), ("y", "a"), ("z", None)]


def test_numbers_with_missing_ones(tmp_path: Path, jsonl_of: Write, csv_of: Write) -> None:
    """Pandas writes classes as 1.0 and 0.0 where one is missing, and the missing one as NaN."""
    assert read(jsonl_of(1.0, 0.0, float("nan")))[0] == ["1", "0", None]
    assert read(csv_of("1.0", "0.0", "nan"))[0] == ["1", "0", None]
    columns = {"text": ["x", "y"], "label": [Decimal("1.00"), Decimal("0.00")]}
    assert rows_of(load(write_parquet(tmp_path / "f.parquet", columns))) == [("x", "1"), ("y", "0")]
