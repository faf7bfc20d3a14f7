"""A table of text cells, as Markdown and on a terminal."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table as RichTable

from augpro.results.terminal import shown


@dataclass
class Table:
    """A table of text cells.

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
    rows: list[list[str]] = field(default_factory=list)
    bold: set[int] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    tests: int = 0

    def markdown(self) -> str:
        """As a Markdown section."""
        lines = [f"## {self.title}", "", _line(self.header), _line(["---"] * len(self.header))]
        for number, row in enumerate(self.rows):
            first = f"**{_pipes(row[0])}**" if number in self.bold else _pipes(row[0])
            lines.append(_line([first, *map(_pipes, row[1:])]))
        return "\n".join([*lines, "", *[f"- {note}" for note in self.notes], ""])

    def show(self, console: Console) -> None:
        """On a terminal."""
        table = RichTable(*map(shown, self.header), title=shown(self.title), title_justify="left")
        for number, row in enumerate(self.rows):
            table.add_row(*map(shown, row), style="bold" if number in self.bold else None)
        console.print(table)
        for note in self.notes:
            console.print(f"- {shown(note)}", highlight=False)


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
