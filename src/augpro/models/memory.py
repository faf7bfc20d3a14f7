"""Work on the rows of a batch that goes on in halves when memory runs out.

The sums over rows are then made of two parts, so what is computed is equal within float rounding, not bit for bit.
Other libraries start the whole training again with a smaller batch, which is another training.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import Tensor

from augpro.errors import InputError

Result = TypeVar("Result")
# Of Windows, and of cuBLAS, whose workspace is not of PyTorch's allocator.
_SAID = ("DefaultCPUAllocator: not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")
SHORTER = "give a shorter --max-tokens, a smaller model or more memory"
_MORE_STEPS = "more steps for each update by --trainer-option gradient_accumulation_steps=2"
FEWER_ROWS = f"give a smaller --batch-size, and {_MORE_STEPS}"
log = logging.getLogger(__name__)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that the memory of the machine or of the device is too small."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError) or should_reduce_batch_size(error)
    return known or (isinstance(error, RuntimeError) and any(said in str(error) for said in _SAID))


class RowsAtOnce:
    """The number of rows that are computed at once: all of a batch, and half as many whenever memory runs out.

    Args:
        what: is computed, for the messages.
        fix: what to do if not even one row fits, for the message.

    Attributes:
        most: rows at once, once memory has run out; it stays so for later batches.
    """

    def __init__(self, what: str, fix: str = SHORTER) -> None:
        self.what, self.fix = what, fix
        self.most: int | None = None

    def parts(self, rows: int, compute: Callable[[slice], Result]) -> Iterator[Result]:
        """What ``compute`` gives for consecutive parts of the rows, of which there is one unless memory runs out.

        Args:
            rows: their number.
            compute: is given a part; if memory runs out, it is called again with half of it.

        Raises:
            InputError: if memory runs out for one row.
        """
        start = 0
        while start < rows:
            end = min(rows, start + (self.most or rows))
            done, result = _tried(compute, slice(start, end))
            if done:
                yield result
                start = end
            else:
                # Now nothing holds the error, whose traceback holds the tensors of the failed attempt.
                clear_device_cache(garbage_collection=True)
                self._halve(end - start)

    def joined(self, rows: int, compute: Callable[[slice], Tensor]) -> Tensor:
        """The tensors of all :meth:`parts` as one, [rows, ...]."""
        return torch.cat(list(self.parts(rows, compute)))

    def notes(self) -> list[str]:
        """That memory ran out, for the result of a run; nothing if it did not."""
        return [] if self.most is None else [self._said(self.most)]

    def _halve(self, rows: int) -> None:
        if rows == 1:
            raise InputError(f"{self.what}: memory runs out for a single row; {self.fix}.")
        self.most = -(-rows // 2)
        log.warning("note: %s", self._said(self.most))

    def _said(self, most: int) -> str:
        count = "one row is" if most == 1 else f"at most {most} rows are"
        return f"{self.what}: memory ran out, so {count} computed at once; results are equal within float rounding"


@contextmanager
def not_in_parts(what: str) -> Iterator[None]:
    """One sentence if memory runs out for what cannot be computed in parts.

    Raises:
        InputError: instead of the library's error.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(
            f"memory runs out for {what}, which is not computed in parts; {FEWER_ROWS}."
        ) from error


def _tried(compute: Callable[[slice], Any], part: slice) -> tuple[bool, Any]:
    """Whether memory was large enough, and the result."""
    try:
        return True, compute(part)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False, None
