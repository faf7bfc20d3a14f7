"""Quality of the runs of a group, as values and as what they would have been on other rows."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from augpro.baselines import is_baseline
from augpro.compare.grid import RESULTS
from augpro.errors import InputError
from augpro.evaluation.metrics import METRICS, decide, gold_labels, row_distances
from augpro.evaluation.resampling import Array, Resampling, clusters_of
from augpro.evaluation.significance import (
    ExampleTest,
    SeedTest,
    holm,
    paired_bootstrap,
    paired_seeds,
    separated,
)
from augpro.files.checksums import read_tensors
from augpro.results.cell import CellResult
from augpro.results.result import Scores

Run = tuple[str, int]  # method and seed


class Group:
    """Runs that differ in method and seed alone.

    Args:
        rows: results; of two with the same method and seed the later one counts.
        predictions: folder with the logits of every cell; where there is no such folder, nothing is resampled.
        reference: the method that the others are compared with.
        methods: those that count, in their order; those of the rows if not given.
        seeds: likewise; if not given, those of the rows from the smallest on.
    """

    def __init__(
        self,
        rows: Sequence[CellResult],
        predictions: Path,
        reference: str,
        methods: Sequence[str] = (),
        seeds: Sequence[int] = (),
    ) -> None:
        self.reference, self.predictions = reference, predictions
        found = {(row.cell.method, row.cell.seed): row for row in rows}  # the latest of each
        methods = methods or list(dict.fromkeys(method for method, _ in found))
        seeds = seeds or sorted({seed for _, seed in found})
        self.runs = {
            method: {seed: found[method, seed] for seed in seeds if (method, seed) in found}
            for method in methods
        }
        self.runs = {method: runs for method, runs in self.runs.items() if runs}
        self.first = next(iter(next(iter(self.runs.values())).values()))

    def all_runs(self) -> dict[Run, CellResult]:
        """Every result by method and seed."""
        return {(method, seed): row for method, runs in self.runs.items() for seed, row in runs.items()}

    def shared_seeds(self, one: str, other: str) -> list[int]:
        """Seeds that both methods were run with."""
        return [seed for seed in self.runs[one] if seed in self.runs[other]]


def predictions_of(folder: Path, key: str) -> Path:
    """Where the logits of a cell are."""
    return folder / f"{key}.safetensors"


def is_readable(path: Path) -> bool:
    """Whether a file of predictions is whole."""
    try:
        return "evaluation.student" in read_tensors(path)
    except (OSError, ValueError):
        return False


def with_predictions(rows: list[CellResult], folder: Path) -> list[CellResult]:
    """The results whose predictions are whole: the others count as unfinished.

    All of them where there is no folder of predictions: such results have to do without.
    """
    if not folder.is_dir():
        return rows
    return [row for row in rows if is_readable(predictions_of(folder, row.cell.key))]


@dataclass
class Figure:
    """One quality figure of every run: the value, and what it is on resampled rows, where those can be had."""

    values: dict[Run, float]
    resampled: dict[Run, Array]
    larger_is_better: bool

    def test(self, group: Group, ours: str, base: str) -> tuple[SeedTest, ExampleTest | None] | None:
        """Ours against base, over seeds and over rows; None without a seed that both were run with."""
        seeds = group.shared_seeds(ours, base)
        if not seeds:
            return None
        left, right = ([self.values[method, seed] for seed in seeds] for method in (ours, base))
        by_seed = paired_seeds(left, right)
        if not self.resampled:
            return by_seed, None
        ours_r, base_r = (
            np.stack([self.resampled[method, seed] for seed in seeds]) for method in (ours, base)
        )
        return by_seed, paired_bootstrap(ours_r, base_r, float(np.mean(left) - np.mean(right)))

    def mean(self, group: Group, method: str) -> float:
        """Mean over seeds."""
        return statistics.mean(self.values[method, seed] for seed in group.runs[method])

    def best(self, group: Group, methods: Iterable[str]) -> str:
        """The method with the best mean."""
        pick: Callable[..., str] = max if self.larger_is_better else min
        return pick(methods, key=lambda method: self.mean(group, method))


@dataclass(frozen=True)
class ScoredRows:
    """What one run answered on the rows of a split, small enough to hold for every run.

    Attributes:
        gold: labels of the rows that have one, as the metrics take them.
        kept: which rows those are, bool [N].
        predicted: decisions for them.
        distances: to the teacher, of every row, float64 [N].
        clusters: of equal texts, int64 [N].
    """

    gold: Array
    kept: Array
    predicted: Array
    distances: Array
    clusters: Array


class ScoredSplit:
    """The figures of a group on one split: "evaluation" or "holdout"."""

    def __init__(self, group: Group, split: str) -> None:
        self.group, self.split = group, split
        self.problem = group.first.problem_type

    @cached_property
    def rows(self) -> dict[Run, ScoredRows]:
        """Answers of every run; one file of logits is in memory at a time. Empty without a predictions folder.

        Raises:
            InputError: if two runs were scored on other rows or labels.
        """
        if not self.group.predictions.is_dir():
            return {}
        found = {run: self._read(row) for run, row in self.group.all_runs().items()}
        (method, seed), first = next(iter(found.items()))
        for run, one in found.items():
            same = np.array_equal(one.gold, first.gold) and np.array_equal(one.kept, first.kept)
            if not same or not np.array_equal(one.clusters, first.clusters):
                raise InputError(
                    f"{self.group.predictions.parent / RESULTS}: {run[0]}, seed {run[1]}, and {method}, seed {seed}, "
                    f"were scored on other {self.split} rows or labels; remove the lines of one of them."
                )
        return found

    def _read(self, row: CellResult) -> ScoredRows:
        stored = read_tensors(predictions_of(self.group.predictions, row.cell.key))
        tensors = {
            key.split(".")[1]: value for key, value in stored.items() if key.startswith(f"{self.split}.")
        }
        student, keys = tensors["student"], tensors.get("row_keys")
        gold, kept = gold_labels(tensors["labels"], self.problem)
        predicted = decide(student, self.problem)[kept]
        return ScoredRows(
            gold,
            kept,
            predicted.astype(np.int8) if self.problem == "multi_label" else predicted,
            row_distances(student, tensors["teacher"], self.problem).numpy(),
            np.arange(len(student)) if keys is None else clusters_of(keys.numpy()),
        )

    def metric(self) -> Figure | None:
        """The task's metric; None where the rows have no labels."""
        name = self.group.first.metric_name
        if not self.rows:
            return self._told(lambda scores: scores.metric, True)
        first = next(iter(self.rows.values()))
        if not first.kept.any():
            return None
        values = {run: METRICS[name](rows.gold, rows.predicted) for run, rows in self.rows.items()}
        draws = Resampling(clusters_of(first.clusters[first.kept]))
        if name == "accuracy":  # the mean of what each row gives, without a loop over metrics
            right = [
                (rows.gold == rows.predicted).reshape(len(rows.gold), -1).all(1)
                for rows in self.rows.values()
            ]
            resampled = dict(zip(self.rows, draws.means(np.stack(right)), strict=True))
        else:
            resampled = {
                run: draws.metric(METRICS[name], rows.gold, rows.predicted) for run, rows in self.rows.items()
            }
        return Figure(values, resampled, True)

    def distance(self) -> Figure | None:
        """The distance to the teacher."""
        if not self.rows:
            return self._told(lambda scores: scores.distance_to_teacher, False)
        distances = np.stack([rows.distances for rows in self.rows.values()])
        means = Resampling(next(iter(self.rows.values())).clusters).means(distances)
        values = dict(zip(self.rows, distances.mean(1).tolist(), strict=True))
        return Figure(values, dict(zip(self.rows, means, strict=True)), False)

    def _told(self, pick: Callable[[Scores], float | None], larger_is_better: bool) -> Figure | None:
        """A figure as the results have it, which cannot be resampled."""
        told = {run: pick(row.splits[self.split]) for run, row in self.group.all_runs().items()}
        values = {run: float(value) for run, value in told.items() if value is not None}
        return Figure(values, {}, larger_is_better) if len(values) == len(told) else None


