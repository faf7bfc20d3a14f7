"""From the finished cells of a grid to tables: quality with its statistics, cost, and what cannot be told.

A method is set in bold only if it is separated from every other one, over seeds and over rows, after Holm's
correction. Everything else is a mean with an interval.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from augpro.compare.conditions import by_condition, codes_of
from augpro.compare.cost import cost_table, equal_epochs
from augpro.compare.figures import Figure, Group, ScoredSplit, best_method, unbeaten_baselines
from augpro.compare.grid import RESULTS, Grid
from augpro.evaluation.significance import ExampleTest, SeedTest, detectable_difference, holm, seed_interval
from augpro.results.cell import CellResult
from augpro.results.tables import Entry, Quantity, Table, tests_note


@dataclass
class Comparison:
    """All tables of a grid, and what every run of it was told."""

    tables: list[Table]
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """One Markdown page."""
        return "# Comparison\n\n" + "\n".join(
            [*(table.markdown() for table in self.tables), self.tests_note, *self.told, ""]
        )

    @property
    def told(self) -> list[str]:
        """The notes as lines of a list."""
        return [f"- note: {note}" for note in self.notes]

    @property
    def tests_note(self) -> str:
        """How many tests were made, of which a share is significant by chance."""
        return tests_note(self.tables)


@dataclass(frozen=True)
class Quality:
    """One figure of every method on one split, each tested against the reference.

    Attributes:
        split: "evaluation" or "holdout".
        figure: the values of every run.
        best: the method that is separated from every other one, or None.
        table: what is shown of it.
    """

    split: str
    figure: Figure
    best: str | None
    table: Table


def compare_rows(grid: Grid, rows: Sequence[CellResult], predictions: Path) -> Comparison:
    """Compare the finished cells, size by size.

    Args:
        grid: says which cells belong to the comparison.
        rows: results, of this grid and perhaps of others.
        predictions: folder with the logits of every cell.
    """
    tables: list[Table] = []
    sizes = grid.config.sizes or (None,)
    wanted = [
        row
        for row in rows
        if row.cell.seed in grid.config.seeds and row.cell.size in sizes and row.cell.method in grid.methods
    ]
    for condition, alike in by_condition(wanted, str(predictions.parent / RESULTS)).items():
        for size in sizes:
            of_size = [row for row in alike if row.cell.size == size]
            tables += _tables_of_size(grid, of_size, predictions, f" [{condition}]" if condition else "")
    told = [row.notes for row in wanted] or [[]]
    return Comparison(tables, [note for note in told[0] if all(note in notes for notes in told)])


def _tables_of_size(grid: Grid, rows: list[CellResult], predictions: Path, suffix: str) -> list[Table]:
    """All tables of runs that differ in method, seed and epochs alone."""
    equal = [row for row in rows if row.cell.epochs == grid.config.epochs]
    if not equal:
        return []

    def group_of(some: list[CellResult]) -> Group:
        return Group(some, predictions, grid.config.reference, grid.methods, grid.config.seeds)

    def tables_of(group: Group, split: str, title: str) -> list[Table]:
        return [quality.table for quality in compare_quality(group, split, title)]

    first, size = equal[0], equal[0].cell.size
    name = f"{first.task}, {'all' if size is None else f'{size:g}'} training rows{suffix}"
    tables, group = [], group_of(equal)
    for split in first.splits:
        tables += tables_of(group, split, f"{name}: {split}, {grid.config.epochs:g} epochs")
    tables.append(cost_table(group, f"{name}: cost"))
    if grid.config.equal_seconds:
        epochs = equal_epochs(grid, equal)
        matched = [row for row in rows if row.cell.epochs == epochs.get(row.cell.method)]
        *_, split = first.splits  # the holdout where there is one
        title = f"{name}: {split}, as many seconds as {grid.config.equal_seconds}"
        if matched:  # not so if no run of that method was finished
            group = group_of(matched)
            tables += [*tables_of(group, split, title), cost_table(group, f"{title}: cost")]
    return tables


def compare_quality(group: Group, split: str, title: str) -> list[Quality]:
    """The metric, then the distance to the teacher, of every method, each tested against the reference.

    Raises:
        InputError: if two runs were scored on other rows or labels.
    """
    scored = ScoredSplit(group, split)
    parts = [
        (group.first.metric_name, scored.metric(), 3),
        (group.first.distance_label, scored.distance(), 4),
    ]
    return [
        _quality(group, split, f"{title}: {name}", figure, digits) for name, figure, digits in parts if figure
    ]


def _quality(group: Group, split: str, title: str, figure: Figure, digits: int) -> Quality:
    header = ["method", "seeds", "mean (95 % over seeds)", f"vs {group.reference} (95 % over rows)"]
    table = Table(title, [*header, "p seeds", "p rows", "d", group.first.agreement_label])
    teacher = group.first.teacher.get(split)
    if figure.larger_is_better and teacher and teacher.metric is not None:
        table.rows.append(["(teacher)", "", Quantity(teacher.metric, ".3f"), *[""] * 5])
    best = best_method(group, figure)
    tests = _against_reference(group, figure)
    cells = _columns(group, figure, tests, digits)
    for method, runs in group.runs.items():
        if method == best:
            table.bold = {len(table.rows)}
        agreed = [row.splits[split].agreement for row in runs.values()]
        # None: of a run that diverged.
        agreement = statistics.mean(math.nan if value is None else value for value in agreed)
        table.rows.append([method, Quantity(len(runs), "d"), *cells[method], Quantity(agreement, ".3f")])
    shown = [
        value
        for seeds, rows in tests.values()
        for value in (seeds.p_value, rows.p_value if rows else math.nan)
    ]
    table.tests = sum(not math.isnan(value) for value in shown)
    table.notes = [
        *_notes(group, tests, best, group.first.splits[split].rows),
        *_baselines_note(group, figure, digits),
    ]
    return Quality(split, figure, best, table)


def _baselines_note(group: Group, figure: Figure, digits: int) -> list[str]:
    """Which baselines a user might as well take instead of the best student."""
    found = unbeaten_baselines(group, figure)
    if found is None:
        return []
    best, methods = found
    if not methods:
        return [f"{best} is better than every baseline here, over seeds and over rows."]
    means = {method: f"{method} ({figure.mean(group, method):.{digits}f})" for method in (best, *methods)}
    shown, verb = ", ".join(means[method] for method in methods), "is" if len(methods) == 1 else "are"
    told = f"Warning: {shown} {verb} not beaten: the best student, {means[best]}, is not better"
    return [f"{told} over seeds and over rows."]


Tests = dict[str, tuple[SeedTest, ExampleTest | None]]


def _against_reference(group: Group, figure: Figure) -> Tests:
    """Every other method that can be tested against the reference."""
    others = [method for method in group.runs if method != group.reference and group.reference in group.runs]
    tests = {method: figure.test(group, method, group.reference) for method in others}
    return {method: found for method, found in tests.items() if found}


def _columns(group: Group, figure: Figure, tests: Tests, digits: int) -> dict[str, list[Entry]]:
    """Five cells for each method: mean, difference, two adjusted p-values, effect size."""
    by_seed = dict(zip(tests, holm([test.p_value for test, _ in tests.values()]), strict=True))
    by_row = dict(
        zip(tests, holm([test.p_value if test else math.nan for _, test in tests.values()]), strict=True)
    )
    cells: dict[str, list[Entry]] = {}
    for method, runs in group.runs.items():
        interval = seed_interval([figure.values[method, seed] for seed in runs])
        mean = Quantity(figure.mean(group, method), f".{digits}f", interval)
        found = tests.get(method)
        if not found:
            cells[method] = [mean, "", "", "", ""]
            continue
        seeds, rows = found
        change = Quantity(seeds.difference, f"+.{digits}f", rows.interval if rows else None)
        sure = [_known(by_seed[method], ".3f"), _known(by_row[method], ".3f")]
        cells[method] = [mean, change, *sure, _known(seeds.effect_size, "+.1f")]
    return cells


def _known(value: float, form: str) -> Quantity:
    """A dash where a test says nothing."""
    return Quantity(None if np.isnan(value) else value, form)


def _notes(group: Group, tests: Tests, best: str | None, rows: int) -> list[str]:
    told = f"{group.reference} is the reference; p-values are two-sided, paired and Holm-corrected within a column;"
    notes = [f"{told} d is Cohen's d_z over seeds."]
    if best is None:
        notes.append("No method is separated from every other one here, over seeds and over rows.")
    errors = [test for _, test in tests.values() if test]
    if len(errors) < len(tests):
        notes.append("There are no predictions beside these results, so nothing was tested over rows.")
    if codes_of(list(group.all_runs().values())) > 1:
        notes.append(
            "Warning: these runs are of several versions of augpro; run the comparison again to be sure."
        )
    if errors:
        visible = detectable_difference(statistics.median(test.standard_error for test in errors))
        smaller = sum(abs(test.difference) < visible for test in errors)
        if smaller:
            notes.append(
                f"Warning: with {rows} rows, only differences from {group.reference} above {visible:.4f} can be "
                f"detected (80 % power); {smaller} of {len(errors)} methods differ by less."
            )
    few = min(len(runs) for runs in group.runs.values())
    if few < 3:
        notes.append(f"Warning: {few} seeds; a test over seeds has next to no power below 3.")
    return notes
