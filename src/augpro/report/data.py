"""From result folders to the studies that a report shows.

Every figure comes from the results themselves or from :mod:`augpro.compare.comparison`; nothing is tested again here.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from augpro.calibration.record import CalibrationRecord
from augpro.compare.comparison import Quality, compare_quality
from augpro.compare.conditions import by_condition
from augpro.compare.cost import cost_table
from augpro.compare.figures import Group, with_predictions
from augpro.compare.grid import FINETUNE, PLAIN_KD, RESULTS, ResultsFile, charge_labels
from augpro.errors import InputError
from augpro.results.cell import CellResult, FinishedCell
from augpro.results.output import PREDICTIONS, RESULT, SAMPLES
from augpro.results.result import RunResult
from augpro.results.tables import Table
from augpro.results.texts import AugmentedText, read_texts


@dataclass
class Panel:
    """The runs of one training size, which differ in method and seed alone.

    Attributes:
        size: training rows that were asked for, or None for all.
        epochs: of every run.
        group: the runs.
        left_out: runs of this size with another number of epochs.
        notes: what else the reader should know.
    """

    size: float | None
    epochs: float
    group: Group
    left_out: int
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The size in words."""
        return f"{self.group.first.train_rows:,} training rows"

    @property
    def main_split(self) -> str:
        """The larger of the sets of rows that the runs were scored on."""
        splits = self.group.first.splits
        return max(splits, key=lambda name: splits[name].rows)

    def rows(self, split: str) -> int:
        """Rows of a split."""
        return self.group.first.splits[split].rows

    @cached_property
    def qualities(self) -> list[Quality]:
        """Metric and distance to the teacher on every split.

        Raises:
            InputError: if runs were scored on other rows than each other.
        """
        found: list[Quality] = []
        for split in self.group.first.splits:
            title = f"{split.capitalize()}, {self.rows(split):,} rows"
            found += compare_quality(self.group, split, title)
        return found

    @cached_property
    def tables(self) -> list[Table]:
        """Quality on every split, then cost."""
        return [*(quality.table for quality in self.qualities), cost_table(self.group, "Cost")]

    def separated(self, split: str, larger_is_better: bool) -> str | None:
        """The method that is separated from every other one by the metric, or by the distance to the teacher."""
        which = (split, larger_is_better)
        return next(q.best for q in self.qualities if (q.split, q.figure.larger_is_better) == which)

    def runs(self) -> list[CellResult]:
        """All results."""
        return list(self.group.all_runs().values())

    def metrics(self, split: str) -> dict[str, list[float]]:
        """The task's metric of every seed, by method; empty where the rows have no labels."""
        found = {}
        for method, runs in self.group.runs.items():
            values = [row.splits[split].metric for row in runs.values()]
            known = [value for value in values if value is not None]
            if len(known) == len(values):
                found[method] = known
        return found

    def distances(self, split: str) -> dict[str, list[float]]:
        """The distance to the teacher of every seed, by method; nan of a run that diverged."""
        found = {}
        for method, runs in self.group.runs.items():
            values = [row.splits[split].distance_to_teacher for row in runs.values()]
            found[method] = [math.nan if value is None else value for value in values]
        return found

    def teacher(self, split: str) -> float | None:
        """The teacher's metric."""
        scores = self.group.first.teacher.get(split)
        return scores.metric if scores else None


