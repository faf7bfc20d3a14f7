"""A server that is asked over the network, as its clients do it."""

import importlib.util
import json
import re
import shutil
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from augpro.cli.app import app
from augpro.serve.run import _listen
from augpro.testing import TEXTS
from augpro_runtime import Classifier
from common import LABELS
from exported_folders import pack, write_exported
from servers import ask, connect, reach_only_this_machine, served, write_calibrated

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    reach_only_this_machine(monkeypatch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_calibrated(tmp_path_factory.mktemp("e") / "single")


@pytest.fixture(scope="module")
def student(folder):
    return Classifier.load(folder, threads=1)


@pytest.fixture(scope="module")
def server(folder):
    with served(folder, "--max-texts", 40, "--max-characters", 1000) as found:
        yield found


@pytest.fixture(scope="module")
def port(server):
    return server[1]


def metric(port, name):
    _, text = ask(port, method="GET", path="/metrics")
    return next((float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name)), None)


# --- answers ---


def test_the_plain_form(port, student):
    status, content = ask(port, {"texts": TEXTS})
    assert status == 200
    for found, known in zip(content["answers"], student.predict(TEXTS), strict=True):
        assert found["label"] == known.label
        assert found["probability"] == pytest.approx(known.probability, abs=1e-5)
        assert found["confident"] is known.confident
        assert found["answered_by"] == "student"
    assert ask(port, {"texts": []}) == (200, {"answers": []})


def test_the_form_of_text_embeddings_inference(port, student):
    known = student.predict(TEXTS[:2])
    status, one = ask(port, {"inputs": TEXTS[0]})
    assert status == 200
    assert one[0]["label"] == known[0].label
    assert sum(entry["score"] for entry in one) == pytest.approx(1)
    assert one[0]["score"] >= one[1]["score"]
    for inputs in (TEXTS[:2], [[text] for text in TEXTS[:2]]):
        _, several = ask(port, {"inputs": inputs, "truncate": True})
        assert [row[0]["label"] for row in several] == [row.label for row in known]
    _, raw = ask(port, {"inputs": TEXTS[0], "raw_scores": True})
    scores = {entry["label"]: entry["score"] for entry in raw}
    assert [scores[label] for label in LABELS] == pytest.approx(
        student.logits(TEXTS[:1])[0].tolist(), rel=1e-5
    )


def test_a_text_is_cut_unless_it_must_not_be(port):
    text = "the movie " * 20
    assert ask(port, {"inputs": text})[0] == 200
    status, told = ask(port, {"inputs": text, "truncate": False})
    assert (status, told["error_type"]) == (422, "tokenizer")
    assert "42 tokens, and the model reads 12" in told["error"]
    assert ask(port, {"inputs": "the movie", "truncate": False})[0] == 200


def test_a_compressed_folder(tmp_path):
    folder = write_calibrated(tmp_path / "packed")
    plain = Classifier.load(folder, threads=1).predict(TEXTS)
    pack(folder)
    with served(folder) as (_, port):
        _, content = ask(port, {"texts": TEXTS})
        assert [found["label"] for found in content["answers"]] == [known.label for known in plain]
        assert ask(port, {"inputs": "the movie " * 20, "truncate": False})[0] == 422


def test_answers_are_sent_at_once():
    """asyncio sets TCP_NODELAY only on sockets that name their protocol; else each answer waits 40 ms at times."""
    listener = _listen("127.0.0.1", 0)
    assert listener.proto == socket.IPPROTO_TCP
    listener.close()


@pytest.mark.e2e
def test_an_idle_connection_stays_open(port):
    """Longer than uvicorn's five seconds: a call that comes while it closes one is lost."""
    connection, sockets = connect(port), []
    for wait in (0, 7):
        time.sleep(wait)
        connection.request("GET", "/health")  # connects anew if it was closed
        assert connection.getresponse().read()
        sockets.append(connection.sock)
    assert sockets[0] is sockets[1]


