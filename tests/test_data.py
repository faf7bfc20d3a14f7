"""Formats, columns, labels and dividing."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from augpro.data.loading import Split
from augpro.data.same_text import row_keys
from augpro.errors import InputError
from data_files import GOOD, load, rows_of, train_of, write_all, write_csv, write_jsonl, write_parquet

NASTY = [
    'say "hi", she said',
    "C:\\temp\\new \\n",
    "one\ntwo\r\nthree\rfour",
    "tab\there",
    "  spaces kept  ",
    "emoji 🙂 é 漢字",
    "line\u2028separator\x85next",
    "'; DROP TABLE x; --",
    "null",
    "NaN",
    ",,,",
    '"',
]


# --- good input in every format ---


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "ndjson", "json", "array", "parquet"])
def test_formats_and_nasty_text(tmp_path: Path, kind: str) -> None:
    labels = ["yes" if i % 2 else "no" for i in range(len(NASTY))]
    data = load(write_all(tmp_path, NASTY, labels)[kind])
    assert rows_of(data) == sorted(zip(NASTY, labels, strict=True), key=str)
    assert data.task.label_names == ("no", "yes")
    assert data.task.metric == "accuracy"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).filter(str.strip),
            st.sampled_from(["a", "b", "c,d", 'e"f', "g\nh"]),
        ),
        min_size=2,
        max_size=12,
    )
    .filter(lambda rows: all(len(set(column)) > 1 for column in zip(*rows, strict=True)))
    .filter(lambda rows: len(set(row_keys([text for text, _ in rows]))) > 1)
)
def test_csv_round_trip(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    path = write_csv(tmp_path / "f.csv", [["text", "label"], *map(list, rows)])
    assert rows_of(load(path)) == sorted(rows, key=str)


def test_byte_order_mark_wide_cells_and_header_spaces(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text(f"\ufeffText , LABEL\n{'x' * 200_000},a \ny, b\n", encoding="utf-8")
    data = load(path)
    assert data.task.text_column == "Text"
    assert data.task.label_names == ("a", "b")
    assert max(len(text) for text, _ in rows_of(data)) == 200_000


def test_heavy_packages_are_not_imported() -> None:
    heavy = {"torch", "pandas", "pyarrow", "datasets", "numpy"}
    code = f"import sys, augpro.data.loading; print(sorted({heavy} & set(sys.modules)))"
    env = {"PYTHONPATH": str(Path(__file__).parent.parent / "src")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.strip() == "[]"


# --- columns ---


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("id,Sentence,Label", ("Sentence", None, "Label")),
        ("premise,hypothesis,label", ("premise", "hypothesis", "label")),
        ("question1,question2,class", ("question1", "question2", "class")),
        ("text,hypothesis,label", ("text", None, "label")),  # not its partner
        ("text,text_pair,intent", ("text", "text_pair", "intent")),
        ("label,sentence,question", ("question", "sentence", "label")),
        ("Sentence1,SENTENCE2,label", ("Sentence1", "SENTENCE2", "label")),
        ("text_b,text_a,label", ("text_a", "text_b", "label")),
        ("query,passage,label", ("query", "passage", "label")),
        ("claim,evidence,label", ("claim", "evidence", "label")),
        ("score,label,review", ("review", None, "label")),
        ("1,2,words", ("words", None, None)),  # the one column of strings
    ],
)
def test_guessed_columns(tmp_path: Path, header: str, expected: tuple[str, str | None, str | None]) -> None:
    names = header.split(",")
    cells = [["5" if name.lower() in {"id", "1", "2"} else f"{name} {i}" for name in names] for i in range(4)]
    data = load(write_csv(tmp_path / "f.csv", [names, *cells]))
    task = data.task
    assert (task.text_column, task.pair_column, task.label_column) == expected
    assert any("columns guessed" in note for note in data.notes)
    assert (data.splits["train"].pairs is None) == (expected[1] is None)
    said = [note for note in data.notes if f"--text-column {expected[0]} reads that column alone" in note]
    assert len(said) == (expected[1] is not None)


def test_one_column_of_a_pair(tmp_path: Path) -> None:
    rows = [["question", "sentence", "label"], ["x", "p", "a"], ["y", "q", "b"]]
    data = load(write_csv(tmp_path / "f.csv", rows), text_column="sentence")
    assert data.splits["train"].pairs is None
    assert rows_of(data) == [("p", "a"), ("q", "b")]
    assert "not read: 'question'" in " ".join(data.notes)


def test_said_columns(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "f.csv", [["a", "b", "c", "text"], ["p", "q", "r", "z"], ["s", "t", "u", "z"]]
    )
    data = load(path, text_column="a", pair_column="b", label_column="c")
    assert sorted(data.splits["train"].texts + data.splits["validation"].texts) == ["p", "s"]
    assert sorted((data.splits["train"].pairs or []) + (data.splits["validation"].pairs or [])) == ["q", "t"]
    assert not any("guessed" in note for note in data.notes)


# --- labels ---


def label_names(folder: Path, labels: list[Any], **options: Any) -> tuple[str, ...]:
    records = [{"text": f"text {i}", "label": label} for i, label in enumerate(labels)]
    return load(write_jsonl(folder / "f.jsonl", records), **options).task.label_names


def test_names_do_not_depend_on_row_order(tmp_path: Path) -> None:
    assert label_names(tmp_path, ["c", "a", "b"]) == label_names(tmp_path, ["b", "c", "a"]) == ("a", "b", "c")
    assert label_names(tmp_path, [10, 9, 2]) == ("2", "9", "10")
    assert label_names(tmp_path, [1.0, 0.0]) == ("0", "1")
    assert label_names(tmp_path, [True, False, None]) == ("false", "true")
    assert label_names(tmp_path, ["10", "9", "2"]) == ("10", "2", "9")  # JSON says that they are names
    assert label_names(tmp_path, [-2, -1, 0]) == ("-2", "-1", "0")


@pytest.mark.parametrize(
    ("cells", "names"),
    [(["10", "9", "2"], ("2", "9", "10")), (["1.0", "0.0"], ("0", "1")), (["007", "7"], ("007", "7"))],
)
def test_numbers_in_csv(tmp_path: Path, cells: list[str], names: tuple[str, ...]) -> None:
    path = write_csv(tmp_path / "f.csv", [["text", "label"], *([f"text {cell}", cell] for cell in cells)])
    assert load(path).task.label_names == names


def test_rows_without_label(tmp_path: Path) -> None:
    rows = [["text", "label"], ["x", "a"], ["y", ""], ["z", "b"], ["v", " "]]
    data = load(write_csv(tmp_path / "train.csv", rows))
    assert rows_of(data) == [("v", None), ("x", "a"), ("y", None), ("z", "b")]
    write_csv(tmp_path / "validation.csv", [["text"], ["w"]])
    data = load(tmp_path)
    assert train_of(data) == {"x": 0, "y": None, "z": 1, "v": None}
    assert data.splits["validation"].labels == [None]
    assert data.splits["train"].labelled
    assert not data.splits["validation"].labelled
    assert "train: 2 of 4 rows have no label" in data.notes
    assert "validation: 1 of 1 rows have no label" in data.notes


def test_no_label_at_all(tmp_path: Path) -> None:
    data = load(write_csv(tmp_path / "f.csv", [["text"], ["x"], ["y"]]))
    assert data.task.label_names == ()
    assert data.task.label_column is None
    assert any("--label-column" in note for note in data.notes)


def test_regression(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "f.csv", [["text", "score"], ["x", "-1"], ["y", "2.5"], ["z", ""]])
    data = load(path)
    assert (data.task.problem_type, data.task.metric) == ("regression", "pearson")
    assert data.task.outputs == 1
    assert rows_of(data) == [("x", -1.0), ("y", 2.5), ("z", None)]
    path = write_csv(tmp_path / "g.csv", [["text", "score"], ["x", "1"], ["y", "2"]])
    assert rows_of(load(path, problem_type="regression")) == [("x", 1.0), ("y", 2.0)]
    assert load(path).task.problem_type == "single_label"


def test_multi_label(tmp_path: Path) -> None:
    records = [
        {"text": "x", "labels": ["b", "a"]},
        {"text": "y", "labels": []},
        {"text": "z", "labels": None},
    ]
    write_jsonl(tmp_path / "train.jsonl", records)
    write_jsonl(tmp_path / "dev.jsonl", [{"text": "w", "labels": ["b"]}])
    data = load(tmp_path)
    assert (data.task.problem_type, data.task.metric) == ("multi_label", "micro_f1")
    assert data.task.label_names == ("a", "b")
    assert train_of(data) == {"x": (0, 1), "y": (), "z": None}
    assert data.splits["validation"].labels == [(1,)]


def test_multi_label_in_csv(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", [["text", "label"], ["x", "b | a"], ["y", "b"], ["z", ""]])
    write_csv(tmp_path / "test.csv", [["text", "label"], ["x", "a"]])
    data = load(tmp_path, problem_type="multi_label")
    assert train_of(data) == {"x": (0, 1), "y": (1,), "z": None}
    write_csv(tmp_path / "train.csv", [["text", "label"], ["x", "10|9"], ["y", "2"]])
    write_csv(tmp_path / "test.csv", [["text", "label"], ["x", "9"]])
    assert load(tmp_path, problem_type="multi_label").task.label_names == ("2", "9", "10")


def test_class_names_of_parquet(tmp_path: Path) -> None:
    feature = {"names": ["spam", "ham"], "_type": "ClassLabel"}
    columns = {"text": ["x", "y"], "label": [0, 0]}
    write_parquet(tmp_path / "train.parquet", {"text": ["x", "y"], "label": [1, 0]}, {"label": feature})
    write_parquet(tmp_path / "test.parquet", columns, {"label": feature})
    data = load(tmp_path)
    assert data.task.label_names == ("spam", "ham")
    assert data.splits["train"].labels == [1, 0]
    write_parquet(tmp_path / "test.parquet", {"text": ["x"], "label": [2]}, {"label": feature})
    with pytest.raises(InputError, match=r"test.parquet, row 1, column 'label'.*2.*'spam', 'ham'"):
        load(tmp_path)
    write_parquet(tmp_path / "test.parquet", columns, {"label": feature | {"names": ["ham", "spam"]}})
    with pytest.raises(InputError, match=r"write all splits with the same names"):
        load(tmp_path)


def test_class_names_of_lists_and_other_metadata(tmp_path: Path) -> None:
    columns = {"text": ["x", "y"], "label": [[1], [0, 1]]}
    feature = {"feature": {"names": ["p", "q"], "_type": "ClassLabel"}, "_type": "List"}
    assert load(write_parquet(tmp_path / "f.parquet", columns, {"label": feature})).task.label_names == (
        "p",
        "q",
    )
    other = pa.table({"text": ["x", "y"], "label": [1, 0]}).replace_schema_metadata(
        {"huggingface": "no JSON"}
    )
    pq.write_table(other, tmp_path / "g.parquet")
    assert load(tmp_path / "g.parquet").task.label_names == ("0", "1")


def test_label_that_train_does_not_have(tmp_path: Path) -> None:
    names = [f"class {i:02}" for i in range(12)]
    write_csv(tmp_path / "train.csv", [["text", "label"], *([f"x {name}", name] for name in names)])
    write_csv(tmp_path / "val.csv", [["text", "label"], ["x", "class 00"], ["y", "clas 01"]])
    with pytest.raises(InputError) as caught:
        load(tmp_path)
    message = str(caught.value)
    for part in ("val.csv", "row 3", "'label'", "'clas 01'", "'class 09' and 2 more", "add rows with it"):
        assert part in message
    assert "class 10" not in message


def test_names_of_other_splits_without_labelled_train(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", [["text"], ["x"]])
    write_csv(tmp_path / "validation.csv", [["text", "label"], ["x", "b"]])
    write_csv(tmp_path / "test.csv", [["text", "label"], ["x", "a"]])
    assert load(tmp_path).task.label_names == ("a", "b")


# --- dividing ---


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
