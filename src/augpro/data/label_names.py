"""Decides which label cells are numbers and which are names, and merges spellings of a name."""

import itertools
import re
import unicodedata
from collections import Counter
from decimal import Decimal

from augpro.data.label_cells import Cells, fold, show
from augpro.tasks import ProblemType

# As JSON writes numbers, so that codes such as 007 stay names; inf is caught later, with its row.
WHOLE = re.compile(r"[+-]?(?:0|[1-9]\d{,99})", re.ASCII)
_NUMBER = re.compile(
    r"[+-]?(?:(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?|inf|infinity)", re.ASCII | re.IGNORECASE
)
_DECIMAL = re.compile(r"[+-]?\d{,30}\.\d{1,30}", re.ASCII)
# 1,000 or 1.000.000 or 1 000 or 3,5: people read these as numbers, programs as names.
_GROUPED = re.compile(r"[+-]?(?:\d{1,3}(?:[ ,.'\u00a0\u202f]\d{3})+(?:[.,]\d+)?|\d+,\d+)", re.ASCII)
_FEW = 20  # maximum number of different values in a column of version numbers


def name_booleans(cells: Cells) -> None:
    """Give booleans that are labels the names "true" and "false"."""

    def named(value: object) -> object:
        if isinstance(value, list):
            return [named(item) for item in value]
        return str(value).lower() if isinstance(value, bool) else value

    for split, index, value in cells.each():
        cells.values[split][index] = named(value)


def read_numbers(cells: Cells, wanted: ProblemType | None, classes: tuple[str, ...] = ()) -> list[str]:
    """Convert the text of CSV and TSV files to numbers, if all of it is numbers and these are not names.

    Args:
        cells: the labels.
        wanted: the problem type given by the user; for classes only ids with one spelling each are numbers.
        classes: known class names.

    Returns:
        A note if numbers are read as names.

    Raises:
        InputError: if a text is not a score where scores are wanted, may be a score or a name, or is a word among
            scores.
    """
    text_cells = cells.untyped()
    values = Counter(text for *_, text in text_cells)
    words = [cell for cell in text_cells if _NUMBER.fullmatch(cell[2]) is None]
    if words and wanted == "regression":
        split, index, text = words[0]
        raise cells.error(
            split, index, f"{show(text)} is not a score", "write a number, or leave the cell empty"
        )
    if words and wanted is None:
        _ask_about_grouped(cells)
        _check_booleans(cells)
        return _words_among_numbers(cells, values, words, classes)
    if words:
        return []
    numbers = {text: int(text) if WHOLE.fullmatch(text) else float(text) for text in values}
    if wanted == "single_label" and not _are_ids(numbers):
        return []
    if wanted is None and not all(float(number).is_integer() for number in numbers.values()):
        named = _versions(cells, values)
        if named:
            return named
    for split, index, text in text_cells:
        cells.values[split][index] = numbers[text]
    return []


def _are_ids(numbers: dict[str, int | float]) -> bool:
    whole = all(isinstance(number, int) or number.is_integer() for number in numbers.values())
    return whole and len(set(numbers.values())) == len(numbers)


def _words_among_numbers(
    cells: Cells, values: Counter[str], words: list[tuple[str, int, str]], classes: tuple[str, ...]
) -> list[str]:
    """A note if a few words among numbers cause all to be read as names; empty if most are words or known classes.

    Raises:
        InputError: if the numbers without the words would be scores.
    """
    named = {fold(name) for name in classes}
    strange = [cell for cell in words if fold(cell[2]) not in named]
    if not strange or 2 * len(words) >= values.total():
        return []
    split, index, text = strange[0]
    numbers = Counter({value: count for value, count in values.items() if _NUMBER.fullmatch(value)})
    said = f"is not a number, and {numbers.total()} of {values.total()} labels are"
    if all(float(number).is_integer() for number in numbers):
        return [f"column {cells.column!r}: the label {show(text)} {said}; all are read as names"]
    names = _versions(cells, numbers)
    if not names:
        fix = "correct it or leave the cell empty, or give --problem-type single_label if all are names"
        raise cells.error(split, index, f"the label {show(text)} {said}", fix)
    return names


def _ask_about_grouped(cells: Cells) -> None:
    """Raise ``InputError`` for numbers with a thousands separator or decimal comma, which would be read as names."""
    strings = cells.strings()
    grouped = [cell for cell in strings if _NUMBER.fullmatch(cell[2]) is None]
    if all(_GROUPED.fullmatch(text) for *_, text in grouped):
        split, index, text = grouped[0]
        raise cells.error(
            split, index, f"the label {show(text)} may be a number, several class ids or a name",
            "write numbers without separators and with a decimal point, or give --problem-type multi_label for ids, "
            "single_label for names",
        )  # fmt: skip