def test_many_calls_at_once_share_batches_and_get_their_own_answers(port, student):
    texts = [f"{one} {other}" for one in TEXTS for other in TEXTS[:5]]
    known, wrong = student.predict(texts), []
    before = metric(port, "augpro_batch_texts_count")

    def call(row):
        status, content = ask(port, {"texts": [texts[row]]})
        if status != 200 or content["answers"][0]["label"] != known[row].label:
            wrong.append((row, status, content))

    threads = [threading.Thread(target=call, args=(row,)) for row in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert metric(port, "augpro_batch_texts_count") - before <= len(texts)


def test_health_and_metrics(port):
    ask(port, {"texts": TEXTS})
    status, health = ask(port, method="GET", path="/health")
    assert (status, health["status"], health["labels"]) == (200, "ok", list(LABELS))
    assert health["threshold"] == 0.8
    assert 0 < health["below_threshold_share"] < 1
    texts, below = (metric(port, f"augpro_{name}_total") for name in ("texts", "below_threshold_texts"))
    assert metric(port, "augpro_below_threshold_share") == pytest.approx(below / texts)
    assert metric(port, 'augpro_requests_total{status="200"}') > 0
    assert metric(port, "augpro_request_seconds_count") > 0
    assert metric(port, "augpro_fallback_texts_total") == 0


# --- what is refused ---


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b'{"texts": ["a\xff"]}', 400, "byte 14 of the body is not UTF-8"),
        (b'{"texts": ["a"', 400, "not JSON"),
        (b"[" * 100_000, 400, "not JSON"),
        (b"", 400, "not JSON"),
        ([1], 422, "the body is a list"),
        ({}, 422, "neither inputs nor texts"),
        ({"texts": ["a"], "text": 1}, 422, "unknown field 'text'; known beside texts: pairs, texts"),
        ({"inputs": "a", "texts": ["a"]}, 422, "unknown field 'texts'"),
        ({"inputs": "a", "truncate": "yes"}, 422, "truncate is a string; give true or false"),
        ({"inputs": []}, 422, "empty"),
        ({"inputs": ["a", ["b"]]}, 422, "different things"),
        ({"inputs": [["a"], ["b", "c"]]}, 422, "each of inputs"),
        ({"inputs": [["a", "b"]]}, 422, "reads single texts"),
        ({"inputs": 3}, 422, "inputs is a number"),
        ({"texts": "a"}, 422, "texts is a string; give a list"),
        ({"texts": ["a", None]}, 422, "text 1 is null"),
        ({"texts": ["a"], "pairs": ["b"]}, 422, "reads single texts"),
        ({"texts": ["a"], "pairs": []}, 422, "1 texts and 0 pairs"),
        (b'{"texts": ["a\\ud800"]}', 422, "half of a surrogate pair as its character 2"),
        ({"texts": ["a"] * 41}, 413, "41 texts, and a call may hold 40"),
        ({"texts": ["a" * 1001]}, 413, "text 0 has 1001 characters"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_told_what_is_wrong(port, content, status, message):
    found, told = ask(port, content)
    assert (found, message in told["error"]) == (status, True), told
    assert metric(port, f'augpro_errors_total{{kind="{told["error_type"]}"}}') >= 1
    assert ask(port, {"texts": ["a"]})[0] == 200


def test_unknown_places(port):
    assert ask(port, method="GET", path="/nothing")[0] == 404
    status, told = ask(port, method="GET")
    assert (status, "POST /predict" in told["error"]) == (405, True)


def test_a_large_body_is_refused_before_it_is_read(server):
    process, port = server
    with socket.create_connection(("127.0.0.1", port)) as opened:
        opened.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n{")
        opened.settimeout(30)
        assert opened.recv(1000).startswith(b"HTTP/1.1 413 ")
    before = _resident(process)
    status, told = ask(port, b'{"texts": ["' + b"a" * 50_000_000 + b'"]}')
    assert (status, told["error_type"]) == (413, "body too large")
    assert _resident(process) - before < 20e6
    connection = connect(port)  # no length is given before
    connection.request("POST", "/predict", iter([b"a" * 2**20] * 9), encode_chunked=True)
    assert connection.getresponse().status == 413
    assert ask(port, {"texts": ["a"]})[0] == 200


def _resident(process):
    fields = Path(f"/proc/{process.pid}/statm").read_text().split()
    return int(fields[1]) * 4096


def test_pytorch_is_not_loaded_without_a_teacher(server):
    assert "libtorch" not in Path(f"/proc/{server[0].pid}/maps").read_text()


# --- start and end ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "PORT"], "--port PORT: cannot be listened on at 127.0.0.1 (Address already in use)"),
        (["--host", "203.0.113.7"], "cannot be listened on at 203.0.113.7"),
        (["--host", "no such host"], "--host 'no such host': is no address of this machine"),
        (["--model", "EMPTY"], "no exported model here"),
        (["--model", "PLAIN", "--fallback", "teacher"], "run augpro calibrate on the student's folder"),
        (["--model", "SEVERAL", "--fallback", "teacher"], "no threshold says when it is confident"),
        (["--label-store", "labels.sqlite"], "give one as --fallback"),
        (["--fallback", "OTHER"], "has the classes no, yes, and the student has negative, positive"),
        (["--max-texts", "0"], "--max-texts '0'"),
    ],
)
def test_what_cannot_be_started_is_one_sentence(
    port, folder, save_model, tokenizer, tmp_path, arguments, message
):
    names = {"PORT": str(port), "EMPTY": str(tmp_path)}
    if "PLAIN" in arguments:
        names["PLAIN"] = str(write_exported(tmp_path / "plain")[0])
    if "SEVERAL" in arguments:
        names["SEVERAL"] = str(write_exported(tmp_path / "several", problem_type="multi_label")[0])
    if "OTHER" in arguments:
        names["OTHER"] = str(save_model(tokenizer, layers=1, labels=("no", "yes")))
    given = ["--model", folder, "--port", 0, *(names.get(part, part) for part in arguments)]
    done = CliRunner().invoke(app, ["serve", *map(str, given)], catch_exceptions=False)
    assert done.exit_code == 2
    assert message.replace("PORT", str(port)) in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_missing_extra_is_named(folder, monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else there(name))
    done = CliRunner().invoke(app, ["serve", "--model", str(folder)], catch_exceptions=False)
    assert (done.exit_code, "augpro serve: needs uvicorn; run in a copy" in done.stderr) == (
        2,
        True,
    )


