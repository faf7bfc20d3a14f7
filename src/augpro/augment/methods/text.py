"""Methods that rewrite a row's text, which is then tokenized again; and EDA.

Methods with a language model are in :mod:`augpro.augment.methods.masked` and
:mod:`augpro.augment.methods.translate`.
"""

import re
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from itertools import chain
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from augpro.augment.base import AugmentContext, Augmenter
from augpro.augment.checks import check_range
from augpro.augment.wordnet import WordNet, find_wordnet
from augpro.tokens import TokenBatch, tokenize
from augpro.vocabulary.spelling import in_case_of

_WORD = re.compile(r"\s*\S+")  # with the white space before it
_PUNCTUATED = re.compile(r"(\W*)(.*?)(\W*)", re.DOTALL)  # before the word, the word, after it


class TextAugmenter(Augmenter):
    """Rewrites the texts of every row; the new rows may have another length.

    If the new text is blank, the original stays. Rows over the table's length limit are truncated after the
    rewriting, as the originals are.

    Attributes:
        name: name of the method on the command line.
    """

    name: ClassVar[str]

    def __call__(self, batch: TokenBatch, context: AugmentContext) -> TokenBatch:
        """Augment every row once."""
        table, rows = context.rows(self.name), batch.row_ids.tolist()
        columns = [list(column) for column in zip(*(table.texts_of(rows) or ()), strict=True)]
        rewritten = self.rewrite(columns, batch.row_ids.to(batch.ids.device), context)
        changed = [
            [after if after.strip() else before for before, after in zip(old, new, strict=True)]
            for old, new in zip(columns, rewritten, strict=True)
        ]
        context.counts.rows += len(rows)
        for before, after in zip(chain(*columns), chain(*changed), strict=True):
            context.counts.add_text(before, after)
        texts, pairs = changed[0], changed[1] if len(changed) > 1 else None
        tokens = tokenize(context.space.vocabulary.tokenizer, texts, pairs, table.limit)
        return replace(tokens.batch(range(len(rows))).to(batch.ids.device), row_ids=batch.row_ids)

    @abstractmethod
    def rewrite(self, columns: list[list[str]], row_ids: Tensor, context: AugmentContext) -> list[list[str]]:
        """New texts for every column.

        Args:
            columns: the original texts of the rows, and their second texts if they are pairs; 1 or 2 lists of B.
            row_ids: keys of the random numbers, int64 [B], on the device of the models.
            context: random numbers and cached objects.

        Returns:
            Lists of the same lengths.
        """


def check_text(name: str, value: str) -> None:
    """Raise ``ValueError`` naming the argument unless it is a string."""
    if type(value) is not str:
        raise ValueError(f"{name} must be a folder or a hub name, not {value!r}")


def sample(scores: Tensor, top_k: int, temperature: float, draw: Tensor) -> Tensor:
    """Sample one column per row from the softmax of its highest scores, by inverse transform sampling.

    Args:
        scores: float [N, V]; -inf is never sampled unless a row has nothing else.
        top_k: number of highest scores to sample from.
        temperature: divides the scores; above 1 flattens, below 1 sharpens.
        draw: uniform in [0, 1), [N].

    Returns:
        int64 [N].
    """
    best, columns = scores.topk(min(top_k, scores.shape[1]))
    shifted = (best - best[:, :1]).double() / temperature
    cumulative = shifted.exp().where(best.isfinite(), 0.0).cumsum(1)
    point = draw.double()[:, None] * cumulative[:, -1:]
    place = torch.searchsorted(cumulative, point, right=True).clamp_max(best.shape[1] - 1)
    return columns.gather(1, place)[:, 0]


@contextmanager
def in_full(device: torch.device) -> Iterator[None]:
    """Run a model in float32 without gradients, even during training in half precision.

    With half precision, rounding could change the sampled token and make a row depend on its batch.
    """
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        yield


Synonyms = Callable[[str], Sequence[str]]
Item = TypeVar("Item")


