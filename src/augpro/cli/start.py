"""What happens before any command: its version, and commands that run in one process alone."""

import os

import typer

from augpro.cli.options import friendly_errors


def print_version(asked: bool) -> None:
    """Print the version and end, if asked."""
    if asked:
        from augpro import __version__

        typer.echo(f"augpro {__version__}")
        raise typer.Exit


def check_one_process(command: str | None) -> None:
    """Refuse a command in several processes unless it trains."""
    if os.environ.get("WORLD_SIZE", "1") == "1" or command in ("distill", "finetune"):
        return
    from augpro.errors import InputError
    from augpro.models import processes

    if not processes.leads():
        raise typer.Exit(2)
    with friendly_errors():
        raise InputError(
            f"augpro {command}: runs in one process, and there are {processes.count()}; start it without torchrun."
        )
