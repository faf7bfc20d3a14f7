"""Steps from tokens along straight lines: where the nearest token changes, and into which."""

from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from augpro.projection import Projection, allowed, neighbours, rays
from projection_cases import METRICS, make_table, seeded

KINDS = ("random", "clustered", "duplicated", "zero rows")


def flips_by_definition(table, groups, metric, start, directions):
    """Every candidate's own step in float64; the smallest of each ray."""
    table, u = table.double(), directions.double()
    if metric == "cosine":
        a, b = torch.nn.functional.normalize(table, dim=1), torch.zeros(len(table), dtype=torch.float64)
    elif metric == "l2":
        a, b = 2 * table, -table.square().sum(1)
    else:
        a, b = table, torch.zeros(len(table), dtype=torch.float64)
    steps = torch.full((len(start),), torch.inf, dtype=torch.float64)
    for row, token in enumerate(start.tolist()):
        lag = (a[token] - a) @ table[token] + b[token] - b
        gain = (a - a[token]) @ u[row]
        others = (groups == groups[token]) & (torch.arange(len(table)) != token)
        level = others & (lag < -1e-9 * lag.abs().max())
        ahead = others & (gain > 1e-9 * gain.abs().max()) & ~level
        if level.any():
            steps[row] = 0.0
        elif ahead.any():
            steps[row] = (lag[ahead].clamp_min(0.0) / gain[ahead]).min()
    return steps.float()


@pytest.mark.e2e
@settings(max_examples=100, deadline=None)
@given(
    size=st.sampled_from([2, 5, 64, 300]),
    width=st.sampled_from([2, 3, 16, 64]),
    metric=st.sampled_from(METRICS),
    room=st.sampled_from([neighbours.ROW_BYTES, 1000]),
    block=st.sampled_from([50, allowed.BLOCK_SCORES]),
    kept=st.sampled_from([0, rays._KEPT]),
    coarse=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_flips_are_their_definition(size, width, metric, room, block, kept, coarse, seed):
    generator = seeded(seed)
    table = torch.randn(size, width, generator=generator)
    groups = torch.randint(0, 3, (size,), generator=generator)
    start = torch.randint(0, size, (30,), generator=generator)
    directions = torch.nn.functional.normalize(torch.randn(30, width, generator=generator), dim=1)
    directions[0] = 0.0
    with (
        patch.object(neighbours, "ROW_BYTES", room),
        patch.object(allowed, "BLOCK_SCORES", block),
        patch.object(rays, "_KEPT", kept),
        patch.object(allowed, "coarse_of", allowed.coarse_of if coarse else lambda *_: None),
    ):
        found = Projection(table, groups, metric).rays(start, directions, groups[start]).flips()
    expected = flips_by_definition(table, groups, metric, start, directions)
    finite = expected < 1e3  # beyond, the gain is so small that float32 rounds it
    torch.testing.assert_close(found[finite], expected[finite], rtol=2e-3, atol=1e-4)
    assert (found[~finite] > 100).all()


@pytest.mark.e2e
@settings(max_examples=100, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    size=st.sampled_from([2, 5, 64, 300]),
    width=st.sampled_from([1, 3, 16, 64]),
    metric=st.sampled_from(METRICS),
    k=st.sampled_from([1, 1, 2, 5, 100]),
    exclude=st.booleans(),
    room=st.sampled_from([neighbours.ROW_BYTES, 1000]),
    kept=st.sampled_from([0, rays._KEPT]),
    coarse=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_the_nearest_on_a_ray_is_that_of_its_point(
    kind, size, width, metric, k, exclude, room, kept, coarse, seed
):
    generator = seeded(seed)
    table = make_table(kind, size, width, generator)
    groups = torch.randint(0, 3, (size,), generator=generator)
    start = torch.randint(0, size, (30,), generator=generator)
    directions = torch.nn.functional.normalize(torch.randn(30, width, generator=generator), dim=1)
    steps = torch.tensor([0.0, 0.1, 1.0, 3.0, 30.0]).repeat(6)
    with (
        patch.object(neighbours, "ROW_BYTES", room),
        patch.object(rays, "_KEPT", kept),
        patch.object(allowed, "coarse_of", allowed.coarse_of if coarse else lambda *_: None),
    ):
        projection = Projection(table, groups, metric)
        lines = projection.rays(start, directions, groups[start])
        lines.flips()
        found = lines.nearest(steps, exclude, k)
        points = table[start] + steps[:, None] * directions
        expected = projection.nearest(points, groups[start], start[:, None] if exclude else None, k)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("metric", METRICS)
def test_the_token_changes_at_the_flip(metric):
    generator = seeded(11)
    table = torch.randn(120, 10, generator=generator)
    groups = torch.randint(0, 2, (120,), generator=generator)
    projection = Projection(table, groups, metric)
    start = torch.arange(120)
    # With a dot product a short token is not even its own nearest.
    start = start[projection.nearest(table, groups)[:, 0] == start]
    assert len(start) >= (120 if metric != "dot" else 20)
    origin, group = table[start], groups[start]
    direction = torch.nn.functional.normalize(torch.randn(len(start), 10, generator=generator), dim=1)
    flip = projection.rays(start, direction, group).flips()
    finite = flip.isfinite()
    assert (flip > 0).all()
    assert finite.float().mean() > 0.5

    def nearest(steps):
        return projection.nearest(origin + steps[:, None] * direction, group)[:, 0]

    assert torch.equal(nearest(flip.where(finite, torch.tensor(1e3)) * (1 - 1e-3)), start)
    assert (nearest(flip.where(finite, torch.tensor(1e3)) * (1 + 1e-3)) != start)[finite].all()
    assert torch.equal(nearest(torch.full_like(flip, 1e3))[~finite], start[~finite])


def test_flips_by_hand():
    """On a line the nearest token changes half way to the next; outward and alone it never does."""
    table = torch.tensor([[0.0], [1.0], [4.0], [100.0]])
    projection = Projection(table, torch.tensor([0, 0, 0, 1]), "l2")
    start = torch.tensor([0, 1, 1, 2, 0, 3])
    direction = torch.tensor([[1.0], [1.0], [-1.0], [1.0], [0.0], [-1.0]])
    inf = float("inf")
    found = projection.rays(start, direction, torch.tensor([0, 0, 0, 0, 0, 1])).flips()
    assert found.tolist() == [0.5, 1.5, 0.5, inf, inf, inf]


def test_a_token_that_is_not_its_own_nearest():
    """With a dot product token 1 beats token 0 at once: no step is needed."""
    table = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 1.0]])
    projection = Projection(table, metric="dot")
    assert projection.nearest(table[:1]).item() == 1
    assert projection.rays(torch.tensor([0]), torch.tensor([[-1.0, 0.0]])).flips().item() == 0.0
