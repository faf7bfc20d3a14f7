"""Checks that the first row of a CSV or TSV file is a header; otherwise a row of data would be lost silently."""

from collections.abc import Collection

from augpro.data.delimited import is_number
from augpro.data.readers import Table, listed
from augpro.errors import InputError

_NAMES = {1: "text", 2: "text,label"}


def check_header(table: Table, names: Collection[str]) -> None:
    """Raise ``InputError`` if the first row looks like data.

    Args:
        table: of the file.
        names: usual column names in lower case, and those given by the user; a header has one of them.

    Raises:
        InputError: says what to write as the first line.
    """
    if table.typed or any(column in names or column.lower() in names for column in table.columns):
        return
    why = _like_data(table)
    if why:
        raise InputError(
            f"{table.source}, row 1: this looks like data, not like a header ({why}); write a first line with the "
            f"names of its columns, such as {_such(table)}; if it is a header, name one of its columns by "
            "--text-column"
        )


def header_note(table: Table, names: Collection[str]) -> list[str]:
    """A note that the first row is taken for a header, if no column has one of these names.

    Args:
        table: of the file.
        names: as of :func:`check_header`, which has let it pass.
    """
    if table.typed or any(column in names or column.lower() in names for column in table.columns):
        return []
    note = (
        f"row 1 of {table.source} is read as the names of its columns ({listed(list(table.columns))}); if it is "
        f"data, write a line of names above it, such as {_such(table)}"
    )
    return [note]


def _such(table: Table) -> str:
    return _NAMES.get(len(table.columns), "text,label,other")


def _like_data(table: Table) -> str | None:
    for name, cells in table.columns.items():
        if name and any(str(cell).strip() == name for cell in cells):
            return f"{name!r} is among the cells below it too"
    texts = [name for name in table.columns if len(name.split()) > 3]
    if texts and len(table.columns) == 1:
        return f"{texts[0]!r} is a whole text"
    for name, cells in table.columns.items():
        if texts and is_number(name) and all(is_number(str(cell)) for cell in cells):
            return f"{texts[0]!r} is a whole text, and {name!r} a number as below it"
    return None
