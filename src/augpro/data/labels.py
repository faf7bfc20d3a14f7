"""Converts raw label cells to class ids, scores or sets of labels."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import cast

from augpro.data.label_cells import Cells, drop_minus_one, drop_missing, show
from augpro.data.label_lists import ask_about_lists, read_flags, split_cells
from augpro.data.label_names import merge_spellings, name_booleans, read_numbers
from augpro.data.readers import Table, listed
from augpro.errors import InputError
from augpro.tasks import ProblemType, Task

Label = int | float | tuple[int, ...] | None  # class id | score | ids of the labels that apply | no label
_Atom = str | int | float  # what names a class in a file: its name, or its id

_MANY_CLASSES = 500


@dataclass(frozen=True)
class LabelSet:
    """The labels of every split and the names of their ids; ``names`` is empty for scores or without labels."""

    problem_type: ProblemType
    names: tuple[str, ...]
    labels: dict[str, list[Label]]
    notes: list[str]


@dataclass(frozen=True)
class LabelHints:
    """What is known about the labels before they are read.

    Attributes:
        problem_type: given by the user; otherwise guessed from the values.
        glue: the GLUE task of the data, if it is one; its ids and names are used.
        classes: class names of the model: they are not merged as spellings, and they name flags.
    """

    problem_type: ProblemType | None = None
    glue: Task | None = None
    classes: tuple[str, ...] = ()


def decode_labels(tables: dict[str, Table], column: str | None, hints: LabelHints) -> LabelSet:
    """Give every row its label, with ``None`` for rows that have none.

    Args:
        tables: The raw rows of each split.
        column: The label column, if there is one.
        hints: What is known about them.

    Raises:
        InputError: If a label is inconsistent with the others or the problem type, or is ambiguous.
    """
    cells = Cells(tables, column or "label")
    glue, wanted = hints.glue, hints.problem_type
    known = _known_names(tables, cells.column) if column else ()
    if glue:
        wanted, known = glue.problem_type, glue.label_names
    classes = known or hints.classes
    notes = drop_missing(cells, classes)
    if wanted == "multi_label":
        notes += split_cells(cells)
    else:
        notes += drop_minus_one(cells, everywhere=bool(glue or known))
    if not known:
        known, read = read_flags(cells, wanted, hints.classes)
        notes += read
    name_booleans(cells)
    notes += read_numbers(cells, wanted, classes)
    if wanted is None:
        ask_about_lists(cells)
    notes += merge_spellings(cells, classes)
    problem = _problem_type(cells, _one_kind(cells), wanted)
    names: tuple[str, ...] = ()
    if problem == "regression":
        labels = _scores(cells)
    else:
        names, labels = _ids(cells, problem, known)
    return LabelSet(problem, names, labels, notes + _count_notes(labels))


def _known_names(tables: dict[str, Table], column: str) -> tuple[str, ...]:
    known = [(table, table.class_names[column]) for table in tables.values() if column in table.class_names]
    for table, names in known:
        if names != known[0][1]:
            raise InputError(
                f"{table.source}, column {column!r}: its class names ({listed(names, 10)}) are not those "
                f"of {known[0][0].source} ({listed(known[0][1], 10)}); write all splits with the same names"
            )
    return known[0][1] if known else ()


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


def _one_kind(cells: Cells) -> str | None:
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


def _problem_type(cells: Cells, kind: str | None, wanted: ProblemType | None) -> ProblemType:
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
        raise cells.error(split, index, f"{show(value)} is not a score", "write a number without quotes")
    return "single_label"


def _number_type(cells: Cells, wanted: ProblemType | None) -> ProblemType:
    for split, index, value in cells.each():
        if isinstance(value, float) and not math.isfinite(value):
            problem = f"the label {value} is not a finite number"
            raise cells.error(split, index, problem, "correct it, or leave it empty or null for no label")
    broken = any(isinstance(value, float) and not value.is_integer() for *_, value in cells.each())
    return wanted or ("regression" if broken else "single_label")


def _scores(cells: Cells) -> dict[str, list[Label]]:
    labels: dict[str, list[Label]] = {split: [None] * len(values) for split, values in cells.values.items()}
    for split, index, value in cells.each():
        try:
            score = float(cast(float, value))
        except OverflowError:
            score = math.inf
        if score == math.inf:
            raise cells.error(split, index, "the label is too large a number", "correct it")
        labels[split][index] = score
    return labels


def _atoms(cells: Cells, split: str, index: int, value: object) -> list[_Atom]:
    atoms: list[_Atom] = []
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, float) and not item.is_integer() and isinstance(value, list):
            raise cells.error(split, index, f"{item} is no class id", "write whole numbers or names")
        whole = isinstance(item, float) and item.is_integer()
        atoms.append(int(cast(float, item)) if whole else cast(_Atom, item))
    if len(set(atoms)) < len(atoms):
        fix = "list the labels that apply, or in every row a 0 or 1 for each of all labels"
        raise cells.error(split, index, "a label is there twice", fix)
    return atoms


def _ids(
    cells: Cells, problem: ProblemType, known: tuple[str, ...]
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
                split, index, f"the label {show(unknown[0])} is not one of the known labels ({shown})",
                "correct it" if known else "correct it, or add rows with it to the train split",
            )  # fmt: skip
        row = tuple(sorted(ids[atom] for atom in atoms))
        labels[split][index] = row if problem == "multi_label" else row[0]
    return known or tuple(str(atom) for atom in ids), labels


def _check_free_text(cells: Cells, counts: Counter[_Atom]) -> None:
    if len(counts) > _MANY_CLASSES and sum(count == 1 for count in counts.values()) > len(counts) / 2:
        text = isinstance(next(iter(counts)), str)
        what = "is this column free text?" if text else "is this column a row number or a score?"
        fix = "" if text else ", or pass --problem-type regression"
        table = cells.tables.get("train") or next(iter(cells.tables.values()))
        raise InputError(
            f"{table.source}, column {cells.column!r}: it has {len(counts)} different labels, most of them "
            f"on one row only ({what}); name the label column by --label-column{fix}"
        )


def _count_notes(labels: dict[str, list[Label]]) -> list[str]:
    notes = []
    for split, values in labels.items():
        missing = values.count(None)
        if missing:
            notes.append(f"{split}: {missing} of {len(values)} rows have no label")
    return notes
