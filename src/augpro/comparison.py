"""From the finished cells of a grid to tables: quality with its statistics, cost, and what cannot be told.

A method is set in bold only if it is separated from every other one, over seeds and over rows, after Holm's
correction. Everything else is a mean with an interval.
"""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table as RichTable

from augpro.errors import InputError
from augpro.figures import Figure, Group, Split, best_method
from augpro.grid import RESULTS, Cell, Grid
from augpro.significance import ExampleTest, SeedTest, detectable_difference, holm, seed_interval
from augpro.terminal import shown

_SAME_EPOCHS = 0.15  # a run this near to the epochs that equal seconds ask for counts as it
_TRAINING = ("teacher_originals", "augment", "teacher", "select", "student")


@dataclass
class Table:
    """A table of text cells; ``bold`` has the numbers of the rows whose first cell is set in bold."""

    title: str
    header: list[str]
    rows: list[list[str]] = field(default_factory=list)
    bold: set[int] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """As a Markdown section."""
        lines = [f"## {self.title}", "", _line(self.header), _line(["---"] * len(self.header))]
        for number, row in enumerate(self.rows):
            first = f"**{_pipes(row[0])}**" if number in self.bold else _pipes(row[0])
            lines.append(_line([first, *map(_pipes, row[1:])]))
        return "\n".join([*lines, "", *[f"- {note}" for note in self.notes], ""])

    def show(self, console: Console) -> None:
        """On a terminal."""
        table = RichTable(*map(shown, self.header), title=shown(self.title), title_justify="left")
        for number, row in enumerate(self.rows):
            table.add_row(*map(shown, row), style="bold" if number in self.bold else None)
        console.print(table)
        for note in self.notes:
            console.print(f"- {shown(note)}", highlight=False)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _pipes(text: str) -> str:
    return text.replace("|", r"\|")


@dataclass
class Comparison:
    """All tables of a grid."""

    tables: list[Table]

    def markdown(self) -> str:
        """One Markdown page."""
        return "# Comparison\n\n" + "\n".join(table.markdown() for table in self.tables)

    def show(self, console: Console) -> None:
        """Every table on a terminal."""
        for table in self.tables:
            table.show(console)


def training_seconds(row: dict[str, Any]) -> float:
    """Seconds that a run spent on teacher labels, augmentation and the student; loading and scoring do not count."""
    return float(sum(row["phase_seconds"].get(phase, 0.0) for phase in _TRAINING))


def equal_epochs(grid: Grid, rows: list[dict[str, Any]]) -> dict[str, float]:
    """Epochs with which each method takes the seconds of ``equal_seconds``, from the medians of ``rows``."""
    seconds = {
        method: statistics.median(training_seconds(row) for row in rows if row["cell"]["method"] == method)
        for method in {row["cell"]["method"] for row in rows}
    }
    whole, named = grid.config.epochs, str(grid.config.equal_seconds)
    found = {}
    for method, spent in seconds.items() if named in seconds else ():
        if "epochs" in Cell(method, None, 0, whole).options():
            continue  # it says itself how long it trains
        epochs = whole * seconds[named] / spent
        found[method] = whole if abs(epochs / whole - 1) <= _SAME_EPOCHS else float(max(1, round(epochs)))
    return found


def compare_rows(grid: Grid, rows: list[dict[str, Any]], predictions: Path) -> Comparison:
    """Compare the finished cells, size by size.

    Args:
        grid: says which cells belong to the comparison.
        rows: results, of this grid and perhaps of others.
        predictions: folder with the logits of every cell.
    """
    tables: list[Table] = []
    for size in grid.config.sizes or (None,):
        wanted = [row for row in rows if row["cell"]["size"] == size and row["cell"]["seed"] in grid.config.seeds
                  and row["cell"]["method"] in grid.methods]  # fmt: skip
        equal = [row for row in wanted if row["cell"]["epochs"] == grid.config.epochs]
        if not equal:
            continue
        if len(set(map(models_of, equal))) > 1:
            raise InputError(
                f"{predictions.parent / RESULTS}: has runs of several students or teachers, and they cannot be told "
                "apart by the options; leave --table-only out, or use augpro report, which keeps them apart."
            )
        name = f"{equal[0]['task']}, {'all' if size is None else f'{size:g}'} training rows"
        group = Group(grid, equal, predictions)
        for split in ("evaluation", "holdout"):
            if equal[0].get(split):
                tables += quality_tables(group, split, f"{name}: {split}, {grid.config.epochs:g} epochs")
        if grid.config.equal_seconds:
            epochs = equal_epochs(grid, equal)
            matched = [row for row in wanted if row["cell"]["epochs"] == epochs.get(row["cell"]["method"])]
            split = "holdout" if equal[0].get("holdout") else "evaluation"
            title = f"{name}: {split}, as many seconds as {grid.config.equal_seconds}"
            if matched:  # not so if no run of that method was finished
                tables += quality_tables(Group(grid, matched, predictions), split, title)
        tables.append(cost_table(group, f"{name}: cost"))
    return Comparison(tables)


def models_of(row: dict[str, Any]) -> str:
    """Teacher, student and its layers: runs that differ in them are not to be tested against each other."""
    return json.dumps(row.get("models"), sort_keys=True)


