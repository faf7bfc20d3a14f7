"""Methods one after the other: what each reads, what it draws, who its partner is, and what is counted."""

import json
from dataclasses import dataclass

import pytest
import torch

from augpro.augment import (
    AugmentContext,
    Compose,
    Crossover,
    EmbeddingSpace,
    Part,
    Random,
    TrainingState,
    augmenter,
)
from augpro.augment.methods.replace import DrawnReplacement, Replaced
from augpro.augment.partners import aligned_ids
from augpro.losses import Objective
from augpro.row_random import RowRandom
from augpro.tokens import tokenize
from augpro.vocabulary import Vocabulary
from common import OTHERS, TEXTS


@pytest.fixture
def table(tokenizer):
    return tokenize(tokenizer, TEXTS, OTHERS)


@pytest.fixture
def context_of(tokenizer, model, table):
    space = EmbeddingSpace(model.get_input_embeddings().weight, Vocabulary(tokenizer, len(tokenizer)))

    def build(copy=0, **values):
        return AugmentContext(RowRandom(1, copy), space, table, training=TrainingState(model, **values))

    return build


@dataclass(frozen=True)
class Written(DrawnReplacement):
    """Keeps what it was given, and writes one token everywhere."""

    token: int
    replace_fraction: float = 1.0

    def replace(self, batch, chosen, context):
        seen.append(batch.ids.clone())
        return Replaced(chosen, torch.full((int(chosen.sum()),), self.token))


seen: list[torch.Tensor] = []


def test_each_link_reads_what_came_out_of_the_one_before(table, context_of, tokenizer):
    seen.clear()
    one, two = (tokenizer.convert_tokens_to_ids(word) for word in ("movie", "server"))
    context, batch = context_of(), table.batch(range(20))
    made = Compose((Part("one", Written(one)), Part("two", Written(two, 0.5))))(batch, context)
    editable = context.space.vocabulary.editable(batch)
    assert torch.equal(seen[0], batch.ids)
    assert bool((seen[1][editable] == one).all())
    assert set(made.ids[editable].tolist()) == {one, two}
    assert torch.equal(made.ids[~editable], batch.ids[~editable])
    # Counted once, against the original.
    assert context.counts.rows == 20
    assert context.counts.changed == int((made.ids != batch.ids).sum())


def test_links_of_one_kind_draw_apart_and_the_last_as_it_does_alone(table, context_of):
    batch, context = table.batch(range(20)), context_of()
    link = Random(0.5)
    contexts = Compose((Part("random", link), Part("random", link))).contexts(context)
    editable = context.space.vocabulary.editable(batch)
    first, last = (link.choose(batch, editable, own) for own in contexts)
    assert torch.equal(last, link.choose(batch, editable, context))
    both = (first & last).sum() / editable.sum()
    assert 0.15 < both < 0.35  # of independent halves a quarter


def test_links_share_the_partner_of_a_row(table, context_of):
    """Two crossovers bring tokens of one text, not of two."""
    batch = table.batch(range(20))
    link = Crossover(0.4)
    made = Compose((Part("one", link), Part("two", link)))(batch, context_of())
    partners = aligned_ids(batch, context_of().partners("test", batch, "random"), repeat=True)
    changed = made.ids != batch.ids
    assert changed.sum() > (link(batch, context_of()).ids != batch.ids).sum()
    assert bool((made.ids == partners)[changed].all())


def test_a_gradient_after_a_change_asks_for_the_answer_to_the_changed_text(table, context_of):
    asked = []

    def label(rows):
        asked.append(rows.ids.clone())
        return torch.zeros(len(rows.ids), 2)

    batch, chain = table.batch(range(20)), augmenter("compose", of="crossover+augpro-fgsm(step=1.0)")
    values = {"row_loss": Objective("single_label").kd, "target_logits": torch.ones(20, 2)}
    made = chain(batch, context_of(label=label, **values))
    assert len(asked) == 1
    assert not torch.equal(asked[0], batch.ids)
    assert not torch.equal(made.ids, asked[0])
    with pytest.raises(ValueError, match=r"TrainingState\.label"):
        chain(batch, context_of(**values))
    augmenter("compose", of="augpro-fgsm(step=1.0)+crossover")(batch, context_of(**values))  # at hand


def test_a_chain_may_hold_a_chain(table, context_of):
    batch = table.batch(range(20))
    inner = augmenter("compose", of="random+random")
    nested = Compose((Part("compose", inner), Part("compose", inner)))
    four = augmenter("compose", of="random+random+random+random")
    changed = [(made(batch, context_of()).ids != batch.ids).sum() for made in (inner, nested, four)]
    assert changed[0] < changed[1]
    assert abs(changed[1] - changed[2]) < 0.2 * changed[2]


def test_parameters_are_json_and_rebuild_it():
    chain = augmenter("compose", of="crossover(unit=span)+augpro-mix(partner=near)")
    assert augmenter("compose", **json.loads(json.dumps(chain.parameters))) == chain
    assert chain.partner_rules == {"random", "near"}


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ("knn", "at least 2 methods"),
        ("knn+mixup", "replace tokens, and 'mixup' does not"),
        ("knn+eda", "replace tokens, and 'eda' does not"),
        ("several+knn", "replace tokens, and 'several' does not"),
    ],
)
def test_what_cannot_be_a_link_is_named(of, message):
    with pytest.raises(ValueError, match=message):
        augmenter("compose", of=of)
