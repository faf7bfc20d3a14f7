"""What strangers give to predict, serve and the runtime: one sentence, or a status with a reason."""

import asyncio
import copy
import json
import math
import os
import pickle
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from starlette.requests import Request

from augpro.calibration.options import CalibrateConfig
from augpro.config import (
    BaselineConfig,
    CompareConfig,
    DistillConfig,
    EvaluateConfig,
    FinetuneConfig,
    build,
)
from augpro.errors import InputError
from augpro.export.options import ExportConfig
from augpro.export.plan import make_export_plan
from augpro.predict.options import PredictConfig
from augpro.predict.predicting import make_predict_plan, run_predict
from augpro.serve.app import _read_body
from augpro.serve.options import Limits, ServeConfig
from augpro.serve.requests import RequestError
from augpro.shards.options import AugmentConfig
from augpro_runtime import Classifier, FolderError, TextError
from exported_folders import write_exported
from servers import ask, reach_only_this_machine, served


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    reach_only_this_machine(monkeypatch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_exported(tmp_path_factory.mktemp("strange") / "exported", pair=False)[0]


def answer(folder, data, out):
    return run_predict(make_predict_plan(PredictConfig(model=str(folder), data=data, out=out)))


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"text": "good", "y": "\ud800"}, "half of a surrogate pair"),
        ({"text": "good", "y": [{"\ud800": 1}]}, "half of a surrogate pair"),
        ({"text": "good", "\udfff": "y"}, "half of a surrogate pair"),
    ],
)
def test_characters_that_no_file_holds(row, told, ending, folder, tmp_path):
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps(row)}\n" * 2)
    with pytest.raises(InputError, match=told) as error:
        answer(folder, tmp_path / "rows.jsonl", tmp_path / f"out{ending}")
    str(error.value).encode()
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_a_cell_that_is_too_deep(ending, folder, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": "good", "y": ' + "[" * 900 + "]" * 900 + "}\n")
    with pytest.raises(InputError, match="too deep"):
        answer(folder, tmp_path / "rows.jsonl", tmp_path / f"out{ending}")


def test_numbers_that_parquet_makes_too_large(folder, tmp_path):
    rows = {
        "text": ["good", "bad"],
        "y": pa.array([2**64 - 1, 1], pa.uint64()),
        "when": pa.array([1, 2], pa.timestamp("ns")),
    }
    pq.write_table(pa.table(rows), tmp_path / "rows.parquet")
    with pytest.raises(InputError, match=r"too large.* ends in \.jsonl"):
        answer(folder, tmp_path / "rows.parquet", tmp_path / "out.parquet")


def test_a_pipe_is_refused_as_it_is_read_twice(folder, tmp_path):
    os.mkfifo(tmp_path / "rows.csv")
    with pytest.raises(InputError, match="no ordinary file, and it is read twice"):
        make_predict_plan(
            PredictConfig(model=str(folder), data=tmp_path / "rows.csv", out=tmp_path / "out.csv")
        )


def test_a_folder_that_cannot_be_made(folder, tmp_path):
    (tmp_path / "rows.csv").write_text("text,n\ngood,1\n")
    with pytest.raises(InputError, match="cannot make this folder"):
        answer(folder, tmp_path / "rows.csv", "/proc/new/out.csv")


def planned(folder, tmp_path, content, **options):
    (tmp_path / "rows.csv").write_bytes(content)
    options |= {"model": str(folder), "data": tmp_path / "rows.csv", "out": tmp_path / "out.csv"}
    return make_predict_plan(PredictConfig(**options))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"good film\nbad film\nslow app\n", r"columns \('good film'\).* above it, such as text$"),
        (b"1,good film\n2,bad film\n", r"columns \('1', 'good film'\).* above it, such as text,label$"),
        (
            b"text\ngood\n text \ntext\n",
            r"row 3: this row is 'text', as the header is.*\(2 such rows: 3, 4\)$",
        ),
    ],
)
def test_a_first_row_that_may_be_data_and_a_row_that_may_be_a_header(content, told, folder, tmp_path):
    [_, note] = planned(folder, tmp_path, content).notes
    assert re.search(told, note), note


@pytest.mark.parametrize("options", [{}, {"text_column": "utterances"}])
def test_a_header_that_is_known_is_not_told(options, folder, tmp_path):
    content = b"utterances\ngood film\n" if options else b"id,text\n1,good film\n"
    assert not any("row 1" in note for note in planned(folder, tmp_path, content, **options).notes)


def test_two_byte_order_marks_are_no_part_of_a_name(folder, tmp_path):
    assert planned(folder, tmp_path, b"\xef\xbb\xbf" * 2 + b"text,n\ngood,1\n").text == "text"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"te\0xt,n\ngood,1\n", "row 1: the file holds a NUL byte"),
        (b"text,n\ngood,1\n" + b"\0" * 4096, "row 3: the file holds a NUL byte"),
        (b"good film,ann\nbad film,bob\n", "no column 'text'.*write a first line with the names"),
    ],
)
def test_a_file_that_is_no_table_with_a_header(content, told, folder, tmp_path):
    with pytest.raises(InputError, match=told):
        planned(folder, tmp_path, content, text_column="text" if b"ann" in content else None)


