"""What others wrote, made safe to show on a terminal.

Labels, task names, texts, paths and error messages can have control characters in them, with which a terminal can be
told to hide lines, change its title or paste a command.
"""

import unicodedata

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
