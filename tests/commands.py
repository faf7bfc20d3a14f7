"""``augpro`` commands in processes of their own, without the seconds that a new interpreter takes to start."""

import multiprocessing
import os
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

SERVER: Any = multiprocessing.get_context("forkserver")
LOADED = ["augpro.cli.app", "augpro.distillation.pipeline", "augpro.shards.run", "augpro.compare.runner"]


def start(arguments: list[str], output: Path) -> BaseProcess:
    """Start a command in a session of its own, so that it can be killed with all that it starts.

    It is forked from a server that has the libraries loaded, and the processes that it starts are forked from it.
    """
    _load()
    process: BaseProcess = SERVER.Process(target=_command, args=(arguments, output))
    process.start()
    return process


@cache
def _load() -> None:
    """Start the server and wait until it has the libraries, so that no command takes longer than the next."""
    SERVER.set_forkserver_preload(LOADED)
    process = SERVER.Process(target=int)
    process.start()
    process.join()


def _command(arguments: list[str], output: Path) -> None:
    os.setsid()
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(file, stream)
    import torch

    from augpro.cli.app import app

    torch.set_num_threads(1)
    fork = multiprocessing.get_context("fork")
    multiprocessing.get_context = lambda method=None: fork  # type: ignore[assignment, return-value]
    app(arguments)
