"""Texts to token ids, cut at the maximum length.

The tokenizers library reads a text to its end before it cuts, which takes eight seconds for a million characters. So
only the beginning of a long text is read, where it is certain that this gives the same tokens: words are split from
left to right by a tokenizer of a known kind, so what follows can change only the last word of the beginning, and
tokens are kept only if they end well before it. Other kinds of tokenizers read the whole text.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from augpro_runtime.errors import TextError
from augpro_runtime.folder import Manifest

_CHARACTERS_PER_TOKEN = (
    16  # of the beginning that is tried first; a quarter of them are enough for most texts
)
_MARGIN = 64  # characters; longer than any group that a normalizer joins
_AT_ONCE = 1024  # texts; an encoding takes about 6 KB

# Parts of a tokenizer that look no further than a character, or one word, ahead.
_SPLITS = {
    "BertPreTokenizer",
    "Whitespace",
    "WhitespaceSplit",
    "ByteLevel",
    "Metaspace",
    "Punctuation",
    "Digits",
}
_NORMALIZES = {
    "BertNormalizer", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Strip", "Nmt", "Precompiled",
    "Prepend", "Replace", "ByteLevel",
}  # fmt: skip
_SPACES = ({"String": " "}, {"Regex": " {2,}"}, {"String": "``"}, {"String": "''"})


class TextReader:
    """Token ids of texts, as the classifier was trained on them.

    Args:
        definition: content of ``tokenizer.json``.
        manifest: maximum length and special tokens.
        parallel: whether several threads may read the texts.
    """

    def __init__(self, definition: str, manifest: Manifest, parallel: bool = True) -> None:
        self.manifest, self.parallel = manifest, parallel
        self._tokenizer = Tokenizer.from_str(definition)
        self._tokenizer.encode_special_tokens = True  # the name of a special token in a text is text
        self._tokenizer.no_padding()
        direction = (json.loads(definition).get("truncation") or {}).get("direction", "right").lower()
        self._tokenizer.enable_truncation(manifest.max_tokens, direction=direction)
        self._beginning = _CHARACTERS_PER_TOKEN * manifest.max_tokens + _MARGIN
        self._margin = _MARGIN + _longest_added(definition)
        self._cuts = direction == "right" and is_local(definition)
        self._special = np.array(sorted(set(manifest.special_ids) - {manifest.unknown_id}), dtype=np.int64)
        self._frame = {pair: self._tokenizer.num_special_tokens_to_add(pair) for pair in (False, True)}

    def read(
        self, texts: Sequence[str], pairs: Sequence[str] | None
    ) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
        """Ids and token types of each row, without padding."""
        ids: list[NDArray[np.int64]] = []
        types: list[NDArray[np.int64]] = []
        for start in range(0, len(texts), _AT_ONCE):
            part = texts[start : start + _AT_ONCE]
            second = None if pairs is None else pairs[start : start + _AT_ONCE]
            for encoding in self._encode(part, second):
                ids.append(self._ids(encoding, second is not None))
                types.append(np.array(encoding.type_ids, dtype=np.int64))
        return ids, types

    def _encode(self, texts: Sequence[str], pairs: Sequence[str] | None) -> list[Encoding]:
        if pairs is None:
            rows: list[Any] = [self._cut(text) for text in texts]
        else:  # which of the two is cut depends on the length of both
            rows = list(zip(texts, pairs, strict=True))
        if not self.parallel:
            return [self._tokenizer.encode(*row) if pairs else self._tokenizer.encode(row) for row in rows]
        return list(self._tokenizer.encode_batch_fast(rows))

    def _cut(self, text: str) -> str:
        """The text, or a beginning of it that has the same kept tokens."""
        length = self._beginning
        while self._cuts and length < len(text):
            part = text[:length]
            if self._is_enough(part):
                return part
            length *= 4
        return text

    def _is_enough(self, part: str) -> bool:
        rest = self._tokenizer.encode(part, add_special_tokens=False).overflowing  # what truncation cuts off
        if not rest:
            return False
        end, word = rest[0].offsets[0][1], rest[0].word_ids[0]
        return end <= len(part) - self._margin and word != rest[-1].word_ids[-1]

    def _ids(self, encoding: Encoding, pair: bool) -> NDArray[np.int64]:
        """Ids of a row; special tokens that a text spells out are unknown words."""
        ids = np.array(encoding.ids, dtype=np.int64)
        if self.manifest.unknown_id is None:
            return ids
        special = np.isin(ids, self._special)
        if int(special.sum()) > self._frame[pair]:
            inside = np.array([sequence is not None for sequence in encoding.sequence_ids])
            ids[special & inside] = self.manifest.unknown_id
        return ids


def check_texts(texts: object, name: str) -> list[str]:
    """The texts as a list.

    Raises:
        TextError: if it is no list of strings, or one of them is no text.
    """
    if isinstance(texts, str | bytes):
        raise TextError(f"{name} is one string; give a list of strings, such as [{name[:-1]}].")
    try:
        rows: list[str] = list(texts)  # type: ignore[call-overload]
    except TypeError as error:
        raise TextError(f"{name} is {type(texts).__name__}; give a list of strings.") from error
    for number, text in enumerate(rows):
        if not isinstance(text, str):
            raise TextError(
                f"{name}[{number}] is {type(text).__name__}, not a string; leave it out or convert it."
            )
        if not text.isascii():
            _check_characters(text, f"{name}[{number}]")
    return rows


def is_whole(value: object, most: float = math.inf) -> bool:
    """Whether a value is a whole number of at least 1, and at most ``most``."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(1 <= value <= most)


def _check_characters(text: str, name: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TextError(
            f"{name} has half of a surrogate pair as its character {error.start + 1}, which is no text; read it "
            "with errors='replace', or remove the character."
        ) from error


def is_local(definition: str) -> bool:
    """Whether the tokens of a text's beginning do not depend on what comes later, its last word aside.

    Args:
        definition: content of a ``tokenizer.json``.
    """
    content = json.loads(definition)
    splits, normalizes = (
        _parts(content.get(key), inner)
        for key, inner in (("pre_tokenizer", "pretokenizers"), ("normalizer", "normalizers"))
    )
    return (
        any(part["type"] not in ("Punctuation", "Digits") for part in splits)
        and all(part["type"] in _SPLITS for part in splits)
        and all(part.get("use_regex", True) for part in splits if part["type"] == "ByteLevel")
        and all(part.get("split", True) for part in splits if part["type"] == "Metaspace")
        and all(part["type"] in _NORMALIZES for part in normalizes)
        and all(part["pattern"] in _SPACES for part in normalizes if part["type"] == "Replace")
    )


def _parts(part: dict[str, Any] | None, inner: str) -> list[dict[str, Any]]:
    if part is None:
        return []
    return (
        [leaf for each in part[inner] for leaf in _parts(each, inner)]
        if part["type"] == "Sequence"
        else [part]
    )


def _longest_added(definition: str) -> int:
    return max((len(token["content"]) for token in json.loads(definition)["added_tokens"]), default=0)
