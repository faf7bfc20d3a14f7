"""The cells of a comparison in processes of their own, some at a time, and what became of them."""

import logging
import multiprocessing
import os
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from augpro.compare.cell import run_cell
from augpro.compare.figures import is_readable, predictions_of
from augpro.compare.grid import Grid, ResultsFile
from augpro.errors import InputError
from augpro.files.durable import copy_file, write_json
from augpro.results.cell import Cell, CellResult, FinishedCell
from augpro.results.output import (
    PREDICTIONS,
    RESULT,
    SAMPLES,
)
from augpro.results.result import RunResult

log = logging.getLogger(__name__)
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


class CellRunner:
    """Runs cells in processes of their own, ``jobs`` at a time.

    Args:
        grid: whose cells they are.
        store: where results are added.
        outcome: what became of the others is added to it.
        watch: is told how many cells are done, of how many.
    """

    def __init__(
        self, grid: Grid, store: ResultsFile, outcome: Outcome, watch: Callable[[int, int], None]
    ) -> None:
        self.grid, self.store, self.outcome, self.watch = grid, store, outcome, watch
        self.config, self.out = grid.config, grid.config.out
        self.deadline = time.monotonic() + 60 * self.config.budget if self.config.budget else float("inf")
        # Forked from a server that has loaded the libraries once: a cell starts in no time.
        fork = "forkserver" in multiprocessing.get_all_start_methods()
        self.processes: Any = multiprocessing.get_context("forkserver" if fork else "spawn")
        if fork:
            self.processes.set_forkserver_preload(["augpro.compare.cell"])
        self.took: list[tuple[str, float]] = []

    def run(self, cells: list[Cell]) -> list[CellResult]:
        """Run the cells that are not finished; returns the results of all that are then."""
        keys = {cell: self.grid.key(cell) for cell in cells}
        finished, there = finished_cells(self.store, self.out), len(self.store.rows)
        for key in finished:
            if self._options(key).is_file():  # a kill came before all was removed
                self._clear(key)
        waiting = [cell for cell in cells if keys[cell] not in finished]
        running: dict[Cell, tuple[BaseProcess, float]] = {}
        done = len(cells) - len(waiting)
        self.watch(done, len(cells))
        try:
            while waiting or running:
                before = done
                while waiting and len(running) < self.config.jobs:
                    cell = waiting.pop(0)
                    if time.monotonic() + self._expected(cell) > self.deadline:
                        self.outcome.left_out.append(cell)
                    elif not self._collect(cell, keys[cell]):
                        running[cell] = (self._start(cell, keys[cell]), time.monotonic())
                    else:
                        done += 1
                for cell, (process, since) in list(running.items()):
                    if process.exitcode is not None:
                        del running[cell]
                        self._end(cell, keys[cell], process, time.monotonic() - since)
                        done += 1
                if done != before:
                    self.watch(done, len(cells))
                time.sleep(_POLL)
        finally:
            for process, _ in running.values():
                process.kill()
                process.join()
        finished |= {row.cell.key: row for row in self.store.rows[there:]}
        return [finished[key] for key in keys.values() if key in finished]

    def _expected(self, cell: Cell) -> float:
        """Seconds that a cell will take, from those of its method, else of any."""
        own = [spent for method, spent in self.took if method == cell.method]
        return statistics.mean(own or [spent for _, spent in self.took] or [0.0])

    def _start(self, cell: Cell, key: str) -> BaseProcess:
        folder = self.out / "cells" / key
        shutil.rmtree(folder, ignore_errors=True)  # what a killed run left
        options = self.grid.distill_config(cell, folder).model_dump(mode="json")
        path = self._options(key)
        path.parent.mkdir(exist_ok=True)
        write_json(path, options)
        (self.out / "logs").mkdir(exist_ok=True)
        threads = max(1, (os.cpu_count() or 1) // self.config.jobs)
        output = self.out / "logs" / f"{key}.log"
        process: BaseProcess = self.processes.Process(target=run_cell, args=(path, output, threads))
        process.start()
        return process

    def _end(self, cell: Cell, key: str, process: BaseProcess, spent: float) -> None:
        said = f"{cell.method}, {rows_of(cell)}, seed {cell.seed}, {cell.epochs:g} epochs"
        if process.exitcode == 0 and self._collect(cell, key):
            self.took.append((cell.method, spent))
            result = self.store.rows[-1]
            metric = "-" if result.metric is None else f"{result.metric:.3f}"
            log.info("%s: %s %s, %.0f s", said, result.metric_name, metric, spent)
            return
        path = self.out / "logs" / f"{key}.log"
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        lines = text.replace("\r", "\n").strip().splitlines()
        error = lines[-1] if lines else f"ended with code {process.exitcode}"
        if process.exitcode is not None and process.exitcode < 0:  # its last line is a progress bar
            error = f"killed by signal {-process.exitcode}, for want of memory perhaps"
        self.outcome.failed[cell] = f"{error} (see {path})"
        log.error("%s: failed: %s", said, error)

    def _collect(self, cell: Cell, key: str) -> bool:
        """Take over a finished cell's result and predictions; False if it is not finished."""
        folder = self.out / "cells" / key
        if not (folder / RESULT).is_file() or not is_readable(folder / PREDICTIONS):
            return False
        try:
            result = RunResult.load(folder)
        except InputError as error:
            log.warning("note: %s", error)
            return False
        row = CellResult.of(result, FinishedCell.of(cell, key), self.grid.settings, self.grid.inputs)
        # Copied, not moved: killed before the next lines, the cell can still be taken over.
        copy_file(folder / PREDICTIONS, predictions_of(self.out / "predictions", key))
        if (folder / SAMPLES).is_file():
            copy_file(folder / SAMPLES, self.out / "samples" / f"{key}.jsonl")
        self.store.append(row)
        self._clear(key)
        return True

    def _options(self, key: str) -> Path:
        """The file of a cell's options, which is there until nothing else is left to be removed."""
        return self.out / "cells" / f"{key}.json"

    def _clear(self, key: str) -> None:
        """Remove what a cell has left once its result is taken over, but for a model that is kept."""
        folder = self.out / "cells" / key
        if folder.is_dir() and not self.config.keep_models:
            shutil.rmtree(folder)
        self._options(key).unlink(missing_ok=True)


def finished_cells(store: ResultsFile, out: Path) -> dict[str, CellResult]:
    """Results by the key of their cell; without readable predictions a cell is not finished."""
    return {
        key: row
        for key, row in store.finished().items()
        if is_readable(predictions_of(out / "predictions", key))
    }


def rows_of(cell: Cell) -> str:
    """How many rows a cell is trained on, in words."""
    return "all rows" if cell.size is None else f"{cell.size:g} rows"