def best_method(group: Group, figure: Figure) -> str | None:
    """The method with the best mean, if it is separated from every other one over seeds and over rows."""
    best = figure.best(group, group.runs)
    others = [method for method in group.runs if method != best]
    return best if others and _beaten(group, figure, best, others) == others else None


def unbeaten_baselines(group: Group, figure: Figure) -> tuple[str, list[str]] | None:
    """The student with the best mean, and the baselines that it is not shown to be better than.

    The best of several students may look better by chance, so p-values are multiplied by their number. None without a
    student, a baseline, or the predictions that the test over rows needs.
    """
    students = [method for method in group.runs if not is_baseline(method)]
    baselines = [method for method in group.runs if is_baseline(method)]
    if not students or not baselines or not figure.resampled:
        return None
    best = figure.best(group, students)
    beaten = _beaten(group, figure, best, baselines, len(students))
    return best, [method for method in baselines if method not in beaten]


def _beaten(group: Group, figure: Figure, best: str, others: Sequence[str], choices: int = 1) -> list[str]:
    """The methods that one is shown to be better than.

    Shown is what both tests show, over seeds and over rows, after Holm's correction for the number of methods. Means
    are over all seeds of a method, tests over those that both have, so a better mean alone shows nothing. ``choices``
    is the number of methods that the first one is the best of, by which p-values are multiplied.
    """
    sign = 1 if figure.larger_is_better else -1
    tests = [figure.test(group, best, method) for method in others]
    by_seed = holm([min(1.0, choices * test[0].p_value) if test else np.nan for test in tests])
    by_row = holm([min(1.0, choices * test[1].p_value) if test and test[1] else np.nan for test in tests])
    return [
        method
        for method, test, *p_values in zip(others, tests, by_seed, by_row, strict=True)
        if test and separated(*p_values) and all(part and sign * part.difference > 0 for part in test)
    ]
