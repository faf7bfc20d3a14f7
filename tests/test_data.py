"""Formats, columns and labels."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from augpro.data.same_text import row_keys
from augpro.errors import InputError
from data_files import load, rows_of, train_of, write_all, write_csv, write_jsonl, write_parquet

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
