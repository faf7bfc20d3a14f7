"""Partners that are alike: against brute force, and whatever the batch."""

import numpy as np
import pytest
import torch

from augpro.augment import AugmentContext, EmbeddingSpace, Mixup, Store, augmenter, near
from augpro.augment.near import near_rows
from augpro.augment.partners import partner_rows
from augpro.row_random import RowRandom
from augpro.tokens import tokenize
from augpro.vocabulary import Vocabulary
from common import OTHERS, TEXTS, WORDS


@pytest.fixture
def embeddings(model):
    return model.get_input_embeddings().weight.detach()


def brute_force(table, embeddings, rows):
    """Cosines of the centred weighted means, every pair, in float64."""
    tokens = [table.batch([row]) for row in range(len(table))]
    words = [batch.ids[0][batch.segments[0] >= 0].numpy() for batch in tokens]
    share = np.bincount(np.concatenate(words), minlength=len(embeddings)) / sum(map(len, words))
    weighted = embeddings.double().numpy() * (0.001 / (0.001 + share))[:, None]
    vectors = np.stack([weighted[words[row]].sum(0) for row in rows])
    vectors -= vectors.mean(0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    return scores


def test_near_rows_are_the_nearest_of_all_others(tokenizer, embeddings):
    table = tokenize(tokenizer, TEXTS, OTHERS)
    found = near_rows(table, embeddings)
    assert found.shape == (20, 10)
    expected = np.sort(brute_force(table, embeddings, range(20)), axis=1)[:, :-11:-1]
    scores = brute_force(table, embeddings, range(20))
    np.testing.assert_allclose(np.take_along_axis(scores, found.numpy(), 1), expected, atol=1e-5)


def test_rows_are_near_within_their_block_and_in_any_parts(tokenizer, embeddings, monkeypatch):
    random = np.random.default_rng(0)
    table = tokenize(tokenizer, [" ".join(random.choice(WORDS, 6)) for _ in range(107)])
    monkeypatch.setattr(near, "NEAR_BLOCK_ROWS", 30)
    found = near_rows(table, embeddings)
    for rows in (range(30), range(30, 60), range(60, 107)):
        scores = brute_force(table, embeddings, rows)
        block = found[list(rows)].numpy() - rows.start
        expected = np.sort(scores, axis=1)[:, :-11:-1]
        np.testing.assert_allclose(np.take_along_axis(scores, block, 1), expected, atol=1e-5)
    monkeypatch.setattr(near, "_SCORES", 200)
    again = near_rows(table, embeddings)
    assert (again == found).float().mean() > 0.99  # but for rows that are equally near


def test_few_rows_and_empty_ones(tokenizer, embeddings):
    table = tokenize(tokenizer, ["the movie", "", "my server"])
    found = near_rows(table, embeddings)
    assert [sorted(row) for row in found.tolist()] == [[1, 2], [0, 2], [0, 1]]


@pytest.mark.e2e
def test_a_partner_is_one_of_the_near_rows_each_as_likely():
    near = torch.tensor([[1, 2, 3], [0, 2, 3], [3, 0, 1], [2, 1, 0]])
    counts = torch.zeros(4, 4)
    for copy in range(3000):
        partners = partner_rows(torch.arange(4), 4, "near", RowRandom(0, copy), near=near)
        counts[torch.arange(4), partners] += 1
    assert counts.diagonal().sum() == 0
    assert counts[~torch.eye(4, dtype=torch.bool)].sub(1000).abs().max() < 4 * (3000 * 2 / 9) ** 0.5
    some = torch.tensor([3, 1])
    whole = partner_rows(torch.arange(4), 4, "near", RowRandom(0), near=near)
    assert torch.equal(partner_rows(some, 4, "near", RowRandom(0), near=near), whole[some])
    with pytest.raises(ValueError, match="pass them as near"):
        partner_rows(some, 4, "near", RowRandom(0))
    with pytest.raises(ValueError, match="at least 2"):
        partner_rows(torch.tensor([0]), 1, "near", RowRandom(0), near=near)


@pytest.mark.parametrize("method", ["augpro-mix", "crossover"])
def test_a_method_meets_rows_about_the_same(method, tokenizer, model):
    """Two subjects of different words: near partners share the subject; found once a run, whatever the batch."""
    random = np.random.default_rng(1)
    subjects = [WORDS[:18], WORDS[18:]]
    table = tokenize(tokenizer, [" ".join(random.choice(subjects[row % 2], 7)) for row in range(40)])
    space = EmbeddingSpace(model.get_input_embeddings().weight, Vocabulary(tokenizer, len(tokenizer)))
    loaded, made = {}, augmenter(method, partner="near")
    context = AugmentContext(RowRandom(0), space, table, store=Store(loaded))
    whole = made(table.batch(range(40)), context)
    assert "near rows" in loaded
    partners = context.partners(method, table.batch(range(40)), "near").row_ids
    assert (partners % 2 == torch.arange(40) % 2).float().mean() > 0.75  # half of them by chance
    context = AugmentContext(RowRandom(0), space, table, store=Store(loaded))
    part = made(table.batch([3, 4]), context).ids
    assert torch.equal(part, whole.ids[3:5, : part.shape[1]])


def test_virtual_rows_can_have_near_partners(tokenizer, model):
    table = tokenize(tokenizer, TEXTS)
    space = EmbeddingSpace(model.get_input_embeddings().weight, Vocabulary(tokenizer, len(tokenizer)))
    made = [
        Mixup(partner=rule)(table.batch(range(20)), AugmentContext(RowRandom(0), space, table)).run(model)
        for rule in ("random", "near")
    ]
    assert not torch.allclose(*made)
