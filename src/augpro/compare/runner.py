"""``augpro compare``: run the cells of a grid that are missing, side by side, and compare the methods.

Everything is in one folder: ``results.jsonl`` (a line a finished cell), ``predictions/`` (logits of every
scored row, for the paired tests), ``samples/`` (augmented texts, where a method makes text), ``teacher-labels/``,
``logs/`` and ``table.md``. Killed and started again, the same command runs what is missing.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from augpro.baselines.run import plan_baseline
from augpro.compare.cells import CellRunner, Outcome, finished_cells
from augpro.compare.comparison import Comparison, compare_rows
from augpro.compare.cost import equal_epochs
from augpro.compare.figures import predictions_of, with_predictions
from augpro.compare.grid import RESULTS, Grid, ResultsFile
from augpro.config import BaselineConfig, CompareConfig
from augpro.distillation.plan import make_plan
from augpro.errors import InputError
from augpro.files.durable import remove_leftovers, write_text
from augpro.results.cell import Cell, CellResult
from augpro.results.output import (
    check_file,
    check_folder,
    claim_folder,
    folder_lock,
)

TABLE = "table.md"
_FOLDERS = ("predictions", "samples", "logs", "cells", "teacher-labels")
log = logging.getLogger(__name__)


def check_grid(grid: Grid) -> str:
    """Check every method with every size against data and models, before anything runs.

    Returns:
        What is left to be checked when the teacher is loaded, see ``Plan.label_check``.

    Raises:
        InputError: as ``augpro distill`` would raise it.
    """
    left = ""
    for method, size in product(grid.methods, grid.config.sizes or (None,)):
        config = grid.distill_config(Cell(method, size, grid.config.seeds[0], 1.0), Path("checked"))
        plan = plan_baseline(config).plan if isinstance(config, BaselineConfig) else make_plan(config)
        left = plan.label_check
    return left


def _check_output(out: Path) -> None:
    """Refuse a folder in which something that a comparison writes cannot be written."""
    check_folder(out)
    for name in _FOLDERS:
        check_folder(out / name)
    for name in (RESULTS, TABLE):
        check_file(out / name)


@dataclass(frozen=True)
class Compared:
    """What a comparison came to.

    Attributes:
        comparison: all tables.
        outcome: cells that failed, or that the budget had no time for.
    """

    comparison: Comparison
    outcome: Outcome


def run_compare(
    config: CompareConfig,
    table_only: bool = False,
    watch: Callable[[int, int], None] = lambda done, cells: None,
) -> Compared:
    """Run what is missing, compare the methods, and write ``table.md``; finished cells are logged.

    Args:
        config: the grid.
        table_only: run nothing and compare the results that are there, whatever code and models made them.
        watch: is told how many cells are done, of how many, whenever that changes.

    Raises:
        InputError: if an option does not fit, or another comparison is at work in the folder.
    """
    grid, outcome = Grid(config), Outcome()
    _check_output(config.out)
    if table_only:
        rows = _readable(ResultsFile(config.out / RESULTS).rows, config.out)
    else:
        check_grid(grid)
        claim_folder(config.out)
        with folder_lock(config.out):
            for folder in filter(Path.is_dir, (config.out, *(config.out / name for name in _FOLDERS))):
                remove_leftovers(folder)
            runner = CellRunner(grid, ResultsFile(config.out / RESULTS), outcome, watch)
            rows = runner.run(list(grid.cells()))
            if config.equal_seconds and not (outcome.failed or outcome.left_out):
                rows += runner.run(equal_seconds_cells(grid, rows))
    comparison = compare_rows(grid, rows, config.out / "predictions")
    if not comparison.tables:
        raise InputError(
            f"{config.out / RESULTS}: has no finished cell of this grid; see {config.out / 'logs'}."
        )
    write_text(config.out / TABLE, comparison.markdown())
    return Compared(comparison, outcome)


@dataclass(frozen=True)
class ComparePlan:
    """What a comparison would run.

    Attributes:
        cells: all cells of the grid.
        missing: those that are not finished.
        label_check: what is left to be checked when the teacher is loaded, see ``Plan.label_check``.
    """

    cells: list[Cell]
    missing: list[Cell]
    label_check: str


def plan_compare(config: CompareConfig) -> ComparePlan:
    """Check everything, and find what would run.

    Raises:
        InputError: if anything does not fit.
    """
    grid = Grid(config)
    _check_output(config.out)
    left, cells = check_grid(grid), list(grid.cells())
    finished = finished_cells(ResultsFile(config.out / RESULTS), config.out)
    return ComparePlan(cells, [cell for cell in cells if grid.key(cell) not in finished], left)


def equal_seconds_cells(grid: Grid, rows: list[CellResult]) -> list[Cell]:
    """Cells in which a method trains for as many seconds as the named one, where that changes its epochs."""
    cells = []
    for size in grid.config.sizes or (None,):
        epochs = equal_epochs(grid, [row for row in rows if row.cell.size == size])
        cells += [c for c in grid.cells(epochs) if c.size == size and c.epochs != grid.config.epochs]
    return cells


def _readable(rows: list[CellResult], out: Path) -> list[CellResult]:
    """The results that have readable predictions, or all where there are none at all; logs what is left out."""
    folder = out / "predictions"
    found = with_predictions(rows, folder)
    kept = set(map(id, found))
    for row in (row for row in rows if id(row) not in kept):
        path = predictions_of(folder, row.cell.key)
        log.warning(
            "left out: %s, seed %d: %s is missing or damaged; without --table-only that cell runs again",
            row.cell.method, row.cell.seed, path,
        )  # fmt: skip
    return found
