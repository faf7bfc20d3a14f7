"""Micro-batches: the texts that came while the model was at work are answered in one batch.

No timer: a text that finds the model idle is answered at once, and under load the batches grow by themselves. The
model works in a thread of its own, as numpy, ONNX Runtime and PyTorch release the lock of the interpreter.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import numpy as np

from augpro.serve.requests import RequestError

Array = np.ndarray[Any, Any]
Model = Callable[[list[str], list[str] | None], Array]  # texts and their second texts to logits, [N, C]
MOST = 64  # texts in a batch, where no single call has more


@dataclass(eq=False)
class _Job:
    """The texts of one call, and where its logits go."""

    texts: list[str]
    pairs: list[str] | None
    result: asyncio.Future[Array] = field(repr=False)


class Batcher:
    """Answers calls in batches, in the order in which they came.

    Args:
        model: works on a batch; called in one thread.
        observe: called with the number of texts of each batch.
        most_waiting: texts that may wait; further calls are refused.
    """

    def __init__(self, model: Model, observe: Callable[[int], object], most_waiting: int) -> None:
        self._model, self._observe, self._most_waiting = model, observe, most_waiting
        self._waiting: deque[_Job] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to answer; within a running event loop."""
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """End, after what waits is answered."""
        while self._waiting:
            await asyncio.sleep(0.01)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._thread.shutdown()

    async def logits(self, texts: list[str], pairs: list[str] | None) -> Array:
        """Logits of the texts, [N, C].

        Raises:
            RequestError: if too many texts wait.
        """
        waiting = sum(len(job.texts) for job in self._waiting)
        if waiting and waiting + len(texts) > self._most_waiting:
            raise RequestError(
                HTTPStatus.TOO_MANY_REQUESTS,
                "overloaded",
                f"{waiting} texts wait already; send this call again later",
            )
        job = _Job(texts, pairs, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._arrived.set()
        return await job.result

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                await self._answer(self._next())

    def _next(self) -> list[_Job]:
        """The calls of the next batch: all are single texts, or all are pairs."""
        jobs: list[_Job] = []
        size = 0
        while self._waiting:
            job = self._waiting[0]
            other = bool(jobs) and (jobs[0].pairs is None) != (job.pairs is None)
            if other or (jobs and size + len(job.texts) > MOST):
                break
            self._waiting.popleft()
            if not job.result.done():  # the client may have gone
                jobs.append(job)
                size += len(job.texts)
        return jobs

    async def _answer(self, jobs: Sequence[_Job]) -> None:
        """Answer calls together; if that fails, each alone, so that one does not spoil the others."""
        if not jobs:
            return
        texts = [text for job in jobs for text in job.texts]
        pairs = None if jobs[0].pairs is None else [text for job in jobs for text in job.pairs or []]
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._thread, self._model, texts, pairs)
        [logits] = await asyncio.gather(work, return_exceptions=True)
        if isinstance(logits, BaseException):
            if len(jobs) > 1:
                for job in jobs:
                    await self._answer([job])
            elif not jobs[0].result.done():
                jobs[0].result.set_exception(logits)
            return
        self._observe(len(texts))
        start = 0
        for job in jobs:
            end = start + len(job.texts)
            if not job.result.done():
                job.result.set_result(logits[start:end])
            start = end
