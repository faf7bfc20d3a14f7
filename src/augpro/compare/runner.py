"""``augpro compare``: run the cells of a grid that are missing, side by side, and compare the methods.

Everything is in one folder: ``results.jsonl`` (a line a finished cell), ``predictions/`` (logits of every
scored row, for the paired tests), ``samples/`` (augmented texts, where a method makes text), ``teacher-labels/``,
``logs/`` and ``table.md``. Killed and started again, the same command runs what is missing.
"""

from pathlib import Path
from typing import Any

from rich.console import Console

from augpro.baselines.run import plan_baseline
from augpro.compare.cells import CellRunner, Outcome, finished_cells, rows_of
from augpro.compare.comparison import compare_rows
from augpro.compare.cost import equal_epochs
from augpro.compare.figures import predictions_of, with_predictions
from augpro.compare.grid import RESULTS, Cell, Grid, ResultsFile
from augpro.config import BaselineConfig, CompareConfig
from augpro.distillation.plan import make_plan
from augpro.errors import InputError
from augpro.files import write_text
from augpro.results.output import (
    check_file,
    check_folder,
    claim_folder,
    folder_lock,
)
from augpro.results.terminal import shown

TABLE = "table.md"


def check_grid(grid: Grid) -> str:
    """Check every method against data and models, before anything runs.

    Returns:
        What is left to be checked when the teacher is loaded, see ``Plan.label_check``.

    Raises:
        InputError: as ``augpro distill`` would raise it.
    """
    sizes = grid.config.sizes or (None,)
    left = ""
    for method in grid.methods:
        config = grid.distill_config(Cell(method, sizes[-1], grid.config.seeds[0], 1.0), Path("checked"))
        plan = plan_baseline(config).plan if isinstance(config, BaselineConfig) else make_plan(config)
        left = plan.label_check
    return left


def _check_output(out: Path) -> None:
    """Refuse a folder in which something that a comparison writes cannot be written."""
    check_folder(out)
    for name in ("predictions", "samples", "logs", "cells", "teacher-labels"):
        check_folder(out / name)
    for name in (RESULTS, TABLE):
        check_file(out / name)


def run_compare(config: CompareConfig, console: Console, table_only: bool = False) -> int:
    """Run what is missing and print the comparison.

    Args:
        config: the grid.
        console: where to print.
        table_only: run nothing and compare the results that are there, whatever code and models made them.

    Returns:
        0, or 1 if a cell failed.

    Raises:
        InputError: if an option does not fit, or another comparison is at work in the folder.
    """
    grid, outcome = Grid(config), Outcome()
    _check_output(config.out)
    if table_only:
        rows = _readable(ResultsFile(config.out / RESULTS).rows, config.out, console)
    else:
        check_grid(grid)
        claim_folder(config.out)
        with folder_lock(config.out):
            runner = CellRunner(grid, ResultsFile(config.out / RESULTS), outcome, console)
            rows = runner.run(list(grid.cells()))
            if config.equal_seconds and not (outcome.failed or outcome.left_out):
                rows += runner.run(equal_seconds_cells(grid, rows))
    comparison = compare_rows(grid, rows, config.out / "predictions")
    if not comparison.tables:
        raise InputError(
            f"{config.out / RESULTS}: has no finished cell of this grid; see {config.out / 'logs'}."
        )
    write_text(config.out / TABLE, comparison.markdown())
    comparison.show(console)
    _report(console, outcome, config)
    return 1 if outcome.failed else 0


def plan_compare(config: CompareConfig, console: Console) -> None:
    """Check everything and say what would run.

    Raises:
        InputError: if anything does not fit.
    """
    grid = Grid(config)
    _check_output(config.out)
    left = check_grid(grid)
    cells = list(grid.cells())
    finished = finished_cells(ResultsFile(config.out / RESULTS), config.out)
    missing = [cell for cell in cells if grid.key(cell) not in finished]
    console.print(
        f"Dry run: everything fits. {len(missing)} of {len(cells)} cells would run:", highlight=False
    )
    for cell in missing:
        console.print(f"  {shown(cell.method)}, {rows_of(cell)}, seed {cell.seed}", highlight=False)
    if left:
        console.print(f"labels: {shown(left)}", highlight=False)


def equal_seconds_cells(grid: Grid, rows: list[dict[str, Any]]) -> list[Cell]:
    """Cells in which a method trains for as many seconds as the named one, where that changes its epochs."""
    cells = []
    for size in grid.config.sizes or (None,):
        epochs = equal_epochs(grid, [row for row in rows if row["cell"]["size"] == size])
        cells += [c for c in grid.cells(epochs) if c.size == size and c.epochs != grid.config.epochs]
    return cells


def _readable(rows: list[dict[str, Any]], out: Path, console: Console) -> list[dict[str, Any]]:
    """The results that have readable predictions, or all where there are none at all; tells of what is left out."""
    folder = out / "predictions"
    found = with_predictions(rows, folder)
    kept = set(map(id, found))
    for row in (row for row in rows if id(row) not in kept):
        cell = f"{row['cell']['method']}, seed {row['cell']['seed']}"
        path = predictions_of(folder, row["cell"]["key"])
        said = f"left out: {cell}: {path} is missing or damaged; without --table-only that cell runs again"
        console.print(shown(said), style="yellow", highlight=False)
    return found


def _report(console: Console, outcome: Outcome, config: CompareConfig) -> None:
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
