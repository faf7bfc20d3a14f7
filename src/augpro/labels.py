"""From raw label cells to class ids, scores or label sets, whatever way a file writes them."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from augpro.errors import InputError
from augpro.readers import Table, listed
from augpro.tasks import ProblemType, Task

Label = int | float | tuple[int, ...] | None  # class id | score | ids of the labels that apply | no label
_Atom = str | int  # what names a class in a file: its name, or its id

SEPARATOR = "|"  # between the labels of a multi-label row in a CSV or TSV file
_MANY_CLASSES = 500
# As JSON writes numbers, so that codes such as 007 stay names; nan and inf are caught later, with their row.
_WHOLE = re.compile(r"[+-]?(?:0|[1-9]\d{,99})", re.ASCII)
_NUMBER = re.compile(
    r"[+-]?(?:(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?|nan|inf|infinity)", re.ASCII | re.IGNORECASE
)


@dataclass(frozen=True)
class LabelSet:
    """The labels of every split, and what their ids mean; ``names`` is empty for scores or without labels."""

    problem_type: ProblemType
    names: tuple[str, ...]
    labels: dict[str, list[Label]]
    notes: list[str]


class _Cells:
    """The label cells of all splits, cleaned: ``None``, a string, a number or a list of them."""

    def __init__(self, tables: dict[str, Table], column: str) -> None:
        self.tables, self.column = tables, column
        self.values: dict[str, list[object]] = {
            split: [_clean(value) for value in table.columns.get(column, [None] * len(table))]
            for split, table in tables.items()
        }

    def each(self) -> Iterator[tuple[str, int, object]]:
        for split, values in self.values.items():
            for index, value in enumerate(values):
                if value is not None:
                    yield split, index, value

    def error(self, split: str, index: int, problem: str, fix: str) -> InputError:
        return InputError(f"{self.tables[split].place(index, self.column)}: {problem}; {fix}")

    def untyped(self) -> Iterator[tuple[str, int, str]]:
        for split, index, value in self.each():
            if not self.tables[split].typed and isinstance(value, str):
                yield split, index, value


def decode_labels(
    tables: dict[str, Table], column: str | None, wanted: ProblemType | None, glue: Task | None
) -> LabelSet:
    """Give every row its label, with ``None`` for rows that have none.

    Args:
        tables: The raw rows of each split.
        column: The label column, if there is one.
        wanted: The problem type that the user asks for; guessed from the values without it.
        glue: The GLUE task that the data is known to be; its ids and names hold.

    Raises:
        InputError: If a label does not fit the others, or the problem type.
    """
    cells = _Cells(tables, column or "label")
    known = _known_names(tables, cells.column) if column else ()
    if glue:
        wanted, known = glue.problem_type, glue.label_names
    if wanted == "multi_label":
        _split_strings(cells)
    _parse_numbers(cells, wanted)
    kind = _one_kind(cells)
    problem = _problem_type(cells, kind, wanted)
    notes = []
    if problem == "regression":
        names: tuple[str, ...] = ()
        labels = _scores(cells, glue)
    else:
        notes = _drop_minus_one(cells, known) if problem == "single_label" else []
        names, labels = _ids(cells, problem, known)
    return LabelSet(problem, names, labels, notes + _count_notes(labels))


def _clean(value: object) -> object:
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return value


def _known_names(tables: dict[str, Table], column: str) -> tuple[str, ...]:
    known = [(table, table.class_names[column]) for table in tables.values() if column in table.class_names]
    for table, names in known:
        if names != known[0][1]:
            raise InputError(
                f"{table.source}, column {column!r}: its class names ({listed(names, 10)}) are not those "
                f"of {known[0][0].source} ({listed(known[0][1], 10)}); write all splits with the same names"
            )
    return known[0][1] if known else ()


def _split_strings(cells: _Cells) -> None:
    split_rows = [
        (split, index, [part.strip() for part in value.split(SEPARATOR) if part.strip()])
        for split, index, value in cells.each()
        if isinstance(value, str)
    ]
    numbers = all(_WHOLE.fullmatch(part) for _, _, parts in split_rows for part in parts)
    for split, index, parts in split_rows:
        cells.values[split][index] = [int(part) for part in parts] if numbers else parts


def _parse_numbers(cells: _Cells, wanted: ProblemType | None) -> None:
    """Turn the strings of CSV and TSV files into numbers, if all of them are numbers."""
    found = list(cells.untyped())
    for split, index, value in found:
        if not _NUMBER.fullmatch(value):
            if wanted == "regression":
                raise cells.error(
                    split, index, f"{_show(value)} is not a score", "write a number, or leave the cell empty"
                )
            return
    for split, index, value in found:
        cells.values[split][index] = int(value) if _WHOLE.fullmatch(value) else float(value)


def _kind(value: object) -> str:
    if isinstance(value, str):
        return "text"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, list):
        inner = sorted({_kind(item) for item in value})
        return f"a list of {' and '.join(inner)}" if inner else "a list"
    if value is None:
        return "null"
    return "an object" if isinstance(value, dict) else f"a {type(value).__name__}"


def _one_kind(cells: _Cells) -> str | None:
    """Check that all labels are of one kind: text, numbers, or lists of one of them."""
    first = ""
    for split, index, value in cells.each():
        kind = _kind(value)
        if kind not in ("text", "a number", "a list", "a list of text", "a list of a number"):
            raise cells.error(split, index, f"the label is {kind}", "write text, a number or a list of them")
        if not first or (first == "a list" and kind.startswith("a list")):
            first = kind
        elif kind != first and not (kind == "a list" and first.startswith("a list")):
            problem = f"the label is {kind} where the rows before have {first}"
            raise cells.error(split, index, problem, "write all labels alike")
    return "a list" if first.startswith("a list") else first or None


def _problem_type(cells: _Cells, kind: str | None, wanted: ProblemType | None) -> ProblemType:
    if kind is None:
        return wanted or "single_label"
    split, index, value = next(cells.each())
    if kind == "a list" and wanted not in (None, "multi_label"):
        raise cells.error(split, index, f"a list is no {wanted} label", "pass --problem-type multi_label")
    if kind == "a list":
        return "multi_label"
    if wanted == "multi_label":
        raise cells.error(split, index, "a number is no multi_label label", "write it as a list")
    if kind == "a number":
        return _number_type(cells, wanted)
    if wanted == "regression":
        raise cells.error(split, index, f"{_show(value)} is not a score", "write a number without quotes")
    return "single_label"


def _number_type(cells: _Cells, wanted: ProblemType | None) -> ProblemType:
    for split, index, value in cells.each():
        if isinstance(value, float) and not math.isfinite(value):
            problem = f"the label {value} is not a finite number"
            raise cells.error(split, index, problem, "correct it, or leave it empty or null for no label")
    for split, index, value in cells.each():
        if isinstance(value, float) and not value.is_integer():
            if wanted == "single_label":
                raise cells.error(split, index, f"{value} is no class id", "pass --problem-type regression")
            return "regression"
    return wanted or "single_label"


def _scores(cells: _Cells, glue: Task | None) -> dict[str, list[Label]]:
    labels: dict[str, list[Label]] = {split: [None] * len(values) for split, values in cells.values.items()}
    for split, index, value in cells.each():
        try:
            score = float(cast(float, value))
        except OverflowError:
            score = math.inf
        if score == math.inf:
            raise cells.error(split, index, "the label is too large a number", "correct it")
        if not (glue and score == -1):  # GLUE writes -1 for the withheld scores of its test sets
            labels[split][index] = score
    return labels


def _drop_minus_one(cells: _Cells, known: tuple[str, ...]) -> list[str]:
    """Take -1 for "no label", as GLUE's test sets do, unless the ids go below it."""
    numbers = [value for _, _, value in cells.each() if isinstance(value, int | float)]
    if -1 not in numbers or (min(numbers) < -1 and not known):
        return []
    dropped = 0
    for split, index, value in cells.each():
        if value == -1:
            cells.values[split][index] = None
            dropped += 1
    return [f"{dropped} rows have the label -1, which counts as no label; if it is a class, write its name"]


