"""Dividing rows into splits: by their text alone, copies together, and the same for every seed that divides."""

from pathlib import Path

import pytest

from augpro.data.loading import Split
from augpro.data.same_text import row_keys
from augpro.errors import InputError
from data_files import GOOD, load, rows_of, write_csv


@pytest.fixture
def hundred(tmp_path: Path) -> Path:
    return write_csv(
        tmp_path / "f.csv", [["text", "label"], *([f"text {i}", "ab"[i % 2]] for i in range(100))]
    )


def test_single_file_gets_a_validation_split(hundred: Path) -> None:
    data = load(hundred)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 90, "validation": 10}
    assert any("took 10 of the train rows" in note for note in data.notes)
    assert len(rows_of(data)) == len(set(rows_of(data))) == 100


def test_validation_has_at_most_2000_rows(tmp_path: Path) -> None:
    rows = [["text", "label"], *([f"text {i}", i % 2] for i in range(20_100))]
    data = load(write_csv(tmp_path / "f.csv", rows))
    assert len(data.splits["validation"]) == 2000
    assert len(load(write_csv(tmp_path / "g.csv", rows[:4])).splits["validation"]) == 1


def test_folder_with_test_gets_no_validation_split_and_is_shuffled(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"text {i},{i % 2}\n" for i in range(30)))
    (tmp_path / "test.csv").write_text("text,label\nx,0\n")
    data = load(tmp_path)
    assert set(data.splits) == {"train", "test"}
    in_file = [f"text {i}" for i in range(30)]
    assert sorted(data.splits["train"].texts) == sorted(in_file) != data.splits["train"].texts
    assert data.splits["train"].texts == load(tmp_path).splits["train"].texts
    assert load(tmp_path, holdout_rows=5).splits["test"].texts == ["x"]


def test_subsets_are_nested_and_leave_the_other_splits_alone(hundred: Path) -> None:
    whole = load(hundred, holdout_rows=20, seed=3)
    assert {name: len(split) for name, split in whole.splits.items()} == {
        "train": 70,
        "validation": 10,
        "holdout": 20,
    }
    for wanted, size in ((5, 5), (0.5, 35), (0.001, 1), (70, 70)):
        part = load(hundred, holdout_rows=20, seed=3, train_rows=wanted)
        assert part.splits["train"].texts == whole.splits["train"].texts[:size]
        assert part.splits["holdout"] == whole.splits["holdout"]
        assert part.splits["validation"] == whole.splits["validation"]
        assert part.task == whole.task
    texts = [text for split in whole.splits.values() for text in split.texts]
    assert len(texts) == len(set(texts)) == 100
    other_seed = load(hundred, holdout_rows=20, seed=4)
    assert other_seed.splits["holdout"] == whole.splits["holdout"]
    assert other_seed.splits["validation"] == whole.splits["validation"]
    assert other_seed.splits["train"].texts != whole.splits["train"].texts
    assert load(hundred, holdout_rows=20, split_seed=4).splits["holdout"] != whole.splits["holdout"]
    assert load(hundred, holdout_rows=20, seed=3).splits == whole.splits


@pytest.mark.parametrize("holdout", [1, 20, 50])
def test_validation_and_holdout_do_not_depend_on_each_other(hundred: Path, holdout: int) -> None:
    alone, both = load(hundred), load(hundred, holdout_rows=holdout)
    assert both.splits["validation"] == alone.splits["validation"]
    other = load(hundred, holdout_rows=holdout, make_validation=False)
    assert both.splits["holdout"] == other.splits["holdout"]
    more = load(hundred, holdout_rows=holdout + 5)
    assert set(both.splits["holdout"].texts) < set(more.splits["holdout"].texts)


def test_the_splits_of_a_row_depend_on_its_text_and_not_on_its_place(hundred: Path, tmp_path: Path) -> None:
    header, *rows = hundred.read_text().splitlines()
    (tmp_path / "g.csv").write_text("\n".join([header, *reversed(rows)]))
    one, other = load(hundred, holdout_rows=20), load(tmp_path / "g.csv", holdout_rows=20)
    for name in ("validation", "holdout"):
        assert sorted(one.splits[name].texts) == sorted(other.splits[name].texts)


