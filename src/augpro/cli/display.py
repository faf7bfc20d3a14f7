"""Output on the terminal: plans, results, notes and scores. Nothing is computed here."""

import logging
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

from augpro.config import DistillConfig, FinetuneConfig
from augpro.distillation.plan import Plan
from augpro.results.result import RunResult, Scores
from augpro.results.tables import Table
from augpro.results.terminal import shown


def number(value: float | None, digits: int = 3) -> str:
    """A number, or a dash if there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def with_interval(scores: Scores | None) -> str:
    """The primary metric with its interval."""
    if scores is None or scores.metric is None:
        return "-"
    if scores.interval is None or math.isnan(scores.interval[0]):  # one row has no interval
        return number(scores.metric)
    return f"{scores.metric:.3f} ({scores.interval[0]:.3f} to {scores.interval[1]:.3f})"


_STYLES = {logging.WARNING: "yellow", logging.ERROR: "red"}


class _Handler(logging.Handler):
    """Prints what is logged, one line a record, in the colour of its level."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        self.console.print(shown(record.getMessage()), style=_STYLES.get(record.levelno), highlight=False)


@contextmanager
def shown_log(console: Console) -> Iterator[None]:
    """What the library logs, from INFO on, is printed to the console meanwhile."""
    log, handler = logging.getLogger("augpro"), _Handler(console)
    level, passed_on = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = passed_on


def show_table(console: Console, table: Table) -> None:
    """A table of results, with its notes."""
    rich = RichTable(*map(shown, table.header), title=shown(table.title), title_justify="left")
    for number, row in enumerate(table.rows):
        rich.add_row(*(shown(str(cell)) for cell in row), style="bold" if number in table.bold else None)
    console.print(rich)
    for note in table.notes:
        console.print(f"- {shown(note)}", highlight=False)


def show_plan(console: Console, plan: Plan, config: FinetuneConfig | DistillConfig) -> None:
    """The resolved configuration of a dry run."""
    show_settings(console, {**plan.describe(), **config.model_dump(mode="json")}, plan.data.notes)


def show_settings(console: Console, settings: dict[str, Any], notes: Iterable[str]) -> None:
    """What a command would do, and what to know about it."""
    table = RichTable("setting", "value", title="Dry run: all checks passed", title_justify="left")
    for key, value in settings.items():
        table.add_row(shown(key), shown(str(value)))
    for note in notes:
        table.add_row("note", shown(note))
    console.print(table)


def show_result(console: Console, result: RunResult, out: Path) -> None:
    """The results of one run and its folder."""
    pool = f" and {result.pool_labels} unlabelled texts" if result.pool_labels else ""
    table = RichTable(
        "split", "rows", f"{shown(result.metric_name)} (95 % interval)", "teacher",
        result.agreement_label, result.distance_label,
        title=f"{shown(result.task)}: {shown(result.method)}, {result.train_rows} training rows{pool}, "
        f"seed {result.seed}",
        title_justify="left",
    )  # fmt: skip
    for name, scores in (("evaluation", result.evaluation), ("holdout", result.holdout)):
        if scores is not None:
            teacher = result.teacher.get(name)
            table.add_row(
                name, str(scores.rows), with_interval(scores), number(teacher.metric if teacher else None),
                number(scores.agreement), number(scores.distance_to_teacher),
            )  # fmt: skip
    console.print(table)
    for note in result.notes:
        show_note(console, note)
    if result.replacement:
        shares = ", ".join(_measure(key, value) for key, value in result.replacement.items())
        console.print(f"augmented text: {shown(shares)}", highlight=False)
    console.print(
        f"{result.seconds:.0f} s; model, result.json and samples are in {shown(str(out))}", highlight=False
    )


def _measure(key: str, value: float) -> str:
    """One of ``result.replacement`` with its unit."""
    if key == "checked_texts":
        return f"{value:.0f} texts checked"
    return f"{key.replace('_', ' ')} " + (f"{value:.2f} nats" if "entropy" in key else f"{value:.1%}")


def show_note(console: Console, note: str) -> None:
    """A note about data or models."""
    console.print(f"note: {shown(note)}", style="yellow", highlight=False)


def show_scores(console: Console, scores: dict[str, Scores], model: str) -> None:
    """The scores of ``augpro evaluate``."""
    table = RichTable("split", "rows", "metric", "value", title=shown(model), title_justify="left")
    for name, one in scores.items():
        by_teacher = {
            f"agreement: {one.agreement_name}": one.agreement,
            f"distance to teacher: {one.distance_name}": one.distance_to_teacher,
        }
        figures: dict[str, float | None] = {**one.metrics, **by_teacher}
        for index, (metric, value) in enumerate(figures.items()):
            if value is not None:
                table.add_row(
                    name, str(one.rows), shown(metric), with_interval(one) if index == 0 else number(value)
                )
    console.print(table)
