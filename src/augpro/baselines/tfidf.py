"""TF-IDF features of words and characters, without a language model."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from augpro.augment.checks import check_whole
from augpro.baselines.base import Features, Setting
from augpro.data.loading import Split

_BETWEEN = " [SEP] "  # the texts of a pair
_WORDS = r"\w+|[^\w\s]"  # single letters, digits and signs count too, so no text is empty
_MOST = 50_000  # n-grams of each kind: the most frequent ones


@dataclass(frozen=True)
class TfIdf:
    """TF-IDF of word n-grams and of character n-grams within words, each with logarithmic counts and unit length.

    Character n-grams help with languages without spaces, inflected words and typing errors.

    Attributes:
        words: maximum length of word n-grams; 0 for none.
        characters: maximum length of character n-grams; 0 for none.

    Source: Salton and Buckley 1988, Information Processing & Management 24:513 (weights); scikit-learn.
    """

    words: int = 2
    characters: int = 4

    def __post_init__(self) -> None:
        check_whole("words", self.words, 0, 5)
        check_whole("characters", self.characters, 0, 10)
        if not self.words and not self.characters:
            raise ValueError("words and characters are both 0; set one of them above 0")

    def check(self, train: Split, setting: Setting) -> None:
        """Nothing more to check than the plan does."""

    def features(self, train: Split, teacher_logits: Tensor, setting: Setting) -> Features:
        """N-grams and their weights from the training rows."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import make_union

        kinds = []
        if self.words:
            kinds.append({"token_pattern": _WORDS, "ngram_range": (1, self.words)})
        if self.characters:
            kinds.append({"analyzer": "char_wb", "ngram_range": (1, self.characters)})
        parts = [TfidfVectorizer(sublinear_tf=True, max_features=_MOST, **kind) for kind in kinds]
        union = make_union(*parts).fit(_joined(train))
        return Features(
            lambda split: union.transform(_joined(split)).tocsr(), sum(len(part.idf_) for part in parts)
        )


def _joined(split: Split) -> Sequence[str]:
    if split.pairs is None:
        return split.texts
    return [f"{text}{_BETWEEN}{pair}" for text, pair in zip(split.texts, split.pairs, strict=True)]
