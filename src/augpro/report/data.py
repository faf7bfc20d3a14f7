"""From result folders to the plain values that a report shows.

Every figure comes from the results themselves or from :mod:`augpro.compare.comparison`; nothing is tested again here.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from augpro.compare.comparison import quality_tables
from augpro.compare.conditions import by_condition
from augpro.compare.cost import cost_table
from augpro.compare.figures import Group, with_predictions
from augpro.compare.grid import FINETUNE, PLAIN_KD, RESULTS, Cell, Grid, ResultsFile, charge_labels
from augpro.config import CompareConfig
from augpro.errors import InputError
from augpro.results.output import PREDICTIONS, RESULT, SAMPLES
from augpro.results.tables import Table

_NEEDED: dict[str, Any] = {
    "cell": dict, "task": str, "problem_type": str, "metric_name": str, "train_rows": int, "evaluation": dict,
    "seconds": (int, float), "label_seconds": (int, float),
    "teacher": dict, "phase_seconds": dict, "texts_per_second": dict, "peak_memory_mib": dict,
    "replacement": dict, "parameters": dict, "notes": list, "versions": dict, "machine": dict,
}  # fmt: skip
_CELL: dict[str, Any] = {
    "method": str,
    "size": (int, float, type(None)),
    "seed": int,
    "epochs": (int, float),
    "key": str,
}
_SCORES: dict[str, Any] = {
    "rows": int,
    "metrics": dict,
    "agreement": (int, float, type(None)),
    "kl_to_teacher": (int, float, type(None)),
}
_OF_A_RUN = {"finetune": FINETUNE, "kd": PLAIN_KD}


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
        return f"{self.group.first['train_rows']:,} training rows"

    @property
    def splits(self) -> list[str]:
        """Sets of rows that the runs were scored on, the larger one last."""
        return [name for name in ("evaluation", "holdout") if self.group.first.get(name)]

    def title(self, split: str) -> str:
        """What its tables of a split have before the name of their figure."""
        return f"{split.capitalize()}, {self.group.first[split]['rows']:,} rows"

    @cached_property
    def tables(self) -> list[Table]:
        """Quality on every split, then cost.

        Raises:
            InputError: if runs were scored on other rows than each other.
        """
        found: list[Table] = []
        for split in self.splits:
            found += quality_tables(self.group, split, self.title(split))
        return [*found, cost_table(self.group, "Cost")]

    def runs(self) -> list[dict[str, Any]]:
        """All results."""
        return [row for runs in self.group.runs.values() for row in runs.values()]

    def metrics(self, split: str) -> dict[str, list[float]]:
        """The task's metric of every seed, by method; empty where the rows have no labels."""
        found = {}
        for method, runs in self.group.runs.items():
            values = [next(iter(row[split]["metrics"].values()), None) for row in runs.values()]
            if values and None not in values:
                found[method] = [float(value) for value in values if value is not None]
        return found

    def teacher(self, split: str) -> float | None:
        """The teacher's metric."""
        metrics = (self.group.first["teacher"].get(split) or {}).get("metrics") or {}
        return next(iter(metrics.values()), None)


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
    """

    folder: Path
    task: str
    condition: str
    rows: list[dict[str, Any]]
    predictions: Path
    samples: Path
    notes: list[str] = field(default_factory=list)

    @cached_property
    def panels(self) -> list[Panel]:
        """One for each training size, the largest last."""
        sizes = {row["cell"]["size"] for row in self.rows}
        found = []
        for size in sorted(sizes, key=lambda size: float("inf") if size is None else size):
            rows = [row for row in self.rows if row["cell"]["size"] == size]
            cells = {(row["cell"]["method"], row["cell"]["seed"], row["cell"]["epochs"]) for row in rows}
            times = Counter(cell[2] for cell in cells)
            epochs = max(times, key=lambda value: (times[value], value))
            same = [row for row in rows if row["cell"]["epochs"] == epochs]
            left = len(cells) - times[epochs]
            found.append(
                Panel(size, epochs, Group(_grid(same, epochs), same, self.predictions), left, self.notes)
            )
        return found

    @property
    def main(self) -> int:
        """Which panel has the most runs, the larger training size of two that have as many."""
        return max(range(len(self.panels)), key=lambda number: (len(self.panels[number].runs()), number))

    def texts(self) -> dict[str, list[dict[str, Any]]]:
        """Lines of ``samples.jsonl`` of the main size, by method, all seeds after one another.

        Raises:
            InputError: if a line is damaged.
        """
        found: dict[str, list[dict[str, Any]]] = {}
        for method, runs in self.panels[self.main].group.runs.items():
            for row in runs.values():
                path = self.samples
                if path.name != SAMPLES:
                    path = path / f"{row['cell']['key']}.jsonl"
                if path.is_file():
                    found.setdefault(method, []).extend(_sample_lines(path))
        return found


def _grid(rows: list[dict[str, Any]], epochs: float) -> Grid:
    """A grid of these rows, for what only asks it about methods, seeds and the reference."""
    methods = tuple(dict.fromkeys(row["cell"]["method"] for row in rows))
    seeds = tuple(sorted({row["cell"]["seed"] for row in rows}))
    reference = PLAIN_KD if PLAIN_KD in methods else methods[0]
    return Grid(
        CompareConfig(
            data="", teacher="", methods=methods, seeds=seeds, epochs=epochs, reference=reference, out=Path()
        )
    )


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
        for number, row in enumerate(rows, start=1):
            _check(row, f"{path}, row {number}", "remove that line, and its cell runs again")
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
        raise InputError(f"{path}: has no finished run; let augpro compare finish one first.")
    lost = len(rows) - len(whole)
    notes = [f"Warning: {lost} runs are left out, as their predictions are missing or damaged."] * (lost > 0)
    return [
        Study(folder, of_one[0]["task"], condition, of_one, *places, notes)
        for condition, of_one in by_condition(whole, str(path)).items()
    ]


def _single(path: Path) -> dict[str, Any]:
    """The result of one run as if it were the only cell of a comparison."""
    try:
        row: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: is no JSON ({error}); run augpro distill again.") from error
    if isinstance(row, dict):
        if row.get("teacher") == {}:
            raise InputError(
                f"{path}: is a run without a teacher; give the --out folder of augpro compare or distill."
            )
        method = _OF_A_RUN.get(str(row.get("method")), row.get("method"))
        # Files of a single run are named by what they are; so is the key that they are looked up with.
        row["cell"] = {"method": method, "size": None, "key": Path(PREDICTIONS).stem}
        row["cell"] |= {name: row.get(name) for name in ("seed", "epochs")}
        charge_labels([row])
    _check(row, str(path), "give the folder of a finished augpro distill run")
    return dict(row)


def _check(row: Any, place: str, fix: str) -> None:
    """Raise unless a result has all that is read of it, of the right kind."""
    fields = row if isinstance(row, dict) else {}
    parts = [(fields, _NEEDED), (fields.get("cell"), _CELL), (fields.get("evaluation"), _SCORES)]
    for name in ("settings", "inputs", "scored_rows"):
        if fields.get(name) is not None:
            parts.append((fields, {name: dict}))
    if isinstance(fields.get("scored_rows"), dict):
        parts += [(found, {"texts": str, "labels": str}) for found in fields["scored_rows"].values()]
    if fields.get("holdout") is not None:
        parts.append((fields["holdout"], _SCORES))
    wrong = [
        name
        for part, kinds in parts
        for name, kind in kinds.items()
        if not isinstance(part.get(name) if isinstance(part, dict) else None, kind)
    ]
    if wrong:
        raise InputError(f"{place}: {', '.join(dict.fromkeys(wrong))} missing or of the wrong kind; {fix}.")
    for name in (
        "evaluation",
        "holdout",
    ):  # what was not a number, of a run that diverged, is written as null
        for key in ("agreement", "kl_to_teacher"):
            if fields.get(name) and fields[name][key] is None:
                fields[name][key] = math.nan
    try:
        Cell(fields["cell"]["method"], None, 0, 1.0).options()
    except InputError as error:
        raise InputError(
            f"{place}: {fields['cell']['method']!r} is no method of this version; {fix}."
        ) from error


def _sample_lines(path: Path) -> list[dict[str, Any]]:
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line:
            continue
        try:
            row = json.loads(line)
            texts = isinstance(row["original"], str) and isinstance(row["augmented"], str)
            if not (texts and row["before"] and len(row["before"]) == len(row["after"])):
                raise ValueError("texts and teacher probabilities do not fit")
            row |= {key: [float(value) for value in row[key]] for key in ("before", "after")}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}, row {number}: is not a line of {SAMPLES}; remove that line or run the cell again."
            ) from error
        found.append(row)
    return found
