"""Makes shards as tasks of a Ray cluster; only their records come back."""

from collections.abc import Iterator, Sequence
from typing import Any

from augpro.errors import InputError
from augpro.results.terminal import quiet_libraries
from augpro.shards.manifest import ShardRecord
from augpro.shards.workers import TRIES, Task, Watch, Work


def made_by_ray(tasks: Sequence[Task], work: Work, workers: int, watch: Watch) -> Iterator[ShardRecord]:
    """The records of all shards, as they are made.

    The cluster is that of ``RAY_ADDRESS``, or one on this machine for as long as this takes.

    Args:
        tasks: the shards to make; every machine must see their folders and models under the same names.
        work: makes one.
        workers: number of shards that are made at the same time; each takes one CPU core.
        watch: is told how many more rows are done, shard by shard.

    Raises:
        InputError: as ``work``, or if the process of a shard has died three times.
    """
    import ray

    ours = not ray.is_initialized()
    if ours:
        ray.init(log_to_driver=False, include_dashboard=False)
    try:
        remote = ray.remote(num_cpus=1, max_retries=TRIES - 1)(_do)
        waiting, running = list(tasks), dict[Any, Task]()
        while waiting or running:
            while waiting and len(running) < workers:
                task = waiting.pop(0)
                running[remote.remote(work, task)] = task
            (done, *_), _ = ray.wait(list(running))
            record = _result(ray, done, running.pop(done))
            watch(record.rows)
            yield record
    finally:
        if ours:
            ray.shutdown()


def _do(work: Work, task: Task) -> ShardRecord | InputError:
    """One task on a machine of the cluster; wrong input comes back as it is, without Ray's report around it."""
    quiet_libraries()
    try:
        return work(task, _unwatched)
    except InputError as error:
        return error


def _unwatched(_rows: int) -> None:
    """Rows are counted when their shard is done."""


def _result(ray: Any, reference: Any, task: Task) -> ShardRecord:
    try:
        found: ShardRecord | InputError = ray.get(reference)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise InputError(
            f"{task.name}: the process that made it died {TRIES} times ({reason}); give fewer --workers, or more "
            "memory, and run the same command again."
        ) from error
    if isinstance(found, InputError):
        raise found
    return found
