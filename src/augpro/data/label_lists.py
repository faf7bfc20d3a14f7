"""Several labels in one cell: lists of names or ids in different notations, and a 0 or 1 for each label."""

import ast
import re
from collections import Counter
from collections.abc import Iterable

from augpro.data.label_cells import Cells, fold, show
from augpro.data.readers import listed
from augpro.tasks import ProblemType

SEPARATORS = ("|", ";", "\n", ",")  # between labels without brackets; the first one in a column is used
_JOINERS = ("/", "+", "&")  # these also occur in names
_BRACKETS = {"[": "]", "(": ")", "{": "}"}
_CALL = re.compile(
    r"(?:np\.)?(?:array|tensor|set|frozenset|list|tuple)\((.*?)(?:,\s*dtype=[^()]*)?\)", re.DOTALL
)
_SCALAR = re.compile(r"np\.\w+\(([^()]*)\)")  # as numpy 2 writes its numbers and strings within a list
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|' r"'(?:[^'\\]|\\.)*'", re.DOTALL)
_BARE = re.compile(r"[^,;|\n\"'\[\]{}][^,;|\[\]{}]*")
_PLAIN = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)|true|false", re.ASCII | re.IGNORECASE)
_FLAG: dict[object, int] = {"0": 0, "0.": 0, "0.0": 0, "false": 0, "1": 1, "1.": 1, "1.0": 1, "true": 1}
_ASK = "give --problem-type multi_label if it is one, or --problem-type single_label if it is one class"


def read_list(text: str) -> list[str] | None:
    """The items of a list in brackets, as written by JSON, Python, numpy or a database; None if it is no list.

    >>> read_list('["a, b", "c"]'), read_list("['a' 'b']"), read_list("{a,b}"), read_list("[0. 1.]"), read_list("[a")
    (['a, b', 'c'], ['a', 'b'], ['a', 'b'], ['0.', '1.'], None)
    """
    text = _SCALAR.sub(r"\1", text.strip())
    if call := _CALL.fullmatch(text):
        text = call[1].strip() or "[]"
    if len(text) < 2 or _BRACKETS.get(text[0]) != text[-1]:
        return None
    body, items, at = text[1:-1].strip(), [], 0
    while at < len(body):
        quoted = _QUOTED.match(body, at)
        found = quoted or _BARE.match(body, at)
        if found is None or "..." in found[0]:  # a list that was cut short when it was printed
            return None
        items += [_unquoted(found[0])] if quoted else _bare(found[0])
        at = found.end()
        rest = body[at:].lstrip()
        if rest and rest[0] in ",;|":
            rest = rest[1:].lstrip()
        elif rest and not (quoted and rest[0] in "'\""):  # numpy puts nothing but spaces between strings
            return None
        at = len(body) - len(rest)
    return items


def _unquoted(text: str) -> str:
    try:
        return str(ast.literal_eval(text)).strip()
    except (ValueError, SyntaxError):
        return text[1:-1].strip()


def _bare(text: str) -> list[str]:
    words = text.split()
    return words if all(_PLAIN.fullmatch(word) for word in words) else [" ".join(words)]


def _is_bracketed(text: str) -> bool:
    """Whether a text is a list in brackets; round and curly brackets may also enclose a plain name."""
    items = read_list(text)
    if text.startswith("["):
        return True
    return items is not None and (
        len(items) != 1 or bool(_PLAIN.fullmatch(items[0])) or any(mark in text for mark in "'\",")
    )


def split_cells(cells: Cells) -> list[str]:
    """Convert every text to a list of labels.

    Raises:
        InputError: if a text cannot be read as a list, or a column uses two separators.
    """
    strings = cells.strings()
    bracketed = [_is_bracketed(text) for _, _, text in strings]
    plain = [cell for cell, inside in zip(strings, bracketed, strict=True) if not inside]
    mark, notes = _separator(cells, plain)
    found = []
    for (split, index, text), inside in zip(strings, bracketed, strict=True):
        if not inside:
            items: list[str] | None = [part.strip() for part in _split(text, mark) if part.strip()]
        else:
            items = read_list(text)
        if items is None or "" in items:
            fix = 'write the labels with | between them, or as a JSON list such as ["a", "b"]'
            raise cells.error(split, index, f"the label {show(text)} cannot be read as a list", fix)
        found.append((split, index, items))
    whole = all(
        re.fullmatch(r"[+-]?(?:0|[1-9]\d{,99})(?:\.0*)?", item) for *_, items in found for item in items
    )
    for split, index, items in found:
        cells.values[split][index] = [int(item.split(".")[0]) if whole else item for item in items]
    return notes


def _split(text: str, mark: str | None) -> list[str]:
    if mark == "digits":
        return list(text)
    return text.split() if mark == " " else text.split(mark) if mark else [text]


def _separator(cells: Cells, plain: list[tuple[str, int, str]]) -> tuple[str | None, list[str]]:
    """The separator of labels in cells without brackets, and a note if it is a guess."""
    texts = [text for *_, text in plain]
    zeros = any(text.startswith("0") for text in texts)
    if zeros and len(set(map(len, texts))) == 1 and _all_match("[01]{2,}", texts):
        return "digits", []
    if any(" " in text for text in texts) and _all_match(r"[\d.]+(?: +[\d.]+)*", texts):
        return " ", []
    mark = next((mark for mark in SEPARATORS if any(mark in text for text in texts)), None)
    if mark is None:
        mark = next((mark for mark in _JOINERS if _composed(texts, mark)), None)
    parts = (
        {part.strip() for text in texts for part in _split(text, mark)} if mark in SEPARATORS else set(texts)
    )
    for other in (*SEPARATORS, *(_JOINERS if mark != "|" else ())):
        both = _composed(parts, other)
        # One mark in names and between labels, or two marks between labels.
        if both and (other != mark or len(both) < sum(other in text for text in parts)):
            split, index, text = next(cell for cell in plain if both[0] in cell[2])
            problem = f"the label {show(text)} looks like several labels with {other!r} between them"
            raise cells.error(split, index, problem, "write | between all labels, or JSON lists")
    note = f"labels are split at {mark!r}; if that is part of a name, write | between labels"
    return mark, [] if mark in (None, "|") else [f"column {cells.column!r}: {note}"]


def _all_match(pattern: str, texts: Iterable[str]) -> bool:
    return all(re.fullmatch(pattern, text, re.ASCII) for text in texts)


def _composed(values: Iterable[str], mark: str) -> list[str]:
    """The values that look like several labels because all their parts also occur in other values.

    An ordinary name may contain a comma, but then its parts are not labels.
    """
    parts = {value: {fold(part) for part in value.split(mark) if part.strip()} for value in set(values)}
    counts = Counter(part for own in parts.values() for part in own)
    return [
        value for value in sorted(parts) if len(parts[value]) > 1 and all(counts[p] > 1 for p in parts[value])
    ]


def ask_about_lists(cells: Cells) -> None:
    """Raise ``InputError`` for text that looks like lists of labels if the user gave no problem type.

    Raises:
        InputError: names the first such row and both options.
    """
    strings = cells.strings()
    values = {text for *_, text in strings}
    lists = {text for text in values if _is_bracketed(text) and read_list(text) is not None}
    suspects = {text for text in lists if any(mark in text for mark in "'\"") or len(lists) == len(values)}
    if not suspects:
        suspects = {text for text in values if "|" in text.strip("|")}
    for mark in (*SEPARATORS[1:], *_JOINERS):
        suspects = suspects or set(_composed(values, mark))
    for split, index, text in strings:
        if text in suspects:
            raise cells.error(split, index, f"the label {show(text)} looks like a list of labels", _ASK)


def read_flags(
    cells: Cells, wanted: ProblemType | None, classes: tuple[str, ...]
) -> tuple[tuple[str, ...], list[str]]:
    """Convert lists of a 0 or 1 for each label to the ids of the labels that apply.

    Lists are flags if all have the same length and contain only zeros and ones.

    Args:
        cells: the labels; for single-label data a one-hot row may also be text.
        wanted: the problem type given by the user.
        classes: class names of the model, which name the flags by their index.

    Returns:
        The names of the labels, and a note; both empty if the lists are not flags.

    Raises:
        InputError: if the flags do not fit the model or the problem type.
    """
    rows = [(split, index, _flags(value, wanted)) for split, index, value in cells.each()]
    lengths = {len(flags) if flags else 0 for *_, flags in rows}
    if len(lengths) != 1 or lengths == {0}:
        return (), []
    (length,) = lengths
    split, index, _ = rows[0]
    if length == 1:
        problem = "the list may hold the id of a class, or say whether the only label applies"
        raise cells.error(split, index, problem, "write the names of the labels that apply, such as []")
    if classes and len(classes) != length:
        problem = (
            f"the row has {length} flags, and the model has {len(classes)} classes ({listed(classes, 10)})"
        )
        raise cells.error(
            split, index, problem, "write one 0 or 1 for each class, in the order of the model's"
        )
    several = [(split, index) for split, index, flags in rows if sum(flags or ()) != 1]
    if wanted == "single_label" and several:
        problem = "not one of its flags is 1, but none or several"
        raise cells.error(*several[0], problem, "pass --problem-type multi_label")
    for split, index, flags in rows:
        ids: list[object] = [place for place, flag in enumerate(flags or ()) if flag]
        cells.values[split][index] = ids[0] if wanted == "single_label" else ids
    names = classes or tuple(map(str, range(length)))
    note = f"column {cells.column!r}: its rows of {length} zeros and ones are read as flags of the labels "
    note += listed(names, 10)
    if wanted is None and not several:
        note += "; one flag is 1 in every row, so --problem-type single_label may be what is meant"
    return names, [note]


def _flags(value: object, wanted: ProblemType | None) -> list[int] | None:
    if wanted == "single_label" and isinstance(value, str) and _is_bracketed(value):
        value = read_list(value)
    if not isinstance(value, list):
        return None
    flags = [_FLAG.get(str(item).lower()) for item in value]
    return None if None in flags else [int(flag or 0) for flag in flags]
