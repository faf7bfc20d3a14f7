"""Token rows: padded batches, and the ragged table that they are taken from.

Symbols in shapes, in every module: B rows, T positions, V vocabulary size, D embedding width, C classes,
K neighbours, N queries.

Texts are tokenized once and stored without padding (32-bit ids and offsets). A batch is padded only to its own
longest row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from tokenizers import Encoding
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

NO_LIMIT = 10**9  # a tokenizer without a limit reports 1e30
_BLOCK = 2048  # rows tokenized at once; an encoding takes about 6 KB
SPECIAL = -1  # segment of [CLS], [SEP] and padding: never changed, never mixed


@dataclass(frozen=True)
class TokenBatch:
    """A padded batch of token rows.

    Attributes:
        ids: token ids, int64 [B, T].
        mask: 1 at tokens, 0 at padding, int64 [B, T].
        segments: 0 for the first text, 1 for the second, -1 for special tokens and padding, int64 [B, T].
        row_ids: number of each row in its table, int64 [B]; the key of the row's random numbers.
        type_ids: token type ids, int64 [B, T], or None if the model has none.
        texts: original text of each row, or both texts of a pair, before any token was changed; None if unknown.
    """

    ids: Tensor
    mask: Tensor
    segments: Tensor
    row_ids: Tensor
    type_ids: Tensor | None = None
    texts: tuple[tuple[str, ...], ...] | None = None

    def with_ids(self, ids: Tensor) -> "TokenBatch":
        """The same rows with other tokens."""
        return replace(self, ids=ids)

    def tensors(self) -> dict[str, Any]:
        """All tensors by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def take(self, rows: Tensor) -> "TokenBatch":
        """The rows with these indices, int64 [N], in this order."""
        texts = self.texts and tuple(self.texts[row] for row in rows.tolist())
        return replace(self, texts=texts, **{name: value[rows] for name, value in self.tensors().items()})

    def some(self, part: slice) -> "TokenBatch":
        """Consecutive rows."""
        return replace(
            self, texts=self.texts and self.texts[part],
            **{name: value[part] for name, value in self.tensors().items()},
        )  # fmt: skip

    def parts(self, rows: int) -> Iterator["TokenBatch"]:
        """The same rows in batches of about equal size, with at most ``rows`` each."""
        for part in torch.arange(len(self.ids), device=self.ids.device).chunk(-(-len(self.ids) // rows)):
            yield self.take(part)

    def to(self, device: torch.device | str) -> "TokenBatch":
        """The same rows on another device."""
        return replace(self, **{name: value.to(device) for name, value in self.tensors().items()})

    def model_inputs(self) -> dict[str, Tensor]:
        """Keyword arguments of a Hugging Face model's forward."""
        inputs = {"input_ids": self.ids, "attention_mask": self.mask}
        return inputs if self.type_ids is None else inputs | {"token_type_ids": self.type_ids}


@dataclass(frozen=True)
class TokenTable:
    """All rows of a split, tokenized once; ``batch`` pads some of them into a :class:`TokenBatch`.

    Attributes:
        flat: token id, segment and token type of every token of every row, int32 [3, total tokens].
        offsets: start of each row in ``flat``, int64 [rows + 1].
        pad_id: the tokenizer's padding id.
        has_types: whether the model uses token type ids.
        truncated: number of rows that were truncated at the length limit.
        texts: original text of each row; empty if unknown.
        pairs: second texts, or None.
        limit: maximum number of tokens of a row.
        first_row: row id of the first row; above 0 if the table holds a part of the rows, whose ids are consecutive.
    """

    flat: np.ndarray
    offsets: np.ndarray
    pad_id: int
    has_types: bool
    truncated: int = 0
    texts: Sequence[str] = ()
    pairs: Sequence[str] | None = None
    limit: int | None = None
    first_row: int = 0

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each row, including special tokens, int64 [rows]."""
        return np.diff(self.offsets)

    def select(self, rows: Sequence[int]) -> "TokenTable":
        """The rows with these numbers, without texts."""
        parts = [self.flat[:, self.offsets[row] : self.offsets[row + 1]] for row in rows]
        offsets = np.cumsum([0, *(part.shape[1] for part in parts)], dtype=np.int64)
        flat = np.concatenate([self.flat[:, :0], *parts], axis=1)
        return replace(self, flat=flat, offsets=offsets, texts=(), pairs=None)

    def batch(self, rows: Sequence[int] | np.ndarray | Tensor) -> TokenBatch:
        """Pad the given rows to the longest of them.

        Args:
            rows: row ids, [B].

        Returns:
            A batch on the CPU, [B, T].
        """
        row_ids = np.asarray(rows, dtype=np.int64)
        index = row_ids - self.first_row
        lengths = self.offsets[index + 1] - self.offsets[index]
        columns = np.arange(max(int(lengths.max(initial=0)), 1))
        present = columns[None, :] < lengths[:, None]
        where = np.where(present, self.offsets[index][:, None] + columns[None, :], 0)
        padding = np.array([self.pad_id, SPECIAL, 0])[:, None, None]
        flat = self.flat if self.flat.size else padding[:, 0]  # no row may have a token
        ids, segments, types = torch.from_numpy(np.where(present, flat[:, where], padding))
        return TokenBatch(
            ids=ids,
            mask=torch.from_numpy(present.astype(np.int64)),
            segments=segments,
            row_ids=torch.from_numpy(row_ids),
            type_ids=types if self.has_types else None,
            texts=self.texts_of(row_ids.tolist()),
        )

    def texts_of(self, rows: Sequence[int]) -> tuple[tuple[str, ...], ...] | None:
        """The text, or both texts, of each row with these ids; None if unknown."""
        if not len(self.texts):
            return None
        columns = [self.texts] if self.pairs is None else [self.texts, self.pairs]
        return tuple(tuple(column[row - self.first_row] for column in columns) for row in rows)


def join(first: TokenBatch, second: TokenBatch, pad_id: int) -> TokenBatch:
    """The rows of both batches in one, padded to the longer of them, [B1 + B2, T]."""
    length = max(first.ids.shape[1], second.ids.shape[1])
    one, two = (padded(batch, length, pad_id).tensors() for batch in (first, second))
    texts = None if first.texts is None or second.texts is None else first.texts + second.texts
    return replace(first, texts=texts, **{key: torch.cat([value, two[key]]) for key, value in one.items()})


def padded(batch: TokenBatch, length: int, pad_id: int) -> TokenBatch:
    """The same rows with padding at the end, [B, length]."""
    more = length - batch.ids.shape[1]
    fill = {"ids": pad_id, "mask": 0, "segments": SPECIAL, "type_ids": 0}
    longer: dict[str, Any] = {
        key: F.pad(value, (0, more), value=fill[key]) for key, value in batch.tensors().items() if key in fill
    }
    return replace(batch, **longer)


def unpadded(batch: TokenBatch, pad_id: int) -> TokenTable:
    """The rows of a batch without their padding, on the CPU, without texts."""
    types = torch.zeros_like(batch.ids) if batch.type_ids is None else batch.type_ids
    columns = torch.stack([batch.ids, batch.segments, types]).to("cpu", torch.int32)
    present = batch.mask.cpu() > 0
    offsets = np.concatenate([[0], np.cumsum(present.sum(1).numpy())]).astype(np.int64)
    return TokenTable(columns[:, present].numpy(), offsets, pad_id, batch.type_ids is not None)


def max_length(tokenizer: PreTrainedTokenizerBase, limit: int | None = None) -> int:
    """Maximum number of tokens of a row: the tokenizer's limit or a smaller ``limit``; 512 if neither is known."""
    own = int(tokenizer.model_max_length)
    if limit is None:
        return own if own < NO_LIMIT else 512
    return min(own, limit)


def tokenize(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    pairs: Sequence[str] | None = None,
    limit: int | None = None,
) -> TokenTable:
    """Tokenize texts or text pairs into a :class:`TokenTable`; longer rows are truncated and counted.

    Args:
        tokenizer: a fast Hugging Face tokenizer.
        texts: first texts.
        pairs: second texts, one for each first text.
        limit: maximum number of tokens of a row; see :func:`max_length`.

    Raises:
        ValueError: if the tokenizer is a slow one; it does not return the text of each token.
    """
    if not tokenizer.is_fast:
        raise ValueError(f"{type(tokenizer).__name__} is a slow tokenizer; augpro needs a fast one")
    limit = max_length(tokenizer, limit)
    if not texts:
        return TokenTable(np.zeros((3, 0), dtype=np.int32), np.zeros(1, dtype=np.int64), 0, False)
    columns = [texts] if pairs is None else [texts, pairs]
    flat: list[np.ndarray] = []
    lengths: list[int] = []
    truncated = 0
    for start in range(0, len(texts), _BLOCK):
        rows, cut = _block(tokenizer, [list(column[start : start + _BLOCK]) for column in columns], limit)
        flat.append(np.concatenate(rows, axis=1))
        lengths += [row.shape[1] for row in rows]
        truncated += cut
    return TokenTable(
        flat=np.concatenate(flat, axis=1),
        offsets=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64),
        pad_id=int(tokenizer.pad_token_id or 0),
        has_types="token_type_ids" in tokenizer.model_input_names,
        truncated=truncated,
        texts=texts,
        pairs=pairs,
        limit=limit,
    )


def _block(
    tokenizer: PreTrainedTokenizerBase, columns: list[list[str]], limit: int
) -> tuple[list[np.ndarray], int]:
    """Id, segment and type of each token of each row, and the number of truncated rows."""
    encodings, cut = encode(tokenizer, columns, [limit] * len(columns[0]))
    special, unknown = only_special(tokenizer), tokenizer.unk_token_id
    return [_columns(encoding, special, unknown) for encoding in encodings], cut


def only_special(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids of the special tokens except the unknown token, which represents a word."""
    return [token for token in tokenizer.all_special_ids if token != tokenizer.unk_token_id]


def encode(
    tokenizer: PreTrainedTokenizerBase, columns: Sequence[Sequence[str]], limits: Sequence[int]
) -> tuple[list[Encoding], int]:
    """Encodings of rows, with the position of each token in its text, and the number of truncated rows.

    The name of a special token in a text is treated as ordinary text.

    Args:
        tokenizer: a fast tokenizer.
        columns: the rows' texts, and their second texts if they are pairs.
        limits: maximum number of tokens of each row.
    """
    # Tokenized without truncation first: otherwise a row of exactly its limit would look truncated.
    options = {"split_special_tokens": True, "verbose": False}
    encodings = list(tokenizer(*map(list, columns), truncation=False, **options).encodings or [])
    too_long = [row for row, limit in enumerate(limits) if len(encodings[row].ids) > limit]
    for limit in {limits[row] for row in too_long}:
        rows = [row for row in too_long if limits[row] == limit]
        cut = tokenizer(
            *[[column[row] for row in rows] for column in columns],
            truncation=True,
            max_length=limit,
            **options,
        )
        for row, encoding in zip(rows, cut.encodings or [], strict=True):
            encodings[row] = encoding
    # Otherwise a later save would write the truncation into tokenizer.json.
    tokenizer.backend_tokenizer.no_truncation()
    return encodings, len(too_long)


def _columns(encoding: Encoding, special_ids: list[int], unknown: int | None) -> np.ndarray:
    """Id, segment and type of each token of one row, int32 [3, tokens].

    A tokenizer may read a special token's name in a text as this special token (SentencePiece's Unigram does). It
    then counts as an unknown word, or as special if the tokenizer has no unknown token.
    """
    ids = np.array(encoding.ids, dtype=np.int32)
    segments = np.array([SPECIAL if sequence is None else sequence for sequence in encoding.sequence_ids])
    typed = np.isin(ids, special_ids) & (segments != SPECIAL)
    if unknown is None:
        segments = np.where(typed, SPECIAL, segments)
    else:
        ids = np.where(typed, unknown, ids)
    return np.stack([ids, segments, encoding.type_ids]).astype(np.int32)
