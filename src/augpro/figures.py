"""Quality of the runs of a grid, as values and as what they would have been on other rows."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file

from augpro.evaluation import METRICS, decide, gold_labels, row_distances
from augpro.grid import Grid
from augpro.significance import (
    Array,
    ExampleTest,
    SeedTest,
    bootstrap_mean,
    bootstrap_metric,
    holm,
    paired_bootstrap,
    paired_seeds,
    resample_rows,
    separated,
)

RESAMPLES = 1000


class Group:
    """Runs that differ in method and seed alone.

    Args:
        grid: gives the order of methods and seeds, and the reference.
        rows: results; of two with the same method and seed the later one counts.
        predictions: folder with the logits of every cell.
    """

    def __init__(self, grid: Grid, rows: list[dict[str, Any]], predictions: Path) -> None:
        self.reference, self.predictions = grid.config.reference, predictions
        found = {(row["cell"]["method"], row["cell"]["seed"]): row for row in rows}  # the latest of each
        self.runs = {
            method: {seed: found[method, seed] for seed in grid.config.seeds if (method, seed) in found}
            for method in grid.methods
        }
        self.runs = {method: runs for method, runs in self.runs.items() if runs}
        self.first = next(iter(next(iter(self.runs.values())).values()))

    def shared_seeds(self, one: str, other: str) -> list[int]:
        """Seeds that both methods were run with."""
        return [seed for seed in self.runs[one] if seed in self.runs[other]]


@dataclass
class Figure:
    """One quality figure of every run: the value, and what it is on resampled rows."""

    values: dict[tuple[str, int], float]
    resampled: dict[tuple[str, int], Array]
    larger_is_better: bool

    def test(self, group: Group, ours: str, base: str) -> tuple[SeedTest, ExampleTest] | None:
        """Ours against base, over seeds and over rows; None without a seed that both were run with."""
        seeds = group.shared_seeds(ours, base)
        if not seeds:
            return None
        left, right = ([self.values[method, seed] for seed in seeds] for method in (ours, base))
        by_seed = paired_seeds(left, right)
        ours_r, base_r = (
            np.stack([self.resampled[method, seed] for seed in seeds]) for method in (ours, base)
        )
        return by_seed, paired_bootstrap(ours_r, base_r, float(np.mean(left) - np.mean(right)))

    def mean(self, group: Group, method: str) -> float:
        """Mean over seeds."""
        return statistics.mean(self.values[method, seed] for seed in group.runs[method])


class Split:
    """The figures of a group on one split: "evaluation" or "holdout"."""

    def __init__(self, group: Group, split: str) -> None:
        self.group, self.split = group, split
        self.problem = group.first["problem_type"]

    @cached_property
    def tensors(self) -> dict[tuple[str, int], dict[str, Any]]:
        """Logits of student and teacher, and labels, of every run."""
        found = {}
        for method, runs in self.group.runs.items():
            for seed, row in runs.items():
                stored = load_file(self.group.predictions / f"{row['cell']['key']}.safetensors")
                found[method, seed] = {key.split(".")[1]: value for key, value in stored.items()
                                       if key.startswith(f"{self.split}.")}  # fmt: skip
        return found

    @cached_property
    def resampled(self) -> Array:
        """The same resampled rows for every run, [R, N]."""
        return resample_rows(len(next(iter(self.tensors.values()))["student"]), RESAMPLES, seed=0)

    def metric(self) -> Figure | None:
        """The task's metric; None where the rows have no labels."""
        name, values, resampled = self.group.first["metric_name"], {}, {}
        for run, tensors in self.tensors.items():
            gold, kept = gold_labels(tensors["labels"], self.problem)
            if not kept.any():
                return None
            predicted = decide(tensors["student"], self.problem)[kept]
            values[run] = METRICS[name](gold, predicted)
            rows = self.resampled if kept.all() else resample_rows(len(gold), RESAMPLES, seed=0)
            if name == "accuracy":  # the mean of what each row gives, without a loop over metrics
                right = (gold == predicted).reshape(len(gold), -1).all(1).astype(float)
                resampled[run] = bootstrap_mean(right, rows)
            else:
                resampled[run] = bootstrap_metric(METRICS[name], gold, predicted, rows)
        return Figure(values, resampled, True)

    def distance(self) -> Figure:
        """The distance to the teacher."""
        values, resampled = {}, {}
        for run, tensors in self.tensors.items():
            each = row_distances(tensors["student"], tensors["teacher"], self.problem).numpy()
            values[run], resampled[run] = float(each.mean()), bootstrap_mean(each, self.resampled)
        return Figure(values, resampled, False)


def best_method(group: Group, figure: Figure) -> str | None:
    """The method with the best mean, if it is separated from every other one over seeds and over rows."""
    pick: Callable[..., str] = max if figure.larger_is_better else min
    best = pick(group.runs, key=lambda method: figure.mean(group, method))
    tests = [figure.test(group, best, method) for method in group.runs if method != best]
    if not tests or any(test is None for test in tests):
        return None
    by_seed, by_row = (holm([test[part].p_value for test in tests if test]) for part in (0, 1))
    apart = all(separated(*pair) for pair in zip(by_seed, by_row, strict=True))
    # Means are over all seeds of a method, tests over those it shares with the other: they can disagree.
    sign = 1 if figure.larger_is_better else -1
    better = all(sign * part.difference > 0 for test in tests if test for part in test)
    return best if apart and better else None
