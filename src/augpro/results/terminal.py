"""What others wrote, made safe to show on a terminal; and a terminal that never ends a run.

Labels, task names, texts, paths and error messages can have control characters in them, with which a terminal can be
told to hide lines, change its title or paste a command. They can have letters too that the terminal cannot show, and
who reads the output can stop reading: neither is a reason to lose the work of hours.
"""

import logging
import os
import sys
import unicodedata
import warnings
from contextlib import suppress
from typing import Any

from rich.markup import escape

# Override the direction of what follows, so that a line is read otherwise than it is (Boucher & Anderson 2021,
# arXiv:2111.00169). The joiners of emoji and of several scripts are no such characters.
_TURNS = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
_SPACES = str.maketrans("\t\n\r", "   ")


def visible(text: str) -> str:
    r"""A text as one line whose control characters are written as escapes.

    >>> print(visible("bad\x1b[31m\x07\nlabel"))
    bad\x1b[31m\x07 label
    """
    text = text.translate(_SPACES)
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter.encode("unicode_escape").decode() if _acts(letter) else letter for letter in text)


def _acts(letter: str) -> bool:
    """Whether it is a control, a line separator, half of a character, or turns the direction of reading."""
    return (
        unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(letter) in _TURNS
    )


def shown(text: str) -> str:
    r"""A text for ``rich`` to print: :func:`visible`, and what looks like its markup is taken as it stands.

    >>> print(shown("[red]\x1b"))
    \[red]\x1b
    """
    return escape(visible(text))


def sentence(error: BaseException) -> str:
    """An error's message as one visible line."""
    return visible(" ".join(str(error).split()))


def forgive_output(encoding: str | None = None) -> None:
    """From now on nothing that is written to standard output or standard error can fail.

    Letters that the encoding lacks are written as escapes, and what can no longer be written (to a closed pipe, as
    of ``| head``, or a full disk) is dropped. This holds for the libraries' progress bars and logs too.

    Args:
        encoding: of both from now on; that which they have if not given.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, _Forgiving):
            stream = stream or open(os.devnull, "w")  # noqa: SIM115  # until the process ends
            setattr(sys, name, _Forgiving(stream, encoding))


class _Forgiving:
    """A text stream whose writing never fails; it is the other one in everything else."""

    def __init__(self, stream: Any, encoding: str | None) -> None:
        self._stream = stream
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding=encoding, errors="backslashreplace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or drop."""
        try:
            self._stream.write(text)
        except OSError:
            self._drop()
        return len(text)

    def flush(self) -> None:
        """Bring to the reader, or drop."""
        try:
            self._stream.flush()
        except OSError:
            self._drop()

    def _drop(self) -> None:
        """What is in the buffer, and all that follows, goes nowhere: else Python would try again at its end."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        with suppress(OSError):  # a stream of its own kind, without a descriptor
            os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


def quiet_libraries() -> None:
    """Keep the libraries' advice about our own internals away from the user; warnings of ours stay."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*pin_memory.*")
