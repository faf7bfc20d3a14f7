"""The processes of one run, as ``torchrun`` and ``accelerate launch`` start them.

Each holds the whole run and takes its share of every batch; outputs are gathered, and all compute the loss of the
whole batch. So batches, texts and steps do not depend on the number of processes. The first one alone writes.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import wait
from typing import TypeVar

import torch
from torch import Tensor, distributed

Entered = TypeVar("Entered")


def end_with_parent() -> None:
    """Let this process end when the one that has started it is gone, however it went."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def leads() -> bool:
    """Whether this is the first process, which alone writes and prints; also before they are connected."""
    return os.environ.get("RANK", "0") == "0"


def count() -> int:
    """The number of processes of this run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def share(rows: int) -> Tensor:
    """The rows of a batch that this process takes, int64 [ceil(rows / processes)].

    All processes take as many, so that none waits for another: the last row is repeated where rows run out. What
    :func:`gather` puts together has the batch's rows first, in their order.
    """
    first, size = _part(rows)
    return torch.arange(first, first + size).clamp_max(rows - 1)


def _part(rows: int) -> tuple[int, int]:
    """First row of this process and the number of rows of each; the last rows may be beyond the end."""
    size = -(-rows // count())
    return size * int(os.environ.get("RANK", "0")), size


def gather(own: Tensor) -> Tensor:
    """The tensors of all processes, [N, ...] each, as one, [processes N, ...]; gradients flow into its own part."""
    if count() == 1:
        return own
    every = [torch.empty_like(own) for _ in range(count())]
    distributed.all_gather(every, own.detach().contiguous())
    every[distributed.get_rank()] = own
    return torch.cat(every)


def wait_for_all() -> None:
    """Go on when all processes are here."""
    if count() > 1:
        distributed.barrier()


def largest(value: int, device: torch.device) -> int:
    """The largest of the values of all processes."""
    if count() == 1:
        return value
    found = torch.tensor(value, device=device)
    distributed.all_reduce(found, distributed.ReduceOp.MAX)
    return int(found)


def in_shares(rows: int, compute: Callable[[slice], Tensor], device: torch.device) -> Tensor:
    """What ``compute`` gives for all rows, on the CPU, [rows, ...], when each process computes a part of them.

    Args:
        rows: their number, at least 1.
        compute: maps some of the rows, or none, to a tensor with as many, [n, ...].
        device: of the processes' models, over which they exchange.
    """
    if count() == 1:
        return compute(slice(0, rows))
    first, size = _part(rows)
    part = compute(slice(first, first + size))  # none where the rows have run out
    filled = part.new_zeros(size, *part.shape[1:])
    filled[: len(part)] = part
    return gather(filled.to(device))[:rows].cpu()


def gradient_of_all(loss: Tensor) -> Tensor:
    """The same value with a gradient as many times as large: processes average the gradients of their own parts."""
    return loss if count() == 1 else loss.detach() + count() * (loss - loss.detach())


@contextmanager
def first_enters(context: AbstractContextManager[Entered]) -> Iterator[Entered]:
    """Enter a context in the first process, and then in the others."""
    if count() > 1 and not leads():
        distributed.barrier()
    with context as entered:
        if count() > 1 and leads():
            distributed.barrier()
        yield entered
