"""The linear classifier of every baseline: it learns the teacher's probabilities, not its decisions.

scikit-learn's logistic regression takes classes alone. Each row once for every class, weighted by its probability,
would give the same weights, but with C times the rows. Here the targets are the probabilities themselves, and one
solver serves classes, labels and scores: the slope of all three losses is what was answered minus what was wanted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.sparse import issparse
from scipy.special import expit, log_softmax, softmax
from torch import Tensor

from augpro.evaluation.resampling import Array
from augpro.tasks import ProblemType

# Inverse strengths of the penalty, as scikit-learn's C; tried from strong to weak.
STRENGTHS = tuple(10.0**power for power in range(-2, 6))
_FOLDS = 3
_FEW = 1000  # rows; with more of them sparse features are quicker as they are
_STEPS = 500  # of the solver, at most
_MEMORY = 5  # steps whose slopes it keeps; weights of many classes and n-grams are many


@dataclass(frozen=True)
class Head:
    """Linear scores of features.

    Attributes:
        weights: [D + 1, C]; the last row is the bias.
        strength: the inverse strength of the penalty that was chosen.
    """

    weights: Array
    strength: float

    def logits(self, features: Any) -> Tensor:
        """Logits of rows, float32 [N, C]: of the classes, of each label, or the score itself."""
        return torch.from_numpy(_scores(features, self.weights)).float()


def fit_head(
    features: Any, teacher_logits: Tensor, problem_type: ProblemType, keys: Sequence[int], seed: int
) -> Head:
    """Fit the classifier, with the strength of its penalty by cross-validation against the teacher's answers.

    It minimises the sum over rows of the cross-entropy to the teacher's probabilities (of half the squared error of
    a score) plus the squared weights over twice the strength. The strengths are tried from a strong penalty to a weak
    one until the error on rows left out grows; it has one minimum.

    Args:
        features: [N, D], dense or sparse.
        teacher_logits: [N, C].
        problem_type: decides what the logits say.
        keys: of each row, equal for equal texts, which are left out together.
        seed: of the folds.
    """
    targets = soft_targets(teacher_logits, problem_type)
    loss = _LOSSES[problem_type]
    rows, width = features.shape
    few = rows < min(width, _FEW)
    given, back = _rotated(features) if few else (features, None)
    start = np.zeros((given.shape[1] + 1, targets.shape[1]))
    start[-1] = _constant(targets, problem_type)
    strength = _choose(given, targets, loss, start, _folds(keys, seed))
    weights = _solve(given, targets, loss, strength, start)
    if back is not None:
        weights = np.vstack([features.T @ (back @ weights[:-1]), weights[-1:]])
    return Head(weights, strength)


def _rotated(features: Any) -> tuple[Array, Array]:
    """Fewer rows than features: the rows in coordinates of the space that they span, and the way back, both [N, R].

    Weights outside of that space change no training row and are penalised, so they are 0: the solution is the same,
    found among far fewer numbers. Weights w of the new features are ``features.T @ (back @ w)`` of the old ones.
    """
    products = features @ features.T
    products = products.toarray() if issparse(products) else np.asarray(products)
    squares, vectors = np.linalg.eigh(products.astype(np.float64))
    kept = squares > 1e-10 * squares[-1]
    lengths = np.sqrt(squares[kept])
    return vectors[:, kept] * lengths, vectors[:, kept] / lengths


def soft_targets(teacher_logits: Tensor, problem_type: ProblemType) -> Array:
    """What is learned, float64 [N, C]: probabilities of the classes, of each label, or the score."""
    logits = teacher_logits.double().numpy()
    if problem_type == "regression":
        return np.asarray(logits)
    return np.asarray(softmax(logits, axis=1) if problem_type == "single_label" else expit(logits))


def _constant(targets: Array, problem_type: ProblemType) -> Array:
    """Scores of a classifier that knows no text, [C]: where the solver starts."""
    mean = targets.mean(0)
    if problem_type == "regression":
        return np.asarray(mean)
    mean = np.clip(mean, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(mean) if problem_type == "single_label" else np.log(mean / (1 - mean)))


# Each takes scores and targets, [N, C], and returns the loss, summed over rows, and its slope, [N, C].
Loss = Callable[[Array, Array], tuple[float, Array]]


def _classes(scores: Array, targets: Array) -> tuple[float, Array]:
    logs = log_softmax(scores, axis=1)
    return -float((targets * logs).sum()), np.exp(logs) - targets


def _labels(scores: Array, targets: Array) -> tuple[float, Array]:
    return float((np.logaddexp(0, scores) - targets * scores).sum()), expit(scores) - targets


def _score(scores: Array, targets: Array) -> tuple[float, Array]:
    return float(((scores - targets) ** 2).sum()) / 2, scores - targets


_LOSSES: dict[ProblemType, Loss] = {"single_label": _classes, "multi_label": _labels, "regression": _score}


def _scores(features: Any, weights: Array) -> Array:
    return np.asarray(features @ weights[:-1] + weights[-1])


def _solve(features: Any, targets: Array, loss: Loss, strength: float, start: Array) -> Array:
    """Weights, [D + 1, C], by L-BFGS from ``start``; the bias is not penalised."""
    rows = len(targets)

    def objective(flat: Array) -> tuple[float, Array]:
        weights = flat.reshape(start.shape)
        value, slope = loss(_scores(features, weights), targets)
        penalty = weights[:-1] / strength
        gradient = np.vstack([features.T @ slope + penalty, slope.sum(0)])
        value += float((weights[:-1] * penalty).sum()) / 2
        return value / rows, gradient.ravel() / rows  # a mean, so that the solver's tolerances fit

    options = {"maxiter": _STEPS, "maxcor": _MEMORY}
    found = minimize(objective, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    return np.asarray(found.x).reshape(start.shape)


def _choose(
    features: Any, targets: Array, loss: Loss, start: Array, folds: list[tuple[Array, Array]]
) -> float:
    """The strength with the least error on rows left out; 1 where there are too few rows to leave any out."""
    best, least = 1.0, np.inf
    weights = [start] * len(folds)
    for strength in STRENGTHS if folds else ():
        error = 0.0
        for number, (kept, left) in enumerate(folds):
            # On from the next stronger penalty: the solution is near.
            weights[number] = _solve(features[kept], targets[kept], loss, strength, weights[number])
            error += loss(_scores(features[left], weights[number]), targets[left])[0]
        if not error < least:
            break
        best, least = strength, error
    return best


def _folds(keys: Sequence[int], seed: int) -> list[tuple[Array, Array]]:
    """Rows to fit on and rows left out, as row numbers; rows of one text are on one side."""
    _, group = np.unique(np.asarray(keys), return_inverse=True)
    groups = int(group.max()) + 1
    count = min(_FOLDS, groups)
    if count < 2:
        return []
    fold = (np.random.default_rng(seed).permutation(groups) % count)[group]
    return [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(count)]
