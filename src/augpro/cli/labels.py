"""``augpro labels``: look into a label store, check it, and carry its labels to another machine."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from augpro.cli.options import friendly_errors
from augpro.results.terminal import quiet_libraries, shown
from augpro.values import at_home

labels = typer.Typer(
    help="Look into a label store, check it, and carry its labels to another machine (docs/label-store.md).",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
Store = Annotated[
    Path, typer.Option(help="The label store: its file, or the folder that holds labels.sqlite.")
]


@labels.command()
def stats(label_store: Store) -> None:
    """Show the teachers in a label store, with the number, the dates and the size of their labels.

    Example:
    `augpro labels stats --label-store labels.sqlite`
    """
    from augpro.cli.display import show_table
    from augpro.results.tables import Quantity, Table
    from augpro.teachers.exchange import open_store

    quiet_libraries()
    with friendly_errors():
        store = open_store(at_home(label_store))
        header = ["teacher", "identity", "precision", "classes", "labels", "first", "last", "MB"]
        table = Table(f"{store.path}", header)
        for teacher, found in store.summary():
            table.rows.append(
                [
                    teacher.name, teacher.identity[:8], teacher.precision,
                    *(Quantity(number, "d") for number in (teacher.classes, found.labels)),
                    _day(found.first), _day(found.last), Quantity(found.size / 1e6, ".1f"),
                ]
            )  # fmt: skip
        table.notes.append(f"The file has {store.path.stat().st_size / 1e6:.1f} MB.")
        show_table(Console(), table)


@labels.command("export")
def export_(
    label_store: Store,
    out: Annotated[Path, typer.Option(help="The Parquet file to write; an existing file is replaced.")],
) -> None:
    """Write all labels to a Parquet file: texts, logits, the teacher's decision, its name, and the date.

    Example:
    `augpro labels export --label-store labels.sqlite --out labels.parquet`
    """
    from augpro.teachers.exchange import export_labels, open_store

    quiet_libraries()
    with friendly_errors():
        count = export_labels(open_store(at_home(label_store)), at_home(out))
    _say(f"{count} labels are in {out}")


@labels.command("import")
def import_(
    label_store: Store,
    file: Annotated[Path, typer.Option(help="A Parquet file that augpro labels export has written.")],
) -> None:
    """Add the labels of a Parquet file, such as those of another machine; labels that are there stay as they are.

    Example:
    `augpro labels import --label-store labels.sqlite --file labels.parquet`
    """
    from augpro.teachers.exchange import import_labels
    from augpro.teachers.store import LabelStore, check_store

    quiet_libraries()
    with friendly_errors():
        check_store(at_home(label_store))
        found = import_labels(LabelStore(at_home(label_store)), at_home(file))
    _say(
        f"{found.added} labels are new, {found.there} were there, {found.conflicts} of them with other logits"
    )


@labels.command()
def verify(
    label_store: Store,
    drop: Annotated[
        bool, typer.Option("--drop", help="Remove damaged labels; they are computed again.")
    ] = False,
) -> None:
    """Check the checksum of every label. Exit code 1: some are damaged.

    Example:
    `augpro labels verify --label-store labels.sqlite`
    """
    from augpro.teachers.exchange import open_store, verify_labels

    quiet_libraries()
    with friendly_errors():
        found = verify_labels(open_store(at_home(label_store)), drop)
    for row, teacher in found.damaged:
        _say(f"row {row}: damaged label of {teacher}{', removed' if drop else ''}")
    _say(f"{found.labels} labels checked, {len(found.damaged)} damaged")
    if found.damaged:
        raise typer.Exit(1)


def _day(date: int) -> str:
    return datetime.fromtimestamp(date, UTC).date().isoformat() if date else "-"


def _say(text: str) -> None:
    Console().print(shown(text), highlight=False, soft_wrap=True)
