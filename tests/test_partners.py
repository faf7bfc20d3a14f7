"""Partner rows: who meets whom, and which token meets which."""

from dataclasses import replace
from itertools import chain, cycle

import numpy as np
import pytest
import torch
from scipy import stats

from augpro.augment import augmenter
from augpro.augment.partners import BLOCK_ROWS, aligned_ids, partner_rows
from augpro.row_random import RowRandom
from augpro.testing import TEXTS
from augpro.tokens import SPECIAL, tokenize


@pytest.mark.parametrize("rows", [2, 3, 255, 256, 257, 511, 512, 700, 1025])
def test_partner_is_another_row_of_the_block(rows):
    row_ids = torch.arange(rows)
    last = max(1, rows // BLOCK_ROWS) - 1
    for copy in range(3):
        partners = partner_rows(row_ids, rows, "random", RowRandom(0, copy))
        assert partners.min() >= 0
        assert partners.max() < rows
        assert (partners != row_ids).all()
        assert torch.equal((partners // BLOCK_ROWS).clamp_max(last), (row_ids // BLOCK_ROWS).clamp_max(last))


@pytest.mark.e2e
def test_partners_are_uniform_over_the_others():
    counts = np.zeros((6, 6))
    for copy in range(1500):
        partners = partner_rows(torch.arange(6), 6, "random", RowRandom(0, copy))
        counts[np.arange(6), partners.numpy()] += 1
    assert counts.trace() == 0
    for row in range(6):
        assert stats.chisquare(np.delete(counts[row], row)).pvalue > 1e-4


@pytest.mark.parametrize("rule", ["same-class", "other-class"])
def test_class_rules(rule):
    rows = 600
    classes = torch.randint(0, 3, (rows,), generator=torch.Generator().manual_seed(0))
    row_ids = torch.arange(rows)
    partners = partner_rows(row_ids, rows, rule, RowRandom(1), classes)
    assert (partners != row_ids).all()
    assert ((classes[partners] == classes) == (rule == "same-class")).all()
    assert torch.equal((partners // BLOCK_ROWS).clamp_max(1), (row_ids // BLOCK_ROWS).clamp_max(1))


def test_class_rule_falls_back_where_no_row_fits():
    lonely = torch.tensor([0, 0, 0, 1, 0])
    same = partner_rows(torch.arange(5), 5, "same-class", RowRandom(0), lonely)
    assert same[3] != 3
    assert (lonely[same[[0, 1, 2, 4]]] == 0).all()
    other = partner_rows(torch.arange(5), 5, "other-class", RowRandom(0), torch.zeros(5, dtype=torch.int64))
    assert (other != torch.arange(5)).all()


@pytest.mark.parametrize("rule", ["random", "same-class", "other-class"])
def test_partner_does_not_depend_on_the_batch(rule):
    classes = torch.arange(700) % 3
    whole = partner_rows(torch.arange(700), 700, rule, RowRandom(2), classes)
    mixed = torch.tensor([699, 3, 260, 511, 512, 0])
    assert torch.equal(partner_rows(mixed, 700, rule, RowRandom(2), classes), whole[mixed])
    for row in mixed:
        assert partner_rows(row[None], 700, rule, RowRandom(2), classes).item() == whole[row]
    assert (
        partner_rows(torch.arange(700), 700, rule, RowRandom(2, 1), classes) != whole
    ).float().mean() > 0.9


def test_partner_errors():
    with pytest.raises(ValueError, match="at least 2"):
        partner_rows(torch.tensor([0]), 1, "random", RowRandom(0))
    with pytest.raises(ValueError, match="partner='same-class'"):
        partner_rows(torch.tensor([0]), 5, "same-class", RowRandom(0))


@pytest.mark.parametrize("repeat", [False, True])
def test_alignment_goes_segment_by_segment(tokenizer, repeat):
    """Against plain lists: token n of a segment meets token n of the partner's segment, or nothing."""
    first = ["the movie is great", "good", "slow app", "not again", "fine", "a very bad team", "", "helps"]
    second = [
        "my server",
        "never again today",
        "",
        "bill",
        "the plot",
        "page",
        "my app",
        "good good good good",
    ]
    table = tokenize(tokenizer, first, second)
    words = [
        [tokenizer(t, add_special_tokens=False)["input_ids"] for t in pair]
        for pair in zip(first, second, strict=True)
    ]
    for shift in range(len(first)):
        partners = [(row + shift) % len(first) for row in range(len(first))]
        batch = table.batch(range(len(first)))
        aligned = aligned_ids(batch, table.batch(partners), repeat)
        assert aligned.shape == batch.ids.shape
        for row, partner in enumerate(partners):
            expected = [-1]  # [CLS]
            for mine, theirs in zip(words[row], words[partner], strict=True):
                source = cycle(theirs) if repeat and theirs else chain(theirs, cycle([-1]))
                expected += [next(source) for _ in mine] + [-1]  # [SEP]
            expected += [-1] * (batch.ids.shape[1] - len(expected))
            assert aligned[row].tolist() == expected


def test_a_special_token_within_the_partner_meets_nothing(tokenizer):
    own = tokenize(tokenizer, ["the movie works"]).batch([0])
    other = tokenize(tokenizer, ["not bad again"]).batch([0])
    other.segments[0, 2] = SPECIAL
    again = tokenizer.convert_tokens_to_ids("again")
    aligned = aligned_ids(own, other)[0].tolist()
    assert aligned == [-1, tokenizer.convert_tokens_to_ids("not"), -1, again, -1]


def test_alignment_by_hand(tokenizer):
    own = tokenize(tokenizer, ["the movie is great"], ["my server works"]).batch([0])
    other = tokenize(tokenizer, ["slow app"], ["never again"]).batch([0])
    aligned = aligned_ids(own, other)[0].tolist()
    words = [None if i < 0 else tokenizer.convert_ids_to_tokens(i) for i in aligned]
    assert words == [None, "slow", "app", None, None, None, "never", "again", None, None]
    longer = aligned_ids(other, own)[0].tolist()  # the partner may be the longer one
    assert tokenizer.decode([i for i in longer if i >= 0]) == "the movie my server"


@pytest.mark.parametrize("rule", ["random", "same-class", "other-class"])
def test_a_part_that_starts_and_ends_with_a_block_has_the_partners_of_all_rows(rule):
    rows = 2 * BLOCK_ROWS + 300
    classes = torch.arange(rows) % 3
    whole = partner_rows(torch.arange(rows), rows, rule, RowRandom(2), classes)
    for start, end in ((0, BLOCK_ROWS), (BLOCK_ROWS, 2 * BLOCK_ROWS), (2 * BLOCK_ROWS, rows)):
        part = partner_rows(
            torch.arange(start, end), end - start, rule, RowRandom(2), classes[start:end], first_row=start
        )
        assert torch.equal(part, whole[start:end])


def test_a_table_of_a_part_is_read_by_the_row_ids_of_the_whole(tokenizer):
    whole = tokenize(tokenizer, TEXTS)
    part = replace(tokenize(tokenizer, TEXTS[5:]), first_row=5)
    one, other = whole.batch([7, 5]), part.batch([7, 5])
    assert torch.equal(one.ids, other.ids)
    assert torch.equal(one.row_ids, other.row_ids)
    assert one.texts == other.texts == ((TEXTS[7],), (TEXTS[5],))


def test_a_text_method_reads_a_part_by_the_row_ids_of_the_whole(tokenizer, context):
    whole = tokenize(tokenizer, TEXTS)
    part = replace(tokenize(tokenizer, TEXTS[5:]), first_row=5)
    method = augmenter("eda", synonym=0, insertion=0, swap=0.5, deletion=0)
    one, other = (method(table.batch([7, 5]), context(table)) for table in (whole, part))
    assert torch.equal(one.ids, other.ids)
    assert not torch.equal(one.ids, whole.batch([7, 5]).ids)
