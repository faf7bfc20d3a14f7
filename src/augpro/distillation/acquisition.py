"""Which of many unlabelled texts are worth a label: scores and choices, as functions of vectors or logits.

Each criterion sees the texts alone, never an answer of the teacher, so that a choice costs no label. All but coverage
score every text by itself: texts that resemble each other are chosen together.
"""

import random

import torch
from torch import Tensor

from augpro.losses import entropy, entropy_of
from augpro.tasks import ProblemType

_BLOCK = 4096  # rows of both sides of a product, which so takes 64 MiB


def farthest(points: Tensor, known: Tensor, count: int) -> Tensor:
    """Points that are far from the known ones and from each other: the greedy k-centre choice.

    Each pick is the point whose cosine with the nearest known or picked one is lowest (Sener and Savarese 2018, arXiv
    1708.00489, where distances are Euclidean; of unit vectors the order is the same). It looks for what is not
    covered, and so takes texts that resemble no other one first.

    Args:
        points: unit vectors [P, D].
        known: unit vectors [K, D]; the first pick is point 0 if there are none.
        count: how many to pick, at most P.

    Returns:
        Numbers of points, int64 [count], in the order in which they are picked.
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
        nearest[best] = torch.inf  # never again, even if all others are copies of it
    return picked


def uncertainty(logits: Tensor, problem_type: ProblemType) -> Tensor:
    """Entropy of a classifier's answers, logits [P, C], in nats, [P]; of several labels that of each, added up."""
    if problem_type != "multi_label":
        return entropy(logits)
    there = logits.sigmoid()
    return entropy_of(torch.stack([there, 1 - there], dim=-1)).sum(1)


def bald(logits: Tensor, problem_type: ProblemType) -> Tensor:
    """Mutual information of the answer and the dropped-out weights, [P], in nats.

    High where each pass is sure of an answer, and the passes differ (Houlsby et al. 2011, arXiv 1112.5745; dropout as
    the posterior as in Gal et al. 2017, arXiv 1703.02910).

    Args:
        logits: of some passes with dropout, [S, P, C].
        problem_type: "single_label": entropy of the mean distribution less the mean entropy. "multi_label": the sum
            of that over the labels. "regression": the variance of the passes, with which the information grows if
            the noise is Gaussian and of one size.
    """
    if problem_type == "regression":
        return logits.var(0).sum(1)
    if problem_type == "multi_label":
        there = logits.sigmoid()
        chances = torch.stack([there, 1 - there], dim=-1)
        return (entropy_of(chances.mean(0)) - entropy_of(chances).mean(0)).sum(1)
    chances = logits.softmax(-1)
    return entropy_of(chances.mean(0)) - entropy_of(chances).mean(0)


def highest(scores: Tensor, count: int) -> Tensor:
    """Numbers of the highest scores, int64 [count]; of equal ones the first."""
    return scores.sort(descending=True, stable=True).indices[:count]


def drawn(rows: int, count: int, seed: int) -> list[int]:
    """Row numbers drawn without replacement; those of a smaller count are the first of a larger one.

    >>> drawn(100, 5, seed=1)[:3] == drawn(100, 3, seed=1)
    True
    """
    order = list(range(rows))
    random.Random(seed).shuffle(order)
    return order[:count]
