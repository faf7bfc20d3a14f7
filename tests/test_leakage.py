"""Copies of scored rows, against scikit-learn's own n-grams and cosines, and against cases counted by hand."""

import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from augpro.data.same_text import normalize
from augpro.evaluation.leakage import NEAR, count_grams, find_copies

TEXTS = [
    "the committee will meet again on thursday to discuss the budget",
    "a warm and funny film that never loses its nerve",
    "please send me another copy of last month's invoice",
]
WORDS = [
    "the",
    "film",
    "plot",
    "server",
    "invoice",
    "was",
    "good",
    "slow",
    "never",
    "again",
    "price",
    "team",
    "bill",
]


def sentence(rng, words=9):
    return " ".join(rng.choices(WORDS, k=words)) + f" {rng.randrange(10**6)}"


def shares(texts, references):
    found = find_copies(texts, references)
    return float(found.exact.mean()), float(found.near.mean())


# --- which texts are copies ---


@pytest.mark.e2e
def test_a_tenth_of_copies_among_very_many_references_is_a_tenth():
    """However many references there are: all are compared, not a sample of them."""
    rng = random.Random(0)
    references = [sentence(rng) for _ in range(20_000)]
    texts = [" ".join(rng.choices(WORDS, k=40)) for _ in range(500)]
    for place in range(50):
        texts[place * 10] = references[7 + place * 399].upper()
    assert shares(texts, references) == (0.1, 0.1)


def test_equal_and_near_texts_are_told_apart():
    references = [text.capitalize() for text in TEXTS]
    texts = [TEXTS[0], TEXTS[1].replace("funny", "funnny"), "another sentence altogether, about boats"]
    found = find_copies(texts, references)
    assert found.exact.tolist() == [True, False, False]
    assert found.near.tolist() == [True, True, False]


def test_one_changed_letter_is_near_and_half_a_text_is_not():
    whole = " and ".join(TEXTS)
    near = whole.replace("thursday", "thursdays")
    half = whole[:70] + " and to have lunch with everyone else who is in town for the day"
    assert shares([near], [whole, *TEXTS]) == (0.0, 1.0)
    assert shares([half], [whole, *TEXTS]) == (0.0, 0.0)


def test_words_that_no_reference_has_make_a_text_another_one():
    """A vocabulary of the references alone would see nothing but the shared words."""
    other = TEXTS[1] + " with zebras, quartz vases and jukeboxes from xanadu"
    assert shares([other], TEXTS) == (0.0, 0.0)


def test_long_texts_that_agree_in_their_first_characters_are_near_and_not_equal():
    long = " ".join(sentence(random.Random(seed)) for seed in range(9))
    assert shares([f"{long} and so on"], [f"{long} to the end"]) == (0.0, 1.0)


@pytest.mark.parametrize("text", ["", "a", "ok", "\ud83d?"])
def test_a_text_too_short_for_n_grams_can_be_equal(text):
    assert shares([text, "no"], [TEXTS[0], text]) == (0.5, 0.5)


def test_without_texts_or_references_there_are_no_copies():
    assert shares(TEXTS, []) == (0.0, 0.0)
    found = find_copies([], TEXTS)
    assert found.exact.shape == found.near.shape == (0,)


def cosines(texts, references):
    """By scikit-learn, from plain text, with weights of all texts and references."""
    plain = [[normalize(text)[:300] for text in group] for group in (texts, references)]
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(3, 5), lowercase=False)
    vectorizer.fit([*plain[0], *plain[1]])
    left, right = (vectorizer.transform(group) for group in plain)
    return (left @ right.T).toarray()


def changed(text, rng, share):
    """The text with another end."""
    kept = round(len(text) * (1 - share))
    return text[:kept] + "".join(rng.choices("etaoinshr", k=len(text) - kept))


@pytest.mark.parametrize("words", [9, 50])
def test_no_near_pair_is_missed_and_none_is_invented(words):
    """Texts at every distance, and a template: the bound that rules pairs out must not rule out a near one."""
    rng = random.Random(words)
    references = [sentence(rng, words) for _ in range(300)]
    references += [f"{TEXTS[0]} {TEXTS[1]} {rng.randrange(10**5)}" for _ in range(50)]
    texts = [changed(rng.choice(references), rng, number / 2000) for number in range(200)]
    expected = cosines(texts, references).max(axis=1)
    assert 30 < (expected >= NEAR).sum() < 170
    clear = abs(expected - NEAR) > 1e-3  # some n-grams share a column
    assert clear.mean() > 0.95
    found = find_copies(texts, references)
    np.testing.assert_array_equal(found.near[clear], expected[clear] >= NEAR)


# --- what it is made of ---


@given(st.text(max_size=12))
def test_a_normalized_text_is_its_own_normal_form(text):
    found = normalize(text)
    assert normalize(found) == found == "".join(found.split())


@pytest.mark.parametrize(
    ("one", "other"), [("Brand™", "brandtm"), ("a´b", "a b"), ("ﬁne", "FINE"), ("İ", "i")]
)
def test_what_looks_alike_is_equal(one, other):
    assert normalize(one) == normalize(other)


@given(st.lists(st.text(max_size=12), min_size=1, max_size=5))
@pytest.mark.e2e
def test_n_grams_are_those_of_scikit_learn(texts):
    texts = [normalize(text) for text in texts]  # scikit-learn would make one space of several
    counts = count_grams(texts)
    assert counts.has_canonical_format
    for row, text in enumerate(texts):
        grams = CountVectorizer(analyzer="char", ngram_range=(3, 5), lowercase=False).build_analyzer()(text)
        expected = sorted(grams.count(gram) for gram in set(grams))
        assert sorted(counts[row].data.tolist()) == expected


def test_equal_n_grams_have_one_column_wherever_they_stand():
    counts = count_grams(["abcd", "xx abcd", "abce"])
    shared = set(counts[0].indices)
    assert len(shared) == 3  # abc, bcd, abcd
    assert shared < set(counts[1].indices)
    assert len(shared & set(counts[2].indices)) == 1


@pytest.mark.e2e
def test_the_memory_does_not_grow_with_the_references():
    def peak(times):
        rng = random.Random(0)
        references = [sentence(rng) for _ in range(1000 * times)]
        tracemalloc.start()
        find_copies(TEXTS * 20, references)
        reached = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return reached

    peak(1)  # what is loaded and kept by a first call
    assert peak(8) < 1.1 * peak(2)
