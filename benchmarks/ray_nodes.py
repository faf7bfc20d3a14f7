"""The same augmented rows from one process, two processes, one Ray node and three of which one is killed.

    pip install '.[ray]'
    python benchmarks/ray_nodes.py --results benchmarks/results/ray_nodes.jsonl

The nodes are processes of this machine (``ray.cluster_utils.Cluster``). Models and rows are made here.
"""

import argparse
import hashlib
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from augpro.results.environment import library_versions, machine_facts
from augpro.shards.options import AugmentConfig
from augpro.shards.plan import make_augment_plan
from augpro.shards.run import run_augment

sys.path.append(str(Path(__file__).parent.parent / "tests" / "faults"))
import cases

ROWS, SHARD, COPIES = 256 * 12, 256, 4


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        given = cases.inputs(Path(scratch) / "inputs", ROWS)

        def augment(name: str, **how: Any) -> dict[str, str]:
            out = Path(scratch) / name
            run_augment(make_augment_plan(
                AugmentConfig(**given, copies=COPIES, shard_rows=SHARD, out=out, **how)
            ))  # fmt: skip
            return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in out.glob("*.*")}

        lines = [measured("one process", lambda: augment("one"))]
        lines.append(measured("two processes", lambda: augment("two", workers=2)))
        lines.append(with_cluster("one Ray node", 1, lambda: augment("ray-1", engine="ray", workers=2)))
        work = lambda: augment("ray-3", engine="ray", workers=3)  # noqa: E731
        lines.append(with_cluster("three Ray nodes, one killed", 3, work, kill_after=25.0))
    same = [line["files"] == lines[0]["files"] for line in lines]
    with open(arguments.results, "w") as file:
        for line, equal in zip(lines, same, strict=True):
            files = line.pop("files")
            facts = {"rows": ROWS * (COPIES + 1), "files": len(files), "equal": equal}
            file.write(json.dumps(line | facts | {"versions": library_versions() | {"ray": ray.__version__},
                                                  "machine": machine_facts()}) + "\n")  # fmt: skip
            print(line | facts)


def measured(what: str, work: Callable[[], dict[str, str]]) -> dict[str, Any]:
    started = time.perf_counter()
    files = work()
    return {"what": what, "files": files, "seconds": time.perf_counter() - started}


def with_cluster(
    what: str, nodes: int, work: Callable[[], dict[str, str]], kill_after: float | None = None
) -> dict[str, Any]:
    """Work on a cluster of so many nodes with one core each; one dies after some seconds, with what it is making."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    others = [cluster.add_node(num_cpus=1) for _ in range(nodes - 1)]
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    if kill_after:
        threading.Timer(kill_after, lambda: cluster.remove_node(others[0], allow_graceful=False)).start()
    try:
        return measured(what, work) | ({"killed_after_seconds": kill_after} if kill_after else {})
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main()
