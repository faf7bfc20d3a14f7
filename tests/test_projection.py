"""Nearest-token search against a brute force in float64, ties and all."""

import subprocess
import sys
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from augpro.projection import Projection
from augpro.projection import allowed as module
from projection_cases import KINDS, METRICS, brute_force, make_queries, make_table, seeded, similarity


@pytest.mark.e2e
@settings(max_examples=80, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    size=st.sampled_from([2, 3, 5, 17, 64, 300]),
    width=st.sampled_from([1, 2, 3, 4, 16, 64]),
    metric=st.sampled_from(METRICS),
    k=st.sampled_from([1, 1, 2, 5, 400]),
    block=st.sampled_from([1, 37, 1000, module.BLOCK_SCORES]),
    seed=st.integers(0, 2**20),
)
def test_nearest_is_the_brute_force(kind, size, width, metric, k, block, seed):
    if kind == "integers" and metric == "cosine":
        kind = "signs"  # norms that are no whole numbers have ties that float64 cannot see: see below
    if kind == "signs" and width not in (1, 4, 16, 64):
        width = 4
    generator = seeded(seed)
    table = make_table(kind, size, width, generator)
    groups = torch.randint(-1, 3, (size,), generator=generator)
    present = groups[groups >= 0].unique()
    if not len(present):
        groups, present = torch.zeros(size, dtype=torch.int64), torch.tensor([0])
    queries = make_queries(table, 12, generator)
    if kind not in ("integers", "signs"):
        # Real-valued sums can be in a tie that holds in real numbers but in no floating point.
        queries[2::4] += 0.01 * torch.randn(queries[2::4].shape, generator=generator)
    wanted = present[torch.randint(0, len(present), (12,), generator=generator)]
    excluded = torch.randint(-1, size, (12, 3), generator=generator)
    with patch.object(module, "BLOCK_SCORES", block):
        found = Projection(table, groups, metric).nearest(queries, wanted, excluded, k)
    assert found.dtype == torch.int64
    assert found.tolist() == brute_force(table, queries, metric, groups, wanted, excluded, k)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_table_of_3000(kind, metric):
    """Large enough for many tokens within the float32 rounding of the winner."""
    generator = seeded(3)
    table = make_table(kind, 3000, 16 if kind == "signs" else 24, generator)
    queries = make_queries(table, 30, generator)
    found = Projection(table, metric=metric).nearest(queries, k=3)
    expected = brute_force(table, queries, metric, k=3)
    if kind == "integers" and metric == "cosine":  # see test_cosine_ties_of_multiples: compare the values
        scores = torch.from_numpy(similarity(table, queries, metric))
        torch.testing.assert_close(
            scores.gather(1, found), scores.gather(1, torch.tensor(expected)), atol=1e-14, rtol=0
        )
    else:
        assert found.tolist() == expected


@pytest.mark.parametrize("metric", METRICS)
def test_near_ties_below_float32(metric):
    """Rows that differ in the last bit of float32: a float32 search alone cannot rank them."""
    generator = seeded(5)
    steps = torch.randint(-2, 3, (500, 32), generator=generator)
    table = torch.randn(1, 32, generator=generator).expand(500, 32) * (1 + steps * 2.0**-23)
    queries = table[:40] * 1.5 + 0.1 * torch.randn(40, 32, generator=generator)
    found = Projection(table, metric=metric).nearest(queries, k=4)
    scores = similarity(table, queries, metric)
    plain = (queries @ table.T).argmax(1)
    assert any(scores[i, plain[i]] < scores[i].max() for i in range(40))  # the case is a hard one
    assert found.tolist() == brute_force(table, queries, metric, k=4)


@pytest.mark.parametrize("metric", METRICS)
def test_a_query_that_ties_with_the_whole_table(metric):
    """Equal rows and, for the metrics that allow it, a zero query: tokens come in the order of ids."""
    table = torch.full((50, 7), 0.3)
    queries = torch.stack([torch.zeros(7), torch.ones(7), torch.arange(7.0)])
    for block in (1, 5, 11, 57, module.BLOCK_SCORES):
        with patch.object(module, "BLOCK_SCORES", block):
            found = Projection(table, metric=metric).nearest(queries, k=52)
        assert found.tolist() == [[*range(50), -1, -1]] * 3
    if metric != "l2":
        random = torch.randn(50, 7, generator=seeded(0))
        assert Projection(random, metric=metric).nearest(torch.zeros(1, 7)).tolist() == [[0]]


def test_cosine_of_a_zero_row_is_zero():
    """It beats a token that points away and loses to one that points along, wherever it stands."""
    table = torch.tensor([[-1.0, 0.0], [0.0, 0.0], [0.001, 0.0]])
    projection = Projection(table)
    assert projection.nearest(torch.tensor([[1.0, 0.0]]), k=3).tolist() == [[2, 1, 0]]
    assert projection.nearest(torch.tensor([[0.0, 1.0]]), k=3).tolist() == [[0, 1, 2]]


