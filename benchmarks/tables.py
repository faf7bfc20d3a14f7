"""Results tables of the README and docs, generated from JSON Lines of ``augpro compare``.

    python benchmarks/tables.py README.md docs/benchmarks.md

Between ``<!-- results FILE against METHOD -->`` and ``<!-- end -->`` it writes the table of that file in results/.
The table has a row for each method: means with 95 % intervals over seeds (a dash for one seed or equal ones), the
difference from the named method with a paired t-test over the shared seeds (Holm-corrected within a column), and
the training seconds.

Between ``<!-- gains of METHOD in FILE FILE ... -->`` and ``<!-- end -->`` it compares the method with plain
distillation, with a row for each task and number of training rows in the files; with ``summary`` in the place of
``gains`` in few columns.

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
GAINS = re.compile(
    r"(<!-- (?P<form>gains|summary) of (?P<base>\S+) in (?P<files>.+?) -->\n).*?(<!-- end -->)", re.DOTALL
)
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
    teacher = ["teacher", "", f"{scale * of_teacher(first):.{digits}f}", *[""] * 6]
    lines = [[*header, "training seconds"], teacher]
    for method, runs in sorted(methods.items(), key=lambda item: -mean_distance(item[1])):
        cells = [f"`{method}`", str(len(runs))]
        for name, places, times in (("metric", digits, scale), ("distance", 3, 1)):
            cells.append(spread([quality(row, name) for row in runs.values()], places, times))
            difference, p = tests[name].get(method, (float("nan"), float("nan")))
            cells.append("" if np.isnan(difference) else f"{times * difference:+.{places}f}")
            cells.append("" if np.isnan(p) else f"{p:.3f}" if p >= 0.001 else "< 0.001")
        cells.append(f"{statistics.median(training_seconds(row) for row in runs.values()):.0f}")
        lines.append(cells)
    return markdown(lines)


def mean_distance(runs: Runs) -> float:
    return statistics.mean(quality(row, "distance") for row in runs.values())


class Gain:
    """A task and number of rows: gold labels alone, plain distillation and the method, over shared seeds."""

    def __init__(self, task: str, rows: list[CellResult], base: str) -> None:
        methods = methods_of(rows)
        seeds = sorted(methods["none"].keys() & methods[base].keys())
        both = [{seed: methods[one][seed] for seed in seeds} for one in ("none", base)]
        self.task, self.seeds, self.row = task, len(seeds), both[1][seeds[0]]
        self.plain, self.values = [[100 * quality(row, "metric") for row in runs.values()] for runs in both]
        gold = methods.get("fine-tune", {})
        labels = [100 * quality(gold[seed], "metric") for seed in seeds if seed in gold]
        self.labels = f"{statistics.mean(labels):.1f}" if labels else ""
        self.test = paired_seeds(self.values, self.plain)
        far, near = map(mean_distance, both)
        self.distance, self.nearer = f"{far:.3f} to {near:.3f}", f"{near / far - 1:+.0%}"
        self.seconds = [statistics.median(map(training_seconds, runs.values())) for runs in both]

    def line(self) -> list[str]:
        p = "" if np.isnan(self.test.p_value) else f"{self.test.p_value:.3f}"
        return [self.task, self.row.metric_name, f"{self.row.train_rows:,} x {self.row.epochs:g}", str(self.seeds),
                f"{scored(self.row).rows:,}", f"{100 * of_teacher(self.row):.1f}", self.labels,
                *(spread(values, 1, 1) for values in (self.plain, self.values)), f"{self.test.difference:+.1f}", p,
                f"{self.distance} ({self.nearer})", " to ".join(f"{one:.0f}" for one in self.seconds)]  # fmt: skip

    def summary(self) -> list[str]:
        return [self.task, f"{100 * of_teacher(self.row):.1f}", self.labels,
                *(f"{statistics.mean(values):.1f}" for values in (self.plain, self.values)), self.nearer,
                " and ".join(f"{one / 60:.0f}" for one in self.seconds)]  # fmt: skip


def gains_of(paths: list[Path], base: str) -> list[Gain]:
    groups: dict[tuple[str, float | None], list[CellResult]] = {}
    for row in (row for path in paths for row in rows_of(path)):
        groups.setdefault((row.task.rpartition("/")[2], row.cell.size), []).append(row)
    tasks = list(dict.fromkeys(task for task, _ in groups))
    ordered = sorted(groups.items(), key=lambda item: (tasks.index(item[0][0]), item[0][1] or 0))
    return [Gain(task, rows, base) for (task, _), rows in ordered]


def gains(paths: list[Path], base: str) -> str:
    """A line for each task and size: both methods, the gain and its p, and the distance to the teacher."""
    header = ["task", "metric", "texts x epochs", "seeds", "evaluation rows", "teacher", "gold labels alone",
              "plain distillation (95 %)", f"{base} (95 %)", "gain", "p", "distance to the teacher",
              "training seconds"]  # fmt: skip
    all_gains = gains_of(paths, base)
    lines = [header, *(gain.line() for gain in all_gains)]
    if len({gain.task for gain in all_gains}) > 1:
        mean = statistics.mean(gain.test.difference for gain in all_gains)
        lines.append(["mean", *[""] * 8, f"{mean:+.1f}", "", "", ""])
    return markdown(lines)


def summary(paths: list[Path], base: str) -> str:
    """A short line for each task and size."""
    header = ["task", "teacher", "gold labels alone", "plain distillation", base,
              "change of the distance to the teacher", "training minutes, plain and augmented"]  # fmt: skip
    return markdown([header, *(gain.summary() for gain in gains_of(paths, base))])


def markdown(lines: list[list[str]]) -> str:
    head, *rows = [f"| {' | '.join(line)} |\n".replace("  ", " ") for line in lines]
    return head + "|" + "---|" * len(lines[0]) + "\n" + "".join(rows)


def rewritten(page: str) -> str:
    """The page with every table made anew."""
    page = BLOCK.sub(lambda found: found[1] + table(RESULTS / found["file"], found["base"]) + found[4], page)
    forms = {"gains": gains, "summary": summary}
    return GAINS.sub(
        lambda found: (
            found[1]
            + forms[found["form"]]([RESULTS / file for file in found["files"].split()], found["base"])
            + found[5]
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
