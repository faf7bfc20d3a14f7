"""Statistics of a comparison against scipy, statsmodels, hand formulas and simulations with a known answer.

A simulation's rejections are binomial; its band is the central 99.9 % of that distribution, so that a right
test falls outside for one seed in a thousand, and the seeds here are fixed.
"""

import gc
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import normal_power
from statsmodels.stats.weightstats import DescrStatsW

from augpro.evaluation import METRICS
from augpro.significance import (
    ExampleTest,
    bootstrap_mean,
    bootstrap_metric,
    detectable_difference,
    holm,
    paired_bootstrap,
    paired_seeds,
    resample_rows,
    seed_interval,
    separated,
)

OURS = [0.913, 0.908, 0.921, 0.917, 0.902]
BASE = [0.905, 0.909, 0.910, 0.911, 0.899]


def rows_test(ours, base, resampled):
    """The paired bootstrap of two methods' per-row values [N]."""
    means = bootstrap_mean(np.stack([ours, base]), resampled)
    return paired_bootstrap(*means, observed=float(ours.mean() - base.mean()))


def correct_rows(both, ours_only, base_only, neither):
    """Correctness [N] of two methods from the four cells of their table."""
    cells = [both, ours_only, base_only, neither]
    return np.repeat([1.0, 1.0, 0.0, 0.0], cells), np.repeat([1.0, 0.0, 1.0, 0.0], cells)


def band(trials, rate):
    return stats.binom.interval(0.999, trials, rate)


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
    assert seed_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


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


def test_equal_methods_are_told_apart_by_seeds_in_five_percent():
    rng, trials, seeds = np.random.default_rng(1), 1000, 5
    shared = rng.normal(0.9, 0.02, (trials, 1, seeds))
    runs = shared + rng.normal(0, 0.01, (trials, 2, seeds))
    rejected = sum(paired_seeds(ours, base).p_value < 0.05 for ours, base in runs)
    low, high = band(trials, 0.05)  # 29 to 74
    assert low <= rejected <= high


# --- resamples ---


def test_resamples_are_rows_drawn_with_replacement():
    drawn = resample_rows(50, 400, seed=3)
    assert drawn.shape == (400, 50)
    assert drawn.min() == 0
    assert drawn.max() == 49
    assert stats.chisquare(np.bincount(drawn.ravel())).pvalue > 1e-3
    distinct = np.mean([len(set(rows)) for rows in drawn])
    assert distinct == pytest.approx(50 * (1 - (1 - 1 / 50) ** 50), abs=0.5)


def test_resamples_follow_the_seed():
    np.testing.assert_array_equal(resample_rows(20, 30, 1), resample_rows(20, 30, 1))
    assert (resample_rows(20, 30, 1) != resample_rows(20, 30, 2)).any()


@pytest.mark.parametrize("shape", [(80,), (80, 3)])
def test_accuracy_on_resamples_is_the_mean_of_correctness(shape):
    gold, predicted = np.random.default_rng(4).integers(0, 2, (2, *shape))
    drawn = resample_rows(80, 100, seed=0)
    correct = (gold == predicted).reshape(80, -1).all(1)
    found = bootstrap_metric(METRICS["accuracy"], gold, predicted, drawn)
    np.testing.assert_array_equal(found, bootstrap_mean(correct, drawn))
    assert found.std() > 0


def test_means_keep_leading_axes():
    values = np.random.default_rng(5).exponential(size=(2, 3, 40))
    drawn = resample_rows(40, 25, seed=0)
    found = bootstrap_mean(values, drawn)
    assert found.shape == (2, 3, 25)
    np.testing.assert_allclose(found, values[..., drawn].mean(-1))


