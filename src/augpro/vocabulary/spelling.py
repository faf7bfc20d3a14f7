"""Replacement of changed words in a text, without changing anything else.

Decoding a whole row would lose what its tokenizer does not keep: case, spacing, unknown characters and the truncated
end. A teacher with another tokenizer would then read another text even if no word was changed.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """A word of a text.

    Attributes:
        start: its start in the text, in characters.
        end: its end, exclusive.
        new: its replacement, or None if it stays.
    """

    start: int
    end: int
    new: str | None


def put_in(text: str, words: Iterable[Word]) -> str:
    """The text with its changed words replaced.

    A changed word gets a space to an adjacent word ("don't" is three words for some tokenizers) if they would be read
    as one.

    Args:
        text: the original text.
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
    """The new word in upper case or capitalized, if the old one was.

    >>> in_case_of("Good", "slow"), in_case_of("GOOD", "slow"), in_case_of("good", "Paris")
    ('Slow', 'SLOW', 'Paris')
    """
    if len(old) > 1 and old.isupper():
        return new.upper()
    return new[:1].upper() + new[1:] if old[:1].isupper() else new


def _stands_alone(letter: str) -> bool:
    """Whether tokenizers split at the character: white space, punctuation, and other ASCII symbols."""
    if letter.isascii():
        return not letter.isalnum()
    return letter.isspace() or unicodedata.category(letter).startswith("P")
