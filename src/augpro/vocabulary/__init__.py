"""Which tokens augmentation may produce, and how token rows are written as text.

Allowed tokens are in two groups: tokens that start a word and pieces that continue one; a token is replaced only
within its group. Special, unused, control and unprintable tokens, and word starts that change under decode and
encode, are in no group.

Replacing one piece of a longer word can give a word that the tokenizer splits differently ("play" + "##ing" is the
single token "playing"). :meth:`Vocabulary.keep_canonical` undoes such replacements, so that ids and text correspond.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise

import torch
from tokenizers import Encoding
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from augpro.tokens import TokenBatch, encode
from augpro.vocabulary.spelling import Word, in_case_of, put_in

Rows = Sequence[tuple[str, ...]]  # the text of each row, or both texts of each pair

WORD_START, CONTINUATION, BANNED = 0, 1, -1
_KNOWN_WORDS = 50_000  # size of the cache: some 10 MiB
_MARKS = frozenset(".,;:!?…()–—。，、；：！？")  # they end a clause
_RESERVED = re.compile(r"\[unused\d+\]|<[^<>\s]+>|\[[A-Z]+\d*\]")  # [unused7], <extra_id_0>, [MASK]


class Vocabulary:
    """The token groups of a tokenizer's vocabulary.

    Args:
        tokenizer: a fast tokenizer of the WordPiece ("##"), byte-BPE or SentencePiece family.
        size: V, number of rows of the embedding table; ids unknown to the tokenizer are banned.

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
        """Positions whose token may be replaced: text tokens that are in a group; bool [B, T]."""
        return (batch.segments >= 0) & (self.groups.to(batch.ids.device)[batch.ids] != BANNED)

    def decode(self, batch: TokenBatch) -> tuple[list[str], list[str] | None]:
        """Texts of the rows, and second texts of pairs, for any other tokenizer.

        Unchanged words keep their original spelling, see :mod:`augpro.vocabulary.spelling`. If this tokenizer ignores
        case, new words get the case of the word that they replace. Rows whose text is unknown, or would be split into
        other tokens, are decoded from their tokens.
        """
        if batch.texts is None:
            return self._read(batch)
        tokens = _kept(batch.ids, batch.mask > 0)
        written = list(self._written(batch.texts, tokens))
        again = self._encodings(written, tokens)
        other = [row for row, (made, ids) in enumerate(zip(again, tokens, strict=True)) if made.ids != ids]
        if other:
            read = self._read(batch.take(torch.tensor(other)))
            columns = [column or [""] * len(other) for column in read[: len(written[0])]]
            for row, *texts in zip(other, *columns, strict=True):
                written[row] = tuple(texts)
        first, *second = (list(column) for column in zip(*written, strict=True))
        return first, second[0] if second else None

    def _read(self, batch: TokenBatch) -> tuple[list[str], list[str] | None]:
        """The rows decoded from their tokens."""
        first, second = (self._texts(_kept(batch.ids, batch.segments == segment)) for segment in (0, 1))
        return first, second if any(second) else None

    def _written(self, texts: Rows, tokens: list[list[int]]) -> Rows:
        """The rows' texts with changed words replaced."""
        encodings = self._encodings(texts, tokens)
        places = [
            (row, *place)
            for row, (encoding, ids) in enumerate(zip(encodings, tokens, strict=True))
            if encoding.ids != ids and len(encoding.ids) == len(ids)
            for place in self._places(encoding)
        ]
        changed = [tokens[row][a:b] != encodings[row].ids[a:b] for row, a, b in places]
        new = iter(
            self._texts([tokens[row][a:b] for (row, a, b), new in zip(places, changed, strict=True) if new])
        )
        words: dict[tuple[int, int], list[Word]] = defaultdict(list)
        for (row, a, b), differs in zip(places, changed, strict=True):
            encoding = encodings[row]
            column = encoding.sequence_ids[a] or 0
            word = self._word(texts[row][column], encoding.offsets[a:b], next(new) if differs else None)
            words[row, column].append(word)
        written = [list(row) for row in texts]
        for (row, column), text_words in words.items():
            written[row][column] = put_in(texts[row][column], text_words)
        return [tuple(row) for row in written]

    def _places(self, encoding: Encoding) -> Iterator[tuple[int, int]]:
        """Start and end of each word of a row, in tokens."""
        groups, texts = self.groups[encoding.ids].tolist(), encoding.sequence_ids
        start = None
        for place, (group, text) in enumerate(zip([*groups, BANNED], [*texts, None], strict=True)):
            if start is not None and (group != CONTINUATION or text != texts[start]):
                yield start, place
                start = None
            if start is None and text is not None:
                start = place

    def _word(self, text: str, offsets: Sequence[tuple[int, int]], new: str | None) -> Word:
        start, end = min(start for start, _ in offsets), max(end for _, end in offsets)
        old = text[start:end]
        start += len(old) - len(old.lstrip())  # some tokenizers include the space before a word
        if new is not None:
            new = in_case_of(old.strip(), new.strip()) if self._ignores_case else new.strip()
        return Word(start, max(start, end), new)

    def _encodings(self, texts: Rows, tokens: list[list[int]]) -> list[Encoding]:
        """The rows' texts tokenized, truncated to as many tokens as the rows have."""
        return encode(self.tokenizer, list(zip(*texts, strict=True)), [len(ids) for ids in tokens])[0]

    @cached_property
    def _ignores_case(self) -> bool:
        capital, small = self._tokens(["Ab", "ab"])
        return capital == small

    def keep_canonical(self, ids: Tensor, batch: TokenBatch) -> Tensor:
        """Restore the original pieces of every changed word that would be tokenized differently.

        Args:
            ids: changed ids, int64 [B, T].
            batch: the original rows.

        Returns:
            ids whose words do not change under decode and encode, int64 [B, T].
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
        """Share of rows whose text is tokenized into other tokens."""
        texts, pairs = self.decode(batch)
        tokens, content = (_kept(batch.ids, kept) for kept in (batch.mask > 0, batch.segments >= 0))
        again = self._encodings(
            list(zip(texts, pairs, strict=True) if pairs else zip(texts, strict=True)), tokens
        )
        different = sum(
            [token for token, text in zip(made.ids, made.sequence_ids, strict=True) if text is not None]
            != ids
            for made, ids in zip(again, content, strict=True)
        )
        return different / max(1, len(tokens))

    def _changed_words(self, ids: Tensor, batch: TokenBatch) -> tuple[list[int], list[int], list[int]]:
        """Row, start and end of every word of at least two pieces with a changed piece."""
        group = self.groups.to(ids.device)[ids].masked_fill(batch.segments < 0, BANNED)
        begins = group != CONTINUATION
        # A byte-level tokenizer may write the first word of a text as it writes a continuation.
        begins[:, 1:] |= batch.segments[:, 1:] != batch.segments[:, :-1]
        begins[:, 0] = True
        # A word is its start and the continuations after it; number words along the flattened batch.
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
        """Texts of token rows; spaces are not cleaned up, because that can change the tokens.

        One call of the tokenizer's backend for all rows takes half the time of a call for each.
        """
        return list(self.tokenizer.backend_tokenizer.decode_batch(rows, skip_special_tokens=False))

    def _tokens(self, texts: list[str], pairs: list[str] | None = None) -> list[list[int]]:
        """Token rows of texts, without special tokens."""
        options = {"return_attention_mask": False, "return_token_type_ids": False}
        options |= {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
        return list(self.tokenizer(texts, pairs, **options)["input_ids"])


def _kept(ids: Tensor, kept: Tensor) -> list[list[int]]:
    """The kept ids of every row."""
    flat, ends = ids[kept].tolist(), kept.sum(1).cumsum(0).tolist()
    return [flat[start:end] for start, end in pairwise([0, *ends])]


def _word_starts(tokens: Sequence[str]) -> list[bool]:
    """Whether each token starts a word, by the marker of its tokenizer family.

    A marker can be an ordinary token of another family (GPT-2's vocabulary has a "##"), so the family is the one
    whose marker most tokens have.
    """
    marker = max(("##", "Ġ", "▁"), key=lambda mark: sum(token.startswith(mark) for token in tokens))
    return [token.startswith(marker) != (marker == "##") for token in tokens]
