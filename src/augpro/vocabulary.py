"""Which tokens augmentation may produce, and whether what it produced is really text.

Candidates fall into two groups: tokens that start a word and pieces that continue one; a token is only
replaced within its group. Special, unused, control and unprintable tokens, and word starts that do not
survive decode and encode, are in no group.

Swapping one piece of a longer word can still spell a word that the tokenizer would cut differently
("play" + "##ing" is the one token "playing"). :meth:`Vocabulary.keep_canonical` undoes such swaps, so
that ids and text stay two views of the same thing.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from augpro.tokens import TokenBatch

WORD_START, CONTINUATION, BANNED = 0, 1, -1
_KNOWN_WORDS = 500_000  # kept in memory: some 100 MiB
_MARKS = frozenset(".,;:!?…()–—。，、；：！？")  # they end a clause
_RESERVED = re.compile(r"\[unused\d+\]|<[^<>\s]+>|\[[A-Z]+\d*\]")  # [unused7], <extra_id_0>, [MASK]


class Vocabulary:
    """Candidate groups of a tokenizer's vocabulary.

    Args:
        tokenizer: a fast tokenizer of the WordPiece ("##"), byte-BPE or SentencePiece family.
        size: V, rows of the embedding table; ids the tokenizer does not know are banned.

    Attributes:
        groups: 0 for a word start, 1 for a continuation, -1 for a banned token, int64 [V].
        marks: punctuation marks that end a clause, bool [V].
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, size: int) -> None:
        self.tokenizer = tokenizer
        self.groups = torch.full((size,), BANNED, dtype=torch.int64)
        self.marks = torch.zeros(size, dtype=torch.bool)
        known = min(size, len(tokenizer))
        tokens = tokenizer.convert_ids_to_tokens(list(range(known)))
        starts = _word_starts(tokens)
        banned = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
        texts = self._texts([[token_id] for token_id in range(known)])
        again = self._tokens(texts)
        for token_id, (token, start, text) in enumerate(zip(tokens, starts, texts, strict=True)):
            if token_id in banned or _RESERVED.fullmatch(token) or "�" in text or not text.strip():
                continue
            self.marks[token_id] = _MARKS.issuperset(text.strip())
            if not start:
                self.groups[token_id] = CONTINUATION
            elif again[token_id] == [token_id]:
                self.groups[token_id] = WORD_START
        self._canonical: dict[tuple[int, ...], bool] = {}

    def editable(self, batch: TokenBatch) -> Tensor:
        """Positions whose token may be replaced: text, and of a candidate group; bool [B, T]."""
        return (batch.segments >= 0) & (self.groups.to(batch.ids.device)[batch.ids] != BANNED)

    def decode(self, batch: TokenBatch) -> tuple[list[str], list[str] | None]:
        """Texts, and second texts where the rows have two, as any other tokenizer would be given them."""
        first, second = (self._texts(_kept(batch.ids, batch.segments == segment)) for segment in (0, 1))
        return first, second if any(second) else None

    def keep_canonical(self, ids: Tensor, batch: TokenBatch) -> Tensor:
        """Give back the original pieces of every changed word that would be tokenized differently.

        Args:
            ids: changed ids, int64 [B, T].
            batch: the rows they were made from.

        Returns:
            ids whose words all survive decode and encode, int64 [B, T].
        """
        rows, starts, ends = self._changed_words(ids, batch)
        pieces = ids.tolist()
        words = [tuple(pieces[row][start:end]) for row, start, end in zip(rows, starts, ends, strict=True)]
        self._check_words(words)
        ids = ids.clone()
        for row, start, end, word in zip(rows, starts, ends, words, strict=True):
            if not self._canonical[word]:
                ids[row, start:end] = batch.ids[row, start:end]
        return ids

    def mismatch_rate(self, batch: TokenBatch) -> float:
        """Share of rows whose tokens are not what the tokenizer makes of their text."""
        texts, pairs = self.decode(batch)
        again = self._tokens(texts, pairs)
        tokens = _kept(batch.ids, batch.segments >= 0)
        different = sum(bool(a != b) for a, b in zip(again, tokens, strict=True))
        return different / max(1, len(tokens))

    def _changed_words(self, ids: Tensor, batch: TokenBatch) -> tuple[list[int], list[int], list[int]]:
        """Row, start and end of every word of two or more pieces in which a piece changed."""
        group = self.groups.to(ids.device)[ids].masked_fill(batch.segments < 0, BANNED)
        begins = group != CONTINUATION
        begins[:, 0] = True
        # Words are runs of continuations after their start; number them along the flattened batch.
        word = begins.flatten().cumsum(0) - 1
        touched = torch.zeros(int(word[-1]) + 1, dtype=torch.bool, device=ids.device)
        touched[word[(ids != batch.ids).flatten()]] = True
        first = torch.nonzero(begins.flatten())[:, 0]
        size = torch.bincount(word)
        chosen = torch.nonzero(touched & (size > 1))[:, 0]
        start = first[chosen] % ids.shape[1]
        return (first[chosen] // ids.shape[1]).tolist(), start.tolist(), (start + size[chosen]).tolist()

    def _check_words(self, words: Sequence[tuple[int, ...]]) -> None:
        if len(self._canonical) > _KNOWN_WORDS:
            self._canonical.clear()
        new = [list(word) for word in dict.fromkeys(words) if word not in self._canonical]
        if not new:
            return
        for word, ids in zip(new, self._tokens(self._texts(new)), strict=True):
            self._canonical[tuple(word)] = word == ids

    def _texts(self, rows: list[list[int]]) -> list[str]:
        """Texts of token rows, spaces left as they are: to clean them up can change the tokens.

        All rows at once by the tokenizer's own backend, in half the time of a call for each.
        """
        return list(self.tokenizer.backend_tokenizer.decode_batch(rows, skip_special_tokens=False))

    def _tokens(self, texts: list[str], pairs: list[str] | None = None) -> list[list[int]]:
        """Token rows of texts, without special tokens."""
        nothing_else = {"return_attention_mask": False, "return_token_type_ids": False}
        found = self.tokenizer(texts, pairs, add_special_tokens=False, verbose=False, **nothing_else)
        return list(found["input_ids"])


def _kept(ids: Tensor, kept: Tensor) -> list[list[int]]:
    """The kept ids of every row."""
    flat, ends = ids[kept].tolist(), kept.sum(1).cumsum(0).tolist()
    return [flat[start:end] for start, end in pairwise([0, *ends])]


def _word_starts(tokens: Sequence[str]) -> list[bool]:
    """Whether each token starts a word, from the marker its tokenizer family uses.

    Each marker can be an ordinary token of the other families (GPT-2's vocabulary has a "##"), so the family
    is that of the most tokens.
    """
    marker = max(("##", "Ġ", "▁"), key=lambda mark: sum(token.startswith(mark) for token in tokens))
    return [token.startswith(marker) != (marker == "##") for token in tokens]
