"""Shards as tasks of a Ray cluster: a stand-in shows what is asked of it; Ray itself is used if it is installed."""

import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import pytest

from augpro.errors import InputError
from augpro.shards.manifest import ShardRecord
from augpro.shards.options import AugmentConfig, LabelConfig
from augpro.shards.plan import make_augment_plan
from augpro.shards.ray_engine import made_by_ray
from augpro.shards.relabel import make_label_plan
from shard_cases import files_of


@dataclass(frozen=True)
class Task:
    name: str
    rows: int = 3


def work(task, watch):
    if task.name == "wrong":
        raise InputError("wrong: cannot")
    watch(task.rows)
    return ShardRecord(name=task.name, first_row=0, end_row=1, rows=task.rows, sha256="", size=0)


@pytest.fixture
def ray(monkeypatch):
    """A stand-in: a task is done when its result is asked for."""
    module = ModuleType("ray")
    module.crashed, module.most, module.options, module.on = set(), 0, {}, False

    class Crash(Exception):
        pass

    def remote(**options):
        module.options = options
        return lambda function: SimpleNamespace(remote=lambda *given: (function, given))

    def wait(running):
        module.most = max(module.most, len(running))
        return running[:1], running[1:]

    def get(reference):
        function, given = reference
        if given[1].name in module.crashed:
            raise Crash("The worker died unexpectedly. It was killed.")
        return function(*given)

    module.init = lambda **_: setattr(module, "on", True)
    module.shutdown = lambda: setattr(module, "on", False)
    module.is_initialized = lambda: module.on
    module.remote, module.wait, module.get = remote, wait, get
    module.exceptions = SimpleNamespace(WorkerCrashedError=Crash, OutOfMemoryError=Crash)
    monkeypatch.setitem(sys.modules, "ray", module)
    return module


def test_every_shard_is_made_once_and_no_more_than_asked_at_a_time(ray):
    rows = []
    tasks = [Task(f"shard {number}") for number in range(7)]
    records = list(made_by_ray(tasks, work, 3, rows.append))
    assert sorted(record.name for record in records) == [task.name for task in tasks]
    assert sum(rows) == 21
    assert (ray.most, ray.options, ray.on) == (3, {"num_cpus": 1, "max_retries": 2}, False)


def test_what_goes_wrong_on_the_cluster_is_one_sentence(ray):
    with pytest.raises(InputError, match="wrong: cannot"):
        list(made_by_ray([Task("wrong")], work, 2, print))
    ray.crashed.add("b")
    with pytest.raises(InputError, match=r"b: the process that made it died 3 times \(The worker died"):
        list(made_by_ray([Task("a"), Task("b")], work, 2, print))
    assert not ray.on


def test_without_ray_it_is_refused_in_the_plan(augment_given, plain_set, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    told = r"--engine ray: needs ray; run in a copy of the repository: pip install '\.\[ray\]'"
    with pytest.raises(InputError, match=told):
        make_augment_plan(AugmentConfig(**augment_given, engine="ray", out=tmp_path / "set"))
    with pytest.raises(InputError, match=told):
        make_label_plan(LabelConfig(augmented=plain_set, teacher="t", engine="ray"))


@pytest.mark.e2e
@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_ray_itself_writes_the_same_bytes(plain_set, augment_given, tmp_path):
    given = {**augment_given, "out": tmp_path / "set", "engine": "ray", "workers": 2}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    # In a process of its own, because Ray's parts talk over sockets.
    subprocess.run([sys.executable, "-m", "augpro.cli", "augment", *options], check=True, timeout=300)
    assert files_of(tmp_path / "set") == files_of(plain_set)
