"""The counter-based generator: distribution, and independence of everything but its key."""

import numpy as np
import pytest
import torch
from scipy import stats

from augpro.row_random import RowRandom

ROWS = torch.arange(20_000)
ALMOST_NEVER = 1e-4  # draws are fixed by their seed: a test passes always or never


def uncorrelated(one: torch.Tensor, other: torch.Tensor) -> bool:
    correlation = np.corrcoef(one.flatten().numpy(), other.flatten().numpy())[0, 1]
    return abs(correlation) < 4.5 / one.numel() ** 0.5


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**31])
def test_uniform_over_rows_and_over_positions(seed):
    draws = RowRandom(seed)
    for sample in (draws.uniform("x", ROWS)[:, 0], draws.uniform("x", ROWS[:1], 20_000)[0]):
        assert sample.dtype == torch.float32
        assert 0.0 <= sample.min() < sample.max() < 1.0
        assert float(sample.mean()) == pytest.approx(0.5, abs=4.5 / (12 * 20_000) ** 0.5)
        assert float(sample.var()) == pytest.approx(1 / 12, rel=0.03)
        assert stats.kstest(sample.double().numpy(), "uniform").pvalue > ALMOST_NEVER
        assert uncorrelated(sample[1:], sample[:-1])


def test_uniform_never_reaches_one():
    """2**21 draws: rounding a 25th bit up would give 1.0 about once in 2**25, truncation never does."""
    sample = RowRandom(3).uniform("x", torch.arange(2**15), 64)
    assert float(sample.max()) <= 1 - 2.0**-24
    assert torch.equal(sample * 2**24, (sample * 2**24).round())
    assert len(sample.unique()) > 0.9 * 2**21


def test_rows_far_apart_and_negative():
    rows = torch.cat([torch.arange(5000) * 2**40, -torch.arange(1, 5001)])
    sample = RowRandom(0).uniform("x", rows)[:, 0]
    assert stats.kstest(sample.double().numpy(), "uniform").pvalue > ALMOST_NEVER
    assert len(sample.unique()) > 9_900


def test_neighbouring_rows_and_positions_are_uncorrelated():
    sample = RowRandom(0).uniform("x", ROWS[:2000], 50)
    assert uncorrelated(sample[1:], sample[:-1])
    assert uncorrelated(sample[:, 1:], sample[:, :-1])
    assert uncorrelated(
        sample[1:, :-1], sample[:-1, 1:]
    )  # row r, position p + 1 against row r + 1, position p
    assert len(sample.unique()) > 0.99 * sample.numel()


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_first_columns_do_not_depend_on_how_many(kind):
    draw = getattr(RowRandom(7, 2), kind)
    long = draw("x", ROWS[:20], 64)
    for positions in (1, 2, 17, 63):
        assert torch.equal(draw("x", ROWS[:20], positions), long[:, :positions])


def test_a_row_does_not_depend_on_its_batch():
    draws = RowRandom(5, 1)
    rows = torch.tensor([4, 900, 0, 17, 4])
    whole = draws.uniform("x", rows, 9)
    assert torch.equal(whole[0], whole[4])
    for place, row in enumerate(rows):
        assert torch.equal(draws.uniform("x", row[None], 9)[0], whole[place])
    assert torch.equal(RowRandom(5, 1).uniform("x", rows.int(), 9), whole)


def test_global_random_state_is_neither_used_nor_touched():
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    one = RowRandom(1).normal("x", ROWS[:10], 5)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(RowRandom(1).normal("x", ROWS[:10], 5), one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((RowRandom(0), "x"), (RowRandom(1), "x")),
        ((RowRandom(0, 0), "x"), (RowRandom(0, 1), "x")),
        ((RowRandom(0, 1), "x"), (RowRandom(1, 0), "x")),
        ((RowRandom(3, 8), "x"), (RowRandom(8, 3), "x")),
        ((RowRandom(0), "x"), (RowRandom(0), "y")),
        ((RowRandom(0), "replace"), (RowRandom(0), "pick")),
    ],
)
def test_other_key_other_stream(one, other):
    first, second = (draws.uniform(name, ROWS, 3) for draws, name in (one, other))
    assert (first != second).float().mean() > 0.999
    assert uncorrelated(first, second)
    # Nor the same stream one row or one position further on.
    assert uncorrelated(first[1:], second[:-1])
    assert uncorrelated(first[:-1], second[1:])
    assert uncorrelated(first[:, 1:], second[:, :-1])
    assert uncorrelated(first[:, :-1], second[:, 1:])


@pytest.mark.e2e
def test_no_two_of_many_keys_share_a_stream():
    """2,500 keys of small numbers; the chance of one repeated pair of 24-bit draws is 1e-8."""
    seen = {
        tuple(RowRandom(seed, copy).uniform("x", torch.tensor([0]), 2)[0].tolist())
        for seed in range(50)
        for copy in range(50)
    }
    assert len(seen) == 2_500


def test_normal():
    sample = RowRandom(2).normal("noise", ROWS[:4000], 10).flatten().double().numpy()
    assert np.isfinite(sample).all()
    assert sample.mean() == pytest.approx(0, abs=4.5 / len(sample) ** 0.5)
    assert sample.var() == pytest.approx(1, abs=4.5 * (2 / len(sample)) ** 0.5)
    assert stats.kstest(sample, "norm").pvalue > ALMOST_NEVER
