"""Temperature and threshold of a student's confidence, with a bound on how often it agrees above the threshold.

The temperature is that of Guo et al. 2017, "On calibration of modern neural networks": it minimises the negative log
likelihood of the teacher's answers. The threshold is found by fixed sequence testing, as in Angelopoulos et al. 2021,
"Learn then test", section on family-wise error:

1. A first part of the rows gives the temperature and a list of thresholds, from the strictest down.
2. The other rows are new to that list. Of those above a threshold, the number on which student and teacher agree is
   binomial, so Clopper and Pearson (1934) bound the share from below. Thresholds are tested in their order, each at
   the whole level, up to the first whose bound is below what was asked; the one before it is chosen.

A chosen threshold is wrong only if the first wrong one of the list passed its test, which happens with probability
1 - confidence at most. So the choice among many thresholds costs nothing. No row serves twice: the temperature, which
changes how rows of several classes are ordered, is a constant for the rows that are tested.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, stats
from scipy.special import log_softmax, softmax

Array = np.ndarray[Any, Any]
METHOD = "fixed sequence testing of Clopper-Pearson bounds"
FIT_SHARE = 0.25  # of the rows, for the temperature and the list of thresholds
FEWEST = 100  # rows; a temperature of fewer than 25 is mostly chance
TEMPERATURES = (0.1, 10.0)
STEP = 0.05  # of the share of rows between two thresholds of the list


@dataclass(frozen=True)
class Tested:
    """A threshold and the tested rows above it.

    Attributes:
        threshold: least confidence.
        rows: of the tested ones, that reach it.
        agreeing: those of them on which student and teacher give the same answer.
        bound: Clopper-Pearson lower bound of the share that agrees.
    """

    threshold: float
    rows: int
    agreeing: int
    bound: float

    @property
    def agreement(self) -> float:
        """Share of the rows that agree; nan without rows."""
        return self.agreeing / self.rows if self.rows else math.nan


@dataclass(frozen=True)
class Fit:
    """A temperature, and the threshold that was chosen; None if no threshold gives what was asked."""

    temperature: float
    chosen: Tested | None


@dataclass(frozen=True)
class Bin:
    """Rows with about the same confidence: their number, mean confidence and share that agrees."""

    rows: int
    confidence: float
    agreement: float


def confidences(logits: Array, temperature: float = 1.0) -> Array:
    """The largest probability of each row, [N], of logits [N, C]."""
    scaled = logits.astype(np.float64) / temperature
    found: Array = softmax(scaled, axis=1).max(axis=1)
    return found


def fit_temperature(logits: Array, answers: Array) -> float:
    """The temperature, 0.1 to 10, with the least negative log likelihood of the teacher's answers.

    Args:
        logits: of the student, [N, C].
        answers: classes that the teacher gives, int [N].
    """
    exact, rows = logits.astype(np.float64), np.arange(len(answers))

    def loss(logarithm: float) -> float:
        return -float(log_softmax(exact / math.exp(logarithm), axis=1)[rows, answers].mean())

    low, high = map(math.log, TEMPERATURES)
    return math.exp(optimize.minimize_scalar(loss, bounds=(low, high), method="bounded").x)


def lower_bound(agreeing: int, rows: int, confidence: float) -> float:
    """One-sided Clopper-Pearson lower bound of a share (Clopper and Pearson 1934, Biometrika 26:404)."""
    return float(stats.beta.ppf(1 - confidence, agreeing, rows - agreeing + 1)) if agreeing else 0.0


def rows_needed(agree: float, confidence: float) -> int:
    """Fewest rows with which anything can be shown, if student and teacher agree on all of them."""
    tested = math.ceil(math.log(1 - confidence) / math.log(agree))
    return max(FEWEST, math.ceil(tested / (1 - FIT_SHARE)))


def fit(logits: Array, answers: Array, agree: float, confidence: float) -> Fit:
    """Temperature and threshold from rows in random order, all of them different.

    Args:
        logits: of the student, [N, C]; N at least :func:`rows_needed`.
        answers: classes that the teacher gives, int [N].
        agree: share of rows above the threshold on which student and teacher are to agree.
        confidence: probability, over the choice of the rows, that they do at least so often.
    """
    first = int(len(logits) * FIT_SHARE)
    temperature = fit_temperature(logits[:first], answers[:first])
    known, tested = np.split(confidences(logits, temperature), [first])
    agrees = (logits.argmax(axis=1) == answers)[first:]
    chosen = None
    for threshold in _thresholds(known, len(tested), agree, confidence):
        result = above(threshold, tested, agrees, confidence)
        if result.bound < agree:
            break
        chosen = result
    return Fit(temperature, chosen)


def _thresholds(known: Array, tested: int, agree: float, confidence: float) -> list[float]:
    """From the strictest down, the last of all rows.

    The first has as many of the tested rows above it, about, as can be shown to agree with one disagreement among
    them; a stricter one would often end the sequence by chance.
    """
    start = math.ceil(math.log(1 - confidence) / math.log(agree))
    while lower_bound(start - 1, start, confidence) < agree:
        start += 1
    shares = np.append(np.arange(min(start / tested, 1.0), 1.0 - 1e-9, STEP), 1.0)
    return [*np.quantile(known, 1 - shares[:-1]).tolist(), 0.0]


def above(threshold: float, confidence_of_rows: Array, agrees: Array, confidence: float) -> Tested:
    """The rows above a threshold, with their bound."""
    chosen = confidence_of_rows >= threshold
    rows, agreeing = int(chosen.sum()), int(agrees[chosen].sum())
    return Tested(threshold, rows, agreeing, lower_bound(agreeing, rows, confidence))


def plain_threshold(confidence_of_rows: Array, agrees: Array, agree: float) -> float | None:
    """The smallest confidence above which the share that agrees is what was asked; None if there is none.

    It is chosen on the rows that it is measured on, so new rows agree less often.
    """
    order = np.argsort(-confidence_of_rows, kind="stable")
    sorted_rows = confidence_of_rows[order]
    shares = np.cumsum(agrees[order]) / np.arange(1, len(order) + 1)
    last = np.append(sorted_rows[1:] < sorted_rows[:-1], True)  # of equal confidences
    enough = np.flatnonzero((shares >= agree) & last)
    return float(sorted_rows[enough[-1]]) if len(enough) else None


def calibration_error(confidence_of_rows: Array, agrees: Array, bins: int = 15) -> float:
    """Expected calibration error with bins of equal width (Naeini et al. 2015; Guo et al. 2017)."""
    parts = reliability(confidence_of_rows, agrees, bins)
    return sum(part.rows * abs(part.agreement - part.confidence) for part in parts) / len(agrees)


def reliability(confidence_of_rows: Array, agrees: Array, bins: int = 10) -> list[Bin]:
    """The bins of equal width that have rows, of a reliability diagram."""
    number = np.minimum((confidence_of_rows * bins).astype(int), bins - 1)
    return [
        Bin(int(rows.sum()), float(confidence_of_rows[rows].mean()), float(agrees[rows].mean()))
        for rows in (number == index for index in range(bins))
        if rows.any()
    ]


def coverage_curve(confidence_of_rows: Array, agrees: Array, points: int = 50) -> list[tuple[float, float]]:
    """Share of the rows, the most confident first, and how many of them agree; at most so many points."""
    order = np.argsort(-confidence_of_rows, kind="stable")
    shares = np.cumsum(agrees[order]) / np.arange(1, len(order) + 1)
    ends = np.unique(np.ceil(np.linspace(1 / points, 1, points) * len(order)).astype(int))
    return [(float(end / len(order)), float(shares[end - 1])) for end in ends]
