"""Methods that change a row's text; the student's tokenizer makes tokens of what comes out.

:class:`EDA` needs no model. What a model writes is in :mod:`augpro.augment.methods.masked` and
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
    """Rewrites the texts of every row; the result may be longer or shorter than the batch.

    A text that comes out blank is left as it was. Rows over the table's length limit are cut after the
    change, as the originals are.

    Attributes:
        name: as on the command line.
    """

    name: ClassVar[str]

    def __call__(self, batch: TokenBatch, context: AugmentContext) -> TokenBatch:
        """Augment every row once."""
        table, rows = context.rows(self.name), batch.row_ids.tolist()
        columns = [
            [column[row] for row in rows] for column in (table.texts, table.pairs) if column is not None
        ]
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
        """New texts for every column; the originals of all columns are given, none of them changed yet.

        Args:
            columns: the rows' texts, and their second texts where they are pairs; 1 or 2 lists of B.
            row_ids: key of the draws, int64 [B], on the device that a model shall run on.
            context: draws, and what has been loaded.

        Returns:
            Lists of the same lengths.
        """


def check_text(name: str, value: str) -> None:
    """Raise ``ValueError`` naming the argument unless it is a text."""
    if type(value) is not str:
        raise ValueError(f"{name} must be a folder or a hub name, not {value!r}")


def sample(scores: Tensor, top_k: int, temperature: float, draw: Tensor) -> Tensor:
    """Sample one column a row from the softmax of its highest scores, by the inverse distribution function.

    Args:
        scores: float [N, V]; -inf is never sampled, unless a row has nothing else.
        top_k: how many of the highest scores take part.
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
    """Run a model in float32 without gradients, also within training in half precision.

    Rounding then does not decide between tokens, which would make a row depend on its batch.
    """
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        yield


Synonyms = Callable[[str], Sequence[str]]
Item = TypeVar("Item")


@dataclass(frozen=True)
class EDA(TextAugmenter):
    """Easy data augmentation: one of four simple operations on the words of a text. English only.

    The operation is drawn for each text from those whose parameter is above 0; all four 0 is the identity.
    A text of W words has max(1, int(parameter * W)) of its words replaced, inserted or swapped.
    Cost: string work, no model.

    Attributes:
        synonym: share of the words, stop words apart, that are replaced by a WordNet synonym, in [0, 1].
        insertion: synonyms of words of the text that are put in anywhere, as a share of the words, in [0, 1].
        swap: exchanges of two words, as a share of the words, in [0, 1].
        deletion: probability that a word is left out, in [0, 1]; one word always stays.

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
        """Make sure that WordNet is installed, where it is needed.

        Raises:
            augpro.errors.InputError: naming the fix.
        """
        if self.synonym or self.insertion:
            find_wordnet()

    def rewrite(self, columns: list[list[str]], row_ids: Tensor, context: AugmentContext) -> list[list[str]]:
        """Apply one drawn operation to every text."""
        shares = [(name, share) for name, share in vars(self).items() if share]
        longest = max(len(text.split()) for column in columns for text in column)
        if not shares or not longest:
            return [list(column) for column in columns]
        synonyms = self._lexicon(context)
        rewritten = []
        for column, texts in enumerate(columns):
            # One draw for the operation; an operation takes at most three for each word.
            draws = context.rng.uniform(f"eda{column}", row_ids, 2 + 3 * longest).tolist()
            rewritten.append(
                [_rewrite(text, shares, iter(row), synonyms) for text, row in zip(texts, draws, strict=True)]
            )
        return rewritten

    def _lexicon(self, context: AugmentContext) -> Synonyms:
        """Synonyms of a word, none for a stop word; empty where no operation asks for any."""
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
    """Apply an operation that the first draw picks.

    White space stays before its word, or where words are exchanged in its place; new words have a space.
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
    """Replace ``count`` different words, or as many as have a synonym, wherever they stand."""
    bare = [_bare(word) for word in words]
    left = [word for word in dict.fromkeys(bare) if synonyms(word)]
    drawn: dict[str, str] = {}
    while left and len(drawn) < count:
        word = left.pop(int(next(draw) * len(left)))
        drawn[word] = _pick(synonyms(word), draw)
    return [_put(drawn[key], word) if key in drawn else word for key, word in zip(bare, words, strict=True)]


def insert_words(words: list[str], count: int, draw: Iterator[float], synonyms: Synonyms) -> list[str]:
    """Put in a synonym of a drawn word at a drawn place, ``count`` times."""
    sources = [word for word in map(_bare, words) if synonyms(word)]
    new = list(words)
    for _ in range(count if sources else 0):
        synonym = _pick(synonyms(_pick(sources, draw)), draw)
        new.insert(int(next(draw) * (len(new) + 1)), f" {synonym}")
    return new


def swap_words(words: list[str], count: int, draw: Iterator[float]) -> list[str]:
    """Exchange two drawn words, ``count`` times."""
    new = list(words)
    for _ in range(count if len(words) > 1 else 0):
        one, other = int(next(draw) * len(new)), int(next(draw) * (len(new) - 1))
        other += other >= one
        new[one], new[other] = _in_place_of(new[one], new[other]), _in_place_of(new[other], new[one])
    return new


def delete_words(words: list[str], probability: float, draw: Iterator[float]) -> list[str]:
    """Leave out each word with a probability; a drawn one stays if all would go."""
    return [word for word in words if next(draw) >= probability] or [_pick(words, draw)]


def _pick(items: Sequence[Item], draw: Iterator[float]) -> Item:
    return items[int(next(draw) * len(items))]


def _in_place_of(old: str, new: str) -> str:
    return old[: len(old) - len(old.lstrip())] + new.lstrip()


def _bare(word: str) -> str:
    """The word as a lexicon has it: lower case, no punctuation around it."""
    return _parts(word)[1].lower()


def _put(new: str, old: str) -> str:
    """A new word in the case and the punctuation of the old one."""
    before, word, after = _parts(old)
    return before + in_case_of(word, new) + after


def _parts(word: str) -> tuple[str, ...]:
    match = _PUNCTUATED.fullmatch(word)
    return match.groups() if match else ("", word, "")
