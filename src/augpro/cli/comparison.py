"""What ``augpro compare`` shows: its plan, its progress, its tables, and what became of the runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from augpro.cli.display import show_table
from augpro.compare.cells import rows_of
from augpro.compare.runner import Compared, ComparePlan
from augpro.config import CompareConfig
from augpro.results.terminal import shown


@contextmanager
def progress_of_cells(console: Console) -> Iterator[Callable[[int, int], None]]:
    """A progress bar; to be told how many cells are done, of how many."""
    columns = (TextColumn("cells"), BarColumn(), MofNCompleteColumn(), TextColumn("took"), TimeElapsedColumn(),
               TextColumn("left"), TimeRemainingColumn())  # fmt: skip
    progress = Progress(*columns, console=console, speed_estimate_period=3600)
    task = progress.add_task("cells")

    def watch(done: int, cells: int) -> None:
        progress.start()  # no bar where nothing is run
        progress.update(task, completed=done, total=cells)

    try:
        yield watch
    finally:
        if progress.live.is_started:
            progress.stop()


def show_compare_plan(console: Console, plan: ComparePlan) -> None:
    """The dry run."""
    console.print(
        f"Dry run: everything fits. {len(plan.missing)} of {len(plan.cells)} cells would run:",
        highlight=False,
    )
    for cell in plan.missing:
        console.print(f"  {shown(cell.method)}, {rows_of(cell)}, seed {cell.seed}", highlight=False)
    if plan.label_check:
        console.print(f"labels: {shown(plan.label_check)}", highlight=False)


def show_compared(console: Console, compared: Compared, config: CompareConfig) -> None:
    """All tables, then what failed or was left out."""
    comparison, outcome = compared.comparison, compared.outcome
    for table in comparison.tables:
        show_table(console, table)
    for line in (comparison.tests_note, *comparison.told):
        console.print(shown(line), highlight=False)
    for cell, error in outcome.failed.items():
        console.print(
            f"failed: {shown(cell.method)}, {rows_of(cell)}, seed {cell.seed}: {shown(error)}", style="red"
        )
    if outcome.left_out:
        names = ", ".join(f"{cell.method} ({rows_of(cell)}, seed {cell.seed})" for cell in outcome.left_out)
        console.print(
            f"left out, over the budget of {config.budget:g} minutes: {shown(names)}", style="yellow"
        )
    console.print(f"results.jsonl and table.md are in {shown(str(config.out))}", highlight=False)
