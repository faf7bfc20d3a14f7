"""Statistics of a comparison on drawn resamples, and in simulations with a known answer.

A simulation's rejections are binomial; its band is the central 99.9 % of that distribution, so that a right
test falls outside for one seed in a thousand, and the seeds here are fixed.
"""

import math
import tracemalloc
import warnings

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from augpro.evaluation.metrics import METRICS
from augpro.evaluation.resampling import Resampling, clusters_of
from augpro.evaluation.significance import (
    ExampleTest,
    detectable_difference,
    paired_bootstrap,
    paired_seeds,
)


def resample_rows(rows, draws, seed):
    """Resamples of rows whose texts all differ."""
    return Resampling(np.arange(rows), draws, seed)


def rows_test(ours, base, resampled):
    """The paired bootstrap of two methods' per-row values [N]."""
    means = resampled.means(np.stack([ours, base]))
    return paired_bootstrap(*means, observed=float(ours.mean() - base.mean()))


def correct_rows(both, ours_only, base_only, neither):
    """Correctness [N] of two methods from the four cells of their table."""
    cells = [both, ours_only, base_only, neither]
    return np.repeat([1.0, 1.0, 0.0, 0.0], cells), np.repeat([1.0, 0.0, 1.0, 0.0], cells)


def band(trials, rate):
    return stats.binom.interval(0.999, trials, rate)


# --- resamples ---


def test_resamples_are_rows_drawn_with_replacement():
    drawn = np.stack(list(resample_rows(50, 400, seed=3)))
    assert drawn.shape == (400, 50)
    assert drawn.min() == 0
    assert drawn.max() == 49
    assert stats.chisquare(np.bincount(drawn.ravel())).pvalue > 1e-3
    distinct = np.mean([len(set(rows)) for rows in drawn])
    assert distinct == pytest.approx(50 * (1 - (1 - 1 / 50) ** 50), abs=0.5)


def test_resamples_follow_the_seed():
    one, again, other = (np.stack(list(resample_rows(20, 30, seed))) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


@pytest.mark.parametrize("shape", [(80,), (80, 3)])
def test_accuracy_on_resamples_is_the_mean_of_correctness(shape):
    gold, predicted = np.random.default_rng(4).integers(0, 2, (2, *shape))
    drawn = resample_rows(80, 100, seed=0)
    correct = (gold == predicted).reshape(80, -1).all(1)
    found = drawn.metric(METRICS["accuracy"], gold, predicted)
    np.testing.assert_array_equal(found, drawn.means(correct))
    assert found.std() > 0


def test_means_keep_leading_axes():
    values = np.random.default_rng(5).exponential(size=(2, 3, 40))
    drawn = resample_rows(40, 25, seed=0)
    found = drawn.means(values)
    assert found.shape == (2, 3, 25)
    np.testing.assert_allclose(found, values[..., np.stack(list(drawn))].mean(-1))


def test_matthews_on_resamples_some_of_which_have_one_class():
    gold = np.array([1, 0, 0, 0, 0, 0, 0, 0])
    predicted = np.array([1, 1, 0, 0, 0, 0, 0, 0])
    drawn = resample_rows(8, 60, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = drawn.metric(METRICS["matthews"], gold, predicted)
    drawn = np.stack(list(drawn))
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
        assert resample_rows(3, 2, 0).metric(noisy, np.zeros(3), np.zeros(3)).tolist() == [0, 0]
        with pytest.raises(UserWarning, match="one class"):
            noisy(None, None)


def test_the_number_of_resamples_takes_no_memory():
    """All at once would take 400 MB: 1,000 resamples of 100,000 rows, 4 bytes each."""
    gold, predicted = np.random.default_rng(0).integers(0, 2, (2, 100_000))
    tracemalloc.start()
    resampling = Resampling(np.arange(len(gold)), draws=1000)
    for _, _ in zip(range(3), resampling, strict=False):
        pass
    Resampling(resampling.clusters, draws=30).metric(METRICS["accuracy"], gold, predicted)
    Resampling(resampling.clusters, draws=30).means(gold == predicted)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60e6


def test_clusters_are_drawn_whole():
    clusters = clusters_of([5, 9, 5, 7, 9, 9])
    assert clusters.tolist() == [0, 1, 0, 2, 1, 1]
    resampling = Resampling(clusters, 300, seed=0)
    values = np.random.default_rng(1).exponential(size=(2, 6))
    means = resampling.means(values)
    lengths = set()
    for number, rows in enumerate(resampling):
        times = np.bincount(rows, minlength=6)
        assert times[0] == times[2]
        assert times[1] == times[4] == times[5]
        assert times[0] + times[1] + times[3] == 3
        np.testing.assert_allclose(means[:, number], values[:, rows].mean(1))
        lengths.add(len(rows))
    assert lengths > {6, 7, 8}


# --- over rows ---


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


# --- error rates and power ---


@pytest.mark.e2e
def test_equal_methods_are_told_apart_by_seeds_in_five_percent():
    rng, trials, seeds = np.random.default_rng(1), 1000, 5
    shared = rng.normal(0.9, 0.02, (trials, 1, seeds))
    runs = shared + rng.normal(0, 0.01, (trials, 2, seeds))
    rejected = sum(paired_seeds(ours, base).p_value < 0.05 for ours, base in runs)
    low, high = band(trials, 0.05)  # 29 to 74
    assert low <= rejected <= high


@pytest.mark.e2e
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


@pytest.mark.e2e
def test_copies_of_a_text_are_no_evidence():
    """Equal methods on 60 texts, each there 5 times: 5 % are rejected; with copies as rows of their own, 44 %."""
    rng, trials, texts, copies = np.random.default_rng(12), 400, 60, 5
    correct = (rng.random((trials, 2, texts)) < 0.8).astype(float).repeat(copies, axis=-1)
    keys = np.arange(texts).repeat(copies)
    rejected, careless = (
        sum(
            rows_test(*pair, Resampling(clusters_of(of_rows), 300, seed)).p_value < 0.05
            for seed, pair in enumerate(correct)
        )
        for of_rows in (keys, np.arange(texts * copies))
    )
    low, high = band(trials, 0.05)
    assert low <= rejected <= high
    assert careless > 0.3 * trials


@pytest.mark.e2e
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
