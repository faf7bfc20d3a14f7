"""The measures of augmented text, against cases that can be counted by hand."""

import math
import random

import pytest
import torch

from augpro.audit import duplicates, near_duplicates, teacher_changes
from augpro.losses import entropy

SURE, UNSURE = [4.0, -4.0], [0.0, 0.0]
TEXTS = [
    "the committee will meet again on thursday to discuss the budget",
    "a warm and funny film that never loses its nerve",
    "please send me another copy of last month's invoice",
]


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


def test_leakage_is_told_apart_from_what_was_near_before():
    references = [text.capitalize() for text in TEXTS]
    originals = ["another sentence altogether, about boats", "nothing like the rest of them", TEXTS[2]]
    leaked = [TEXTS[0], "nothing unlike the rest of them", TEXTS[2]]
    near, before = near_duplicates(leaked, originals, references)
    assert near == pytest.approx(2 / 3)
    assert before == pytest.approx(1 / 3)


def test_one_changed_letter_is_near_and_half_a_text_is_not():
    whole = " and ".join(TEXTS)
    near = whole.replace("thursday", "thursdays")
    half = whole[:70] + " and to have lunch with everyone else who is in town for the day"
    assert near_duplicates([near], ["x"], [whole, *TEXTS]) == (1.0, 0.0)
    assert near_duplicates([half], ["x"], [whole, *TEXTS]) == (0.0, 0.0)


def test_words_that_no_reference_has_make_a_text_another_one():
    """A vocabulary of the references alone would see nothing but the shared words."""
    other = TEXTS[1] + " with zebras, quartz vases and jukeboxes from xanadu"
    assert near_duplicates([other], ["x"], TEXTS)[0] == 0.0


@pytest.mark.parametrize("empty", [0, 1, 2])
def test_without_texts_nothing_is_near(empty):
    groups = [list(TEXTS), list(TEXTS), list(TEXTS)]
    groups[empty] = []
    assert near_duplicates(*groups) == (0.0, 0.0)


def test_many_references_are_drawn_evenly():
    rng = random.Random(0)
    references = ["".join(rng.choices("abcdefghijklmnop", k=30)) for _ in range(2500)]
    near, before = near_duplicates([references[0], references[2498]], [references[1]], references)
    assert near == 0.5  # every third: the first is among them, the last is not
    assert before == 0.0
