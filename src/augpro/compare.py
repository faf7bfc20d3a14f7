"""``augpro compare``: run the cells of a grid that are missing, side by side, and compare the methods.

Everything is in one folder: ``results.jsonl`` (a line a finished cell), ``predictions/`` (logits of every
scored row, for the paired tests), ``samples/`` (augmented texts, where a method makes text), ``teacher-labels/``,
``logs/`` and ``table.md``. Killed and started again, the same command runs what is missing.
"""

import json
import multiprocessing
import os
import shutil
import statistics
import time
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from augpro.baselines.run import plan_baseline
from augpro.cell import run_cell
from augpro.comparison import compare_rows
from augpro.config import BaselineConfig, CompareConfig
from augpro.cost import equal_epochs
from augpro.errors import InputError
from augpro.figures import is_readable, predictions_of, with_predictions
from augpro.files import copy_file, write_json, write_text
from augpro.grid import RESULTS, Cell, Grid, ResultsFile
from augpro.output import PREDICTIONS, RESULT, SAMPLES, check_file, check_folder, claim_folder, folder_lock
from augpro.plan import make_plan
from augpro.terminal import shown

TABLE = "table.md"
_POLL = 0.1  # seconds between two looks at the running cells


@dataclass
class Outcome:
    """What became of the cells that were asked for.

    Attributes:
        failed: cells that ended with an error, and its message.
        left_out: cells that the budget had no time for.
    """

    failed: dict[Cell, str] = field(default_factory=dict)
    left_out: list[Cell] = field(default_factory=list)


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
            runner = _Runner(grid, ResultsFile(config.out / RESULTS), outcome, console)
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
    finished = _finished(ResultsFile(config.out / RESULTS), config.out)
    missing = [cell for cell in cells if grid.key(cell) not in finished]
    console.print(
        f"Dry run: everything fits. {len(missing)} of {len(cells)} cells would run:", highlight=False
    )
    for cell in missing:
        console.print(f"  {shown(cell.method)}, {_rows(cell)}, seed {cell.seed}", highlight=False)
    if left:
        console.print(f"labels: {shown(left)}", highlight=False)


def equal_seconds_cells(grid: Grid, rows: list[dict[str, Any]]) -> list[Cell]:
    """Cells in which a method trains for as many seconds as the named one, where that changes its epochs."""
    cells = []
    for size in grid.config.sizes or (None,):
        epochs = equal_epochs(grid, [row for row in rows if row["cell"]["size"] == size])
        cells += [c for c in grid.cells(epochs) if c.size == size and c.epochs != grid.config.epochs]
    return cells


