"""Data that went wrong in other programs: the inputs were made after public reports, which each test names."""

from pathlib import Path
from typing import Any

import pytest

from augpro.errors import InputError
from common import ANSWERS, LABELS, TEXTS
from data_files import load, rows_of, train_of, write_csv, write_jsonl

ROWS = [[text, LABELS[answer]] for text, answer in zip(TEXTS, ANSWERS, strict=True)]


def folder_of(folder: Path, **splits: Any) -> Path:
    for name, rows in splits.items():
        write_csv(folder / f"{name}.csv", [["text", "label"], *rows])
    return folder


def noted(data: Any, part: str) -> list[str]:
    return [note for note in data.notes if part in note]


# --- stray quotes ---

STRAY = """text,label
the movie is great,positive
"your app works fine today,positive
my server is broken again,negative
the plot feels slow,negative
never again",negative
the invoice was not good,negative
a very good film,positive
"""
LABEL_FIRST = """label,text
1,the movie is great
0,"my server is broken again
1,a very good film

0,never again"
1,your app works fine today
"""
SCORES = """text,score
the movie is great,4.75
"your app works fine today,4.5
my server is broken again",0.5
the plot feels slow,1.25
"""
EXPORTED = """id,text,label,,
1,the movie is great,positive,,
2,"your app works fine today,positive,,
3,never again",negative,,
4,the invoice was not good,negative,,
"""


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        (STRAY, 3, 6),
        (STRAY.replace(",", ";"), 3, 6),
        (STRAY.replace(",", "\t"), 3, 6),
        (STRAY.replace("\n", "\r\n"), 3, 6),
        (LABEL_FIRST, 3, 6),
        (SCORES, 3, 4),
        (EXPORTED, 3, 4),
    ],
)
def test_a_stray_quote_that_takes_in_rows_is_refused(
    tmp_path: Path, text: str, first: int, last: int
) -> None:
    """rewicks/ersatz#1: lines of a table with a stray quote were joined into one text, labels and all.

    was: read without a word, as fewer rows; only separated by tabs it was refused.
    """
    path = tmp_path / "f.csv"
    path.write_text(text, newline="")
    with pytest.raises(
        InputError, match=rf"f\.csv, row {first}: a quote opened here .* up to row {last}; put the cell in"
    ):
        load(path)


@pytest.mark.parametrize(
    "text",
    [
        "Hello, team,\nplease help, thanks",
        "Hello,\nthanks",
        "Thanks, Bob\nnegative",
        "great, positive\nthanks",  # a space after the comma, as in texts
        "We give it a 1,1\nand would come again",  # a decimal comma
        "never again,\n\nnegative",
        "a list:\nfirst,positive\nlast",  # not all lines are rows
        "so good,really\nthanks",
    ],
)
@pytest.mark.parametrize("labels", [("positive", "negative"), ("1", "0")])
def test_a_text_of_several_lines_is_no_stray_quote(
    tmp_path: Path, text: str, labels: tuple[str, str]
) -> None:
    """rewicks/ersatz#1: the other side; commas and line breaks are a part of many texts."""
    rows = [[each, labels[row % 2]] for row, each in enumerate(["Hello", "Thanks", text, "never again"])]
    folder_of(tmp_path, train=rows)
    assert set(train_of(load(tmp_path, make_validation=False))) == {row[0] for row in rows}
    (tmp_path / "train.csv").unlink()
    path = write_csv(tmp_path / "f.csv", [["label", "text"], *(row[::-1] for row in rows)])
    assert set(train_of(load(path, make_validation=False))) == {row[0] for row in rows}


# --- scores ---


def scores(cell: str) -> list[list[Any]]:
    rows: list[list[Any]] = [[text, 0.5 + row % 9 / 2] for row, text in enumerate(TEXTS)]
    rows[11][1] = cell
    return rows


@pytest.mark.parametrize("cell", ["<1.0", "4.0*", "3.5 stars", "unknown", "-"])
def test_one_word_among_scores_is_refused(tmp_path: Path, cell: str) -> None:
    """dotnet/machinelearning#5235: a few cells such as <1.0 made texts of a column of numbers.

    was: one class for each score, and one for the odd cell; with a teacher that gives a score, a message that did
    not name the cell.
    """
    path = folder_of(tmp_path, train=scores(cell))
    with pytest.raises(InputError) as error:
        load(path)
    said = str(error.value)
    assert f"row 13, column 'label': the label '{cell}' is not a number, and 19 of 20 labels are" in said
    assert "leave the cell empty, or give --problem-type single_label" in said
    assert cell in load(path, problem_type="single_label").task.label_names
    assert cell in load(path, classes=(cell, "other")).task.label_names
    assert load(folder_of(tmp_path, train=scores("n/a"))).task.problem_type == "regression"


def test_words_among_ids_and_versions_are_names(tmp_path: Path) -> None:
    """dotnet/machinelearning#5235: where whole numbers are the rest, a word may be a class.

    was: right, but without a word.
    """
    cells = [*"12345" * 2, "5*"]
    data = load(folder_of(tmp_path, train=zip(TEXTS, cells, strict=False)))
    assert data.task.label_names == (*"12345", "5*")
    assert noted(data, "the label '5*' is not a number, and 10 of 11 labels are; all are read as names")
    versions = [*["1.1", "1.2", "2.10"] * 4, "2.10-beta"]
    data = load(folder_of(tmp_path, train=zip(TEXTS, versions, strict=False)))
    assert "2.10-beta" in data.task.label_names
    words = load(folder_of(tmp_path, train=zip(TEXTS, ["7", "8", "a", "b"], strict=False)))
    assert words.task.label_names == ("7", "8", "a", "b")
    assert not noted(words, "is not a number")


