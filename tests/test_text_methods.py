"""What holds for every text method: what becomes of its texts, its draws, batches and pairs.

What each method writes is tested in test_eda.py, test_masked_lm.py and test_back_translation.py.
"""

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from scipy.stats import chisquare

from augpro.augment.methods.masked import MaskedLM
from augpro.augment.methods.text import EDA, TextAugmenter, sample
from augpro.augment.methods.translate import BackTranslation
from augpro.row_random import RowRandom
from augpro.tokens import tokenize
from common import OTHERS, ROWS, TEXTS
from text_sources import rows_of


@dataclass(frozen=True)
class Told(TextAugmenter):
    """Returns the texts that it is given."""

    name: ClassVar[str] = "told"
    answer: tuple[tuple[str, ...], ...] = ()

    def rewrite(self, columns, row_ids, context):
        assert [len(column) for column in columns] == [len(row_ids)] * len(columns)
        return [list(column) for column in self.answer]


def test_new_texts_are_tokenized_as_the_students_are(tokenizer, context):
    table = tokenize(tokenizer, TEXTS, OTHERS, limit=12)
    told = (("my app", "not good " * 10, "   "), ("never again", "the film", "slow"))
    ctx = context(table)
    batch = table.batch([4, 0, 2])
    made = Told(told)(batch, ctx)
    expected = tokenize(
        tokenizer, ["my app", "not good " * 10, TEXTS[2]], ["never again", "the film", "slow"], 12
    )
    for key, value in expected.batch([0, 1, 2]).tensors().items():
        if key != "row_ids":
            assert torch.equal(getattr(made, key), value), key
    assert made.row_ids.tolist() == [4, 0, 2]
    assert made.texts == expected.texts_of([0, 1, 2])
    assert made.ids.shape == (3, 12)
    assert ctx.counts.rows == 3
    pairs = [(TEXTS[4], "my app"), (TEXTS[0], "not good " * 10), (OTHERS[4], "never again"),
             (OTHERS[0], "the film"), (OTHERS[2], "slow")]  # fmt: skip
    gone = sum((Counter(old.split()) - Counter(new.split())).total() for old, new in pairs)
    assert ctx.counts.changed == gone
    assert ctx.counts.editable == sum(
        len(column[row].split()) for column in (TEXTS, OTHERS) for row in (4, 0, 2)
    )


def test_a_text_method_needs_the_rows_texts(tokenizer, context):
    batch = tokenize(tokenizer, TEXTS).batch([0])
    for method in (EDA(), MaskedLM(), BackTranslation()):
        with pytest.raises(ValueError, match=f"{method.name} needs the training rows"):
            method(batch, context())


@pytest.fixture(params=["eda", "masked-lm", "back-translation"])
def method(request, wordnet, masked_lm, translator):
    return {
        "eda": lambda: EDA(0.4, 0.4, 0.4, 0.4),
        "masked-lm": lambda: MaskedLM(str(masked_lm), replace_fraction=0.5),
        "back-translation": lambda: BackTranslation(str(translator), str(translator), max_tokens=16),
    }[request.param]()


@pytest.mark.e2e
def test_same_seed_same_text_other_seed_or_copy_other_text(method, pairs, context):
    batch = pairs.batch(ROWS)
    first = rows_of(method(batch, context(pairs)))
    assert first == rows_of(method(batch, context(pairs)))
    assert first != rows_of(batch)
    for other in (context(pairs, seed=1), context(pairs, copy=1)):
        assert first != rows_of(method(batch, other))


@pytest.mark.e2e
def test_a_row_does_not_depend_on_its_batch(method, pairs, context):
    whole = rows_of(method(pairs.batch(ROWS), context(pairs)))
    for rows in ([0], [7, 3], list(range(19, 4, -1))):
        part = method(pairs.batch(rows), context(pairs))
        assert part.row_ids.tolist() == rows
        assert rows_of(part) == [whole[row] for row in rows]


def test_input_and_global_random_state_are_untouched(method, pairs, context):
    batch, state = pairs.batch(ROWS), torch.random.get_rng_state()
    before = {key: value.clone() for key, value in batch.tensors().items()}
    method(batch, context(pairs))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(getattr(batch, key), value) for key, value in before.items())
    assert (pairs.texts, pairs.pairs) == (TEXTS, OTHERS)


def test_training_in_half_precision_gives_the_same_text(method, context):
    plain = method.rewrite([TEXTS], ROWS, context())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert method.rewrite([TEXTS], ROWS, context()) == plain


@pytest.mark.e2e
@pytest.mark.parametrize("method", ["eda", "back-translation"], indirect=True)
def test_both_texts_of_a_pair_change_from_the_original(method, context):
    """Not the second beside a changed first; for masked-lm see test_the_model_reads_both_original_texts."""
    one, two = method.rewrite([TEXTS, OTHERS], ROWS, context())
    assert (one, two) != (TEXTS, OTHERS)
    assert method.rewrite([TEXTS], ROWS, context()) == [one]
    assert method.rewrite([OTHERS, OTHERS], ROWS, context())[1] == two
    assert method.rewrite([TEXTS, TEXTS], ROWS, context())[1] != one, "both columns have the same draws"


def test_every_draw_has_a_name_of_its_own_in_each_column(method, context, monkeypatch):
    names, uniform = [], RowRandom.uniform

    def listen(self, name, row_ids, positions=1):
        names.append(name)
        return uniform(self, name, row_ids, positions)

    monkeypatch.setattr(RowRandom, "uniform", listen)
    method.rewrite([TEXTS[:3], OTHERS[:3]], ROWS[:3], context())
    expected = {
        "eda": ["eda0", "eda1"], "masked-lm": ["masked", "filled"],
        "back-translation": ["there0", "back0", "there1", "back1"],
    }  # fmt: skip
    assert names == expected[method.name]


# --- sampling --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("top_k", "temperature"), [(6, 1.0), (6, 0.5), (3, 2.0), (50, 1.0)])
def test_samples_follow_the_softmax_of_the_highest_scores(top_k, temperature):
    scores = torch.tensor([0.3, -1.0, 1.2, -torch.inf, 0.9, 0.0, -0.4])
    draw = (torch.arange(20_000) + 0.5) / 20_000
    drawn = torch.bincount(sample(scores.expand(20_000, -1), top_k, temperature, draw), minlength=7)
    weight = (scores / temperature).exp()
    weight[scores < scores.sort(descending=True).values[min(top_k, 7) - 1]] = 0
    torch.testing.assert_close(drawn / 20_000, weight / weight.sum(), rtol=0, atol=2e-4)
    random = RowRandom(3).uniform("any", torch.arange(20_000))[:, 0]
    drawn = torch.bincount(sample(scores.expand(20_000, -1), top_k, temperature, random), minlength=7)
    possible = weight > 0
    assert drawn[~possible].sum() == 0
    expected = (weight / weight.sum() * 20_000)[possible].double()
    assert chisquare(drawn[possible], expected / expected.sum() * 20_000).pvalue > 1e-3


def test_sampling_at_the_ends():
    scores = torch.tensor([[1.0, 3.0, 2.0]] * 2 + [[-torch.inf] * 3])
    assert sample(scores, 1, 1.0, torch.tensor([0.0, 1 - 2.0**-24, 0.5]))[:2].tolist() == [1, 1]
    assert sample(scores, 3, 1.0, torch.tensor([0.0, 1 - 2.0**-24, 0.5]))[:2].tolist() == [1, 0]
