"""The rule for equal texts, used for splitting data, finding leakage and tests over rows."""

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence

_AFTER_CYRILLIC = "\u0530"


def normalize(text: str) -> str:
    """The text without case, whitespace and the accents of Latin, Greek and Cyrillic letters.

    Many tokenizers ignore these too. In other scripts marks distinguish words, so they are kept.

    >>> normalize("A  Café") == normalize("a cafe")
    True
    >>> normalize("か") == normalize("が")
    False
    """
    if text.isascii():
        return "".join(text.lower().split())
    # Twice: "™" is taken apart into capitals, and "İ" becomes small with a mark of its own.
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    kept, base = [], ""
    for letter in plain:
        if not unicodedata.combining(letter):
            base = letter
        elif base < _AFTER_CYRILLIC:
            continue
        kept.append(letter)
    return "".join("".join(kept).split())  # last, as "´" is taken apart into a space and a mark


def row_keys(texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[int]:
    """A signed 64-bit key for each row, equal for rows with equal normalized texts (and second texts).

    The probability of a collision among N rows is N**2 / 2**65: 3e-8 for a million.
    """
    rows: Iterable[str] = map(normalize, texts)
    if pairs is not None:
        rows = (f"{text}\0{normalize(pair)}" for text, pair in zip(rows, pairs, strict=True))
    return [key_of(row.encode()) for row in rows]


def key_of(content: bytes, seed: int = 0) -> int:
    """Hash of some bytes as a signed 64-bit number; different seeds give independent hashes."""
    digest = hashlib.blake2b(content, digest_size=8, key=str(seed).encode()).digest()
    return int.from_bytes(digest, "little", signed=True)
