"""Runs of the partner's text: how much comes, where, and how much of it stays together."""

from itertools import combinations, groupby, pairwise

import numpy as np
import pytest
import torch
from scipy import stats

from augpro.augment import KNN, AugmentContext, AugPro, Crossover, EmbeddingSpace, augmenter
from augpro.augment.partners import aligned_ids, partner_rows
from augpro.augment.runs import clause_numbers, clauses, spans
from augpro.row_random import RowRandom
from augpro.tokens import tokenize
from augpro.vocabulary import Vocabulary

DRAWS = 40_000
P_VALUE = 1e-4  # the draws are fixed, so a test that passes once always passes
UNITS = ["token", "span", "two-spans", "clause"]
SENTENCES = [
    "the movie is great. my server works", "not again. please help", "slow app. a bad team. very awful",
    "the price is fine. never again", "my refund works", "a good film. the plot feels quite slow",
    "the bill is bad. please help my team", "your page looks great today",
]  # fmt: skip


@pytest.fixture
def table(tokenizer):
    return tokenize(tokenizer, SENTENCES, [*SENTENCES[3:], *SENTENCES[:3]])


@pytest.fixture
def context_of(tokenizer, model, table):
    space = EmbeddingSpace(model.get_input_embeddings().weight, Vocabulary(tokenizer, len(tokenizer)))
    return lambda copy=0: AugmentContext(RowRandom(1, copy), space, table)


def runs_of(flags):
    return sum(key for key, _ in groupby(flags))


def test_two_spans_are_two_runs_and_every_pair_of_places_is_as_likely():
    """Four of eight places: two runs of two, with one to four of the other four between them."""
    editable = torch.tensor([[0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 0]]).bool().repeat(DRAWS, 1)
    chosen = spans(editable, 0.5, torch.arange(DRAWS), RowRandom(3), 2)[editable].view(DRAWS, 8)
    assert (chosen.sum(1) == 4).all()
    assert all(runs_of(flags) == 2 for flags in chosen[:500].tolist())
    counts = torch.bincount((chosen * 2 ** torch.arange(8)).sum(1), minlength=256).numpy()
    possible = []
    for first, second in combinations(range(5), 2):
        flags = np.zeros(8, dtype=int)
        flags[[first, first + 1, second + 2, second + 3]] = 1
        possible.append(int((flags * 2 ** np.arange(8)).sum()))
    assert counts[possible].sum() == DRAWS
    assert stats.chisquare(counts[possible]).pvalue > P_VALUE


@pytest.mark.parametrize(("share", "places"), [(0.0, 5), (1.0, 5), (0.5, 1), (0.9, 5), (0.5, 0)])
def test_spans_of_nothing_and_of_all(share, places):
    editable = torch.zeros(2000, 7, dtype=torch.bool)
    editable[:, 1 : 1 + places] = True
    for number in (1, 2):
        chosen = spans(editable, share, torch.arange(2000), RowRandom(0), number)
        assert not (chosen & ~editable).any()
        mean = chosen.sum(1).float().mean().item()
        assert mean == pytest.approx(share * places, abs=0.05)


