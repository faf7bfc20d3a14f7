"""Numbers or names, spellings of one name, and what counts as no label."""

import unicodedata
from pathlib import Path
from typing import Any

import pytest

from augpro.errors import InputError
from data_files import load, rows_of, write_csv, write_jsonl, write_parquet

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def csv_of(folder: Path, *cells: Any, name: str = "train") -> Path:
    rows = [["text", "label"], *([f"{name} {i:03}", cell] for i, cell in enumerate(cells))]
    return write_csv(folder / f"{name}.csv", rows)


def names_of(path: Path, **options: Any) -> tuple[Any, ...]:
    """The name of every row's label, in the order of the file, or its score."""
    return tuple(label for _, label in rows_of(load(path, **options)))


# --- -1 ---


def test_minus_one_beside_other_labels_is_a_class(tmp_path: Path) -> None:
    data = load(csv_of(tmp_path, -1, 0, 1, -1))
    assert data.task.label_names == ("-1", "0", "1")
    assert "train: 2 of 4 rows have no label" not in data.notes
    assert any(
        "the label -1 occurs beside other labels, so it counts as a label" in note for note in data.notes
    )
    assert names_of(csv_of(tmp_path, -1, 0.5, 1)) == (-1.0, 0.5, 1.0)
    assert names_of(csv_of(tmp_path, -1, 1), problem_type="regression") == (-1.0, 1.0)


@pytest.mark.parametrize("train", [("0", "1"), ("0.5", "1"), ("no", "yes")])
def test_a_split_of_nothing_but_minus_one_has_no_labels(tmp_path: Path, train: tuple[str, str]) -> None:
    csv_of(tmp_path, *train)
    csv_of(tmp_path, -1, -1, name="test")
    data = load(tmp_path)
    assert data.splits["test"].labels == [None, None]
    assert any("2 rows have the label -1, which counts as no label" in note for note in data.notes)


def test_minus_one_is_no_label_where_classes_have_other_ids(tmp_path: Path) -> None:
    feature = {"names": ["spam", "ham"], "_type": "ClassLabel"}
    columns = {"text": ["x", "y", "z"], "label": [0, -1, 1]}
    path = write_parquet(tmp_path / "f.parquet", columns, {"label": feature})
    assert names_of(path) == ("spam", None, "ham")
    folder = tmp_path / "sst2"
    folder.mkdir()
    write_csv(folder / "train.csv", [["sentence", "label"], ["x", 0], ["y", -1], ["z", 1]])
    assert names_of(folder) == ("negative", None, "positive")


# --- numbers and names ---

VERSIONS = ("1.1", "1.2", "2.10") * 4


def test_one_class_a_row_keeps_every_name(tmp_path: Path) -> None:
    assert load(csv_of(tmp_path, "1.10", "1.1"), problem_type="single_label").task.label_names == (
        "1.1",
        "1.10",
    )
    assert names_of(csv_of(tmp_path, "1.5", "2"), problem_type="single_label") == ("1.5", "2")
    assert names_of(csv_of(tmp_path, "1.0", "0.0"), problem_type="single_label") == ("1", "0")
    many = load(csv_of(tmp_path, "10", "9", "2"), problem_type="single_label")
    assert many.task.label_names == ("2", "9", "10")
    records = [{"text": "x", "label": 1.5}, {"text": "y", "label": 2}]
    assert names_of(write_jsonl(tmp_path / "f.jsonl", records), problem_type="single_label") == ("1.5", "2")


def test_versions_are_names(tmp_path: Path) -> None:
    data = load(csv_of(tmp_path, *VERSIONS))
    assert (data.task.problem_type, data.task.label_names) == ("single_label", ("1.1", "1.2", "2.10"))
    assert any("'2.10' are read as names; give --problem-type regression" in note for note in data.notes)
    assert load(csv_of(tmp_path, *VERSIONS), problem_type="regression").task.problem_type == "regression"


@pytest.mark.parametrize("cells", [("1.1", "1.2", "2.10"), ("1.1", "1.2", "2.1") * 4])
def test_what_may_be_versions_or_scores_is_asked_about(tmp_path: Path, cells: tuple[str, ...]) -> None:
    with pytest.raises(
        InputError, match=r"row \d, column 'label': .*--problem-type regression or single_label"
    ):
        load(csv_of(tmp_path, *cells))