def test_metrics_differ():
    table = torch.tensor([[0.5, 0.1], [4.0, 2.0], [1.0, 1.0]])
    found = [Projection(table, metric=m).nearest(torch.tensor([[1.0, 0.25]])).item() for m in METRICS]
    assert found == [0, 0, 1]
    assert Projection(table, metric="l2").nearest(torch.tensor([[1.0, 0.8]])).item() == 2


def test_autocast_and_reduced_products_change_no_answer():
    generator = torch.Generator().manual_seed(0)
    table, queries = torch.randn(300, 16, generator=generator), torch.randn(400, 16, generator=generator)
    own, other = torch.arange(150), torch.arange(150, 300)
    for metric in ("cosine", "dot", "l2"):
        plain, cast = Projection(table, metric=metric), Projection(table, metric=metric)
        with torch.autocast("cpu", torch.bfloat16):
            found = cast.nearest(queries), cast.nearest_mix(own, other, 0.4)
            rays = cast.rays(own, torch.nn.functional.normalize(queries[:150], dim=1))
            steps = rays.flips()
        assert torch.equal(found[0], plain.nearest(queries))
        assert torch.equal(found[1], plain.nearest_mix(own, other, 0.4))
        straight = plain.rays(own, torch.nn.functional.normalize(queries[:150], dim=1))
        assert torch.equal(steps, straight.flips())


@pytest.mark.e2e
def test_the_newer_setting_of_the_precision_is_understood():
    """In a process of its own: the setting is global, and the older one cannot be asked any more."""
    code = """
import torch
from augpro.projection import Projection
table = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
before = Projection(table).nearest(table[:50] + 0.1)
torch.backends.cuda.matmul.fp32_precision = "tf32"
assert torch.equal(Projection(table).nearest(table[:50] + 0.1), before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_whole_group_excluded():
    projection = Projection(torch.eye(4), torch.tensor([0, 0, 1, -1]))
    excluded = torch.tensor([[0, 1]])
    assert projection.nearest(torch.eye(4)[:1], excluded=excluded, k=2).tolist() == [[-1, -1]]
    one = projection.nearest(torch.eye(4)[:1], torch.tensor([1]), excluded, k=2)
    assert one.tolist() == [[2, -1]]  # ids of another group exclude nothing; banned tokens never come


def test_same_answer_at_once_and_one_by_one():
    generator = seeded(8)
    table = make_table("duplicated", 200, 9, generator)
    projection, queries = Projection(table), make_queries(table, 25, generator)
    alone = torch.cat([projection.nearest(query[None], k=4) for query in queries])
    assert torch.equal(projection.nearest(queries, k=4), alone)
    assert projection.nearest(queries[:0], k=4).shape == (0, 4)


def test_table_and_queries_are_left_as_they_were():
    table, queries = torch.randn(20, 5, requires_grad=True), torch.randn(6, 5)
    before = table.detach().clone(), queries.clone()
    excluded = torch.zeros(6, 1, dtype=torch.int64)
    found = Projection(table, metric="l2").nearest(queries, excluded=excluded)
    assert not found.requires_grad
    assert torch.equal(table, before[0])
    assert torch.equal(queries, before[1])


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: Projection(torch.eye(3), metric="euclid"), "metric.*'euclid'"),
        (lambda: Projection(torch.ones(3)), r"table.*\[3\]"),
        (lambda: Projection(torch.eye(3), torch.zeros(2, dtype=torch.int64)), r"groups.*\[2\]"),
        (lambda: Projection(torch.eye(3)).nearest(torch.eye(3), k=0), "k must.*0"),
        (lambda: Projection(torch.eye(3)).nearest(torch.eye(3), torch.full((3,), 7)), "group 7"),
        (lambda: Projection(torch.eye(3)).nearest(torch.eye(3), torch.full((3,), -1)), "group -1"),
    ],
)
def test_bad_arguments_are_named(build, named):
    with pytest.raises(ValueError, match=named):
        build()


def test_l2_tie_of_an_exact_midpoint():
    """The query is exactly half way between two tokens (a mix at weight 0.5): the lowest id should win."""
    table = torch.tensor(
        [
            [-1.1818187236785889, 0.13395391404628754, 0.3960137963294983, -0.6543967723846436],
            [-1.0723466873168945, -0.3107624053955078, 0.572624146938324, 1.4146819114685059],
        ]
    )
    query = (table[:1] + table[1:]) / 2
    assert torch.equal(query.double() - table[:1].double(), table[1:].double() - query.double())
    assert Projection(table, metric="l2").nearest(query).item() == 0


def test_cosine_of_a_tiny_row():
    table = torch.tensor([[1e-24, 0.0], [0.0, 1.0]])
    assert Projection(table).nearest(torch.tensor([[0.1, 1.0]])).item() == 1
