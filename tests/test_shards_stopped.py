"""Sets of augmented rows: several processes, and runs that are killed, write the bytes of one that is not."""

import json
import os
import random
import signal
import time
from dataclasses import dataclass

import pytest

import commands
from augpro.errors import InputError
from augpro.shards import workers
from augpro.shards.manifest import MANIFEST
from shard_cases import ROWS, augmented, files_of


def dying(task, watch):
    watch(1)
    os.kill(os.getpid(), signal.SIGKILL)


def failing(task, watch):
    raise KeyError("a bug")


def refusing(task, watch):
    raise InputError(f"{task.name}: cannot")


@dataclass(frozen=True)
class Task:
    name: str
    rows: int = 1


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("work", "error", "told"),
    [(dying, InputError, "b: the process that made it was killed by signal 9.*3 times"),
     (failing, RuntimeError, "a bug"), (refusing, InputError, "b: cannot")],
)  # fmt: skip
def test_what_happens_in_another_process_is_told(work, error, told):
    rows = []
    with pytest.raises(error, match=told):
        list(workers.made([Task("b")], work, 2, rows.append))
    assert sum(rows) == 0


@pytest.mark.e2e
@pytest.mark.parametrize("count", [1, 2])
def test_killed_at_any_moment_and_started_again_it_writes_the_same(
    augment_given, both_classes, tmp_path, count
):
    options = {
        **augment_given,
        "copies": 6,
        "shard_rows": 256,
        "teacher": str(both_classes),
        "workers": count,
    }
    given = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    said = tmp_path / "said"

    def start(out):
        return commands.start(["augment", *given, "--out", str(out)], said)

    whole = start(tmp_path / "whole")
    began = time.monotonic()
    whole.join()
    assert whole.exitcode == 0, said.read_text()
    took = time.monotonic() - began
    draw, killed = random.Random(count), 0
    for part in sorted(
        draw.uniform(0.05, 0.9) for _ in range(4)
    ):  # the first is early, should it be quicker now
        process = start(tmp_path / "killed")
        process.join(took * part)
        if process.is_alive():
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
        killed += process.exitcode == -signal.SIGKILL
    assert killed, "every kill came too late to show anything"
    last = start(tmp_path / "killed")
    last.join()
    assert last.exitcode == 0, said.read_text()
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")
    assert json.loads((tmp_path / "killed" / MANIFEST).read_text())["training_rows"] == ROWS


@pytest.mark.e2e
def test_two_processes_write_the_bytes_of_one(plain_set, augment_given, tmp_path):
    augmented(augment_given, tmp_path / "two", workers=2)
    assert files_of(tmp_path / "two") == files_of(plain_set)
