"""Chooses the columns of the text, the second text and the label, and checks the texts."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from augpro.data.delimited import is_number
from augpro.data.headers import check_header, header_note
from augpro.data.readers import Table, listed
from augpro.errors import InputError

_FIRST_ROW = ", or write a first line with the names of the columns if that is the first row of the data"
_NAMED = 3  # further cells named in a message
# Usual names of columns, most likely first; compared without case.
_TEXT = (
    *("text", "sentence", "sentence1", "question1", "text1", "premise", "question", "content", "message"),
    *("review", "body", "comment", "utterance", "query", "document", "headline", "title"),
    *("sentence_1", "sentence_a", "question_1", "text_1", "text_a", "claim"),
)
_LABEL = (
    *("label", "labels", "class", "category", "target", "intent", "sentiment", "topic", "emotion"),
    *("rating", "stars", "score"),
)
# Usual names of pairs, in reading order; the more likely partner first.
_PAIRS = (
    *(("question", second) for second in ("sentence", "passage", "context", "answer")),
    *((f"{kind}{one}", f"{kind}{two}") for kind in ("sentence", "question", "text")
      for one, two in ("12", ("_1", "_2"), ("_a", "_b"))),
    *(("premise", "hypothesis"), ("text", "text_pair"), ("query", "passage"), ("query", "document")),
    ("claim", "evidence"),
)  # fmt: skip
_USUAL = {*_TEXT, *_LABEL, *(name for pair in _PAIRS for name in pair)}


@dataclass(frozen=True)
class Columns:
    """The names of the columns to read."""

    text: str
    pair: str | None
    label: str | None


def choose_columns(
    tables: dict[str, Table], text: str | None, pair: str | None, label: str | None
) -> tuple[Columns, list[str]]:
    """Check the columns given by the user, guess the others, and return notes on the guesses.

    Raises:
        InputError: If a split lacks a column, or no column is the obvious text.
    """
    for table in tables.values():
        check_header(table, _known(text, pair, label))
    first = next(iter(tables.values()))
    everywhere = list(dict.fromkeys(column for table in tables.values() for column in table.columns))
    if label is not None and label not in everywhere:
        raise _no_column(first, label, "label")
    for name, option in ((text, "text"), (pair, "pair")):
        if name is not None and name not in first.columns:
            raise _no_column(first, name, option)
    columns = _guess(first, everywhere, text, pair, label)
    for table in tables.values():
        for name, option in ((columns.text, "text"), (columns.pair, "pair")):
            if name is not None and name not in table.columns:
                raise _no_column(table, name, option)
    notes = header_notes(tables.values(), text, pair, label)
    if columns != Columns(text or "", pair, label):
        second = f", second text {columns.pair!r}" if columns.pair else ""
        label_part = f", label {columns.label!r}" if columns.label else ""
        unread = [name for name in everywhere if name not in (columns.text, columns.pair, columns.label)]
        rest = f"; not read: {listed(unread, 5)}" if unread else ""
        notes.append(f"columns guessed: text {columns.text!r}{second}{label_part}{rest}")
    if columns.pair and not pair:
        notes.append(
            f"every row is a pair of {columns.text!r} and {columns.pair!r}; "
            f"--text-column {columns.text} reads that column alone"
        )
    if columns.label is None:
        notes.append(
            f"no column of {listed(everywhere)} looks like the label; if one is, name it by --label-column"
        )
    return columns, notes


def header_notes(tables: Iterable[Table], *given: str | None) -> list[str]:
    """Notes on first rows that are taken for a header though no column has a usual name, or one that was given."""
    return [note for table in tables for note in header_note(table, _known(*given))]


def _known(*given: str | None) -> set[str]:
    return _USUAL | {name for name in given if name is not None}


def _guess(
    table: Table, everywhere: list[str], text: str | None, pair: str | None, label: str | None
) -> Columns:
    if label is None:
        label = _usual([column for column in everywhere if column not in (text, pair)], _LABEL)
    if text is None:
        free = [column for column in table.columns if column not in (pair, label)]
        text = _guess_text(table, free)
        if pair is None:
            text, pair = _guess_pair(text, free)
    return Columns(text, pair, label)


def _guess_pair(text: str, free: list[str]) -> tuple[str, str | None]:
    """The first usual pair that contains the text column, in its order; else the text alone."""
    for names in _PAIRS:
        one, two = (_usual(free, (name,)) for name in names)
        if one and two and text in (one, two):
            return one, two
    return text, None


def _no_column(table: Table, name: str, option: str) -> InputError:
    return InputError(
        f"{table.source}: there is no column {name!r} among its columns ({listed(list(table.columns))}); "
        f"name the {option} column of the file by --{option}-column"
        f"{'' if table.typed or _usual(list(table.columns), tuple(_USUAL)) else _FIRST_ROW}"
    )


def _usual(columns: Sequence[str], names: Sequence[str]) -> str | None:
    by_lower = {column.lower(): column for column in reversed(columns)}
    return next((by_lower[name] for name in names if name in by_lower), None)


def _guess_text(table: Table, free: list[str]) -> str:
    usual = _usual(free, _TEXT)
    if usual is not None:
        return usual
    strings = [column for column in free if _holds_strings(table, column)]
    if len(strings) != 1:
        raise InputError(
            f"{table.source}: cannot tell which column is the text, among "
            f"({listed(list(table.columns))}); name it by --text-column{_FIRST_ROW}"
        )
    return strings[0]


def _holds_strings(table: Table, column: str) -> bool:
    cells = (cell for cell in table.columns[column] if isinstance(cell, str) and cell.strip())
    return any(table.typed or not is_number(cell) for cell in cells)


def read_texts(
    tables: Sequence[Table], text: str, pair: str | None = None, guessed: bool = False
) -> list[tuple[list[str], list[str] | None]]:
    """Return the texts of each table, and the second texts if it has any.

    Args:
        tables: the splits.
        text: column of the texts.
        pair: column of the second texts.
        guessed: whether the second text column was guessed.

    Raises:
        InputError: If any text is missing, empty or not text; the message counts all of them.
    """
    columns = [text, *([pair] if pair else [])]
    found: list[Any] = []
    wrong = []
    for table in tables:
        texts = [table.columns[column] for column in columns]
        found.append((texts[0], texts[1] if pair else None))
        for index, cells in enumerate(zip(*texts, strict=True)):
            for column, cell in zip(columns, cells, strict=True):
                problem = _problem(cell)
                if problem is not None:
                    wrong.append((table.place(index, column), problem))
    if wrong:
        (place, problem), *others = wrong
        places = "; ".join(place for place, _ in others[:_NAMED])
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        again = f" ({len(wrong)} cells cannot be read; the others: {places}{more})" if others else ""
        alone = f"; --text-column {text} reads that column alone" if guessed else ""
        raise InputError(f"{place}: {problem}{again}{alone}")
    return found


def check_second_texts(tables: Sequence[Table], columns: Columns, classes: Sequence[str]) -> None:
    """Refuse pairs whose second texts are all names of classes: they are labels.

    Args:
        tables: the splits, whose texts were read.
        columns: of the texts.
        classes: of the model that is to read them.

    Raises:
        InputError: naming the column.
    """
    names = set(classes)
    if columns.pair and names and all(names.issuperset(table.columns[columns.pair]) for table in tables):
        raise InputError(
            f"{tables[0].source}: the second texts are all names of classes, such as "
            f"{tables[0].columns[columns.pair][0]!r}; give labels as a column named label, or in Python as labels="
        )


def _problem(cell: object) -> str | None:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "the text is missing; remove that row or fill it in"
    if not isinstance(cell, str):
        kind = {"int": "a number", "float": "a number", "list": "a list", "dict": "an object"}
        what = kind.get(type(cell).__name__, f"a {type(cell).__name__}")
        return f"the text is {what}; write it as text, or name another column by --text-column"
    if not cell.strip():
        return "the text is empty; remove that row or fill it in"
    try:
        cell.encode()
    except UnicodeEncodeError:  # JSON can write such a half as an escape; no tokenizer takes it
        return "the text holds half of a surrogate pair, which is no character; remove that character"
    return None
