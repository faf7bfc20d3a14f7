"""The student answers, and the teacher in its place where it is not confident."""

import asyncio
import logging
import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import numpy as np
from scipy.special import softmax
from tokenizers import Tokenizer

from augpro.errors import InputError
from augpro.serve.batching import Array, Batcher, Model
from augpro.serve.measures import Measures
from augpro.serve.options import Limits
from augpro.serve.requests import Call, RequestError
from augpro_runtime import Classifier, Prediction

log = logging.getLogger(__name__)
STUDENT, TEACHER = "student", "teacher"


@dataclass(frozen=True)
class Answer:
    """The answer to one text, whose logits they are, and who gave it."""

    prediction: Prediction
    logits: tuple[float, ...]
    by: str


class Answerer:
    """Answers calls; :meth:`start` and :meth:`stop` belong around it.

    Args:
        student: the exported model.
        tokenizer: content of its tokenizer.json, to count tokens where a text must not be cut.
        teacher: logits of texts in the order of the student's classes; None without a fallback.
        limits: of a call.
        measures: what is counted.
    """

    def __init__(
        self, student: Classifier, tokenizer: str, teacher: Model | None, limits: Limits, measures: Measures
    ) -> None:
        self.student, self.limits, self.measures = student, limits, measures
        self._tokenizer = Tokenizer.from_str(tokenizer)
        self._tokenizer.encode_special_tokens = True  # as the student reads them
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._students = Batcher(student.logits, measures.batch.observe, limits.waiting_texts)
        self._teachers = None if teacher is None else Batcher(teacher, lambda _: None, limits.waiting_texts)

    def start(self) -> None:
        """Begin to answer; within a running event loop."""
        for batcher in filter(None, (self._students, self._teachers)):
            batcher.start()

    async def stop(self) -> None:
        """End, after what waits is answered."""
        for batcher in filter(None, (self._students, self._teachers)):
            await batcher.stop()

    async def answer(self, call: Call) -> list[Answer]:
        """The answers to a call, in its order.

        Raises:
            RequestError: if a text is too long and must not be cut, or too many texts wait.
        """
        if not call.truncate:
            self._check_length(call)
        if not call.texts:
            return []
        logits = await self._students.logits(call.texts, call.pairs)
        answers = self._as_answers(logits, STUDENT)
        unsure = [row for row, answer in enumerate(answers) if answer.prediction.confident is False]
        asked = unsure if self._teachers is not None else []
        by_teacher = 0
        if asked and self._teachers is not None:
            pairs = None if call.pairs is None else [call.pairs[row] for row in asked]
            try:
                async with asyncio.timeout(self.limits.teacher_seconds):
                    found = await self._teachers.logits([call.texts[row] for row in asked], pairs)
            except Exception as error:  # noqa: BLE001 - the student has answered, whatever this is
                self._count_failure(error)
            else:
                by_teacher = len(asked)
                for row, answer in zip(asked, self._as_answers(found, TEACHER), strict=True):
                    answers[row] = answer
        self.measures.answered(len(answers), len(unsure), by_teacher)
        return answers

    def _count_failure(self, error: Exception) -> None:
        """Count and log why the teacher did not answer; with its place in the code where that was not foreseen."""
        kind = "too slow" if isinstance(error, TimeoutError) else getattr(error, "kind", "store or teacher")
        self.measures.errors.labels(f"fallback: {kind}").inc()
        why = str(error) or f"not within {self.limits.teacher_seconds:g} seconds"
        known = isinstance(error, InputError | RequestError | TimeoutError)
        log.warning("the teacher did not answer: %s", why, exc_info=None if known else error)

    def _as_answers(self, logits: Array, by: str) -> list[Answer]:
        found = self.student.answers(logits) if by == STUDENT else self._of_teacher(logits)
        rows = logits.tolist()
        return [Answer(one, tuple(row), by) for one, row in zip(found, rows, strict=True)]

    def _of_teacher(self, logits: Array) -> list[Prediction]:
        """A teacher's answers; the temperature is not its own, and whether it is confident is not asked."""
        return [
            Prediction(self.student.labels[int(row.argmax())], float(row.max()), tuple(row.tolist()), False)
            for row in softmax(logits.astype(np.float64), axis=1)
        ]

    def _check_length(self, call: Call) -> None:
        most = self.student.manifest.max_tokens
        for number, text in enumerate(call.texts):
            encoded = self._tokenizer.encode(text, call.pairs[number] if call.pairs else None)
            if len(encoded) > most:
                raise RequestError(
                    HTTPStatus.UNPROCESSABLE_ENTITY, "tokenizer",
                    f"text {number} has {len(encoded)} tokens, and the model reads {most}; let truncate be true",
                )  # fmt: skip


def as_json(call: Call, answers: list[Answer], labels: tuple[str, ...]) -> Any:
    """The answers in the form of the call."""
    if call.plain:
        return {
            "answers": [
                {
                    "label": one.prediction.label,
                    "probability": None
                    if math.isnan(one.prediction.probability)
                    else one.prediction.probability,
                    "confident": one.prediction.confident,
                    "answered_by": one.by,
                }
                for one in answers
            ]
        }
    rows = []
    for one in answers:
        scores = (
            one.logits
            if call.raw_scores or not one.prediction.probabilities
            else one.prediction.probabilities
        )
        named = sorted(zip(scores, labels, strict=True), key=lambda entry: -entry[0])
        rows.append([{"score": score, "label": label} for score, label in named])
    return rows[0] if call.single else rows
