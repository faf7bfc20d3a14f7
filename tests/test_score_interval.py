"""The interval of a score: Wilson's, no narrower for copies of a row, and as often right as it promises."""

import math

import numpy as np
import pytest
from scipy import stats

from augpro.evaluation.metrics import METRICS, score_interval, wilson_interval


@pytest.mark.parametrize("name", ["accuracy", "matthews"])
def test_interval_is_repeatable_and_holds_the_score(name):
    gold, predicted = np.random.default_rng(0).integers(0, 2, (2, 50))
    low, high = score_interval(name, gold, predicted)
    assert (low, high) == score_interval(name, gold, predicted)
    assert -1 <= low < METRICS[name](gold, predicted) < high <= 1


def test_interval_neither_uses_nor_changes_global_random_numbers():
    gold, predicted = np.random.default_rng(0).integers(0, 2, (2, 30))
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    first = score_interval("matthews", gold, predicted)
    assert np.array_equal(before, np.random.get_state()[1])
    np.random.seed(6)
    assert score_interval("matthews", gold, predicted) == first


@pytest.mark.parametrize(("hits", "rows"), [(0, 10), (7, 10), (150, 400), (400, 400)])
def test_the_interval_of_accuracy_is_wilsons(hits, rows):
    gold, predicted = np.zeros(rows, int), (np.arange(rows) >= hits).astype(int)
    expected = stats.binomtest(hits, rows).proportion_ci(method="wilson")
    assert score_interval("accuracy", gold, predicted) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("hits", [0, 13, 40])
def test_copies_of_a_row_make_no_interval_narrower(hits):
    gold, predicted = np.zeros(40, int), (np.arange(40) >= hits).astype(int)
    once = score_interval("accuracy", gold, predicted)
    copied = score_interval("accuracy", gold.repeat(5), predicted.repeat(5), np.arange(40).repeat(5))
    assert copied == pytest.approx(once, rel=0.02, abs=0.02)
    assert copied[1] - copied[0] >= (once[1] - once[0]) * (1 - 1e-9)
    if hits == 13:
        careless = score_interval("accuracy", gold.repeat(5), predicted.repeat(5))
        assert careless[1] - careless[0] < 0.6 * (once[1] - once[0])
        other = score_interval(
            "matthews", gold.repeat(5) + np.arange(200) % 2, predicted.repeat(5), np.arange(40).repeat(5)
        )
        assert other[0] < other[1]


@pytest.mark.parametrize(
    "hits",
    [
        np.tile([1, 0], 50),  # of every two copies one is right
        np.r_[np.tile([1, 0], 49), 1, 1],
        np.tile([1, 0, 0], 20),
    ],
)
def test_contradicting_copies_make_no_interval_narrower_than_their_rows(hits):
    size = 3 if len(hits) == 60 else 2
    clusters = np.arange(len(hits)) // size
    low, high = wilson_interval(hits, clusters)
    rows = wilson_interval(hits, np.arange(len(hits)))
    assert high - low >= (rows[1] - rows[0]) * (1 - 1e-9)


def test_copies_of_one_text_alone_have_no_interval():
    gold, predicted = np.zeros(3, int), np.array([0, 1, 1])
    assert all(math.isnan(end) for end in score_interval("accuracy", gold, predicted, np.zeros(3, int)))


def test_interval_is_as_wide_as_the_normal_one_on_many_rows():
    gold = np.zeros(2000, int)
    predicted = (np.arange(2000) % 5 == 0).astype(int)  # accuracy 0.8
    half = 1.96 * math.sqrt(0.8 * 0.2 / 2000)
    assert wilson_interval(gold == predicted, np.arange(2000)) == pytest.approx(
        (0.8 - half, 0.8 + half), abs=0.05 * half
    )


@pytest.mark.parametrize("copies", [1, 4])
def test_interval_covers_the_true_value_about_19_times_in_20(copies):
    rng, truth, trials = np.random.default_rng(1), 0.75, 1000
    covered = 0
    for _ in range(trials):
        hits = (rng.random(150) < truth).repeat(copies)
        low, high = wilson_interval(hits, np.arange(150).repeat(copies))
        covered += low <= truth <= high
    assert 0.93 <= covered / trials <= 0.97


def test_one_row_has_no_interval():
    for name in ("accuracy", "matthews"):
        assert all(math.isnan(end) for end in score_interval(name, np.array([1]), np.array([1])))
