"""Runs that are killed between any two writes, or at any moment, and started again: what they leave must be the same.

    python tests/faults/kills.py --results benchmarks/results/faults.jsonl      # all points, and 100 random moments

A run is a process forked from a server that has the libraries loaded. Inside it every call that changes a file, every
file opened for writing and every end of a transaction is counted, and the process kills itself before the
one of a given number.
"""

import argparse
import builtins
import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent.parent
PRELOAD = [
    "augpro.distillation.pipeline",
    "augpro.shards.run",
    "augpro.shards.relabel",
    "augpro.compare.runner",
]
_CHANGES = {
    os: ("replace", "rename", "fsync", "unlink", "remove", "mkdir", "rmdir", "truncate"),
    shutil: ("rmtree", "copyfile", "move"),
}


@dataclass(frozen=True)
class Case:
    """A command on small data.

    Attributes:
        name: of the command.
        run: does it, or goes on with it, in a folder.
        left: what matters of the folder, by name, when it is done.
        resumable: whether there is something to go on with, after a kill.
    """

    name: str
    run: Callable[[Path], None]
    left: Callable[[Path], dict[str, Any]]


# --- inside the killed process ---


def count_writes(kill_at: int | None, log: Path) -> None:
    """Count what changes files from now on; the process kills itself before the change of this number."""
    numbers = itertools.count(1)

    def event() -> None:
        number = next(numbers)
        if number == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        with plain_open(log / "writes", "w") as file:
            file.write(str(number))

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*given: Any, **named: Any) -> Any:
            event()
            return call(*given, **named)

        return counting

    plain_open, connect = builtins.open, sqlite3.connect
    for module, names in _CHANGES.items():
        for name in names:
            setattr(module, name, counted(getattr(module, name)))

    def opened(file: Any, mode: str = "r", *given: Any, **named: Any) -> Any:
        if set(mode) & set("wax+") and file != os.devnull:
            event()
        return plain_open(file, mode, *given, **named)

    def connected(*given: Any, **named: Any) -> Any:
        connection = connect(*given, **named)
        connection.set_trace_callback(lambda said: event() if said.startswith("COMMIT") else None)
        return connection

    builtins.open, sqlite3.connect = opened, connected  # type: ignore[assignment]


def count_labels(log: Path) -> None:
    """Note how many labels are given to the store, and how many of them it had."""
    from augpro.teachers.store import LabelStore

    write = LabelStore.write

    def noted(self: Any, teacher: Any, labels: Any) -> int:
        added = write(self, teacher, labels)
        with os.fdopen(os.open(log / "labels", os.O_WRONLY | os.O_APPEND | os.O_CREAT), "w") as file:
            file.write(f"{len(labels)} {added}\n")
        return added

    LabelStore.write = noted  # type: ignore[method-assign]


def child(case: Case, folder: Path, log: Path, kill_at: int | None) -> None:
    """One attempt; output goes to the log, and the exit code is 1 after an error."""
    out = os.open(log / "output", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(out, 1)
    os.dup2(out, 2)
    import torch

    torch.set_num_threads(1)
    count_labels(log)
    count_writes(kill_at, log)
    case.run(folder)


# --- outside ---


class Killer:
    """Runs a case, kills it, and starts it again.

    Args:
        case: what is run.
        scratch: an empty folder for all attempts.
    """

    def __init__(self, case: Case, scratch: Path) -> None:
        self.case, self.scratch = case, scratch
        self.processes: Any = multiprocessing.get_context("forkserver")
        self.processes.set_forkserver_preload(PRELOAD)
        started = time.monotonic()
        self.whole = self.attempt("whole")
        self.seconds = time.monotonic() - started
        assert self.whole == 0, self.said("whole")
        self.wanted = case.left(self.folder("whole"))
        self.writes = int((self.log("whole") / "writes").read_text())

    def folder(self, name: str) -> Path:
        return self.scratch / name / "out"

    def log(self, name: str) -> Path:
        (self.scratch / name).mkdir(exist_ok=True)
        return self.scratch / name

    def said(self, name: str) -> str:
        return (self.log(name) / "output").read_text()[-3000:]

    def attempt(self, name: str, kill_at: int | None = None, after: float | None = None) -> int:
        """Run the case once; returns its exit code, negative for a signal."""
        given = (self.case, self.folder(name), self.log(name), kill_at)
        process = self.processes.Process(target=child, args=given)
        process.start()
        process.join(after)
        if after is not None and process.exitcode is None:
            process.kill()
        process.join()
        return int(process.exitcode)

    def survives(self, kill_at: int | None = None, after: float | None = None) -> dict[str, Any]:
        """Kill a run once, start it again, and say what became of it."""
        name = f"killed-{kill_at or round(1000 * (after or 0))}-{random.randrange(10**9)}"
        killed = self.attempt(name, kill_at, after)
        again = self.attempt(name)
        left = self.case.left(self.folder(name)) if again == 0 else {}
        log = self.log(name) / "labels"
        asked = (
            [tuple(map(int, line.split())) for line in log.read_text().splitlines()] if log.exists() else []
        )
        outcome = {
            "case": self.case.name,
            "kill_at": kill_at,
            "after_seconds": after,
            "killed": killed == -signal.SIGKILL,
            "finished": again == 0,
            "same": left == self.wanted,
            "different": sorted(
                part for part in {*left, *self.wanted} if left.get(part) != self.wanted.get(part)
            ),
            "labels_paid_twice": sum(given - added for given, added in asked),
        }
        if outcome["same"]:
            shutil.rmtree(self.scratch / name)
        return outcome


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--random", type=int, default=25, help="random moments of each command")
    parser.add_argument("--every", type=int, default=1, help="one of so many points between two writes")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--scratch", type=Path, required=True)
    arguments = parser.parse_args()
    import cases
    from tqdm import tqdm

    from augpro.results.environment import library_versions, machine_facts

    facts = {"seed": 0, "versions": library_versions(), "machine": machine_facts()}
    moments = random.Random(0)
    for case in cases.all_cases(arguments.scratch):
        if arguments.only and case.name not in arguments.only:
            continue
        (arguments.scratch / case.name).mkdir()
        killer = Killer(case, arguments.scratch / case.name)
        plans = [{"kill_at": number} for number in range(1, killer.writes + 1, arguments.every)]
        plans += [{"after": moments.uniform(0, killer.seconds)} for _ in range(arguments.random)]
        lost = []
        for plan in tqdm(plans, desc=case.name):
            outcome = killer.survives(**plan)
            with open(arguments.results, "a") as file:
                file.write(json.dumps(outcome | facts) + "\n")
            lost += [] if outcome["same"] else [outcome]
        print(f"{case.name}: {len(plans) - len(lost)} of {len(plans)} survived", lost[:3], flush=True)


if __name__ == "__main__":
    sys.path[:0] = [str(TESTS), str(Path(__file__).parent)]
    import kills  # whose functions the forked processes find by this name

    kills.main()