@pytest.mark.parametrize("rows", [27, 270])
def test_rows_of_one_text_stay_together(tmp_path: Path, rows: int) -> None:
    """Each text three times, written a little differently: none is in two splits."""
    texts = [f" Text {i % (rows // 3)}" if i % 2 else f"text  {i % (rows // 3)}" for i in range(rows)]
    path = write_csv(
        tmp_path / "f.csv", [["text", "label"], *([text, i % 2] for i, text in enumerate(texts))]
    )
    data = load(path, holdout_rows=rows // 9)
    keys = {name: set(split.keys) for name, split in data.splits.items()}
    assert not keys["train"] & (keys["validation"] | keys["holdout"])
    assert not keys["validation"] & keys["holdout"]
    assert sum(map(len, data.splits.values())) == rows
    assert rows // 10 <= len(data.splits["validation"]) < rows // 10 + 3
    assert rows // 9 <= len(data.splits["holdout"]) < rows // 9 + 3


def test_a_text_too_frequent_to_set_aside_stays_in_train(tmp_path: Path) -> None:
    texts = ["thanks"] * 30 + [f"text {i}" for i in range(70)]
    path = write_csv(
        tmp_path / "f.csv", [["text", "label"], *([text, i % 2] for i, text in enumerate(texts))]
    )
    for seed in range(5):
        data = load(path, holdout_rows=20, split_seed=seed)
        assert (len(data.splits["validation"]), len(data.splits["holdout"])) == (10, 20)
        assert data.splits["train"].texts.count("thanks") == 30
    write_csv(path, [["text", "label"], *(["thanks", i % 2] for i in range(30))])
    with pytest.raises(InputError, match="30 rows have only 1 different texts, too few"):
        load(path)


def test_a_frequent_text_does_not_make_the_holdout_much_larger(tmp_path: Path) -> None:
    texts = ["thanks"] * 100 + [f"text {i}" for i in range(300)]
    path = write_csv(
        tmp_path / "f.csv", [["text", "label"], *([text, i % 2] for i, text in enumerate(texts))]
    )
    for seed in range(5):
        assert len(load(path, holdout_rows=100, split_seed=seed).splits["holdout"]) == 100


def test_rows_that_are_in_two_splits_are_counted(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", [["text", "label"], ["x y", 0], ["z", 1], ["w", 1]])
    write_csv(tmp_path / "validation.csv", [["text", "label"], ["X  Y", 0], ["z", 1], ["new", 1]])
    write_csv(tmp_path / "test.csv", [["text", "label"], ["other", 0]])
    (note,) = [note for note in load(tmp_path).notes if "also in the train split" in note]
    assert note.startswith("validation: 2 of 3 rows")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Café au lait", "cafe  AU lait", True),
        ("か", "が", False),
        ("มา", "ม่า", False),
        ("Ёлка", "ЕЛКА", True),
    ],
)
def test_marks_count_where_they_make_another_word(one: str, other: str, same: bool) -> None:
    assert (row_keys([one]) == row_keys([other])) == same


def test_pairs_are_one_text_only_if_both_are(tmp_path: Path) -> None:
    header = ["sentence1", "sentence2", "label"]
    write_csv(tmp_path / "train.csv", [header, ["x", "y", 0], ["x", "z", 1]])
    write_csv(tmp_path / "validation.csv", [header, ["x", "w", 0], ["X", "y ", 1]])
    assert any("validation: 1 of 2 rows" in note for note in load(tmp_path).notes)


def test_a_lone_file_stays_whole_where_no_validation_split_is_wanted(hundred: Path) -> None:
    data = load(hundred, make_validation=False)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 100}


def test_holdout_needs_a_train_split(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text(GOOD)
    assert set(load(tmp_path).splits) == {"test"}
    with pytest.raises(InputError, match=r"no train split.*add a train file"):
        load(tmp_path, holdout_rows=1)


def test_split_methods() -> None:
    split = Split(["x", "y", "z"], ["p", "q", "r"], [0, None, 1], "f.csv")
    assert split.select([2, 0]) == Split(["z", "x"], ["r", "p"], [1, 0], "f.csv")
    assert len(split) == 3
    bare = split.without_labels()
    assert bare == Split(["x", "y", "z"], ["p", "q", "r"], [None] * 3, "f.csv")
    assert (split.labelled, bare.labelled) == (True, False)
    assert Split(["x"], None, [0], "f").select([]).texts == []
