"""EDA's operations on a small WordNet: which words change, how many and how often."""

from collections import Counter

import pytest
import torch
from scipy.stats import chisquare
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from augpro.augment import wordnet as wordnet_module
from augpro.augment.methods.text import EDA
from common import ROWS

ONLY = {"synonym": 0.0, "insertion": 0.0, "swap": 0.0, "deletion": 0.0}
STOP = ["the", "is", "and", "your"]
LONG = ["the", "movie", "is", "good", "and", "great", "server", "plot", "your", "actor", "price", "team"]
LEXICON = {word: set(others) for word, others in {
    "movie": ["film", "picture", "motion picture"], "good": ["well-grounded"], "great": ["outstanding"],
    "server": ["host"], "plot": ["story"], "actor": ["player"], "price": ["cost"], "team": ["squad"],
}.items()}  # fmt: skip


@pytest.fixture
def no_wordnet(monkeypatch):
    monkeypatch.setattr(wordnet_module, "wordnet_places", lambda: iter([]))


def eda(context, texts, seed=0, **options):
    return EDA(**{**ONLY, **options}).rewrite([texts], torch.arange(len(texts)), context(seed=seed))[0]


def is_part(short, long):
    """Whether the words of one list stand in the other in the same order."""
    rest = iter(long)
    return all(word in rest for word in short)


def test_no_operation_is_the_identity(pairs, context, no_wordnet):
    batch = pairs.batch(ROWS)
    assert torch.equal(EDA(**ONLY)(batch, context(pairs)).ids, batch.ids)


@pytest.mark.parametrize(("share", "count"), [(0.25, 3), (0.01, 1), (1.0, 8)])
def test_synonyms_replace_so_many_words_that_are_no_stop_words(wordnet, context, share, count):
    seen = Counter()
    for new in eda(context, [" ".join(LONG)] * 200, synonym=share):
        rest, changed = new.replace("motion picture", "motion_picture").split(), 0
        for old, word in zip(LONG, rest, strict=True):
            if word != old:
                changed += 1
                assert word.replace("_", " ") in LEXICON[old]
                seen[old] += 1
        assert changed == count
    assert set(seen) == set(LEXICON)
    assert chisquare(list(seen.values())).pvalue > 1e-3


def test_a_replaced_word_is_replaced_everywhere_in_its_case_and_punctuation(wordnet, context):
    (new,) = eda(context, ['"Great!" a GREAT, great zebra'], synonym=0.1)
    assert new == '"Outstanding!" a OUTSTANDING, outstanding zebra'
    kept = "a  zebra \n is"
    assert eda(context, [kept, "  ", "zebra"], synonym=1.0) == [kept, "  ", "zebra"]


@pytest.mark.parametrize(("share", "count"), [(0.25, 3), (0.01, 1), (1.0, 12)])
def test_insertion_puts_in_so_many_synonyms_anywhere(wordnet, context, share, count):
    places = Counter()
    for new in eda(context, [" ".join(LONG)] * 300, insertion=share):
        words = new.replace("motion picture", "motion_picture").split()
        assert len(words) == len(LONG) + count
        assert is_part(LONG, words)
        inserted = Counter(words) - Counter(LONG)
        assert {word.replace("_", " ") for word in inserted} <= set().union(*LEXICON.values())
        if count == 1:
            places[words.index(next(iter(inserted)))] += 1
    if count == 1:
        assert sorted(places) == list(range(len(LONG) + 1))
        assert chisquare(list(places.values())).pvalue > 1e-3


@pytest.mark.parametrize(("share", "count"), [(0.25, 3), (0.01, 1)])
def test_swaps_exchange_so_many_pairs(context, no_wordnet, share, count):
    moved = Counter()
    for new in eda(context, [" ".join(LONG)] * 300, swap=share):
        words = new.split()
        assert sorted(words) == sorted(LONG)
        moved[sum(old != word for old, word in zip(LONG, words, strict=True))] += 1
    assert max(moved) == 2 * count
    assert moved[2 * count] > (
        299 if count == 1 else 60
    )  # three pairs are disjoint in 45 / 66 * 28 / 66 of the cases
    assert eda(context, ["alone", "two words"], swap=1.0) == ["alone", "two words"]  # exchanged twice
    assert eda(context, ["two words"], swap=0.5) == ["words two"]


def test_deletion_leaves_out_each_word_with_its_probability(context, no_wordnet):
    texts, kept = [" ".join(LONG)] * 2000, Counter()
    for new in eda(context, texts, deletion=0.2):
        assert is_part(new.split(), LONG)
        kept.update(new.split())
    for word in LONG:  # 5 standard deviations
        assert abs(kept[word] / len(texts) - 0.8) < 5 * (0.8 * 0.2 / len(texts)) ** 0.5, word
    last = Counter(eda(context, texts, deletion=1.0))
    assert set(last) == set(LONG)
    assert chisquare(list(last.values())).pvalue > 1e-3


def test_each_text_has_one_operation_and_all_are_as_frequent(wordnet, context):
    done = Counter()
    for new in eda(context, [" ".join(LONG)] * 1200, synonym=0.1, insertion=0.1, swap=0.1, deletion=0.6):
        words = new.replace("motion picture", "motion_picture").split()
        if len(words) > len(LONG):
            assert is_part(LONG, words)
            done["insertion"] += 1
        elif sorted(words) == sorted(LONG):
            done["swap"] += words != LONG
        elif is_part(words, LONG):
            done["deletion"] += 1
        else:
            assert sum(old != word for old, word in zip(LONG, words, strict=True)) == 1
            done["synonym"] += 1
    assert sum(done.values()) >= 1198  # a deletion may leave all words: 0.4 ** 12
    assert chisquare(list(done.values())).pvalue > 1e-3


@pytest.mark.parametrize("option", ONLY)
def test_every_share_changes_the_text(wordnet, context, option):
    texts = [" ".join(LONG)] * 20
    assert eda(context, texts, **{option: 0.1}) != eda(context, texts, **{option: 0.5})


def test_stop_words_are_no_candidates():
    """The words that the tests above take as stop words are, and the others are not."""
    assert set(STOP) <= ENGLISH_STOP_WORDS
    assert not set(LEXICON) & ENGLISH_STOP_WORDS
