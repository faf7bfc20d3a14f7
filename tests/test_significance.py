"""Statistics of a comparison against scipy, statsmodels and hand formulas.

What needs drawn resamples or simulated runs is tested in test_significance_simulated.py.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import normal_power
from statsmodels.stats.weightstats import DescrStatsW

from augpro.evaluation.significance import (
    detectable_difference,
    holm,
    paired_bootstrap,
    paired_seeds,
    seed_interval,
    separated,
)

OURS = [0.913, 0.908, 0.921, 0.917, 0.902]
BASE = [0.905, 0.909, 0.910, 0.911, 0.899]


# --- over seeds ---


@pytest.mark.parametrize("confidence", [0.9, 0.95])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_seed_interval_is_students(seeds, confidence):
    values = np.array(OURS[:seeds])
    found = seed_interval(values.tolist(), confidence)
    assert found == pytest.approx(DescrStatsW(values).tconfint_mean(1 - confidence))
    scale = values.std(ddof=1) / math.sqrt(seeds)
    assert found == pytest.approx(stats.t.interval(confidence, seeds - 1, values.mean(), scale))


def test_the_seed_interval_of_one_or_equal_seeds():
    assert np.isnan(seed_interval([])).all()
    assert np.isnan(seed_interval([0.9])).all()
    assert np.isnan(seed_interval([0.9, 0.9])).all()  # no variance was seen: that is not certainty
    assert np.isnan(seed_interval([0.1 + 0.2, 0.3, 0.3])).all()
    step = 2.0**-30
    assert np.isfinite(seed_interval([0.5, 0.5 + step])).all()


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_paired_t_by_scipy_and_by_hand(seeds):
    ours, base = np.array(OURS[:seeds]), np.array(BASE[:seeds])
    found = paired_seeds(OURS[:seeds], BASE[:seeds])
    mean = sum(ours - base) / seeds
    deviation = math.sqrt(sum((ours - base - mean) ** 2) / (seeds - 1))
    t = mean / (deviation / math.sqrt(seeds))
    assert found.difference == pytest.approx(mean)
    assert found.effect_size == pytest.approx(mean / deviation)
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(t), seeds - 1))
    assert found.p_value == pytest.approx(stats.ttest_rel(ours, base).pvalue)


def test_the_paired_t_has_a_sign_and_no_side():
    one, other = paired_seeds(OURS, BASE), paired_seeds(BASE, OURS)
    assert one.difference == -other.difference > 0
    assert one.effect_size == -other.effect_size > 0
    assert one.p_value == pytest.approx(other.p_value)


def test_pairs_matter():
    shuffled = [BASE[i] for i in (2, 0, 4, 1, 3)]
    assert paired_seeds(OURS, BASE).difference == pytest.approx(paired_seeds(OURS, shuffled).difference)
    assert paired_seeds(OURS, BASE).p_value < paired_seeds(OURS, shuffled).p_value / 2


def test_too_few_seeds_say_nothing():
    found = paired_seeds([0.9], [0.8])
    assert found.difference == pytest.approx(0.1)
    assert math.isnan(found.p_value)
    assert math.isnan(found.effect_size)
    assert math.isnan(paired_seeds([], []).difference)


def test_a_constant_difference_is_not_proof():
    # 0.3 - 0.2 is not 0.2 - 0.1 in floating point: a plain t-test finds p below 1e-30 here.
    found = paired_seeds([0.3, 0.2, 0.8], [0.2, 0.1, 0.7])
    assert found.difference == pytest.approx(0.1)
    assert math.isnan(found.p_value)
    assert math.isnan(found.effect_size)


def test_no_difference_at_all():
    found = paired_seeds(OURS, [value + 1e-16 for value in OURS])
    assert (found.difference, found.p_value, found.effect_size) == (0.0, 1.0, 0.0)


def test_a_small_real_spread_is_not_taken_for_rounding():
    step = 2.0**-30
    found = paired_seeds([0.5 + step, 0.5 + 3 * step, 0.5 + 2 * step], [0.5, 0.5 + step, 0.5 + step])
    assert found.p_value == pytest.approx(stats.ttest_rel([1, 3, 2], [0, 1, 1]).pvalue)


def test_a_seed_without_a_value_gives_no_p():
    assert math.isnan(paired_seeds([0.9, float("nan"), 0.8], [0.8, 0.7, 0.6]).p_value)


@pytest.mark.parametrize(("ours", "base"), [([0.1, 0.2, 0.3], [0.1]), ([0.1, 0.2], [0.1, 0.2, 0.3])])
def test_unpaired_seeds_are_an_error(ours, base):
    with pytest.raises(ValueError, match="zip"):
        paired_seeds(ours, base)


# --- over rows ---


def test_the_paired_bootstrap_by_hand():
    # Differences 0.25, 0, 0.5, 0.125, moved by the observed 0.125: 0.125, -0.125, 0.375, 0.
    found = paired_bootstrap(np.array([0.75, 0.5, 1.0, 0.625]), np.array([0.5, 0.5, 0.5, 0.5]), 0.125)
    assert found.difference == 0.125
    assert found.p_value == (1 + 3) / (1 + 4)
    assert found.standard_error == pytest.approx(
        math.sqrt(np.sum((np.array([2, 0, 4, 1]) - 1.75) ** 2) / 3) / 8
    )
    assert found.interval == pytest.approx(tuple(np.percentile([0.25, 0, 0.5, 0.125], [2.5, 97.5])))


def test_ties_count_in_spite_of_rounding():
    # 0.3 - 0.2 is a little less than 0.1, and 0.1 + 0.2 a little more than 0.3.
    ours, base = np.array([0.3, 0.1 + 0.2, 0.2]), np.array([0.1, 0.1, 0.1])
    assert paired_bootstrap(ours, base, 0.1).p_value == 3 / 4


def test_seeds_are_averaged():
    rng = np.random.default_rng(6)
    ours, base = rng.normal(0.1, 1, (3, 200)), rng.normal(0, 1, (5, 200))
    assert paired_bootstrap(ours, base, 0.1) == paired_bootstrap(ours.mean(0), base.mean(0), 0.1)


@pytest.mark.parametrize("place", ["ours", "base", "observed"])
def test_a_value_that_is_nan_gives_no_p(place):
    values = {"ours": np.linspace(0.1, 0.3, 20), "base": np.linspace(0, 0.1, 20), "observed": 5.0}
    assert paired_bootstrap(**values).p_value == 1 / 21
    values[place] = values[place] * np.nan
    assert math.isnan(paired_bootstrap(**values).p_value)


@pytest.mark.parametrize(("power", "alpha"), [(0.8, 0.05), (0.9, 0.05), (0.8, 0.01), (0.5, 0.1)])
def test_the_detectable_difference_has_its_power(power, alpha):
    difference = detectable_difference(0.02, power, alpha)
    # One row whose standard deviation is the standard error; the other tail adds less than 1e-3.
    assert normal_power(difference / 0.02, 1, alpha) == pytest.approx(power, abs=1e-3)
    assert stats.norm.sf(stats.norm.isf(alpha / 2) - difference / 0.02) == pytest.approx(power)


def test_the_detectable_difference_by_default():
    assert detectable_difference(1.0) == pytest.approx(1.959964 + 0.841621, abs=1e-6)
    assert math.isnan(detectable_difference(float("nan")))


# --- families ---


FAMILY = st.lists(
    st.one_of(st.floats(0, 1), st.sampled_from([0.01, 0.02, 0.5]), st.just(math.nan)), max_size=8
)


def holm_by_definition(p_values):
    """The k-th smallest of m times m - k + 1, no smaller than those before it, at most 1."""
    order = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    adjusted, largest = [math.nan] * len(p_values), 0.0
    for rank, (p, place) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        adjusted[place] = largest
    return adjusted


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.02, 0.02, 0.9]) == pytest.approx([0.06, 0.06, 0.9])
    np.testing.assert_allclose(holm([0.01, math.nan, 0.04]), [0.02, math.nan, 0.04])
    assert np.isnan(holm([math.nan, math.nan])).all()
    assert len(holm([])) == 0


@settings(deadline=None)
@given(FAMILY)
def test_holm_is_its_definition(p_values):
    np.testing.assert_allclose(holm(p_values), holm_by_definition(p_values))


@settings(deadline=None)
@given(FAMILY, st.randoms(use_true_random=False))
def test_holm_properties(p_values, random):
    raw, adjusted = np.array(p_values, dtype=float), holm(p_values)
    known = ~np.isnan(raw)
    np.testing.assert_array_equal(np.isnan(adjusted), ~known)
    assert (adjusted[known] >= raw[known]).all()
    assert (adjusted[known] <= 1).all()
    assert (np.diff(adjusted[known][np.argsort(raw[known])]) >= 0).all()
    order = random.sample(range(len(raw)), len(raw))
    np.testing.assert_array_equal(holm(raw[order]), adjusted[order])


def test_holm_is_statsmodels_and_leaves_its_input():
    raw = np.random.default_rng(12).beta(0.3, 3, 12)
    kept = raw.copy()
    np.testing.assert_allclose(holm(raw), multipletests(raw, method="holm")[1])
    np.testing.assert_array_equal(raw, kept)


@pytest.mark.parametrize(
    ("seed_p", "example_p", "expected"),
    [
        (0.01, 0.04, True),
        (0.01, 0.05, False),
        (0.05, 0.01, False),
        (0.2, 0.01, False),
        (math.nan, 0.01, False),
        (0.01, math.nan, False),
    ],
)
def test_separated_needs_both(seed_p, example_p, expected):
    assert separated(seed_p, example_p) is expected
    assert separated(np.float64(seed_p), np.float64(example_p)) is expected


def test_separated_follows_alpha():
    assert separated(0.06, 0.06, alpha=0.1)
    assert not separated(0.02, 0.001, alpha=0.01)
