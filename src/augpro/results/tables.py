"""A table of values: what stands in a cell is formatted where it is shown."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Quantity:
    """A number in a cell; as text it is formatted, with its interval in brackets.

    Attributes:
        value: the number; None is a dash.
        form: how it is formatted.
        interval: around it, with a dash in place of nan; None shows no brackets.
    """

    value: float | None
    form: str
    interval: tuple[float, float] | None = None

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        text = f"{self.value:{self.form}}"
        if self.interval is None:
            return text
        low, high = self.interval
        known = f"{low:{self.form}} to {high:{self.form}}" if math.isfinite(low) else "-"
        return f"{text} ({known})"


@dataclass(frozen=True)
class Quantities:
    """Several numbers in one cell, the one that it is sorted by first; a dash where that is unknown."""

    parts: tuple[Quantity, ...]

    @property
    def value(self) -> float | None:
        """What the cell is sorted by."""
        return self.parts[0].value

    def __str__(self) -> str:
        return "-" if self.value is None else ", ".join(map(str, self.parts))


class Alert(str):
    """Text in a cell that a reader should not miss."""


Entry = str | Quantity | Quantities


@dataclass
class Table:
    """A table.

    Attributes:
        title: above it.
        header: names of the columns.
        rows: the cells.
        bold: numbers of the rows whose first cell is set in bold.
        notes: below it.
        tests: how many p-values it shows.
    """

    title: str
    header: list[str]
    rows: list[list[Entry]] = field(default_factory=list)
    bold: set[int] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    tests: int = 0

    def markdown(self) -> str:
        """As a Markdown section."""
        lines = [f"## {self.title}", "", _line(self.header), _line(["---"] * len(self.header))]
        for number, row in enumerate(self.rows):
            first, *rest = (_pipes(str(cell)) for cell in row)
            lines.append(_line([f"**{first}**" if number in self.bold else first, *rest]))
        return "\n".join([*lines, "", *[f"- {note}" for note in self.notes], ""])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _pipes(text: str) -> str:
    return text.replace("|", r"\|")


def tests_note(tables: Sequence[Table]) -> str:
    """How many p-values some tables show together."""
    count = sum(table.tests for table in tables)
    return (
        f"{count} p-values are shown here. Holm's correction holds within a column of a table, not across them: "
        "where nothing differs, one column in twenty has a p-value below 0.05."
    )