@pytest.mark.parametrize("given", [None, 5, b"exported", "x" * 5000])
def test_what_is_no_path(given):
    with pytest.raises(FolderError, match="give "):
        Classifier.load(given)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True, 10**6, float("nan")])
def test_threads(threads, folder):
    with pytest.raises(TextError, match="whole number from 1 to 1024"):
        Classifier.load(folder, threads=threads)


@pytest.mark.parametrize("size", [0, 1.5, "2", None, True, float("nan")])
def test_batch_size(size, folder):
    with pytest.raises(TextError, match="whole number of at least 1"):
        Classifier.load(folder, threads=1).predict(["good"], batch_size=size)
    assert len(Classifier.load(folder, threads=np.int64(1)).predict(["good"], batch_size=np.int32(1))) == 1


def test_threads_that_share_a_classifier_get_the_answers_of_one(folder):
    texts = ["good bad movie " * 200, "the " * 300, "film", "a" * 999]
    classifier = Classifier.load(folder, threads=1)
    expected = classifier.logits(texts)
    with ThreadPoolExecutor(6) as pool:
        for logits in pool.map(lambda _: classifier.logits(texts), range(24)):
            np.testing.assert_array_equal(logits, expected)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_copy_of_a_classifier(copied, folder):
    with pytest.raises(FolderError, match=r"load it there .*Classifier\.load"):
        copied(Classifier.load(folder, threads=1))


def test_a_trained_model_says_whether_it_reads_pairs(teacher_folder, tmp_path):
    def planned(pairs, data):
        (folder := tmp_path / f"model {pairs}").mkdir(exist_ok=True)
        for path in teacher_folder.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        (folder / "result.json").write_text(json.dumps({"pairs": pairs}))
        (tmp_path / "rows.csv").write_text(data)
        export = make_export_plan(ExportConfig(model=str(folder), out=tmp_path / "out", timing=False))
        options = {"model": str(folder), "data": tmp_path / "rows.csv", "out": tmp_path / "out.csv"}
        return export.pair, make_predict_plan(PredictConfig(**options)).pair

    pairs = "sentence1,sentence2\ngood,bad\n"
    assert planned(True, pairs) == (True, "sentence2")
    assert planned(False, pairs) == (False, None)
    assert planned(None, pairs) == planned([1], pairs) == (None, None)
    with pytest.raises(InputError, match="reads text pairs"):
        planned(True, "text,n\ngood,1\n")


@pytest.mark.parametrize("content", ["[" * 100_000, '{"format": ' + "9" * 5000 + "}"])
def test_an_augpro_json_that_no_one_wrote(content, tmp_path):
    (tmp_path / "augpro.json").write_text(content)
    with pytest.raises(FolderError, match="cannot be used"):
        Classifier.load(tmp_path)


def half_a_call(port):
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(b'POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"te')
    return client


def test_a_client_that_leaves_is_no_fault_of_the_model(folder):
    with served(folder) as (_, port):
        half_a_call(port).close()
        for _ in range(100):
            metrics = ask(port, method="GET", path="/metrics")[1]
            if "augpro_errors_total{" in metrics:
                break
            time.sleep(0.05)
        assert 'augpro_errors_total{kind="client left"} 1.0' in metrics
        assert "internal" not in metrics
        assert ask(port, method="HEAD", path="/health") == (200, "")
        status, content = ask(port, {"texts": ["good"]}, path="/predict/")
        assert (status, content["error_type"]) == (404, "route")


def test_a_body_that_does_not_come_is_not_waited_for():
    parts = iter([{"type": "http.request", "body": b'{"te', "more_body": True}])

    async def receive():
        for part in parts:
            return part
        await asyncio.sleep(2)
        return {"type": "http.disconnect"}

    request = Request({"type": "http", "headers": []}, receive)
    with pytest.raises(RequestError, match=r"within 0\.1 seconds") as refused:
        asyncio.run(_read_body(request, Limits(body_seconds=0.1)))
    assert (refused.value.status, refused.value.kind) == (408, "body too slow")


@pytest.mark.parametrize(
    ("kind", "option"),
    [(DistillConfig, "seed"), (DistillConfig, "split_seed"), (CompareConfig, "seeds")],
)
@pytest.mark.parametrize("value", ["-1", str(2**32), str(2**70)])
def test_a_seed_that_numpy_does_not_take(kind, option, value):
    with pytest.raises(InputError, match=f"--{option.replace('_', '-')}.*than or equal"):
        build(kind, {"data": "data", "teacher": "teacher", "out": "out", option: value})


REQUIRED = dict.fromkeys(("data", "teacher", "out", "student", "model", "baseline"), "given")
NUMBERS = [
    (kind, name)
    for kind in (
        DistillConfig, FinetuneConfig, BaselineConfig, CompareConfig, EvaluateConfig, CalibrateConfig, PredictConfig,
        ServeConfig, AugmentConfig,
    )
    for name, field in kind.model_fields.items()
    if re.search(r"\b(int|float)\b", str(field.annotation))
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), NUMBERS)
def test_numbers_that_nothing_can_be_calculated_with(kind, name):
    given = {key: value for key, value in REQUIRED.items() if key in kind.model_fields}
    build(kind, given)
    for value in ("nan", "inf", "-inf", "1e300", str(2**70), "9" * 5000, 2**70, math.nan, True):
        with pytest.raises(InputError, match=f"--{name.replace('_', '-')}"):
            build(kind, given | {name: value})
