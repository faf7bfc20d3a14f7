"""augpro predict: every row is answered, its columns stay, and nothing half-written has the final name."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from augpro.cli.app import app
from augpro.data import stream
from augpro.errors import InputError
from augpro.predict.options import PredictConfig
from augpro.predict.predicting import make_predict_plan, run_predict
from augpro.testing import TEXTS
from augpro_runtime import Classifier
from exported_folders import calibrated, write_exported

RUN = CliRunner()
ROWS = [{"id": number, "text": text, "note": 'a "quoted", one'} for number, text in enumerate(TEXTS)]


@pytest.fixture
def exported(tmp_path, tokenizer):
    return write_exported(
        tmp_path / "exported", tokenizer, calibration={"temperature": 2.0, "threshold": 0.7}
    )[0]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(stream, "PART_ROWS", 7)


def write(path, rows=ROWS):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


def read(path):
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    with open(path, newline="", encoding="utf-8") as file:
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in file]
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


def predict(model, data, out, **options):
    return run_predict(make_predict_plan(PredictConfig(model=str(model), data=data, out=out, **options)))


@pytest.mark.parametrize("before", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("after", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_columns_stay_in_order_and_answers_are_those_of_the_runtime(before, after, exported, tmp_path):
    done = predict(exported, write(tmp_path / f"in{before}"), tmp_path / f"out{after}")
    found = read(tmp_path / f"out{after}")
    assert list(found[0]) == ["id", "text", "note", "label", "probability", "confident"]
    assert [(str(row["id"]), row["text"], row["note"]) for row in found] == [
        (str(row["id"]), row["text"], row["note"]) for row in ROWS
    ]
    answers = Classifier.load(exported).predict(TEXTS)
    assert [row["label"] for row in found] == [answer.label for answer in answers]
    assert [float(row["probability"]) for row in found] == pytest.approx([a.probability for a in answers])
    assert [str(row["confident"]) for row in found] == [str(answer.confident) for answer in answers]
    assert done.rows == len(TEXTS)
    assert done.confident == sum(answer.confident for answer in answers) / len(TEXTS)


def test_pytorch_folders_and_the_distribution(teacher_folder, tmp_path):
    predict(teacher_folder, write(tmp_path / "in.csv"), tmp_path / "out.jsonl", distribution=True)
    found = read(tmp_path / "out.jsonl")
    assert list(found[0])[3:] == ["label", "probability", "p_negative", "p_positive"]
    for row in found:
        assert row["p_negative"] + row["p_positive"] == pytest.approx(1)
        assert row["probability"] == row[f"p_{row['label']}"]
    calibrated(5.0, None).save(teacher_folder)
    try:
        predict(teacher_folder, tmp_path / "in.csv", tmp_path / "cool.jsonl")
    finally:
        (teacher_folder / "calibration.json").unlink()
    cool = read(tmp_path / "cool.jsonl")
    assert {row["confident"] for row in cool} == {False}
    assert all(less["probability"] < row["probability"] for less, row in zip(cool, found, strict=True))


def test_several_labels_and_scores(tmp_path, tokenizer):
    several, _ = write_exported(tmp_path / "several", tokenizer, ("a", "b"), problem_type="multi_label")
    score, _ = write_exported(tmp_path / "score", tokenizer, ("score",), problem_type="regression")
    data = write(tmp_path / "in.csv")
    for ending in (".csv", ".jsonl", ".parquet"):
        predict(several, data, tmp_path / f"several{ending}")
        labels = [row["label"] for row in read(tmp_path / f"several{ending}")]
        answers = [list(answer.label) for answer in Classifier.load(several).predict(TEXTS)]
        assert [json.loads(one) if ending == ".csv" else one for one in labels] == answers
    predict(score, data, tmp_path / "score.jsonl")
    assert list(read(tmp_path / "score.jsonl")[0])[3:] == ["label"]


def test_pairs(tmp_path, tokenizer):
    pair, _ = write_exported(tmp_path / "pair", tokenizer, pair=True)
    rows = [{"text1": one, "text2": other} for one, other in zip(TEXTS, TEXTS[::-1], strict=True)]
    predict(pair, write(tmp_path / "pairs.csv", rows), tmp_path / "out.jsonl")
    answers = Classifier.load(pair).predict(TEXTS, TEXTS[::-1])
    assert [row["label"] for row in read(tmp_path / "out.jsonl")] == [answer.label for answer in answers]
    with pytest.raises(InputError, match="name the second text by --pair-column"):
        predict(pair, write(tmp_path / "single.csv"), tmp_path / "no.csv")
    single, _ = write_exported(tmp_path / "one", tokenizer, pair=False)
    with pytest.raises(InputError, match="this model reads single texts"):
        predict(single, tmp_path / "pairs.csv", tmp_path / "no.csv", pair_column="text2")


@pytest.mark.parametrize(("change", "options", "told"), [
    ({"label": "x"}, {}, r"column 'label' is there already, .* rename it in the file, for example to 'label_before'"),
    ({"p_negative": 1}, {"distribution": True}, "column 'p_negative' is there already"),
    ({}, {"text_column": "body"}, "body"),
    ({}, {"max_tokens": 9}, "give it to augpro export"),
    ({}, {"out": "out.txt"}, r"give one of \.csv, \.tsv, \.jsonl, \.parquet as --out"),
    ({}, {"data": "nothing.csv"}, "nothing.csv"),
])  # fmt: skip
def test_what_is_wrong_is_found_before_rows_are_answered(change, options, told, exported, tmp_path):
    data = write(tmp_path / "in.csv", [row | change for row in ROWS])
    given = {"model": str(exported), "data": data, "out": tmp_path / "out.csv"}
    paths = {key: tmp_path / options[key] for key in ("data", "out") if key in options}
    with pytest.raises(InputError, match=told):
        make_predict_plan(PredictConfig(**{**given, **options, **paths}))


@pytest.mark.parametrize(("rows", "ending", "told"), [
    ([*ROWS, {"id": 1, "text": "", "note": ""}], ".csv", "row 22"),
    ([*ROWS, {"id": 1, "note": ""}], ".csv", "row 21"),
    ([*ROWS, {"id": 1, "text": "late", "more": 1}], ".csv", "column 'more' is not in the first rows"),
    ([*ROWS, {"id": "x", "text": "late", "note": ""}], ".parquet", "several types"),
])  # fmt: skip
def test_a_run_that_fails_late_leaves_the_file_as_it_was(rows, ending, told, exported, tmp_path):
    plain = told == "row 22"
    data = write(tmp_path / ("in.csv" if plain else "in.jsonl"), rows)
    out = tmp_path / f"out{ending}"
    out.write_text("before")
    with pytest.raises(InputError, match=told):
        predict(exported, data, out)
    assert out.read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"exported", data.name, out.name}


def test_a_damaged_model_is_one_sentence(exported, tmp_path):
    (exported / "model.onnx").write_bytes(b"")
    with pytest.raises(InputError, match="SHA-256"):
        make_predict_plan(
            PredictConfig(model=str(exported), data=write(tmp_path / "in.csv"), out=tmp_path / "o.csv")
        )


def test_the_command(exported, tmp_path):
    words = [
        "predict",
        "--model",
        exported,
        "--data",
        write(tmp_path / "in.csv"),
        "--out",
        tmp_path / "out.csv",
    ]
    dry = RUN.invoke(app, [*map(str, words), "--dry-run"], catch_exceptions=False)
    assert "added_columns" in dry.output
    assert not (tmp_path / "out.csv").exists()
    done = RUN.invoke(app, list(map(str, words)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "20 rows answered" in done.output
    assert len(read(tmp_path / "out.csv")) == 20
