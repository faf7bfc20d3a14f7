"""Significance tests for the difference between two methods, and the smallest detectable difference.

A measured difference has two sources of random variation, with one test each. :func:`paired_seeds` tests over
training seeds. :func:`paired_bootstrap` tests over evaluation rows, for fixed students. All tests are paired and
two-sided. An undefined p-value is nan, and nan is never significant.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from augpro.evaluation.resampling import Array

NAN = float("nan")


@dataclass(frozen=True)
class SeedTest:
    """Method minus base over seeds: the mean in the metric's unit, p of the paired t-test, and Cohen's d_z.

    d_z is the mean difference in units of its standard deviation (Lakens 2013, Frontiers in Psychology 4:863).
    """

    difference: float
    p_value: float
    effect_size: float


@dataclass(frozen=True)
class ExampleTest:
    """Method minus base on the evaluation set, with standard error, 95 % percentile interval and p over its rows.

    All except p are in the metric's unit.
    """

    difference: float
    standard_error: float
    interval: tuple[float, float]
    p_value: float


def seed_interval(values: Sequence[float] | Array, confidence: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean over seeds, in the metric's unit.

    (nan, nan) for fewer than 2 values, or if all are equal: the variance cannot be estimated. An interval of width 0
    would claim certainty just because the students get the same number of rows right.
    """
    if len(values) < 2 or np.ptp(values) <= _rounding(values, values):
        return (NAN, NAN)
    mean = float(np.mean(values))
    half = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1) * stats.sem(values))
    return (mean - half, mean + half)


def paired_seeds(ours: Sequence[float] | Array, base: Sequence[float] | Array) -> SeedTest:
    """Paired t-test of two methods over the same seeds.

    Args:
        ours: metric of each seed, [S].
        base: likewise, the seeds in the same order.

    Returns:
        With fewer than 2 seeds p and d_z are nan. They are also nan if the difference is the same for every seed but
        not 0: the variance is not estimable, and an infinite t would count three students with one more right row as
        proof. If the difference is 0 for every seed, p is 1 and d_z is 0.

    Raises:
        ValueError: if the numbers of seeds differ.
    """
    difference = np.array([one - other for one, other in zip(ours, base, strict=True)], dtype=float)
    mean = float(difference.mean()) if len(difference) else NAN
    if len(difference) < 2:
        return SeedTest(mean, NAN, NAN)
    rounding = _rounding(ours, base)
    if np.ptp(difference) <= rounding:
        return SeedTest(mean, NAN, NAN) if abs(mean) > rounding else SeedTest(0.0, 1.0, 0.0)
    p_value = float(stats.ttest_rel(ours, base).pvalue)
    return SeedTest(mean, p_value, mean / float(difference.std(ddof=1)))


def paired_bootstrap(ours: Array, base: Array, observed: float) -> ExampleTest:
    """Two-sided paired bootstrap test of a difference over evaluation rows.

    The resampled differences are centred on the observed one. Shifted to 0 they are the distribution under the null
    hypothesis (Efron & Tibshirani 1993, chapter 16; Berg-Kirkpatrick et al. 2012, EMNLP-CoNLL). p is the share of
    them that is at least as large as the observed difference. The observed set counts as one of them, so p is never 0
    (Phipson & Smyth 2010).

    Args:
        ours: metric on every resample (:class:`augpro.evaluation.resampling.Resampling`), [R], or [S, R] to
            average over seeds.
        base: likewise, on the same resamples.
        observed: difference of the metrics on the evaluation set itself, also averaged over seeds.

    Returns:
        p is nan if the difference is the same on every resample but not 0 (as with a single row), or if a value is
        not finite.
    """
    difference = np.atleast_2d(ours).mean(0) - np.atleast_2d(base).mean(0)
    low, high = np.percentile(difference, [2.5, 97.5])
    chance = np.abs(difference - observed)
    rounding = _rounding(ours, base)
    # Ties are common, because a metric of few rows has few values; rounding must not decide them.
    p_value = (1 + int((chance >= abs(observed) - rounding).sum())) / (1 + len(chance))
    if not np.isfinite(chance).all() or np.ptp(difference) <= rounding < abs(observed):
        p_value = NAN
    return ExampleTest(observed, float(difference.std(ddof=1)), (float(low), float(high)), p_value)


def holm(p_values: Sequence[float] | Array) -> Array:
    """p-values of a family of comparisons, adjusted by Holm (1979); nan stays nan and does not count."""
    adjusted = np.array(p_values, dtype=float)
    order = np.argsort(adjusted)[: int((~np.isnan(adjusted)).sum())]  # nan is sorted to the end
    times = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(times * adjusted[order]), 1.0)
    return adjusted


def detectable_difference(standard_error: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """Minimum detectable difference of one two-sided test at level alpha with this power (Bloom 1995).

    It is (z(1 - alpha / 2) + z(power)) standard errors of the difference, 2.8 by default, in their unit. Holm's
    correction requires a larger difference.
    """
    return float((stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power)) * standard_error)


def separated(seed_p: float, example_p: float, alpha: float = 0.05) -> bool:
    """Whether a difference is significant: both adjusted p-values are below alpha (nan is not)."""
    return bool(seed_p < alpha and example_p < alpha)


def _rounding(ours: Sequence[float] | Array, base: Sequence[float] | Array) -> float:
    """Differences below this are rounding errors for values of this size: 0.3 - 0.2 is not exactly 0.2 - 0.1."""
    return 1e-12 * float(max(np.abs(ours).max(), np.abs(base).max()))