@dataclass
class Study:
    """Runs of one folder under one condition: task, teacher, student, settings and scored rows.

    Attributes:
        folder: where it was read.
        task: name of the task.
        condition: in what it differs from the other conditions of the folder; "" if there are none.
        rows: results, one a run.
        predictions: folder with the logits of every run.
        samples: folder with the augmented texts of every run, or the file of the only run.
        notes: what else the reader should know.
        calibration: of the student, if the folder is one of a single run and it was calibrated.
    """

    folder: Path
    task: str
    condition: str
    rows: list[CellResult]
    predictions: Path
    samples: Path
    notes: list[str] = field(default_factory=list)
    calibration: CalibrationRecord | None = None

    @cached_property
    def panels(self) -> list[Panel]:
        """One for each training size, the largest last."""
        sizes = {row.cell.size for row in self.rows}
        found = []
        for size in sorted(sizes, key=lambda size: float("inf") if size is None else size):
            rows = [row for row in self.rows if row.cell.size == size]
            cells = {(row.cell.method, row.cell.seed, row.cell.epochs) for row in rows}
            times = Counter(epochs for _, _, epochs in cells)
            epochs = max(times, key=lambda value: (times[value], value))
            same = [row for row in rows if row.cell.epochs == epochs]
            methods = [row.cell.method for row in same]
            reference = PLAIN_KD if PLAIN_KD in methods else methods[0]
            group = Group(same, self.predictions, reference)
            found.append(Panel(size, epochs, group, len(cells) - times[epochs], self.notes))
        return found

    @property
    def main(self) -> int:
        """Which panel has the most runs, the larger training size of two that have as many."""
        return max(range(len(self.panels)), key=lambda number: (len(self.panels[number].runs()), number))

    def texts(self) -> dict[str, list[AugmentedText]]:
        """Augmented texts of the main size, by method, all seeds after one another.

        Raises:
            InputError: if a line is damaged.
        """
        found: dict[str, list[AugmentedText]] = {}
        for row in self.panels[self.main].runs():
            path = self.samples
            if path.name != SAMPLES:
                path = path / f"{row.cell.key}.jsonl"
            if path.is_file():
                found.setdefault(row.cell.method, []).extend(read_texts(path))
        return found


def read_studies(folders: Iterable[Path]) -> list[Study]:
    """Read folders of ``augpro compare`` and of single ``augpro distill`` runs, or a ``results.jsonl`` alone.

    Raises:
        InputError: if a folder has no results, or a line of them is damaged.
    """
    return [study for folder in folders for study in _read(folder)]


def _read(folder: Path) -> list[Study]:
    alone = folder.suffix == ".jsonl" and folder.is_file()
    if alone or (folder / RESULTS).is_file():
        path = folder if alone else folder / RESULTS
        rows = ResultsFile(path).rows
        if alone:  # named by the file, and nothing is beside it
            folder = folder.with_suffix("")
        places = folder / "predictions", folder / "samples"
    elif (folder / RESULT).is_file():
        path, rows = folder / RESULT, [_single(folder / RESULT)]
        places = folder, folder / SAMPLES
    else:
        raise InputError(
            f"{folder}: has neither {RESULTS} nor {RESULT}; give the --out folder of augpro compare or distill."
        )
    whole = with_predictions(rows, places[0])
    if not whole:
        first = PREDICTIONS if places[0] == folder else f"predictions of {len(rows)} runs"
        why = f", as {first} are missing or damaged" if rows else ""
        raise InputError(f"{path}: has no finished run{why}; run the same augpro command again.")
    lost = len(rows) - len(whole)
    notes = [f"Warning: {lost} runs are left out, as their predictions are missing or damaged."] * (lost > 0)
    calibration = CalibrationRecord.load(folder)
    return [
        Study(folder, of_one[0].task, condition, of_one, *places, notes, calibration)
        for condition, of_one in by_condition(whole, str(path)).items()
    ]


def _single(path: Path) -> CellResult:
    """The result of one run as if it were the only cell of a comparison."""
    result = RunResult.load(path)
    if not result.teacher:
        raise InputError(
            f"{path}: is a run without a teacher; give the --out folder of augpro compare or distill."
        )
    # Files of a single run are named by what they are; so is the key that they are looked up with.
    method = FINETUNE if result.method == "finetune" else result.method
    key = Path(PREDICTIONS).stem
    cell = FinishedCell(method=method, size=None, seed=result.seed, epochs=result.epochs, key=key)
    row = CellResult.of(result, cell)
    charge_labels([row])
    return row