def test_matthews_on_resamples_some_of_which_have_one_class():
    gold = np.array([1, 0, 0, 0, 0, 0, 0, 0])
    predicted = np.array([1, 1, 0, 0, 0, 0, 0, 0])
    drawn = resample_rows(8, 60, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = bootstrap_metric(METRICS["matthews"], gold, predicted, drawn)
    single = np.ptp(gold[drawn], axis=1) == 0
    assert 0 < single.sum() < 60
    assert (found[single] == 0).all()
    for value, rows in zip(found[~single], drawn[~single], strict=True):
        assert value == pytest.approx(np.corrcoef(gold[rows], predicted[rows])[0, 1])


def test_warnings_of_a_metric_are_silenced_and_only_there():
    def noisy(gold, predicted):
        warnings.warn("one class", UserWarning, stacklevel=1)
        return 0.0

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bootstrap_metric(noisy, np.zeros(3), np.zeros(3), resample_rows(3, 2, 0)).tolist() == [0, 0]
        with pytest.raises(UserWarning, match="one class"):
            noisy(None, None)


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


def test_the_standard_error_is_that_of_paired_proportions():
    """McNemar's variance: (b + c - (b - c)^2 / N) / N^2, where both methods' correctness shares most rows."""
    ours, base = correct_rows(300, 50, 30, 20)
    found = rows_test(ours, base, resample_rows(400, 4000, seed=0))
    expected = math.sqrt(50 + 30 - (50 - 30) ** 2 / 400) / 400
    assert found.standard_error == pytest.approx(expected, rel=0.05)  # 4 sd of a deviation of 4,000 values
    assert found.difference == pytest.approx(20 / 400)


def test_the_bootstrap_is_scipys():
    rng = np.random.default_rng(7)
    base = rng.exponential(size=150)
    ours = base + rng.normal(0.1, 0.4, 150)
    theirs = stats.bootstrap(
        (ours, base),
        lambda one, other, axis: one.mean(axis) - other.mean(axis),
        paired=True,
        method="percentile",
        n_resamples=4000,
        rng=np.random.default_rng(8),
    )
    found = rows_test(ours, base, resample_rows(150, 4000, seed=9))
    assert found.standard_error == pytest.approx(theirs.standard_error, rel=0.07)
    # An end of the interval has a standard error of about 2.7 / sqrt(4000) standard errors.
    assert found.interval == pytest.approx(theirs.confidence_interval, abs=0.25 * theirs.standard_error)


@pytest.mark.parametrize(("ours_only", "base_only"), [(110, 100), (100, 125), (125, 90), (140, 95)])
def test_p_is_mcnemars_on_many_rows(ours_only, base_only):
    ours, base = correct_rows(1000, ours_only, base_only, 200)
    found = rows_test(ours, base, resample_rows(len(ours), 4000, seed=1))
    table = [[1000, ours_only], [base_only, 200]]
    exact = mcnemar(table, exact=True).pvalue
    assert exact == pytest.approx(stats.binomtest(ours_only, ours_only + base_only).pvalue)
    # Between the normal test and the exact one, which is conservative, but for the noise of 4,000 resamples.
    normal = mcnemar(table, exact=False, correction=False).pvalue
    noise = 4 * math.sqrt(exact * (1 - exact) / 4000)
    assert min(normal, exact) - noise <= found.p_value <= max(normal, exact) + noise


def test_p_has_no_side():
    ours, base = correct_rows(200, 40, 25, 35)
    drawn = resample_rows(300, 500, seed=2)
    one, other = rows_test(ours, base, drawn), rows_test(base, ours, drawn)
    assert one.p_value == other.p_value
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]))


def test_p_is_never_0():
    ours, base = correct_rows(50, 150, 0, 0)
    assert rows_test(ours, base, resample_rows(200, 99, seed=0)).p_value == 1 / 100


def test_a_method_is_not_separated_from_itself():
    values = np.random.default_rng(3).exponential(size=100)
    found = rows_test(values, values, resample_rows(100, 50, seed=0))
    assert found == ExampleTest(0.0, 0.0, (0.0, 0.0), 1.0)


def test_one_row_is_not_proof():
    found = rows_test(np.ones(1), np.zeros(1), resample_rows(1, 50, seed=0))
    assert (found.difference, found.standard_error) == (1.0, 0.0)
    assert math.isnan(found.p_value)


@pytest.mark.parametrize("place", ["ours", "base", "observed"])
def test_a_value_that_is_nan_gives_no_p(place):
    values = {"ours": np.linspace(0.1, 0.3, 20), "base": np.linspace(0, 0.1, 20), "observed": 5.0}
    assert paired_bootstrap(**values).p_value == 1 / 21
    values[place] = values[place] * np.nan
    assert math.isnan(paired_bootstrap(**values).p_value)


def test_equal_methods_are_told_apart_by_rows_in_five_percent():
    """Two methods of 85 % accuracy that are mostly right on the same rows."""
    rng, trials, rows = np.random.default_rng(10), 400, 300
    hardness, own = rng.normal(size=(trials, 1, rows)), rng.normal(size=(trials, 2, rows))
    correct = (0.8 * hardness + 0.6 * own < stats.norm.ppf(0.85)).astype(float)
    assert np.corrcoef(correct[:, 0].ravel(), correct[:, 1].ravel())[0, 1] > 0.3
    rejected = sum(
        rows_test(*pair, resample_rows(rows, 400, seed)).p_value < 0.05 for seed, pair in enumerate(correct)
    )
    low, high = band(trials, 0.05)  # 7 to 36
    assert low <= rejected <= high


def test_a_detectable_difference_is_detected_with_its_power():
    """A KL-like value of each row; the standard error of the mean difference is known."""
    rng, trials, rows = np.random.default_rng(11), 400, 300
    base = rng.exponential(size=(trials, rows))
    shift = detectable_difference(0.5 / math.sqrt(rows))
    ours = base + rng.normal(shift, 0.5, (trials, rows))
    rejected = sum(
        rows_test(*pair, resample_rows(rows, 400, seed)).p_value < 0.05
        for seed, pair in enumerate(zip(ours, base, strict=True))
    )
    low, high = band(trials, 0.8)  # 293 to 345
    assert low <= rejected <= high


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


@pytest.fixture(scope="module")
def quick_collection():
    """statsmodels collects garbage in every call, which takes 0.2 s where torch is loaded."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


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


@pytest.mark.usefixtures("quick_collection")
@settings(deadline=None)
@given(FAMILY)
def test_holm_is_its_definition(p_values):
    np.testing.assert_allclose(holm(p_values), holm_by_definition(p_values))


@pytest.mark.usefixtures("quick_collection")
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
