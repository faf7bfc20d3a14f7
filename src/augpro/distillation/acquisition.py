"""Acquisition functions: which unlabelled texts the teacher should label, from vectors or logits.

No criterion uses the teacher, so a choice costs no label. All but coverage score each text by itself, so they may
choose several similar texts.
"""

import random

import torch
from torch import Tensor

from augpro.losses import entropy, entropy_of
from augpro.tasks import ProblemType

_BLOCK = 4096  # rows on each side of a product: 64 MiB


def farthest(points: Tensor, known: Tensor, count: int) -> Tensor:
    """Points that are far from the known points and from each other: the greedy k-centre algorithm.

    Each pick is the point with the lowest cosine to its nearest known or picked point (Sener and Savarese 2018, arXiv
    1708.00489; their distance is Euclidean, which gives the same order for unit vectors). Outliers are picked first.

    Args:
        points: unit vectors [P, D].
        known: unit vectors [K, D]; if empty, the first pick is point 0.
        count: number of picks, at most P.

    Returns:
        Indices of points, int64 [count], in the order of the picks.
    """
    nearest = torch.full((len(points),), -torch.inf, device=points.device)
    for part, highest in zip(points.split(_BLOCK), nearest.split(_BLOCK), strict=True):
        for others in known.split(_BLOCK) if len(known) else ():
            torch.maximum(highest, (part @ others.T).amax(1), out=highest)
    picked = torch.empty(count, dtype=torch.int64, device=points.device)
    for number in range(count):
        best = nearest.argmin()
        picked[number] = best
        torch.maximum(nearest, points @ points[best], out=nearest)
        nearest[best] = torch.inf  # never picked again, even if all others equal it
    return picked


def uncertainty(logits: Tensor, problem_type: ProblemType) -> Tensor:
    """Entropy of a classifier's predictions, logits [P, C], in nats, [P]; for multi-label the sum over the labels."""
    if problem_type != "multi_label":
        return entropy(logits)
    probability = logits.sigmoid()
    return entropy_of(torch.stack([probability, 1 - probability], dim=-1)).sum(1)


def bald(logits: Tensor, problem_type: ProblemType) -> Tensor:
    """BALD: mutual information of the prediction and the dropout mask, [P], in nats.

    It is high where every pass is confident but the passes disagree (Houlsby et al. 2011, arXiv 1112.5745; dropout as
    approximate posterior: Gal et al. 2017, arXiv 1703.02910).

    Args:
        logits: of S passes with dropout, [S, P, C].
        problem_type: "single_label": entropy of the mean distribution minus the mean entropy. "multi_label": the
            same, summed over the labels. "regression": the variance over the passes; the information increases with
            it if the noise is Gaussian with constant variance.
    """
    if problem_type == "regression":
        return logits.var(0).sum(1)
    if problem_type == "multi_label":
        probability = logits.sigmoid()
        probabilities = torch.stack([probability, 1 - probability], dim=-1)
        return (entropy_of(probabilities.mean(0)) - entropy_of(probabilities).mean(0)).sum(1)
    probabilities = logits.softmax(-1)
    return entropy_of(probabilities.mean(0)) - entropy_of(probabilities).mean(0)


def highest(scores: Tensor, count: int) -> Tensor:
    """Indices of the highest scores, int64 [count]; ties go to the lower index."""
    return scores.sort(descending=True, stable=True).indices[:count]


def drawn(rows: int, count: int, seed: int) -> list[int]:
    """Row numbers drawn without replacement; a smaller count gives the beginning of a larger one.

    >>> drawn(100, 5, seed=1)[:3] == drawn(100, 3, seed=1)
    True
    """
    order = list(range(rows))
    random.Random(seed).shuffle(order)
    return order[:count]