def test_clauses_come_whole_but_for_none():
    """Clauses of 2, 3 and 5 places at a share of 0.4: whole ones, in a circle, four places on average."""
    editable = torch.ones(DRAWS, 10, dtype=torch.bool)
    number = torch.tensor([[0, 0, 1, 1, 1, 2, 2, 2, 2, 2]]).expand(DRAWS, -1)
    chosen = clauses(editable, number, 0.4, torch.arange(DRAWS), RowRandom(5))
    assert chosen.sum(1).float().mean().item() == pytest.approx(4.0, abs=4 * 2 / DRAWS**0.5)
    met = set()
    for flags in chosen[:2000].tolist():
        assert len({*flags[:2]}) == len({*flags[2:5]}) == len({*flags[5:]}) == 1
        met.add((flags[0], flags[2], flags[5]))
    # From the first: it and perhaps the second; from the second: it and perhaps the third; from the third: it or not.
    assert met == {(1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (0, 0, 0)}


def test_a_clause_that_is_all_is_a_span():
    editable = torch.ones(100, 6, dtype=torch.bool)
    number, rows = torch.zeros(100, 6, dtype=torch.int64), torch.arange(100)
    assert torch.equal(
        clauses(editable, number, 0.5, rows, RowRandom(0)), spans(editable, 0.5, rows, RowRandom(0))
    )


def test_a_mark_ends_a_clause_and_so_does_the_first_text():
    marks = torch.tensor([[0, 0, 1, 0, 0, 0, 1, 0, 0]]).bool()
    segments = torch.tensor([[-1, 0, 0, 0, -1, 1, 1, 1, -1]])
    assert clause_numbers(marks, segments).tolist() == [[0, 0, 0, 1, 1, 2, 2, 3, 3]]


def test_marks_are_tokens_of_punctuation_alone(tokenizer):
    vocabulary = Vocabulary(tokenizer, len(tokenizer))
    assert torch.nonzero(vocabulary.marks)[:, 0].tolist() == [tokenizer.convert_tokens_to_ids(".")]


def test_clauses_of_a_crossover_are_those_of_the_partner(tokenizer, table, context_of):
    batch, vocabulary = table.batch(range(8)), context_of().space.vocabulary
    editable, mark = vocabulary.editable(batch), tokenizer.convert_tokens_to_ids(".")
    cut = 0
    for copy in range(20):
        context = context_of(copy)
        chosen = Crossover(0.5, "clause").choose(batch, editable, context)
        partners = table.batch(partner_rows(batch.row_ids, 8, "random", context.rng))
        met = aligned_ids(batch, partners, repeat=True)
        for row in range(8):
            places = torch.nonzero(editable[row])[:, 0].tolist()
            for one, two in pairwise(places):
                if chosen[row, one] != chosen[row, two]:
                    assert met[row, one] == mark or batch.segments[row, one] != batch.segments[row, two]
                    cut += 1
    assert cut > 100


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.e2e
def test_the_share_of_a_unit_is_that_of_single_tokens(unit, table, context_of):
    batch = table.batch(range(8))
    editable = context_of().space.vocabulary.editable(batch)
    method = AugPro(KNN(), partner_fraction=0.4, partner_unit=unit).methods[0]
    shares = []
    for copy in range(300):
        wanted = method.choose(batch, editable, context_of(copy))
        assert not (wanted & ~editable).any()
        shares.append((wanted.sum(1) / editable.sum(1)).mean().item())
    assert np.mean(shares) == pytest.approx(0.4, abs=4 * np.std(shares) / 300**0.5)


def test_longer_runs_keep_more_of_the_partner_together(table, context_of):
    """Pairs of neighbours that both come from the partner: fewest of single tokens."""
    batch = table.batch(range(8))
    together = {}
    for unit in UNITS:
        method = augmenter("augpro-mix", replace_fraction=0.0, partner_unit=unit).methods[0]
        editable = context_of().space.vocabulary.editable(batch)
        wanted = torch.stack([method.choose(batch, editable, context_of(copy)) for copy in range(100)])
        together[unit] = (wanted[..., 1:] & wanted[..., :-1]).sum() / wanted.sum()
    assert together["token"] < together["two-spans"] < together["span"]
    assert together["token"] < together["clause"]


@pytest.mark.parametrize("unit", UNITS[1:])
def test_tokens_are_moved_after_a_run_was_copied(unit, table, context_of):
    batch = table.batch(range(8))
    copied = augmenter("augpro-mix", replace_fraction=0.0, partner_unit=unit)(batch, context_of()).ids
    crossed = Crossover(0.5, unit)(batch, context_of()).ids
    assert torch.equal(copied, crossed)
    context = context_of()
    moved = augmenter("augpro-mix", replace_fraction=0.3, partner_unit=unit)(batch, context).ids
    assert not torch.equal(moved, copied)
    shares = context.counts.shares()
    assert shares["partner"] > 0.1
    assert shares["new"] > 0.1


def test_a_unit_without_a_share_is_refused():
    with pytest.raises(ValueError, match="partner_unit='span' has no effect while partner_fraction is 0"):
        augmenter("knn", partner_unit="span")
    assert augmenter("knn", partner_unit="span", partner_fraction=0.5).mixes_rows
