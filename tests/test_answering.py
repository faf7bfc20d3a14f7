"""Student, teacher and batches behind the server, in this process."""

import asyncio
import sqlite3

import numpy as np
import pytest

from augpro.errors import InputError
from augpro.serve.answering import Answerer
from augpro.serve.fallback import load_fallback
from augpro.serve.measures import Measures
from augpro.serve.options import Limits
from augpro.serve.requests import Call, RequestError
from augpro.testing import TEXTS
from augpro_runtime import Classifier, FolderError
from augpro_runtime.folder import TOKENIZER
from common import LABELS
from servers import write_calibrated


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_calibrated(tmp_path_factory.mktemp("e") / "single")


@pytest.fixture
def student(folder):
    return Classifier.load(folder, threads=1)


@pytest.fixture(scope="module")
def teacher(save_model, tokenizer):
    """Its classes are in another order than the student's."""
    return save_model(tokenizer, layers=1, seed=4, labels=LABELS[::-1])


@pytest.fixture
def unsure(student):
    """Texts below the threshold, some of all."""
    rows = [text for text, row in zip(TEXTS, student.predict(TEXTS), strict=True) if not row.confident]
    assert 0 < len(set(rows)) < len(TEXTS)
    return rows


def answered(student, folder, model, calls, limits=None):
    """The answers to some calls at once, and what was counted."""

    async def run():
        tokenizer = (folder / TOKENIZER).read_text()
        answerer = Answerer(student, tokenizer, model, limits or Limits(), Measures())
        answerer.start()
        found = await asyncio.gather(*(answerer.answer(call) for call in calls), return_exceptions=True)
        await answerer.stop()
        return found, answerer.measures

    return asyncio.run(run())


def test_the_teacher_answers_what_the_student_is_not_sure_of(folder, student, teacher, unsure, tmp_path):
    store = tmp_path / "labels.sqlite"
    model = load_fallback(str(teacher), student.labels, store)
    [answers], measures = answered(student, folder, model, [Call(TEXTS, None, plain=True)])
    with sqlite3.connect(store) as opened:
        rows = dict(opened.execute("SELECT text, logits FROM labels"))
    assert set(rows) == set(unsure)
    for text, answer in zip(TEXTS, answers, strict=True):
        assert answer.by == ("teacher" if text in unsure else "student")
        assert answer.prediction.confident is (text not in unsure)
        if text in rows:
            logits = np.frombuffer(rows[text], np.float32)
            assert answer.prediction.label == LABELS[::-1][int(logits.argmax())]
            assert answer.logits == tuple(logits[::-1].tolist())
    assert measures.fallback_share() == measures.below_share() == len(unsure) / len(TEXTS)


def test_a_teacher_that_fails_leaves_the_students_answer(folder, student, unsure):
    def broken(texts, pairs):
        raise InputError("labels.sqlite: cannot grow, because the disk is full.")

    [answers], measures = answered(student, folder, broken, [Call(TEXTS, None, plain=True)])
    assert {answer.by for answer in answers} == {"student"}
    assert (measures.below_share() > 0, measures.fallback_share()) == (True, 0)
    kinds = measures.registry.get_sample_value("augpro_errors_total", {"kind": "fallback: store or teacher"})
    assert kinds == 1


def test_a_call_that_fails_does_not_spoil_those_beside_it(folder, student, monkeypatch):
    logits = student.logits

    def fails(texts, pairs=None):
        if "bad" in texts:
            raise FolderError("the logits of texts[0] are not numbers; export the model again.")
        return logits(texts, pairs)

    monkeypatch.setattr(student, "logits", fails)
    calls = [Call([text], None, plain=True) for text in ("the movie", "bad", "the plot")]
    (one, other, third), _ = answered(student, folder, None, calls)
    assert isinstance(other, FolderError)
    assert (one[0].by, third[0].by) == ("student", "student")


def test_too_many_waiting_texts_are_refused(folder, student):
    calls = [Call(["the movie"] * 10, None, plain=True) for _ in range(5)]
    found, _ = answered(student, folder, None, calls, Limits(waiting_texts=25))
    assert [isinstance(one, RequestError) for one in found] == [False, False, True, True, True]
    assert found[-1].status == 429