def quality_tables(group: Group, split: str, title: str) -> list[Table]:
    """The metric, then the distance to the teacher, of every method, each tested against the reference."""
    figures = Split(group, split)
    parts = [
        (str(group.first["metric_name"]), figures.metric(), 3),
        ("KL to the teacher", figures.distance(), 4),
    ]
    return [
        _quality_table(group, split, f"{title}: {name}", figure, digits)
        for name, figure, digits in parts
        if figure
    ]


def _quality_table(group: Group, split: str, title: str, figure: Figure, digits: int) -> Table:
    header = ["method", "seeds", "mean (95 % over seeds)", f"vs {group.reference} (95 % over rows)"]
    table = Table(title, [*header, "p seeds", "p rows", "d", "agreement"])
    teacher = group.first["teacher"].get(split) or {}
    if figure.larger_is_better and teacher.get("metrics"):
        table.rows.append(["(teacher)", "", f"{next(iter(teacher['metrics'].values())):.3f}", *[""] * 5])
    best = best_method(group, figure)
    tests = _against_reference(group, figure)
    cells = _columns(group, figure, tests, digits)
    for method, runs in group.runs.items():
        if method == best:
            table.bold = {len(table.rows)}
        agreed = [row[split]["agreement"] for row in runs.values()]
        agreement = math.nan if None in agreed else statistics.mean(agreed)  # null: of a run that diverged
        table.rows.append([method, str(len(runs)), *cells[method], f"{agreement:.3f}"])
    table.notes = _notes(group, tests, best, int(group.first[split]["rows"]))
    return table


Tests = dict[str, tuple[SeedTest, ExampleTest]]


def _against_reference(group: Group, figure: Figure) -> Tests:
    """Every other method that can be tested against the reference."""
    others = [method for method in group.runs if method != group.reference and group.reference in group.runs]
    tests = {method: figure.test(group, method, group.reference) for method in others}
    return {method: found for method, found in tests.items() if found}


def _columns(group: Group, figure: Figure, tests: Tests, digits: int) -> dict[str, list[str]]:
    """Five cells for each method: mean, difference, two adjusted p-values, effect size."""
    by_seed = dict(zip(tests, holm([test.p_value for test, _ in tests.values()]), strict=True))
    by_row = dict(zip(tests, holm([test.p_value for _, test in tests.values()]), strict=True))
    cells = {}
    for method, runs in group.runs.items():
        low, high = seed_interval([figure.values[method, seed] for seed in runs])
        mean = f"{figure.mean(group, method):.{digits}f}"
        mean += f" ({low:.{digits}f} to {high:.{digits}f})" if np.isfinite(low) else " (-)"
        found = tests.get(method)
        if not found:
            cells[method] = [mean, "", "", "", ""]
            continue
        seeds, rows = found
        change = f"{rows.difference:+.{digits}f} ({rows.interval[0]:+.{digits}f} to {rows.interval[1]:+.{digits}f})"
        size = "-" if np.isnan(seeds.effect_size) else f"{seeds.effect_size:+.1f}"
        cells[method] = [mean, change, _p(by_seed[method]), _p(by_row[method]), size]
    return cells


def _p(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"


def _notes(group: Group, tests: Tests, best: str | None, rows: int) -> list[str]:
    told = f"{group.reference} is the reference; p-values are two-sided, paired and Holm-corrected within a column;"
    notes = [f"{told} d is Cohen's d_z over seeds."]
    if best is None:
        notes.append("No method is separated from every other one here, over seeds and over rows.")
    errors = [test for _, test in tests.values()]
    if errors:
        visible = detectable_difference(statistics.median(test.standard_error for test in errors))
        smaller = sum(abs(test.difference) < visible for test in errors)
        if smaller:
            notes.append(
                f"Warning: {rows} rows are too few for {smaller} of {len(errors)} methods: a difference of "
                f"{visible:.4f} from {group.reference} is what they show with 80 % power, and these differ by less."
            )
    few = min(len(runs) for runs in group.runs.values())
    if few < 3:
        notes.append(f"Warning: {few} seeds; a test over seeds has next to no power below 3.")
    return notes


def cost_table(group: Group, title: str) -> Table:
    """Seconds, texts a second and peak memory of every phase; medians over seeds."""
    phases = ("augment", "teacher", "student")
    header = ["method", "seconds to train"]
    header += [f"{phase}: s, texts/s, MiB" for phase in phases]
    table = Table(title, [*header, "changed", "new"])
    for method, runs in group.runs.items():
        rows = list(runs.values())
        cells = [f"{statistics.median(map(training_seconds, rows)):.1f}"]
        for phase in phases:
            figures = [
                _median(rows, key, phase) for key in ("phase_seconds", "texts_per_second", "peak_memory_mib")
            ]
            shown = [f"{figures[0]:.1f}" if figures[0] is not None else "-"]
            shown += ["-" if value is None else f"{value:.0f}" for value in figures[1:]]
            cells.append(", ".join(shown) if figures[0] is not None else "-")
        shares = [_median(rows, "replacement", key) for key in ("changed", "new")]
        table.rows.append([method, *cells, *["-" if share is None else f"{share:.0%}" for share in shares]])
    table.notes = ["Memory is the peak of the process, models included, while the phase was on."]
    return table


def _median(rows: list[dict[str, Any]], key: str, part: str) -> float | None:
    values = [row[key][part] for row in rows if part in row[key]]
    return statistics.median(values) if values else None