def _check_booleans(cells: Cells) -> None:
    """Raise ``InputError`` for true and false beside 1 and 0, which would be four classes."""
    strings = cells.strings()
    words = {text.casefold() for *_, text in strings}
    numbers = [cell for cell in strings if cell[2] in ("1", "0", "1.0", "0.0")]
    if numbers and words <= {"true", "false", "1", "0", "1.0", "0.0"}:
        split, index, text = numbers[0]
        raise cells.error(
            split, index, f"the label {text!r} stands beside true or false", "write all labels alike"
        )


def _versions(cells: Cells, values: Counter[str]) -> list[str]:
    """A note if numbers such as 1.1 and 2.10 are names; empty if they are scores.

    A column of names has few, often repeated values. They differ from scores by a trailing zero that a number does
    not need (2.10 beside 1.1), or by large gaps between the values.

    Raises:
        InputError: if they may be either.
    """
    spelled = [value for value in values if _DECIMAL.fullmatch(value)]
    if len(values) > _FEW or any(not (_DECIMAL.fullmatch(v) or WHOLE.fullmatch(v)) for v in values):
        return []
    mixed = len({len(value.partition(".")[2]) for value in spelled}) > 1
    padded = [value for value in spelled if mixed and re.search(r"\.\d+0$", value)]
    often = values.total() >= 3 * len(values)
    if any(values[value] > 1 for value in padded) and often:
        said = f"column {cells.column!r}: labels such as {padded[0]!r} are read as names"
        return [f"{said}; give --problem-type regression if they are scores"]
    if padded or (often and _leaves_gaps(values)):
        wanted = (padded or spelled)[0]
        split, index, _ = next(cell for cell in cells.untyped() if cell[2] == wanted)
        problem = f"the label {wanted!r} may be a score or a name such as a version"
        raise cells.error(split, index, problem, "give --problem-type regression or single_label")
    return []


def _leaves_gaps(values: Counter[str]) -> bool:
    """Whether fewer than half of the steps between the lowest and the highest value occur."""
    there = sorted(set(map(Decimal, values)))
    step = min((high - low for low, high in itertools.pairwise(there)), default=Decimal(1))
    return len(there) > 2 and 2 * len(there) < (there[-1] - there[0]) / step + 1


def merge_spellings(cells: Cells, classes: tuple[str, ...]) -> list[str]:
    """Merge names that differ only in case, spaces or the Unicode form of an accent; returns notes.

    The most frequent spelling is kept, but a known class keeps its own name, and two known classes are not merged.

    Args:
        cells: the labels.
        classes: known class names.
    """
    counts = Counter(
        item
        for _, _, value in cells.each()
        for item in (value if isinstance(value, list) else [value])
        if isinstance(item, str)
    )
    groups: dict[str, list[str]] = {}
    for name in sorted(counts):
        if name not in classes:
            groups.setdefault(fold(name), []).append(name)
    known_as: dict[str, list[str]] = {}
    for name in classes:
        known_as.setdefault(fold(name), []).append(name)
    renamed: dict[str, str] = {}
    notes = []
    for key, names in groups.items():
        known = known_as.get(key, [])
        if len(known) > 1:  # ambiguous
            continue
        kept = known[0] if known else max(names, key=lambda name: counts[name])
        renamed |= {name: kept for name in names if name != kept}
        if len({kept, *names} & counts.keys()) > 1:
            others = ", ".join(_spelled(name) for name in names if name != kept)
            notes.append(
                f"column {cells.column!r}: the labels {others} are spellings of {_spelled(kept)}, and count as it"
            )
    _rename(cells, renamed)
    return notes


def _spelled(name: str) -> str:
    """A name in quotes, with escapes if it could be mistaken for another one."""
    return (
        repr(name) if unicodedata.is_normalized("NFC", name) and " " not in name.split(" ") else ascii(name)
    )


def _rename(cells: Cells, renamed: dict[str, str]) -> None:
    for split, index, value in cells.each() if renamed else ():
        if isinstance(value, str):
            cells.values[split][index] = renamed.get(value, value)
        elif isinstance(value, list):
            new = [renamed.get(item, item) if isinstance(item, str) else item for item in value]
            # Two spellings in one row are one label; real duplicates are reported later.
            cells.values[split][index] = (
                list(dict.fromkeys(new)) if len(set(map(str, value))) == len(value) else new
            )
