"""Results tables of the README and docs, generated from JSON Lines of ``augpro compare``.

    python benchmarks/tables.py README.md docs/benchmarks.md

Between ``<!-- results FILE against METHOD -->`` and ``<!-- end -->`` it writes the table of that file in results/.
The table has a row for each method: means with 95 % intervals over seeds (a dash for one seed or equal ones), the
difference from the named method with a paired t-test over the shared seeds (Holm-corrected within a column), and
the training seconds.

Between ``<!-- gains of METHOD in FILE FILE ... -->`` and ``<!-- end -->`` it compares the method with plain
distillation, with a row for each task and number of training rows in the files.

``--check`` changes nothing, and ends with exit code 1 if a table differs from the results.
"""

import argparse
import re
import statistics
import sys
from pathlib import Path

import numpy as np

from augpro.compare.cost import training_seconds
from augpro.compare.grid import ResultsFile
from augpro.evaluation.significance import holm, paired_seeds, seed_interval
from augpro.results.cell import CellResult
from augpro.results.result import Scores

RESULTS = Path(__file__).parent / "results"
BLOCK = re.compile(r"(<!-- results (?P<file>\S+) against (?P<base>.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
GAINS = re.compile(r"(<!-- gains of (?P<base>\S+) in (?P<files>.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
Runs = dict[int, CellResult]


def rows_of(path: Path) -> list[CellResult]:
    return ResultsFile(path).rows


def methods_of(rows: list[CellResult]) -> dict[str, Runs]:
    """Results by method and seed; of two for the same the later one counts."""
    found: dict[str, Runs] = {}
    for row in rows:
        found.setdefault(row.cell.method, {})[row.cell.seed] = row
    return found


def scored(row: CellResult) -> Scores:
    """The rows that were set aside, which are many; else the evaluation split."""
    return row.holdout or row.evaluation


def quality(row: CellResult, name: str) -> float:
    scores = scored(row)
    value = scores.distance_to_teacher if name == "distance" else scores.metric
    assert value is not None, row.cell
    return value


def spread(values: list[float], digits: int, scale: float) -> str:
    low, high = (scale * end for end in seed_interval(values))
    mean = f"{scale * statistics.mean(values):.{digits}f}"
    return f"{mean} (-)" if np.isnan(low) else f"{mean} ({low:.{digits}f} to {high:.{digits}f})"


def against(methods: dict[str, Runs], base: str, name: str) -> dict[str, tuple[float, float]]:
    """Difference from the base and Holm's p of every other method."""
    tests = {}
    for method, runs in methods.items():
        seeds = [seed for seed in runs if seed in methods[base]]
        if method != base and len(seeds) > 1:
            pairs = ([quality(methods[one][seed], name) for seed in seeds] for one in (method, base))
            tests[method] = paired_seeds(*pairs)
    adjusted = holm([test.p_value for test in tests.values()])
    return {method: (test.difference, p) for (method, test), p in zip(tests.items(), adjusted, strict=True)}


def of_teacher(row: CellResult) -> float:
    metric = row.teacher["holdout" if row.holdout else "evaluation"].metric
    assert metric is not None, row.cell
    return metric


def table(path: Path, base: str) -> str:
    methods = methods_of(rows_of(path))
    first = next(iter(methods[base].values()))
    metric = first.metric_name
    scale, digits = (100, 1) if metric == "accuracy" else (1, 3)
    tests = {name: against(methods, base, name) for name in ("metric", "distance")}
    header = ["method", "seeds"]
    for what in (metric, first.distance_label):
        header += [f"{what} (95 %)", f"difference from {base}", "p"]
    lines = [
        "| " + " | ".join([*header, "training seconds"]) + " |",
        "|---|---|---|---|---|---|---|---|---|",
        f"| teacher | | {scale * of_teacher(first):.{digits}f} | | | | | | |",
    ]
    for method, runs in sorted(methods.items(), key=lambda item: -mean_distance(item[1])):
        cells = [f"`{method}`", str(len(runs))]
        for name, places, times in (("metric", digits, scale), ("distance", 3, 1)):
            cells.append(spread([quality(row, name) for row in runs.values()], places, times))
            difference, p = tests[name].get(method, (float("nan"), float("nan")))
            cells.append("" if np.isnan(difference) else f"{times * difference:+.{places}f}")
            cells.append("" if np.isnan(p) else f"{p:.3f}" if p >= 0.001 else "< 0.001")
        cells.append(f"{statistics.median(training_seconds(row) for row in runs.values()):.0f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def mean_distance(runs: Runs) -> float:
    return statistics.mean(quality(row, "distance") for row in runs.values())


def gains(paths: list[Path], base: str) -> str:
    """A line for each task and size: both methods, the gain and its p, and the distance to the teacher."""
    groups: dict[tuple[str, float | None], list[CellResult]] = {}
    for row in (row for path in paths for row in rows_of(path)):
        groups.setdefault((row.task.rpartition("/")[2], row.cell.size), []).append(row)
    header = ["task", "metric", "texts x epochs", "seeds", "evaluation rows", "teacher",
              "plain distillation (95 %)", f"{base} (95 %)", "gain", "p", "distance to the teacher",
              "training seconds"]  # fmt: skip
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    won = []
    tasks = list(dict.fromkeys(task for task, _ in groups))
    for (task, _), rows in sorted(
        groups.items(), key=lambda item: (tasks.index(item[0][0]), item[0][1] or 0)
    ):
        methods = methods_of(rows)
        seeds = sorted(methods["none"].keys() & methods[base].keys())
        sides = [{seed: methods[one][seed] for seed in seeds} for one in ("none", base)]
        metrics = [[100 * quality(row, "metric") for row in runs.values()] for runs in sides]
        far, near = map(mean_distance, sides)
        before, after = (statistics.median(map(training_seconds, runs.values())) for runs in sides)
        test, first = paired_seeds(metrics[1], metrics[0]), sides[1][seeds[0]]
        won.append(test.difference)
        cells = [task, first.metric_name, f"{first.train_rows:,} x {first.epochs:g}", str(len(seeds)),
                 f"{scored(first).rows:,}", f"{100 * of_teacher(first):.1f}",
                 *(spread(values, 1, 1) for values in metrics), f"{test.difference:+.1f}",
                 "" if np.isnan(test.p_value) else f"{test.p_value:.3f}",
                 f"{far:.3f} to {near:.3f} ({near / far - 1:+.0%})", f"{before:.0f} to {after:.0f}"]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    if len(tasks) > 1:
        lines.append(f"| mean{' |' * 8} {statistics.mean(won):+.1f} | | | |")
    return "\n".join(lines) + "\n"


def rewritten(page: str) -> str:
    """The page with every table made anew."""
    page = BLOCK.sub(lambda found: found[1] + table(RESULTS / found["file"], found["base"]) + found[4], page)
    return GAINS.sub(
        lambda found: (
            found[1] + gains([RESULTS / file for file in found["files"].split()], found["base"]) + found[4]
        ),
        page,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pages", type=Path, nargs="+")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    stale = []
    for page in args.pages:
        text = page.read_text(encoding="utf-8")
        if rewritten(text) != text:
            stale.append(str(page))
            if not args.check:
                page.write_text(rewritten(text), encoding="utf-8")
    if args.check and stale:
        sys.exit(f"not what the results say: {', '.join(stale)}")


if __name__ == "__main__":
    main()
