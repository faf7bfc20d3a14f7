"""Mixes answered from neighbour lists: the ids of a full search, always; and what that costs, in counts."""

from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from augpro.projection import Projection, neighbours
from augpro.projection.neighbours import mixed
from projection_cases import METRICS, brute_force, make_table, seeded

KINDS = (
    "random",
    "clustered",
    "duplicated",
    "zero rows",
)  # real-valued, so that ties are those of equal rows
SCALES = (1.0, 1.0, 1e-10, 1e10)


def make_mixes(table, count, generator, weight):
    own, other = torch.randint(0, len(table), (2, count), generator=generator)
    return own, other, torch.rand(count, generator=generator) if weight is None else weight


def queries_of(table, own, other, weight):
    return mixed(table, own, other, torch.as_tensor(weight, dtype=torch.float32).expand(len(own)))


@pytest.mark.e2e
@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    size=st.sampled_from([2, 3, 5, 17, 64, 300, 1000]),
    width=st.sampled_from([1, 2, 3, 16, 64]),
    metric=st.sampled_from(METRICS),
    k=st.sampled_from([1, 1, 2, 5, 30]),
    weight=st.sampled_from([0.5, 0.5, 0.7, 0.0, 1.0, None]),
    exclude=st.booleans(),
    depths=st.sampled_from([neighbours.DEPTHS, (1, 2, 4), (2, 8)]),
    room=st.sampled_from([neighbours.ROW_BYTES, 20_000, 4000, 1000]),
    form=st.sampled_from([(dtype, scale) for dtype in (torch.float32, torch.bfloat16) for scale in SCALES]),
    seed=st.integers(0, 2**20),
)
def test_mixes_are_the_brute_force(kind, size, width, metric, k, weight, exclude, depths, room, form, seed):
    if width < 16:
        form = (
            torch.float32,
            form[1],
        )  # few bfloat16 digits make parallel rows, whose tie float64 cannot see
    generator = seeded(seed)
    table = (make_table(kind, size, width, generator) * form[1]).to(form[0])
    groups = torch.randint(-1, 3, (size,), generator=generator)
    present = groups[groups >= 0].unique()
    if not len(present):
        groups, present = torch.zeros(size, dtype=torch.int64), torch.tensor([0])
    wanted = present[torch.randint(0, len(present), (40,), generator=generator)]
    own, other, weights = make_mixes(table, 40, generator, weight)
    projection = Projection(table, groups, metric)
    with patch.multiple(neighbours, DEPTHS=depths, ROW_BYTES=room):
        # Half of the tokens are met in a first call, so that lists are added to.
        projection.nearest_mix(own[:20], other[:20], 0.5, wanted[:20], exclude, k)
        found = projection.nearest_mix(own, other, weights, wanted, exclude, k)
    excluded = torch.stack([own, other], 1) if exclude else None
    queries = queries_of(table, own, other, weights)
    assert found.dtype == torch.int64
    assert found.tolist() == Projection(table, groups, metric).nearest(queries, wanted, excluded, k).tolist()
    assert found.tolist() == brute_force(table, queries, metric, groups, wanted, excluded, k)


