"""Where data comes from: folders, GLUE tasks, the embedded set, the hub."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from augpro.errors import InputError
from augpro.tasks import GLUE
from data_files import GOOD, load, train_of, write_csv, write_parquet

# --- folders and GLUE ---


@pytest.mark.parametrize(
    "alias", ["validation", "dev", "val", "valid", "eval", "Validation", "validation_matched"]
)
def test_split_names(tmp_path: Path, alias: str) -> None:
    for name in ("train", alias, "test"):
        write_csv(tmp_path / f"{name}.csv", [["text", "label"], [f"{name} 1", "a"], [f"{name} 2", "b"]])
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "train.py").write_text("code")
    data = load(tmp_path)
    assert {name: split.texts for name, split in data.splits.items()} == {
        "train": ["train 1", "train 2"],
        "validation": [f"{alias} 1", f"{alias} 2"],
        "test": ["test 1", "test 2"],
    }
    assert data.splits["validation"].source == str(tmp_path / f"{alias}.csv")
    assert data.task.name == tmp_path.name


def test_shards(tmp_path: Path) -> None:
    for i in range(3):
        write_parquet(
            tmp_path / f"train-{i:05}-of-00003.parquet", {"text": [f"x{i}", f"y{i}"], "label": [0, 1]}
        )
    write_parquet(tmp_path / "test-00000-of-00001.parquet", {"text": ["t"], "label": [0]})
    data = load(tmp_path)
    assert train_of(data) == {"x0": 0, "y0": 1, "x1": 0, "y1": 1, "x2": 0, "y2": 1}
    assert "and 2 more" in data.splits["train"].source
    write_parquet(tmp_path / "train-00001-of-00003.parquet", {"text": ["x", None], "label": [0, 1]})
    with pytest.raises(InputError, match=r"train-00001-of-00003.parquet, row 2, column 'text'"):
        load(tmp_path)
    write_parquet(tmp_path / "train-00001-of-00003.parquet", {"other": ["x"], "label": [0]})
    with pytest.raises(InputError, match=r"train-00001-of-00003.parquet.*'other'.*shards of a split alike"):
        load(tmp_path)
    (tmp_path / "train-00001-of-00003.parquet").unlink()
    with pytest.raises(InputError, match=r"2 of the 3 shards of the train split"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["notes.md"], r"no file named train, validation or test.*'notes.md'.*name the split files so"),
        ([], r"holds nothing"),
        (["train.csv", "train.tsv"], r"several files stand for the train split.*keep one"),
        (["train.csv", "dev.csv", "val.csv"], r"several files stand for the validation split"),
        (["test.csv", "train.xlsx"], r"train.xlsx.*'.xlsx'.*\.parquet"),
        (["test.csv", "train.csv.gz"], r"train.csv.gz.*'.gz'.*\.parquet"),
    ],
)
def test_bad_folder(tmp_path: Path, files: list[str], said: str) -> None:
    for name in files:
        (tmp_path / name).write_text(GOOD)
    with pytest.raises(InputError, match=said):
        load(tmp_path)


def test_split_that_lacks_the_text_column(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(GOOD)
    (tmp_path / "test.csv").write_text("body,label\nx,a\n")
    with pytest.raises(
        InputError, match=r"test.csv: there is no column 'text'.*'body', 'label'.*--text-column"
    ):
        load(tmp_path)


def glue_folder(tmp_path: Path, name: str, columns: dict[str, Any]) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    write_parquet(folder / "train.parquet", columns)
    write_parquet(folder / "validation.parquet", columns)
    write_parquet(folder / "test.parquet", columns | {"label": [-1] * len(columns["label"])})
    return folder


def test_glue_folder(tmp_path: Path) -> None:
    data = load(glue_folder(tmp_path, "sst2", {"sentence": ["x", "y"], "label": [1, 0], "idx": [0, 1]}))
    assert data.task is GLUE["glue/sst2"]
    assert data.splits["train"].labels == [1, 0]
    assert data.splits["test"].labels == [None, None]
    pair = {"question": ["x", "y"], "sentence": ["p", "q"], "label": [1, 0]}
    data = load(glue_folder(tmp_path, "qnli", pair))
    assert data.task is GLUE["glue/qnli"]
    assert data.splits["train"].pairs == ["p", "q"]
    scores = {"sentence1": ["x", "y"], "sentence2": ["p", "q"], "label": [0.0, 4.5]}
    data = load(glue_folder(tmp_path, "stsb", scores))
    assert data.task is GLUE["glue/stsb"]
    assert data.splits["test"].labels == [None, None]


def test_glue_folder_whose_content_is_not_glue(tmp_path: Path) -> None:
    folder = glue_folder(tmp_path, "cola", {"text": ["x", "y"], "label": [1, 0]})
    assert load(folder).task.name == "cola"
    feature = {"names": ["entailment", "not_entailment"][::-1], "_type": "ClassLabel"}
    (tmp_path / "rte").mkdir()
    columns = {"sentence1": ["x", "y"], "sentence2": ["x", "y"], "label": [1, 0]}
    write_parquet(tmp_path / "rte" / "train.parquet", columns, {"label": feature})
    assert load(tmp_path / "rte").task.label_names == ("not_entailment", "entailment")
    sst2 = glue_folder(tmp_path, "sst2", {"sentence": ["x", "y"], "label": [1, 0], "topic": ["p", "q"]})
    assert load(sst2, label_column="topic").task.label_names == ("p", "q")
    write_parquet(sst2 / "validation.parquet", {"sentence": ["x"], "label": [2], "topic": ["p"]})
    with pytest.raises(
        InputError, match=r"validation.parquet, row 1, column 'label'.*2.*'negative', 'positive'"
    ):
        load(sst2)


def test_glue_labels_by_name(tmp_path: Path) -> None:
    (tmp_path / "sst2").mkdir()
    (tmp_path / "sst2" / "train.csv").write_text("sentence,label\nx,positive\ny,negative\nz,positive\n")
    (tmp_path / "sst2" / "dev.csv").write_text("sentence,label\nx,positive\n")
    assert train_of(load(tmp_path / "sst2")) == {"x": 1, "y": 0, "z": 1}


# --- names: embedded data, the hub, missing files ---


def test_embedded_data() -> None:
    data = load("helpdesk")
    assert set(data.splits) == {"train", "validation", "test"}
    assert all(split.labelled for split in data.splits.values())
    assert data.task.name == "helpdesk"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[Any]]:
    """Make the hub answer with a data set or an error, and return the calls that it gets."""
    import datasets

    def answer_with(answer: Any) -> list[Any]:
        calls: list[Any] = []

        def load_dataset(*args: Any, **options: Any) -> Any:
            calls.append((args, options))
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        return calls

    return answer_with


@pytest.mark.parametrize("name", ["glue/sst2", "owner/some-data.v2", "some_name"])
def test_hub_cannot_be_reached(hub: Callable[[Any], list[Any]], name: str) -> None:
    calls = hub(ConnectionError("Couldn't reach it"))
    with pytest.raises(InputError) as caught:
        load(name)
    message = str(caught.value)
    assert name in message
    assert "cannot be reached" in message
    assert "pass the path of a local folder" in message
    expected = ("nyu-mll/glue", "sst2") if name == "glue/sst2" else (name, None)
    assert calls == [(expected, {})]  # so never trust_remote_code


def test_hub_has_no_such_data(
    hub: Callable[[Any], list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets.exceptions import DatasetNotFoundError

    hub(DatasetNotFoundError("no"))
    with pytest.raises(InputError, match=r"no such file, folder or public data set.*check the name"):
        load("owner/name")
    (tmp_path / "mydata.csv").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"did you mean 'mydata.csv'"):
        load("mydata")
    hub(RuntimeError("two\nlines"))
    with pytest.raises(InputError, match=r"RuntimeError: two lines.*pass the path of a local folder"):
        load("owner/name")


def test_hub_data(hub: Callable[[Any], list[Any]]) -> None:
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

    features = Features(
        {"premise": Value("string"), "hypothesis": Value("string"), "label": ClassLabel(names=["n", "m"])}
    )
    rows = Dataset.from_dict(
        {"premise": ["x", "y"], "hypothesis": ["p", "q"], "label": [1, 0]}, features=features
    )
    names = ["validation_mismatched", "validation_matched", "train", "unsupervised"]
    hub(DatasetDict(dict.fromkeys(names, rows)))
    data = load("owner/nli")
    assert list(data.splits) == ["train", "validation"]
    assert data.task.label_names == ("n", "m")
    assert data.splits["validation"].pairs == ["p", "q"]
    assert data.splits["validation"].source == "owner/nli (validation_matched)"
    assert any("validation_mismatched" in note for note in data.notes)
    hub(DatasetDict({"other": rows}))
    with pytest.raises(InputError, match=r"no split named train, validation or test.*'other'"):
        load("owner/nli")


def test_hub_glue(hub: Callable[[Any], list[Any]]) -> None:
    from datasets import Dataset, DatasetDict

    rows = Dataset.from_dict({"premise": ["x", "y"], "hypothesis": ["p", "q"], "label": [2, 0]})
    hub(DatasetDict({"train": rows, "validation_matched": rows}))
    data = load("glue/mnli")
    assert data.task is GLUE["glue/mnli"]
    assert data.splits["train"].labels == [2, 0]


def test_unknown_glue_task() -> None:
    with pytest.raises(InputError, match=r"no such GLUE task.*glue/sst2, glue/cola"):
        load("glue/sst")


def test_file_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train.csv").write_text(GOOD)
    with pytest.raises(
        InputError, match=r"trian.csv: file not found \(did you mean '.*train.csv'\?\); check"
    ):
        load(tmp_path / "trian.csv")
    monkeypatch.chdir(tmp_path)
    for name in (
        "./train",
        "trian.csv",
        "",
        "no/such/folder/x.csv",
        "../x",
        "tra\0in.csv",
        "x" * 5000 + ".csv",
    ):
        with pytest.raises(InputError, match=r"file not found"):
            load(name)
