"""Makes shards in this process, or in several others; one that dies is replaced and its shard is made again."""

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from augpro.errors import InputError
from augpro.models.processes import end_with_parent
from augpro.results.terminal import quiet_libraries
from augpro.shards.manifest import ShardRecord

TRIES = 3
Watch = Callable[[int], None]


class Task(Protocol):
    """The specification of a shard; it can be sent to another process."""

    @property
    def name(self) -> str:
        """Name of the file."""

    @property
    def rows(self) -> int:
        """Rows of the file."""


Work = Callable[[Any, Watch], ShardRecord]  # one task to one shard; a function of a module


def made(tasks: Sequence[Task], work: Work, workers: int, watch: Watch) -> Iterator[ShardRecord]:
    """The records of all shards, as they are made.

    Args:
        tasks: the shards to make.
        work: makes one.
        workers: number of processes; 1 for this one.
        watch: is told how many more rows are done; less than nothing if a shard has to be made again.

    Raises:
        InputError: as ``work``, or if the process of a shard has died three times.
    """
    if workers == 1:
        for task in tasks:
            yield work(task, watch)
        return
    yield from _Pool(list(tasks), work, watch).run(workers)


@dataclass
class _Worker:
    """A process, the connection to it, and the shard that it makes."""

    process: BaseProcess
    connection: Connection
    task: Task | None = None
    rows: int = 0


@dataclass(frozen=True)
class _Failure:
    """An error that is a bug."""

    trace: str


@dataclass
class _Pool:
    """Processes that make shards."""

    waiting: list[Task]
    work: Work
    watch: Watch
    deaths: dict[str, int] = field(default_factory=dict)

    def run(self, workers: int) -> Iterator[ShardRecord]:
        """Make all shards."""
        running = [self._start() for _ in range(min(workers, len(self.waiting)))]
        try:
            for worker in running:
                self._give(worker)
            while any(worker.task for worker in running):
                ready = wait([worker.connection for worker in running if worker.task])
                for place, worker in enumerate(running):
                    if worker.connection in ready:
                        record = self._heard(worker)
                        if record is not None:
                            yield record
                            self._give(worker)
                        elif not worker.process.is_alive() and worker.task:
                            self._died(worker)
                            running[place] = self._start()
                            self._give(running[place])
        finally:
            for worker in running:
                worker.process.kill()
                worker.process.join()

    def _start(self) -> _Worker:
        # Forked from a server that has loaded the libraries once.
        fork = "forkserver" in multiprocessing.get_all_start_methods()
        context: Any = multiprocessing.get_context("forkserver" if fork else "spawn")
        if fork:
            context.set_forkserver_preload(["augpro.shards.make"])
        own, other = context.Pipe()
        process = context.Process(target=_serve, args=(other, self.work), daemon=True)
        process.start()
        other.close()  # so that the end of the process is the end of the connection
        return _Worker(process, own)

    def _give(self, worker: _Worker) -> None:
        """The next shard, if there is one."""
        worker.task, worker.rows = (self.waiting.pop(0) if self.waiting else None), 0
        if worker.task is not None:
            worker.connection.send(worker.task)

    def _heard(self, worker: _Worker) -> ShardRecord | None:
        """A finished shard's record; None if the process said something else, or nothing any more."""
        try:
            said = worker.connection.recv()
        except (EOFError, OSError):
            worker.process.join()
            return None
        if isinstance(said, int):
            worker.rows += said
            self.watch(said)
            return None
        if isinstance(said, _Failure):
            raise RuntimeError(f"a worker process failed:\n{said.trace}")  # noqa: TRY004
        if isinstance(said, InputError):
            raise said
        record: ShardRecord = said
        return record

    def _died(self, worker: _Worker) -> None:
        """Let the shard of a dead process be made again, unless that was tried three times."""
        assert worker.task is not None
        name, code = worker.task.name, worker.process.exitcode or 0
        self.watch(-worker.rows)
        self.deaths[name] = self.deaths.get(name, 0) + 1
        if self.deaths[name] >= TRIES:
            how = (
                f"was killed by signal {-code}, for want of memory perhaps"
                if code < 0
                else f"ended with code {code}"
            )
            raise InputError(
                f"{name}: the process that made it {how}, {TRIES} times; give fewer --workers, or more memory, and "
                "run the same command again."
            )
        self.waiting.insert(0, worker.task)


def _serve(connection: Connection, work: Work) -> None:
    """Make the shards that are asked for, until the asking process is gone; what goes wrong is sent to it."""
    end_with_parent()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # progress bars of the libraries
        os.dup2(nowhere, stream)
    quiet_libraries()
    while True:
        task = connection.recv()
        try:
            connection.send(work(task, connection.send))
        except InputError as error:
            connection.send(error)
        except Exception:  # noqa: BLE001 - it is raised in the asking process
            connection.send(_Failure(traceback.format_exc()))