@pytest.mark.e2e
@pytest.mark.parametrize(("size", "width"), [(3000, 1024), (250_000, 64)])
@pytest.mark.parametrize("shared", [1, 4])
def test_large_tables(size, width, shared):
    """Also if tokens share entries to save memory."""
    generator = seeded(1)
    centres = torch.randn(size // 20, width, generator=generator)
    table = centres[torch.randint(0, len(centres), (size,), generator=generator)]
    table = table + 0.3 * torch.randn(size, width, generator=generator)
    own, other, _ = make_mixes(table, 60, generator, 0.5)
    projection = Projection(table)
    with patch.object(neighbours, "ROW_BYTES", 120 * size // shared + 1000):
        found = projection.nearest_mix(own, other, 0.5, k=3)
    assert projection._lists[0].shared == shared
    before = projection.work.in_full
    full = projection.nearest(queries_of(table, own, other, 0.5), excluded=torch.stack([own, other], 1), k=3)
    assert torch.equal(found, full)
    assert before <= 30  # random mixes of random clusters are hard; words are not (test_the_cost_of_mixes)


def words(generator, size=4000, width=64):
    """A table like that of a language model: clusters of related words, all of about one length."""
    centres = torch.randn(size // 10, width, generator=generator)
    table = centres[torch.randint(0, len(centres), (size,), generator=generator)]
    return torch.nn.functional.normalize(table + 0.8 * torch.randn(size, width, generator=generator), dim=1)


def test_the_cost_of_mixes():
    """Counts, not seconds: a look-up or a product of two numbers counts one."""
    generator = seeded(2)
    table = words(generator)
    occurring = torch.randperm(len(table), generator=generator)[:300]
    own, other = occurring[torch.randint(0, 300, (2, 5000), generator=generator)]
    projection, work = Projection(table), None
    for _ in range(2):
        projection.nearest_mix(own, other, 0.5)
        work, earlier = projection.work, work
        projection.work = type(work)()
        for part in (*projection._allowed.values(),):
            part.work = projection.work
    full = 5000 * table.numel()
    assert earlier.queries == work.queries == 5000
    assert work.distinct == len({*zip(own.tolist(), other.tolist(), strict=True)}) < 5000
    assert work.in_full <= 0.01 * work.distinct
    assert work.multiply_adds < 0.01 * full
    assert earlier.multiply_adds - work.multiply_adds == 300 * table.numel()  # the lists, built once


def test_a_changed_table_is_noticed():
    generator = seeded(4)
    table = torch.randn(200, 8, generator=generator)
    own, other, _ = make_mixes(table, 30, generator, 0.5)
    projection = Projection(table)
    before = projection.nearest_mix(own, other, 0.5)
    table.copy_(torch.randn(200, 8, generator=generator))
    after = projection.nearest_mix(own, other, 0.5)
    assert not torch.equal(before, after)
    assert torch.equal(after, Projection(table.clone()).nearest_mix(own, other, 0.5))
    table.mul_(-1)
    queries = torch.randn(5, 8, generator=generator)
    assert torch.equal(projection.nearest(queries), Projection(table.clone()).nearest(queries))


def test_equal_mixes_are_searched_once():
    projection = Projection(torch.randn(50, 4, generator=seeded(5)))
    own, other = torch.tensor([1, 2, 1, 1]), torch.tensor([3, 4, 3, 4])
    found = projection.nearest_mix(own, other, 0.5)
    assert (projection.work.queries, projection.work.distinct) == (4, 3)
    assert torch.equal(found[0], found[2])


@pytest.mark.e2e
def test_memory_does_not_grow_with_the_number_of_mixes():
    """Look-ups go through in blocks: no tensor that one call makes is as large as all of its list entries."""
    generator = seeded(6)
    table = words(generator, 2000, 16)
    own, other, _ = make_mixes(table, 60_000, generator, 0.5)
    projection, sizes = Projection(table), []
    projection.nearest_mix(own, other, 0.5)
    original = neighbours.NeighbourLists._look_up

    def measured(self, own, *rest):
        sizes.append(len(own) * rest[-1])
        return original(self, own, *rest)

    with patch.object(neighbours.NeighbourLists, "_look_up", measured):
        projection.nearest_mix(own, other, torch.rand(60_000, generator=generator))
    assert max(sizes) <= 2**18
    assert sum(sizes) > 2**19


@pytest.mark.parametrize(
    ("weight", "k", "groups", "named"),
    [(1.5, 1, None, "weight"), (float("nan"), 1, None, "weight"), (0.5, 0, None, "k must"),
     (0.5, 1, torch.tensor([7]), "group 7")],
)  # fmt: skip
def test_bad_arguments_are_named(weight, k, groups, named):
    token = torch.tensor([0])
    with pytest.raises(ValueError, match=named):
        Projection(torch.eye(3)).nearest_mix(token, token, weight, groups, k=k)


def test_nothing_to_do():
    nothing = torch.zeros(0, dtype=torch.int64)
    assert Projection(torch.eye(3)).nearest_mix(nothing, nothing, 0.5, k=2).shape == (0, 2)
