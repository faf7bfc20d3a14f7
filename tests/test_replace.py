"""Token replacement without geometry: distributions by chi-square, partners and neighbours by hand."""

from itertools import groupby

import numpy as np
import pytest
import torch
from scipy import stats

from augpro.augment import AugmentContext, Crossover, EmbeddingSpace, Random, augmenter
from augpro.augment.methods.replace import draw_other
from augpro.augment.partners import partner_rows
from augpro.row_random import RowRandom
from augpro.tokens import TokenBatch, tokenize
from augpro.vocabulary import BANNED, CONTINUATION, WORD_START, Vocabulary
from common import TEXTS

DRAWS = 40_000
ONE_TOKEN_WORDS = [text for text in TEXTS if "this" not in text and "and" not in text]
P_VALUE = 1e-4  # the draws are fixed, so a test that passes once always passes


@pytest.fixture
def table(tokenizer, texts):
    return tokenize(tokenizer, texts, [*texts[7:], *texts[:7]])


@pytest.fixture
def space(tokenizer, model):
    return EmbeddingSpace(model.get_input_embeddings().weight, Vocabulary(tokenizer, len(tokenizer)))


@pytest.fixture
def context_of(space, table):
    def build(copy=0, **changes):
        return AugmentContext(RowRandom(1, copy), space, **({"table": table} | changes))

    return build


def same_token(token, pad_to=1):
    """``DRAWS`` rows of one token between a start and an end."""
    ids = torch.tensor([[3, *[token] * pad_to, 4]]).repeat(DRAWS, 1)
    segments = torch.tensor([[-1, *[0] * pad_to, -1]]).repeat(DRAWS, 1)
    return TokenBatch(ids, torch.ones_like(ids), segments, torch.arange(DRAWS))


def one_group(groups, group):
    return torch.nonzero(groups == group)[:, 0].tolist()


# --- random ----------------------------------------------------------------------------------------------


def test_draw_other_has_the_distribution_without_the_own_token():
    """Every draw of a fine grid, against the shares written out."""
    weights = np.array([0.0, 3.0, 1.0, 0.0, 5.0, 2.0, 0.0])
    cumulative = torch.from_numpy(weights).cumsum(0)
    grid = (torch.arange(11_000, dtype=torch.float64) + 0.5) / 11_000
    for own in range(7):
        drawn = draw_other(cumulative, torch.full((11_000,), own), grid)
        others = np.where(np.arange(7) == own, 0.0, weights)
        shares = np.bincount(drawn.numpy(), minlength=7) / 11_000
        np.testing.assert_allclose(shares, others / others.sum(), atol=1.01 / 11_000)
        for end in (0.0, 1 - 2**-24):  # the ends of what a draw can be
            token = int(draw_other(cumulative, torch.tensor([own]), torch.tensor([end], dtype=torch.float64)))
            assert others[token] > 0


def test_draw_other_keeps_a_token_that_is_alone():
    cumulative = torch.tensor([0.0, 0.0, 4.0, 4.0], dtype=torch.float64)
    draw = torch.tensor([0.0, 0.99], dtype=torch.float64)
    assert draw_other(cumulative, torch.tensor([2, 2]), draw).tolist() == [2, 2]


@pytest.mark.parametrize("own", ["good", "again", "q"])
def test_random_is_uniform_over_the_other_tokens_of_the_group(own, tokenizer, space, context_of):
    token = tokenizer.convert_tokens_to_ids(own)
    batch = same_token(token)
    drawn = Random(replace_fraction=1.0)(batch, context_of()).ids[:, 1]
    counts = torch.bincount(drawn, minlength=len(tokenizer)).numpy()
    others = [other for other in one_group(space.groups, WORD_START) if other != token]
    assert counts[token] == 0
    assert counts[others].sum() == DRAWS
    assert stats.chisquare(counts[others]).pvalue > P_VALUE