# --- texts and labels that look like missing values ---


def test_texts_may_look_missing_and_labels_may_be_nan(tmp_path: Path) -> None:
    """huggingface/datasets#4467: the text "null" was read as a missing one; pandas-dev/pandas#32084: the reverse."""
    rows = [["null", "a"], ["NA", "b"], ["nan", "a"], ["None", "nan"]]
    assert rows_of(load(folder_of(tmp_path, train=rows))) == [
        ("NA", "b"), ("None", None), ("nan", "a"), ("null", "a")
    ]  # fmt: skip
    records = [{"text": text, "label": label} for text, label in [*rows[:3], ["<NA>", float("nan")]]]
    data = load(write_jsonl(tmp_path / "f.jsonl", records))
    assert rows_of(data)[0] == ("<NA>", None)


# --- classes that are not trained on ---


def rare(folder: Path) -> Path:
    """30 rows: 14 of two classes, and 16 of a class each."""
    labels = [("bug", "refund")[row // 2 % 2] if row % 2 and row < 28 else f"rare{row}" for row in range(30)]
    texts = [*TEXTS, *(f"{text} today" for text in TEXTS[:10])]
    return write_csv(folder / "f.csv", [["text", "label"], *zip(texts, labels, strict=True)])


@pytest.mark.parametrize("options", [{}, {"holdout_rows": 6}, {"train_rows": 4}])
def test_classes_that_a_division_leaves_no_train_row_are_told(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    """ludwig-ai/ludwig#2831, embeddings-benchmark/mteb#519: a class of one row broke the division of a file.

    was: the row was scored, of a class that no row taught, and nothing said so.
    """
    path, told = rare(tmp_path), 0
    for seed in range(5):
        data = load(path, split_seed=seed, **options)
        names, trained = data.task.label_names, set(data.splits["train"].labels)
        for split in ("validation", "holdout"):
            rows = [label for label in data.splits[split].labels if label not in trained] if (
                split in data.splits
            ) else []  # fmt: skip
            notes = noted(data, f"{split}: {len(rows)} of ")
            notes = [note for note in notes if "have a label that no train row has" in note]
            assert len(notes) == bool(rows)
            assert not rows or repr(names[min(rows)]) in notes[0]
            told += len(notes)
    assert told > 2
    assert not noted(load(path, make_validation=False), "no train row")


def test_labels_of_a_set_that_no_train_row_has_are_told(tmp_path: Path) -> None:
    """ludwig-ai/ludwig#2831: the same with several labels a row."""
    records = [{"text": text, "labels": ["a", f"b{row}"]} for row, text in enumerate(TEXTS)]
    data = load(write_jsonl(tmp_path / "f.jsonl", records))
    assert noted(data, "validation: 2 of 2 rows have a label that no train row has ('b")
    unlabelled = load(write_jsonl(tmp_path / "f.jsonl", [{"text": text} for text in TEXTS]))
    assert not noted(unlabelled, "no train row")


# --- one text, several labels ---


def test_texts_with_several_labels_are_counted(tmp_path: Path) -> None:
    """sebischair/Medical-Abstracts-TC-Corpus#2: 113 entries of the test data had conflicting labels.

    was: silence (deepchecks/deepchecks#2387 asks for the check).
    """
    extra = [
        ["the movie is great", "negative"], ["The Movie is great", "negative"], ["never again", "positive"],
        ["never again", "positive"],
    ]  # fmt: skip
    page = [["the page looks great", "positive"], ["the page looks great", "negative"]]
    data = load(folder_of(tmp_path, train=[*ROWS, *extra], validation=[*page, *ROWS[:6]]))
    train, validation = noted(data, "and another label")
    assert train.startswith("train: 6 of 24 rows have the text of another row")
    assert "such as 'the movie is great', 'never again'; rows that repeat an earlier text: 4" in train
    assert "is wrong on 2 of them or more" in train
    assert validation.startswith("validation: 2 of 8 rows")
    assert "repeat an earlier text: 1" in validation
    assert "is wrong on 1 of them or more" in validation
    assert not noted(load(folder_of(tmp_path, train=[*ROWS, *ROWS], validation=ROWS)), "another label")


def test_scores_and_sets_and_pairs_may_differ_for_one_text_too(tmp_path: Path) -> None:
    """deepchecks/deepchecks#2387: the same with scores, several labels a row, pairs, and rows without a label."""
    path = write_csv(tmp_path / "f.csv", [["text", "label"], ["x", 0.5], ["x", 2.25], ["y", 1], ["y", ""]])
    (note,) = noted(load(path, make_validation=False), "and another label")
    assert note.startswith("train: 2 of 4 rows")
    assert "is wrong on" not in note
    records = [{"text": "x", "labels": labels} for labels in (["a"], ["b", "a"], ["a"])]
    assert noted(load(write_jsonl(tmp_path / "f.jsonl", records), make_validation=False), "train: 3 of 3")
    rows = [["sentence1", "sentence2", "label"], ["x", "y", "a"], ["x", "z", "b"], ["x", "y", "a"]]
    assert not noted(load(write_csv(tmp_path / "p.csv", rows), make_validation=False), "another label")
