"""The measures of augmented text, against cases that can be counted by hand."""

import math

import pytest
import torch

from augpro.evaluation.audit import duplicates, teacher_changes
from augpro.losses import entropy

SURE, UNSURE = [4.0, -4.0], [0.0, 0.0]


def test_flips_are_counted_row_by_row():
    before = torch.tensor([SURE, SURE, SURE, SURE[::-1]])
    after = torch.tensor([SURE, SURE[::-1], SURE, SURE])
    found = teacher_changes(before, after, "single_label")
    assert found["label_flips"] == 0.5
    assert found["teacher_entropy_before"] == pytest.approx(found["teacher_entropy_after"])


def test_a_multi_label_row_flips_with_any_of_its_labels():
    before = torch.tensor([[1.0, -1.0, 1.0], [1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]])
    after = torch.tensor([[2.0, -9.0, 0.1], [1.0, 1.0, -1.0], [1.0, 1.0, 1.0]])
    assert teacher_changes(before, after, "multi_label") == {"label_flips": pytest.approx(2 / 3)}


def test_a_score_has_no_decision_to_flip():
    assert teacher_changes(torch.zeros(3, 1), torch.ones(3, 1), "regression") == {}


def mean_entropy(logits):
    return float(entropy(logits.double()).mean())


def test_entropy_is_in_nats():
    assert mean_entropy(torch.zeros(2, 10)) == pytest.approx(math.log(10))
    assert mean_entropy(torch.tensor([[800.0, 0.0]])) == 0.0  # no nan where a probability underflows
    half = 0.5 * math.log(2) + 0.5 * mean_entropy(torch.tensor([SURE]))
    assert mean_entropy(torch.tensor([SURE, UNSURE])) == pytest.approx(half)


@pytest.mark.parametrize(
    ("augmented", "originals", "share"),
    [
        (["one", "two", "three"], ["four"], 0.0),
        (["one", "one", "two", "three"], ["four"], 0.5),
        (["one", "two"], ["two"], 0.5),
        (["A  Film", "a film"], [], 1.0),
        (["don ' t go"], ["Don't go"], 1.0),
        (["cafe"], ["Café"], 1.0),
        ([], ["one"], 0.0),
    ],
)
def test_duplicates(augmented, originals, share):
    assert duplicates(augmented, originals) == share