@pytest.mark.parametrize("own", ["the", "never", "q"])
def test_random_follows_the_training_rows_without_the_own_token(own, tokenizer, space, table, context_of):
    """Expected counts from the rows' tokens; "the" takes much of the mass, "q" none."""
    token = tokenizer.convert_tokens_to_ids(own)
    drawn = Random(1.0, "unigram")(same_token(token), context_of()).ids[:, 1]
    starts = set(one_group(space.groups, WORD_START))
    seen = [int(i) for row in range(len(table)) for i in table.batch([row]).ids[0] if int(i) in starts]
    weight = np.bincount(seen, minlength=len(tokenizer)).astype(float)
    weight[token] = 0.0
    counts = torch.bincount(drawn, minlength=len(tokenizer)).numpy()
    assert counts[weight == 0].sum() == 0
    expected = DRAWS * weight[weight > 0] / weight.sum()
    assert stats.chisquare(counts[weight > 0], expected).pvalue > P_VALUE


def test_pieces_are_replaced_by_pieces(tokenizer, space, context_of):
    """Word starts by word starts, other pieces by such; only a word that is cut otherwise stays as it was."""
    table = tokenize(tokenizer, ["movies working xylo", "slowly bills unhelp zzz"])
    batch = table.batch([0, 1])
    replaced = Random(replace_fraction=1.0)
    chosen = space.vocabulary.editable(batch)
    new = replaced.replace(batch, chosen, context_of(table=table))
    old = batch.ids[chosen]
    assert (space.groups[old] == CONTINUATION).sum() > 5
    assert torch.equal(space.groups[new.ids], space.groups[old])
    assert bool((new.ids != old).all())
    made = batch.with_ids(replaced(batch, context_of(table=table)).ids)
    assert torch.equal(space.groups[made.ids], space.groups[batch.ids])
    assert space.vocabulary.mismatch_rate(made) == 0


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.8])
def test_random_replaces_the_share_that_was_asked_for(rate, tokenizer, context_of):
    """All words of these rows are one token, so that none is put back; four standard errors."""
    table = tokenize(tokenizer, ONE_TOKEN_WORDS, ONE_TOKEN_WORDS)
    batch, changed, editable = table.batch(range(len(table))), 0, 0
    for copy in range(30):
        context = context_of(copy)
        changed += int((Random(rate)(batch, context).ids != batch.ids).sum())
        editable += context.counts.editable
        assert context.counts.partner == 0
    assert editable > 4000
    assert changed / editable == pytest.approx(rate, abs=4 * (rate * (1 - rate) / editable) ** 0.5)


# --- crossover -------------------------------------------------------------------------------------------


def by_place(table, row):
    """Tokens of each segment of a row, in order."""
    batch = table.batch([row])
    return [batch.ids[0][batch.segments[0] == segment].tolist() for segment in (0, 1)]


@pytest.mark.parametrize("repeat", [False, True])
def test_crossover_takes_the_partners_token_at_the_same_place(repeat, tokenizer, context_of):
    table = tokenize(tokenizer, ONE_TOKEN_WORDS, [*ONE_TOKEN_WORDS[5:], *ONE_TOKEN_WORDS[:5]])
    batch, context = table.batch(range(len(table))), context_of(table=table)
    made = Crossover(replace_fraction=1.0, repeat_partner=repeat)(batch, context)
    partners = partner_rows(batch.row_ids, len(table), "random", context.rng).tolist()
    shorter = 0
    for row, partner in enumerate(partners):
        for segment, (mine, theirs) in enumerate(
            zip(by_place(table, row), by_place(table, partner), strict=True)
        ):
            shorter += len(theirs) < len(mine)
            expected = [
                theirs[place % len(theirs)] if repeat or place < len(theirs) else token
                for place, token in enumerate(mine)
            ]
            assert made.ids[row][made.segments[row] == segment].tolist() == expected
    assert shorter
    shares = context.counts.shares()
    assert shares["new"] == 0
    assert shares["partner"] == shares["changed"] > 0.5


@pytest.mark.parametrize("unit", ["token", "span"])
@pytest.mark.parametrize("rule", ["random", "same-class", "other-class"])
def test_crossover_makes_no_token_of_its_own(unit, rule, table, context_of):
    classes = torch.arange(20) % 3
    context = context_of(classes=classes)
    batch = table.batch(range(20))
    made = Crossover(0.5, unit, rule)(batch, context)
    partners = partner_rows(batch.row_ids, 20, rule, context.rng, classes)
    for row, partner in enumerate(partners.tolist()):
        assert (classes[row] == classes[partner]) == (rule == "same-class") or rule == "random"
        for segment in (0, 1):
            theirs = by_place(table, partner)[segment]
            mine, new = (b.ids[row][b.segments[row] == segment].tolist() for b in (batch, made))
            for place, (old, token) in enumerate(zip(mine, new, strict=True)):
                assert token in (old, theirs[place % len(theirs)])
    assert context.counts.shares()["new"] == 0
    assert context.counts.changed > 0


