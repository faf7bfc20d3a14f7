"""One method beside others over several tasks: a row for each folder of ``augpro compare``.

    python benchmarks/over_tasks.py gpu/students/* --method augpro-mix --against none knn random

Figures are means over the seeds that all the methods have, on the rows that were set aside where there are any. The
p-values are of the difference of the distance to the teacher over rows (paired bootstrap, seeds averaged), with
Holm's correction over the tasks. The last row has the means over tasks; of ratios of distances the geometric mean.
"""

import argparse
import json
import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from augpro.compare.figures import Group, ScoredSplit, with_predictions
from augpro.compare.grid import RESULTS, ResultsFile
from augpro.evaluation.significance import holm
from augpro.results.environment import library_versions, machine_facts


@dataclass(frozen=True)
class Task:
    """What was found of one task.

    Attributes:
        name: of the data.
        seeds: how many all methods have.
        metric: its name.
        teacher: the teacher's metric.
        metrics: of each method.
        distances: likewise, to the teacher.
        p_values: of the first method's distance against each of the others.
    """

    name: str
    seeds: int
    metric: str
    teacher: float
    metrics: dict[str, float]
    distances: dict[str, float]
    p_values: dict[str, float]


def named(found: list[str], methods: list[str]) -> dict[str, str]:
    """Of each method the name in the results: without options if it is there, else the first with options."""
    first = {method.partition(":")[0]: method for method in reversed(found)}
    return {method: method if method in found else first[method] for method in methods if method in first}


def read(folder: Path, methods: list[str]) -> Task | None:
    """The task of a folder; None if it lacks a method."""
    predictions = folder / "predictions"
    rows = ResultsFile(folder / RESULTS).rows
    name = named([row.cell.method for row in rows], methods)
    rows = with_predictions([row for row in rows if row.cell.method in name.values()], predictions)
    seeds = [{row.cell.seed for row in rows if row.cell.method == name.get(method)} for method in methods]
    shared = sorted(set.intersection(*seeds))
    if not shared:
        return None
    group = Group(rows, predictions, rows[0].cell.method, seeds=shared)
    *_, split = group.first.splits
    scored = ScoredSplit(group, split)
    metric, distance = scored.metric(), scored.distance()
    teacher = group.first.teacher[split].metric
    assert metric is not None, folder
    assert distance is not None, folder
    assert teacher is not None, folder
    tests = {other: distance.test(group, name[methods[0]], name[other]) for other in methods[1:]}
    return Task(
        group.first.task,
        len(shared),
        group.first.metric_name,
        teacher,
        *({method: figure.mean(group, name[method]) for method in methods} for figure in (metric, distance)),
        {other: test[1].p_value if test and test[1] else np.nan for other, test in tests.items()},
    )


def table(tasks: list[Task], methods: list[str]) -> str:
    """The tasks as Markdown."""
    ours, *others = methods
    head = ["task, metric", "seeds", "teacher", *methods, f"share of the teacher, {ours}"]
    lines = ["| " + " | ".join([*head, *(f"distance against {other} (p)" for other in others)]) + " |"]
    lines.append("|---" * (len(head) + len(others)) + "|")
    adjusted = {other: holm([task.p_values[other] for task in tasks]) for other in others}
    for number, task in enumerate(tasks):
        cells = [f"{task.name}, {task.metric}", str(task.seeds), f"{100 * task.teacher:.1f}"]
        cells += [f"{100 * task.metrics[method]:.1f} / {task.distances[method]:.3f}" for method in methods]
        cells.append(f"{task.metrics[ours] / task.teacher:.1%}")
        cells += [
            f"{task.distances[ours] / task.distances[other] - 1:+.0%} ({adjusted[other][number]:.3f})"
            for other in others
        ]
        lines.append("| " + " | ".join(cells) + " |")
    means = [f"{100 * statistics.mean(task.metrics[method] for task in tasks):.1f}" for method in methods]
    share = statistics.mean(task.metrics[ours] / task.teacher for task in tasks)
    ratios = [
        statistics.geometric_mean(task.distances[ours] / task.distances[other] for task in tasks) - 1
        for other in others
    ]
    lines.append(
        "| "
        + " | ".join(["mean", "", "", *means, f"{share:.1%}", *(f"{ratio:+.0%}" for ratio in ratios)])
        + " |"
    )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+", help="of augpro compare")
    parser.add_argument("--method", default="augpro-mix")
    parser.add_argument("--against", nargs="+", default=["none", "knn", "random"])
    args = parser.parse_args()
    methods = [args.method, *args.against]
    tasks = [task for folder in args.folders if (task := read(folder, methods))]
    print(table(tasks, methods))
    print(f"{json.dumps({'versions': library_versions(), 'machine': machine_facts()})}")


if __name__ == "__main__":
    main()