def _atoms(cells: _Cells, split: str, index: int, value: object) -> list[_Atom]:
    atoms: list[_Atom] = []
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, float) and not item.is_integer():
            raise cells.error(split, index, f"{item} is no class id", "write whole numbers or names")
        atoms.append(int(item) if isinstance(item, float) else cast(_Atom, item))
    if len(set(atoms)) < len(atoms):
        raise cells.error(
            split, index, "a label is there twice", "list the labels that apply, not a 0 or 1 for each label"
        )
    return atoms


def _ids(
    cells: _Cells, problem: ProblemType, known: tuple[str, ...]
) -> tuple[tuple[str, ...], dict[str, list[Label]]]:
    found = [(split, index, _atoms(cells, split, index, value)) for split, index, value in cells.each()]
    source = "train" if any(split == "train" for split, _, _ in found) else None
    named = [row for row in found if source in (None, row[0])]
    counts = Counter(atom for _, _, atoms in named for atom in atoms)
    ids: dict[_Atom, int]
    if known:
        ids = {name: i for i, name in enumerate(known)} | {i: i for i in range(len(known))}
    else:
        if problem == "single_label":
            _check_free_text(cells, counts)
        ids = {atom: i for i, atom in enumerate(sorted(counts, key=lambda a: (isinstance(a, str), a)))}
    labels: dict[str, list[Label]] = {split: [None] * len(values) for split, values in cells.values.items()}
    for split, index, atoms in found:
        unknown = [atom for atom in atoms if atom not in ids]
        if unknown:
            shown = listed(known or [str(atom) for atom in ids], 10)
            raise cells.error(
                split, index, f"the label {_show(unknown[0])} is not one of the known labels ({shown})",
                "correct it" if known else "correct it, or add rows with it to the train split",
            )  # fmt: skip
        row = tuple(sorted(ids[atom] for atom in atoms))
        labels[split][index] = row if problem == "multi_label" else row[0]
    return known or tuple(str(atom) for atom in ids), labels


def _check_free_text(cells: _Cells, counts: Counter[_Atom]) -> None:
    if len(counts) > _MANY_CLASSES and sum(count == 1 for count in counts.values()) > len(counts) / 2:
        text = isinstance(next(iter(counts)), str)
        what = "is this column free text?" if text else "is this column a row number or a score?"
        fix = "" if text else ", or pass --problem-type regression"
        table = cells.tables.get("train") or next(iter(cells.tables.values()))
        raise InputError(
            f"{table.source}, column {cells.column!r}: it has {len(counts)} different labels, most of them "
            f"on one row only ({what}); name the label column by --label-column{fix}"
        )


def _show(value: object) -> str:
    return repr(value if len(str(value)) <= 60 else f"{str(value)[:57]}...")


def _count_notes(labels: dict[str, list[Label]]) -> list[str]:
    notes = []
    for split, values in labels.items():
        missing = values.count(None)
        if missing:
            notes.append(f"{split}: {missing} of {len(values)} rows have no label")
    return notes