def test_crossover_keeps_a_word_start_a_word_start(tokenizer, space, context_of):
    """Where a piece meets a word start nothing is copied."""
    texts = [
        "movies is good",
        "the plot works",
        "bills was bad",
        "my team looks",
        "bills movies",
        "a b movies",
    ]
    table = tokenize(tokenizer, texts)
    batch = table.batch(range(len(texts)))
    context = context_of(table=table)
    new = Crossover(1.0).replace(batch, space.vocabulary.editable(batch), context)
    assert torch.equal(space.groups[new.ids], space.groups[batch.ids[new.where]])
    partners = partner_rows(batch.row_ids, len(texts), "random", context.rng).tolist()
    refused = 0
    for row, partner in enumerate(partners):
        (mine, _), (theirs, _) = by_place(table, row), by_place(table, partner)
        for place, token in enumerate(mine):
            met = theirs[place % len(theirs)]
            fits = bool(space.groups[met] == space.groups[token] != BANNED)
            refused += not fits
            assert bool(new.where[row, 1 + place]) == fits
    assert refused


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5, 1.0])
def test_a_span_is_one_run_of_the_right_length_on_average(rate, table, space, context_of):
    """Its length is the share of the row's tokens, rounded down or up; the separator does not break it."""
    batch = table.batch(range(20))
    editable = space.vocabulary.editable(batch)
    lengths, first_places = [], set()
    for copy in range(60):
        chosen = Crossover(rate, "span").choose(batch, editable, context_of(copy))
        assert not bool((chosen & ~editable).any())
        for row in range(20):
            flags = chosen[row][editable[row]].tolist()
            assert sum(key for key, _ in groupby(flags)) == (sum(flags) > 0)
            assert abs(sum(flags) - rate * len(flags)) < 1
            lengths.append(sum(flags) - rate * len(flags))
            first_places.add(flags.index(True) / len(flags) if any(flags) else 0.0)
    assert np.mean(lengths) == pytest.approx(0, abs=4 * 0.5 / len(lengths) ** 0.5)
    assert (len(first_places) > 10) == (rate in (0.25, 0.5))


def test_the_place_of_a_span_is_uniform(context_of):
    """Two of five tokens: the first of them is at one of four places, each as likely."""
    batch = same_token(8, pad_to=5)
    chosen = Crossover(0.4, "span").choose(batch, batch.segments >= 0, context_of())
    size = chosen.sum(1)
    two = chosen[size == 2]
    assert len(two) > 0.99 * DRAWS
    counts = torch.bincount(two.int().argmax(1), minlength=7)[1:5].numpy()
    assert counts.sum() == len(two)
    assert stats.chisquare(counts).pvalue > P_VALUE


# --- k nearest neighbours --------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 4, 15])
@pytest.mark.parametrize("own", ["good", "server"])
def test_knn_is_uniform_over_the_nearest_by_brute_force(own, k, tokenizer, space, context_of):
    token = tokenizer.convert_tokens_to_ids(own)
    vectors = space.table.double().numpy()
    others = np.array([other for other in one_group(space.groups, WORD_START) if other != token])
    cosine = vectors[others] @ vectors[token] / np.linalg.norm(vectors[others], axis=1)
    nearest = others[np.argsort(-cosine)[:k]]
    made = augmenter("knn", replace_fraction=1.0, top_k=k)(same_token(token), context_of())
    counts = torch.bincount(made.ids[:, 1], minlength=len(tokenizer)).numpy()
    assert counts[nearest].sum() == DRAWS
    if k > 1:
        assert stats.chisquare(counts[nearest]).pvalue > P_VALUE


def test_knn_may_keep_the_token_where_it_is_a_candidate(tokenizer, context_of):
    """With the own token among the candidates it is the nearest: one draw in k changes nothing."""
    batch = same_token(tokenizer.convert_tokens_to_ids("good"))
    made = augmenter("knn", replace_fraction=1.0, top_k=4, exclude_parents=False)(batch, context_of())
    kept = (made.ids == batch.ids)[:, 1].float().mean()
    assert kept == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / DRAWS) ** 0.5)
