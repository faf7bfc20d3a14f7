"""What a run takes: the seconds charged to it, the epochs that equal seconds allow, and the table of cost."""

import statistics
from collections.abc import Mapping, Sequence

from augpro.baselines import is_baseline
from augpro.compare.figures import Group
from augpro.compare.grid import Grid, method_options
from augpro.results.cell import CellResult
from augpro.results.result import RunResult
from augpro.results.tables import Entry, Quantities, Quantity, Table

_SAME_EPOCHS = 0.15  # a run this near to the epochs that equal seconds ask for counts as it
_EACH_EPOCH = ("augment", "teacher", "select", "student")


def training_seconds(row: RunResult) -> float:
    """Seconds that a run takes for teacher labels, augmentation and the student; loading and scoring do not count.

    The teacher's labels of the original rows are charged to every run that uses them, read from a store or not.
    """
    return fixed_seconds(row) + sum(row.phase_seconds.get(phase, 0.0) for phase in _EACH_EPOCH)


def fixed_seconds(row: RunResult) -> float:
    """The part of :func:`training_seconds` that does not grow with the epochs.

    Labels of originals, a search of layers, read from a store or not, a choice of texts, and preparation.
    """
    search = row.layer_search.seconds if row.layer_search else 0.0
    spent = row.phase_seconds.get("choose_texts", 0.0) + row.phase_seconds.get("prepare", 0.0)
    return row.label_seconds + search + spent


def equal_epochs(grid: Grid, rows: Sequence[CellResult]) -> dict[str, float]:
    """Epochs with which each method takes the seconds of ``equal_seconds``, from the medians of ``rows``.

    The seconds of a run are taken as ``fixed + epochs x slope``.
    """
    whole, named = grid.config.epochs, str(grid.config.equal_seconds)
    runs: dict[str, list[CellResult]] = {}
    for row in rows:
        runs.setdefault(row.cell.method, []).append(row)
    if named not in runs:
        return {}
    aim, found = statistics.median(map(training_seconds, runs[named])), {}
    for method, own in runs.items():
        if "epochs" in method_options(method):
            continue  # it says itself how long it trains
        if is_baseline(method):  # it knows no epochs
            found[method] = whole
            continue
        fixed = statistics.median(map(fixed_seconds, own))
        slope = statistics.median((training_seconds(row) - fixed_seconds(row)) / whole for row in own)
        epochs = (aim - fixed) / slope
        found[method] = whole if abs(epochs / whole - 1) <= _SAME_EPOCHS else float(max(1, round(epochs)))
    return found


def cost_table(group: Group, title: str) -> Table:
    """Seconds, texts a second and peak memory of every phase; medians over seeds."""
    phases = ("augment", "teacher", "student")
    header = ["method", "epochs", "seconds to train", "one-off part", "whole run"]
    header += [f"{phase}: s, texts/s, MiB" for phase in phases]
    table = Table(title, [*header, "changed", "new"])
    for method, runs in group.runs.items():
        rows = list(runs.values())
        cells: list[Entry] = [Quantity(statistics.median(row.epochs for row in rows), "g")]
        for part in (training_seconds, fixed_seconds):
            cells.append(Quantity(statistics.median(map(part, rows)), ".1f"))
        cells.append(Quantity(statistics.median(row.seconds for row in rows), ".1f"))
        for phase in phases:
            seconds = _median([row.phase_seconds for row in rows], phase)
            texts = _median([row.texts_per_second for row in rows], phase)
            memory = _median([row.peak_memory_mib for row in rows], phase)
            cells.append(
                Quantities((Quantity(seconds, ".1f"), Quantity(texts, ".0f"), Quantity(memory, ".0f")))
            )
        for share in ("changed", "new"):
            cells.append(Quantity(_median([row.replacement for row in rows], share), ".0%"))
        table.rows.append([method, *cells])
    table.notes = [
        "Seconds to train are those of teacher labels, preparation, augmentation and the student.",
        "One-off: labels of training rows, charged to every run that uses them, choice of texts, and preparation.",
        "Whole run: the seconds that were really spent, with loading and scoring.",
        "Memory is the peak of the process, models included, while the phase was on.",
    ]
    if any(row.layer_search for row in group.all_runs().values()):
        table.notes.insert(2, "A search of layers is one-off too, and charged likewise.")
    return table


def _median(rows: Sequence[Mapping[str, float]], part: str) -> float | None:
    """Of those that have this part; None where none has."""
    values = [row[part] for row in rows if part in row]
    return statistics.median(values) if values else None
