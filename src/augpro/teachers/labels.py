"""Labels as a label store keeps them: whose they are, what they answer, and their checksums.

A label belongs to a teacher and to what it has read, by one of two keys. A text or a pair is found by its characters,
so that a later run needs neither the same rows nor a tokenizer to find it. A row of tokens that an augmentation made
is found by its token ids, because they need not come back from the text that they are decoded to; that text is kept
beside the label for people.
"""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TeacherRecord:
    """A teacher as the store knows it.

    Attributes:
        identity: hash of everything that decides its logits: weights, configuration, tokenizer, limit, precision.
        name: whole path of its folder, or its hub name, when it was last used.
        kind: class of the model.
        model: hash of its weights and configuration, a part of the identity.
        tokenizer: hash of its tokenizer, likewise.
        precision: in which it computes, such as "float32".
        tokens: maximum number of tokens of a row.
        longest: the same without a limit of the run.
        classes: number of logits of a row, C.
        config: the model's configuration, as JSON.
    """

    identity: str
    name: str
    kind: str
    model: str
    tokenizer: str
    precision: str
    tokens: int
    longest: int
    classes: int
    config: str

    def checksum(self) -> int:
        """CRC-32 of the description."""
        return zlib.crc32(repr(tuple(vars(self).values())).encode())


@dataclass(frozen=True)
class Label:
    """A stored answer.

    Attributes:
        key: see :func:`text_key` and :func:`token_key`.
        logits: float32 [C].
        text: what the teacher read; decoded, if it read tokens.
        pair: the second text of a pair, or None.
        seconds: what computing it took; not part of the checksum, nor is the date.
        date: when that was, in seconds since 1970; 0 is now.
    """

    key: bytes
    logits: np.ndarray
    text: str
    pair: str | None = None
    seconds: float = 0.0
    date: int = 0

    def checksum(self, identity: str) -> int:
        """CRC-32 of the label and of whose it is."""
        found = zlib.crc32(identity.encode() + self.key + self.logits.tobytes())
        for text in (self.text, self.pair):
            found = zlib.crc32(b"\x00" if text is None else b"\x01" + text.encode(), found)
        return found


@dataclass(frozen=True)
class LabelSummary:
    """All labels of a teacher.

    Attributes:
        labels: how many.
        first: date of the first, in seconds since 1970.
        last: date of the last.
        size: bytes of texts and logits.
    """

    labels: int = 0
    first: int = 0
    last: int = 0
    size: int = 0


def text_key(text: str, pair: str | None = None) -> bytes:
    """Key of a text or a pair, 16 bytes."""
    parts = [text.encode()] if pair is None else [text.encode(), pair.encode()]
    return _key(b"text", parts)


def token_key(ids: np.ndarray, types: np.ndarray | None = None) -> bytes:
    """Key of a row of token ids, int32 [T], and of its token types if the model reads them, 16 bytes."""
    return _key(b"tokens", [ids.tobytes()] if types is None else [ids.tobytes(), types.tobytes()])


def _key(kind: bytes, parts: Sequence[bytes]) -> bytes:
    digest = hashlib.blake2b(digest_size=16, person=kind)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()
