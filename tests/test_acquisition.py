"""Which unlabelled texts are chosen, by definitions written with loops and scipy."""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch.nn import functional as F

from augpro.distillation import acquisition
from augpro.distillation.acquisition import bald, drawn, farthest, highest, uncertainty


def unit(rows, seed, width=5):
    vectors = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))
    return F.normalize(vectors, dim=1)


def farthest_by_loops(points, known, count):
    centres, picked = [*known.tolist()], []
    points = points.tolist()
    for _ in range(count):
        left = [row for row in range(len(points)) if row not in picked]
        distances = {row: min((math.dist(points[row], c) for c in centres), default=2.0) for row in left}
        best = max(left, key=lambda row: distances[row])
        picked.append(best)
        centres.append(points[best])
    return picked


@pytest.mark.parametrize("known", [0, 1, 7, 9])
def test_coverage_is_the_greedy_choice_of_the_farthest(monkeypatch, known):
    monkeypatch.setattr(acquisition, "_BLOCK", 4)
    points, centres = unit(23, seed=1), unit(9, seed=2)[:known]
    expected = farthest_by_loops(points, centres, 12)
    assert farthest(points, centres, 12).tolist() == expected
    assert farthest(points, centres, 5).tolist() == expected[:5]


def test_a_text_is_picked_once_even_if_all_are_alike():
    points = unit(1, seed=1).expand(6, -1)
    assert sorted(farthest(points, points[:1], 6).tolist()) == list(range(6))


def answers(classes):
    return 2 * torch.randn(6, 9, classes, generator=torch.Generator().manual_seed(3))


def test_bald_is_the_mutual_information_of_answer_and_pass():
    logits = answers(3)
    p = special.softmax(logits.double().numpy(), axis=2)
    expected = stats.entropy(p.mean(0), axis=1) - stats.entropy(p, axis=2).mean(0)
    np.testing.assert_allclose(bald(logits, "single_label").numpy(), expected, rtol=1e-4)


def test_bald_of_several_labels_is_the_sum_over_them():
    logits = answers(4)
    p = special.expit(logits.double().numpy())
    p = np.stack([p, 1 - p])
    expected = (stats.entropy(p.mean(1), axis=0) - stats.entropy(p, axis=0).mean(0)).sum(1)
    np.testing.assert_allclose(bald(logits, "multi_label").numpy(), expected, rtol=1e-4)


def test_bald_of_a_score_is_its_variance():
    logits = answers(1)
    expected = logits.double().numpy().var(0, ddof=1)[:, 0]
    np.testing.assert_allclose(bald(logits, "regression").numpy(), expected, rtol=1e-4)


def test_bald_prefers_passes_that_differ_and_uncertainty_passes_that_doubt():
    sure, doubt = torch.tensor([[9.0, -9.0], [-9.0, 9.0]]), torch.zeros(2, 2)
    logits = torch.stack([sure, doubt], dim=1)
    information = bald(logits, "single_label")
    assert information[0] == pytest.approx(np.log(2), abs=1e-3)
    assert information[1] == pytest.approx(0, abs=1e-6)
    assert (uncertainty(logits[0], "single_label").argmax(), information.argmax()) == (1, 0)


def test_of_equal_scores_the_first_are_chosen():
    assert highest(torch.tensor([1.0, 2.0, 1.0, 2.0, 1.0]), 4).tolist() == [1, 3, 0, 2]


def test_random_texts_follow_the_seed():
    assert drawn(50, 9, seed=1) == drawn(50, 9, seed=1) != drawn(50, 9, seed=2)
    assert sorted(drawn(50, 50, seed=1)) == list(range(50))