class _Runner:
    """Runs cells in processes of their own, ``jobs`` at a time."""

    def __init__(self, grid: Grid, store: ResultsFile, outcome: Outcome, console: Console) -> None:
        self.grid, self.store, self.outcome, self.console = grid, store, outcome, console
        self.config, self.out = grid.config, grid.config.out
        self.deadline = time.monotonic() + 60 * self.config.budget if self.config.budget else float("inf")
        # Forked from a server that has loaded the libraries once: a cell starts in no time.
        fork = "forkserver" in multiprocessing.get_all_start_methods()
        self.processes: Any = multiprocessing.get_context("forkserver" if fork else "spawn")
        if fork:
            self.processes.set_forkserver_preload(["augpro.cell"])
        self.took: list[tuple[str, float]] = []

    def run(self, cells: list[Cell]) -> list[dict[str, Any]]:
        """Run the cells that are not finished; returns the results of all that are then."""
        keys = {cell: self.grid.key(cell) for cell in cells}
        finished = _finished(self.store, self.out)
        waiting = [cell for cell in cells if keys[cell] not in finished]
        running: dict[Cell, tuple[BaseProcess, float]] = {}
        columns = (TextColumn("cells"), BarColumn(), MofNCompleteColumn(), TextColumn("took"), TimeElapsedColumn(),
                   TextColumn("left"), TimeRemainingColumn())  # fmt: skip
        with Progress(*columns, console=self.console, speed_estimate_period=3600) as progress:
            task = progress.add_task("cells", total=len(cells), completed=len(cells) - len(waiting))
            try:
                while waiting or running:
                    while waiting and len(running) < self.config.jobs:
                        cell = waiting.pop(0)
                        if time.monotonic() + self._expected(cell) > self.deadline:
                            self.outcome.left_out.append(cell)
                        elif not self._collect(cell, keys[cell]):
                            running[cell] = (self._start(cell, keys[cell]), time.monotonic())
                        else:
                            progress.advance(task)
                    for cell, (process, since) in list(running.items()):
                        if process.exitcode is not None:
                            del running[cell]
                            self._end(cell, keys[cell], process, time.monotonic() - since)
                            progress.advance(task)
                    time.sleep(_POLL)
            finally:
                for process, _ in running.values():
                    process.kill()
                    process.join()
        finished = _finished(self.store, self.out)
        return [finished[key] for key in keys.values() if key in finished]

    def _expected(self, cell: Cell) -> float:
        """Seconds that a cell will take, from those of its method, else of any."""
        own = [spent for method, spent in self.took if method == cell.method]
        return statistics.mean(own or [spent for _, spent in self.took] or [0.0])

    def _start(self, cell: Cell, key: str) -> BaseProcess:
        folder = self.out / "cells" / key
        shutil.rmtree(folder, ignore_errors=True)  # what a killed run left
        options = self.grid.distill_config(cell, folder).model_dump(mode="json")
        path = self.out / "cells" / f"{key}.json"
        path.parent.mkdir(exist_ok=True)
        write_json(path, options)
        (self.out / "logs").mkdir(exist_ok=True)
        threads = max(1, (os.cpu_count() or 1) // self.config.jobs)
        log = self.out / "logs" / f"{key}.log"
        process: BaseProcess = self.processes.Process(target=run_cell, args=(path, log, threads))
        process.start()
        return process

    def _end(self, cell: Cell, key: str, process: BaseProcess, spent: float) -> None:
        said = f"{cell.method}, {_rows(cell)}, seed {cell.seed}, {cell.epochs:g} epochs"
        if process.exitcode == 0 and self._collect(cell, key):
            self.took.append((cell.method, spent))
            result = self.store.rows[-1]
            metric = "-" if result["metric"] is None else f"{result['metric']:.3f}"
            self.console.print(
                f"{shown(said)}: {shown(result['metric_name'])} {metric}, {spent:.0f} s", highlight=False
            )
            return
        log = self.out / "logs" / f"{key}.log"
        text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
        lines = text.replace("\r", "\n").strip().splitlines()
        error = lines[-1] if lines else f"ended with code {process.exitcode}"
        if process.exitcode is not None and process.exitcode < 0:  # its last line is a progress bar
            error = f"killed by signal {-process.exitcode}, for want of memory perhaps"
        self.outcome.failed[cell] = f"{error} (see {log})"
        self.console.print(f"{shown(said)}: failed: {shown(error)}", style="red", highlight=False)

    def _collect(self, cell: Cell, key: str) -> bool:
        """Take over a finished cell's result and predictions; False if it is not finished."""
        folder = self.out / "cells" / key
        if not (folder / RESULT).is_file():
            return False
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        options = result.pop("config")
        result.pop("samples")  # texts of the data do not belong among figures
        result["augmenter"] = options.get("augmenter")
        result["models"] = {"student_layers": options["student_layers"]} | {
            role: _model_name(options[role] or options["teacher"]) for role in ("teacher", "student")
        }
        result |= {"settings": self.grid.settings, "inputs": self.grid.inputs}
        # Copied, not moved: killed before the next lines, the cell can still be taken over.
        copy_file(folder / PREDICTIONS, predictions_of(self.out / "predictions", key))
        if (folder / SAMPLES).is_file():
            copy_file(folder / SAMPLES, self.out / "samples" / f"{key}.jsonl")
        self.store.append(cell, key, result)
        (self.out / "cells" / f"{key}.json").unlink(missing_ok=True)
        if not self.config.keep_models:
            shutil.rmtree(folder)
        return True


def _finished(store: ResultsFile, out: Path) -> dict[str, dict[str, Any]]:
    """Results by the key of their cell; without readable predictions a cell is not finished."""
    return {
        key: row
        for key, row in store.finished().items()
        if is_readable(predictions_of(out / "predictions", key))
    }


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


def _model_name(name: str) -> str:
    """A model's name for others: of a local folder its last part, for where it is on a disk is nobody's business."""
    return Path(name).resolve().name if Path(name).is_dir() else name


def _rows(cell: Cell) -> str:
    return "all rows" if cell.size is None else f"{cell.size:g} rows"


def _report(console: Console, outcome: Outcome, config: CompareConfig) -> None:
    for cell, error in outcome.failed.items():
        console.print(
            f"failed: {shown(cell.method)}, {_rows(cell)}, seed {cell.seed}: {shown(error)}", style="red"
        )
    if outcome.left_out:
        names = ", ".join(f"{cell.method} ({_rows(cell)}, seed {cell.seed})" for cell in outcome.left_out)
        console.print(
            f"left out, over the budget of {config.budget:g} minutes: {shown(names)}", style="yellow"
        )
    console.print(f"results.jsonl and table.md are in {shown(str(config.out))}", highlight=False)