@dataclass(frozen=True)
class EDA(TextAugmenter):
    """Easy data augmentation: one of four simple operations on the words of a text. English only.

    Each text gets one random operation among those with a parameter above 0; if all are 0, the text stays.
    A text of W words has max(1, int(parameter * W)) words replaced, inserted or swapped.
    Cost: string operations, no model.

    Attributes:
        synonym: share of the words that are replaced by a WordNet synonym, without stop words, in [0, 1].
        insertion: number of inserted synonyms of words of the text, as a share of the words, in [0, 1].
        swap: number of swaps of two words, as a share of the words, in [0, 1].
        deletion: probability that a word is deleted, in [0, 1]; at least one word stays.

    Raises:
        ValueError: if a value is out of range.

    Source: Wei and Zou 2019 (arXiv 1901.11196); 0.1 is the default of their code. Here words keep their
    punctuation and case, stop words are scikit-learn's, and words without synonyms are not drawn.
    """

    name: ClassVar[str] = "eda"

    synonym: float = 0.1
    insertion: float = 0.1
    swap: float = 0.1
    deletion: float = 0.1

    def __post_init__(self) -> None:
        for field in fields(self):
            check_range(field.name, getattr(self, field.name), 0.0, 1.0)

    def check(self) -> None:
        """Check that WordNet is installed if it is needed.

        Raises:
            augpro.errors.InputError: names the fix.
        """
        if self.synonym or self.insertion:
            find_wordnet()

    def rewrite(self, columns: list[list[str]], row_ids: Tensor, context: AugmentContext) -> list[list[str]]:
        """Apply one random operation to every text."""
        shares = [(name, share) for name, share in vars(self).items() if share]
        longest = max(len(text.split()) for column in columns for text in column)
        if not shares or not longest:
            return [list(column) for column in columns]
        synonyms = self._lexicon(context)
        rewritten = []
        for column, texts in enumerate(columns):
            # One random number for the operation; an operation needs at most three for each word.
            draws = context.rng.uniform(f"eda{column}", row_ids, 2 + 3 * longest).tolist()
            rewritten.append(
                [_rewrite(text, shares, iter(row), synonyms) for text, row in zip(texts, draws, strict=True)]
            )
        return rewritten

    def _lexicon(self, context: AugmentContext) -> Synonyms:
        """Synonyms of a word, none for a stop word; always empty if no operation needs synonyms."""
        if not (self.synonym or self.insertion):
            return lambda _word: ()

        def stop_words() -> frozenset[str]:
            from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

            return frozenset(ENGLISH_STOP_WORDS)

        stop = context.load("stop words", stop_words)
        wordnet = context.load("wordnet", WordNet.load)
        return lambda word: () if word in stop else wordnet.synonyms(word)


def _rewrite(
    text: str, shares: Sequence[tuple[str, float]], draw: Iterator[float], synonyms: Synonyms
) -> str:
    """Apply the operation that the first random number selects.

    White space stays before its word; in a swap it stays in place. Inserted words get one space.
    """
    words = _WORD.findall(f" {text.strip()}")
    if not words:
        return text
    name, share = _pick(shares, draw)
    if name == "deletion":
        new = delete_words(words, share, draw)
    else:
        count = max(1, int(share * len(words)))
        if name == "swap":
            new = swap_words(words, count, draw)
        else:
            change = replace_words if name == "synonym" else insert_words
            new = change(words, count, draw, synonyms)
    if new == words:
        return text
    start, end = len(text) - len(text.lstrip()), len(text.rstrip())
    return text[:start] + "".join(new).strip() + text[end:]


def replace_words(words: list[str], count: int, draw: Iterator[float], synonyms: Synonyms) -> list[str]:
    """Replace all occurrences of ``count`` different words, or of as many as have a synonym."""
    bare = [_bare(word) for word in words]
    left = [word for word in dict.fromkeys(bare) if synonyms(word)]
    drawn: dict[str, str] = {}
    while left and len(drawn) < count:
        word = left.pop(int(next(draw) * len(left)))
        drawn[word] = _pick(synonyms(word), draw)
    return [_put(drawn[key], word) if key in drawn else word for key, word in zip(bare, words, strict=True)]


def insert_words(words: list[str], count: int, draw: Iterator[float], synonyms: Synonyms) -> list[str]:
    """Insert a synonym of a random word at a random position, ``count`` times."""
    sources = [word for word in map(_bare, words) if synonyms(word)]
    new = list(words)
    for _ in range(count if sources else 0):
        synonym = _pick(synonyms(_pick(sources, draw)), draw)
        new.insert(int(next(draw) * (len(new) + 1)), f" {synonym}")
    return new


def swap_words(words: list[str], count: int, draw: Iterator[float]) -> list[str]:
    """Swap two random words, ``count`` times."""
    new = list(words)
    for _ in range(count if len(words) > 1 else 0):
        one, other = int(next(draw) * len(new)), int(next(draw) * (len(new) - 1))
        other += other >= one
        new[one], new[other] = _in_place_of(new[one], new[other]), _in_place_of(new[other], new[one])
    return new


def delete_words(words: list[str], probability: float, draw: Iterator[float]) -> list[str]:
    """Delete each word with a probability; if all would be deleted, a random one stays."""
    return [word for word in words if next(draw) >= probability] or [_pick(words, draw)]


def _pick(items: Sequence[Item], draw: Iterator[float]) -> Item:
    return items[int(next(draw) * len(items))]


def _in_place_of(old: str, new: str) -> str:
    return old[: len(old) - len(old.lstrip())] + new.lstrip()


def _bare(word: str) -> str:
    """The word in lower case, without surrounding punctuation."""
    return _parts(word)[1].lower()


def _put(new: str, old: str) -> str:
    """The new word with the case and punctuation of the old one."""
    before, word, after = _parts(old)
    return before + in_case_of(word, new) + after


def _parts(word: str) -> tuple[str, ...]:
    match = _PUNCTUATED.fullmatch(word)
    return match.groups() if match else ("", word, "")
