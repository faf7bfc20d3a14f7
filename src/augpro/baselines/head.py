"""The linear classifier of every baseline, trained on the teacher's probabilities.

scikit-learn's logistic regression takes only classes. Repeating each row for every class, weighted by its
probability, would give the same weights with C times the rows. Here the targets are the probabilities. One solver
serves classes, labels and scores, because the gradient of all three losses is prediction minus target.
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

# Inverse strengths of the penalty, like scikit-learn's C; tried from strong to weak penalty.
STRENGTHS = tuple(10.0**power for power in range(-2, 6))
_FOLDS = 3
_FEW = 1000  # rows; with more rows sparse features are faster without the change of basis
_STEPS = 500  # maximum number of iterations of the solver
_MEMORY = 5  # gradients that L-BFGS keeps; small because there may be many weights


@dataclass(frozen=True)
class Head:
    """A linear model.

    Attributes:
        weights: [D + 1, C]; the last row is the bias.
        strength: the chosen inverse strength of the penalty.
    """

    weights: Array
    strength: float

    def logits(self, features: Any) -> Tensor:
        """Logits of rows, float32 [N, C]: of the classes or labels, or the score itself."""
        return torch.from_numpy(_scores(features, self.weights)).float()


def fit_head(
    features: Any, teacher_logits: Tensor, problem_type: ProblemType, keys: Sequence[int], seed: int
) -> Head:
    """Fit the classifier; the strength of the penalty is chosen by cross-validation against the teacher's outputs.

    Minimizes the sum over rows of the cross-entropy to the teacher's probabilities (for a regression half the squared
    error) plus the squared weights divided by twice the strength. The strengths are tried from a strong to a weak
    penalty until the validation error increases; it has one minimum.

    Args:
        features: [N, D], dense or sparse.
        teacher_logits: [N, C].
        problem_type: determines the meaning of the logits.
        keys: key of each row, equal for equal texts, which are in the same fold.
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
    """For fewer rows than features: the rows in an orthonormal basis of their span, and the map back, both [N, R].

    Weights outside of the span affect no training row and are penalized, so they are 0. The solution is the same,
    with far fewer unknowns. Weights w of the new features are ``features.T @ (back @ w)`` for the old ones.
    """
    products = features @ features.T
    products = products.toarray() if issparse(products) else np.asarray(products)
    squares, vectors = np.linalg.eigh(products.astype(np.float64))
    kept = squares > 1e-10 * squares[-1]
    lengths = np.sqrt(squares[kept])
    return vectors[:, kept] * lengths, vectors[:, kept] / lengths


def soft_targets(teacher_logits: Tensor, problem_type: ProblemType) -> Array:
    """The targets, float64 [N, C]: probabilities of the classes or labels, or the score."""
    logits = teacher_logits.double().numpy()
    if problem_type == "regression":
        return np.asarray(logits)
    return np.asarray(softmax(logits, axis=1) if problem_type == "single_label" else expit(logits))


def _constant(targets: Array, problem_type: ProblemType) -> Array:
    """Scores of the best constant classifier, [C]: the start of the solver."""
    mean = targets.mean(0)
    if problem_type == "regression":
        return np.asarray(mean)
    mean = np.clip(mean, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(mean) if problem_type == "single_label" else np.log(mean / (1 - mean)))


# Each takes scores and targets, [N, C], and returns the loss, summed over rows, and its gradient, [N, C].
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
    """Weights, [D + 1, C], by L-BFGS from ``start``; the bias is not penalized."""
    rows = len(targets)

    def objective(flat: Array) -> tuple[float, Array]:
        weights = flat.reshape(start.shape)
        value, slope = loss(_scores(features, weights), targets)
        penalty = weights[:-1] / strength
        gradient = np.vstack([features.T @ slope + penalty, slope.sum(0)])
        value += float((weights[:-1] * penalty).sum()) / 2
        return value / rows, gradient.ravel() / rows  # a mean, for the tolerances of the solver

    options = {"maxiter": _STEPS, "maxcor": _MEMORY}
    solution = minimize(objective, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    return np.asarray(solution.x).reshape(start.shape)


def _choose(
    features: Any, targets: Array, loss: Loss, start: Array, folds: list[tuple[Array, Array]]
) -> float:
    """The strength with the lowest validation error; 1 if there are too few rows for folds."""
    best, least = 1.0, np.inf
    for strength in STRENGTHS if folds else ():
        error = 0.0
        for kept, left in folds:
            # Not from the solution of the next stronger penalty: its slope is often small enough to stop there.
            weights = _solve(features[kept], targets[kept], loss, strength, start)
            error += loss(_scores(features[left], weights), targets[left])[0]
        if not error < least:
            break
        best, least = strength, error
    return best


def _folds(keys: Sequence[int], seed: int) -> list[tuple[Array, Array]]:
    """Row numbers for fitting and for validation; rows with the same text are on one side."""
    _, group = np.unique(np.asarray(keys), return_inverse=True)
    groups = int(group.max()) + 1
    count = min(_FOLDS, groups)
    if count < 2:
        return []
    fold = (np.random.default_rng(seed).permutation(groups) % count)[group]
    return [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(count)]
