"""Changed words put into the text that they stand in; all else stays as it was written.

To decode a whole row would lose what its tokenizer does not keep: case, spacing, unknown characters, and what was
cut at the end. A teacher that reads more would then answer another text, even where no word was changed.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """A word of a text.

    Attributes:
        start: where it begins in the text, in characters.
        end: where it ends, exclusive.
        new: what is written in its place, or None where it stays.
    """

    start: int
    end: int
    new: str | None


def put_in(text: str, words: Iterable[Word]) -> str:
    """The text with its changed words written anew.

    Two words that touched each other ("don't" has three for some tokenizers) get a space between them where they
    would be read as one.

    Args:
        text: as it was.
        words: all of its words, in order.

    >>> put_in("The  FILM, was", [Word(0, 3, None), Word(5, 9, "PLOT"), Word(9, 10, None), Word(11, 14, None)])
    'The  PLOT, was'
    >>> put_in("20%", [Word(0, 2, None), Word(2, 3, "men")])
    '20 men'
    """
    written, place, before_changed = "", 0, False
    for word in words:
        gap, old = text[place : word.start], text[word.start : word.end]
        piece = old if word.new is None else word.new
        touch = not gap and (before_changed or word.new is not None)
        if touch and written and piece and not (_stands_alone(written[-1]) or _stands_alone(piece[0])):
            gap = " "
        written, place, before_changed = written + gap + piece, word.end, word.new is not None
    return written + text[place:]


def in_case_of(old: str, new: str) -> str:
    """The new word in capitals, or with a capital, where the old one was.

    >>> in_case_of("Good", "slow"), in_case_of("GOOD", "slow"), in_case_of("good", "Paris")
    ('Slow', 'SLOW', 'Paris')
    """
    if len(old) > 1 and old.isupper():
        return new.upper()
    return new[:1].upper() + new[1:] if old[:1].isupper() else new


def _stands_alone(letter: str) -> bool:
    """Whether tokenizers cut around it: white space and punctuation, in ASCII all that is no letter or digit."""
    if letter.isascii():
        return not letter.isalnum()
    return letter.isspace() or unicodedata.category(letter).startswith("P")