@pytest.mark.parametrize(
    "cells",
    [
        ("0.5", "1.0", "1.5", "2.0") * 4,
        ("0.0", "0.33", "0.67", "1.0") * 4,
        ("1.10", "2.50", "3.00") * 4,  # as many digits in each
        ("-0.1", "3.75", "4"),
        ("1e-3", "2.5"),
        tuple(f"{number / 7:.4f}" for number in range(30)),
    ],
)
def test_scores_are_scores(tmp_path: Path, cells: tuple[str, ...]) -> None:
    assert load(csv_of(tmp_path, *cells)).task.problem_type == "regression"


@pytest.mark.parametrize("cell", ["1,000", "1.000.000", "1 000", "3,5", "12,500.75", "1\u202f000"])
def test_numbers_that_a_program_does_not_read_are_asked_about(tmp_path: Path, cell: str) -> None:
    path = csv_of(tmp_path, "900", cell, "700")
    with pytest.raises(
        InputError, match=r"row 3, column 'label': .* may be a number, .*write numbers without separators"
    ):
        load(path)
    assert load(path, problem_type="single_label").task.label_names == tuple(sorted(["900", cell, "700"]))


# --- spellings ---


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (("TRUE", "True", "false", "True"), ("True", "True", "false", "True")),
        ((COMPOSED, DECOMPOSED, "tea", COMPOSED), (COMPOSED, COMPOSED, "tea", COMPOSED)),
        (("New York", " New  York ", "Rome", "New York"), ("New York", "New York", "Rome", "New York")),
    ],
)
def test_spellings_of_one_label_are_one_and_told(
    tmp_path: Path, cells: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    data = load(csv_of(tmp_path, *cells))
    assert names_of(csv_of(tmp_path, *cells)) == expected
    (note,) = (note for note in data.notes if "spellings of" in note)
    assert "column 'label'" in note
    if DECOMPOSED in cells:
        assert r"'cafe\u0301'" in note


def test_a_boolean_and_its_name_are_one_label(tmp_path: Path) -> None:
    records = [{"text": f"{i}", "label": label} for i, label in enumerate([True, "True", False, True])]
    assert names_of(write_jsonl(tmp_path / "f.jsonl", records)) == ("true", "true", "false", "true")


def test_ones_beside_booleans_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"row 4, .*the label '1' stands beside true or false; write all labels alike"
    ):
        load(csv_of(tmp_path, "TRUE", "False", "1", "0"))


def test_spellings_in_another_split_and_in_lists(tmp_path: Path) -> None:
    csv_of(tmp_path, "yes", "no", "yes")
    csv_of(tmp_path, "YES", name="test")
    assert load(tmp_path).splits["test"].labels == [1]
    records = [{"text": "x", "labels": ["A", "a"]}, {"text": "y", "labels": ["a", "b"]}]
    assert load(write_jsonl(tmp_path / "f.jsonl", records)).task.label_names == ("a", "b")


def test_spellings_that_are_two_classes_stay_two(tmp_path: Path) -> None:
    path = csv_of(tmp_path, "US", "us", "eu", "EU", "us")
    data = load(path, classes=("US", "us", "Eu"))
    assert data.task.label_names == ("Eu", "US", "us")
    assert names_of(path, classes=("US", "us", "Eu")) == ("US", "us", "Eu", "Eu", "us")
    assert any("'EU', 'eu' are spellings of 'Eu'" in note for note in data.notes)
    assert load(path).task.label_names == ("EU", "us")


# --- no label ---


def test_words_for_a_missing_value_are_no_label(tmp_path: Path) -> None:
    cells = ("nan", "a", "None", "N/A", "b", "<NA>", "NULL")
    data = load(csv_of(tmp_path, *cells))
    assert names_of(csv_of(tmp_path, *cells)) == (None, "a", None, None, "b", None, None)
    assert any("5 rows have the label 'nan', 'None', 'N/A'" in note for note in data.notes)
    assert names_of(csv_of(tmp_path, "none", "other", "Nothing")) == ("none", "other", "Nothing")
    records = [{"text": "x", "label": "nan"}, {"text": "y", "label": "a"}, {"text": "z", "label": "b"}]
    assert names_of(write_jsonl(tmp_path / "f.jsonl", records)) == (None, "a", "b")


def test_such_a_word_is_a_label_where_it_names_a_class(tmp_path: Path) -> None:
    assert names_of(csv_of(tmp_path, "None", "abuse"), classes=("abuse", "none")) == ("none", "abuse")


def test_scores_that_are_missing(tmp_path: Path) -> None:
    assert names_of(csv_of(tmp_path, "0.5", "nan", "2.25")) == (0.5, None, 2.25)
