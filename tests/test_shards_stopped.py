"""Sets of augmented rows: several processes, and runs that are killed, write the bytes of one that is not."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest

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
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]

    def start(out):
        command = [sys.executable, "-m", "augpro.cli", "augment", *arguments, "--out", str(out)]
        return subprocess.Popen(
            command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    whole = start(tmp_path / "whole")
    began = time.monotonic()
    assert whole.wait() == 0, whole.stderr.read()
    took = time.monotonic() - began
    draw = random.Random(count)
    for _ in range(4):
        process = start(tmp_path / "killed")
        time.sleep(took * draw.uniform(0.4, 0.95))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    last = start(tmp_path / "killed")
    assert last.wait() == 0, last.stderr.read()
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")
    assert json.loads((tmp_path / "killed" / MANIFEST).read_text())["training_rows"] == ROWS


@pytest.mark.e2e
def test_two_processes_write_the_bytes_of_one(plain_set, augment_given, tmp_path):
    augmented(augment_given, tmp_path / "two", workers=2)
    assert files_of(tmp_path / "two") == files_of(plain_set)