@pytest.mark.e2e
def test_what_was_accepted_is_answered_before_the_end(folder):
    with served(folder) as (process, port):
        connection = connect(port)
        body = json.dumps({"texts": TEXTS})
        connection.putrequest("POST", "/predict")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:10].encode())
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        connection.send(body[10:].encode())
        answer = connection.getresponse()
        assert answer.status == 200
        assert len(json.loads(answer.read())["answers"]) == len(TEXTS)
        process.wait(60)


@pytest.mark.e2e
def test_the_command_of_the_page_starts_a_server(folder, tmp_path):
    page = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
    command = re.search(r"^augpro serve (.*)$", page, re.MULTILINE)[1].split()
    body = re.search(r"^curl .* -d '(.*)'$", page, re.MULTILINE)[1]
    (tmp_path / "runs").mkdir()
    shutil.copytree(folder, tmp_path / command[command.index("--model") + 1])
    with served(*command[1:], cwd=tmp_path) as (_, port):
        status, content = ask(port, body.encode())
    assert status == 200
    assert content["answers"][0].keys() == {"label", "probability", "confident", "answered_by"}


@pytest.mark.e2e
def test_a_server_with_a_teacher(folder, student, save_model, tokenizer, tmp_path):
    teacher = save_model(tokenizer, layers=1, seed=4, labels=LABELS[::-1])
    with served(folder, "--fallback", teacher, "--label-store", tmp_path / "labels.sqlite") as (_, port):
        _, content = ask(port, {"texts": TEXTS})
        _, health = ask(port, method="GET", path="/health")
    for known, answer in zip(student.predict(TEXTS), content["answers"], strict=True):
        assert answer["answered_by"] == ("student" if known.confident else "teacher")
    assert 0 < health["fallback_share"] < 1
