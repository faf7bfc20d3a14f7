"""Moves in embedding space: formulas, gradients, and the step that meets a rate."""

from itertools import cycle

import numpy as np
import pytest
import torch
from scipy import stats

from augpro.augment import FGSM, AugmentContext, AugPro, EmbeddingSpace, Mix, Noise, Projected, TrainingState
from augpro.augment.methods.perturb import move_along, row_weights, step_for_rate
from augpro.augment.partners import partner_rows
from augpro.losses import kd_loss
from augpro.projection.neighbours import mix
from augpro.row_random import RowRandom
from augpro.tokens import TokenBatch, tokenize
from augpro.vocabulary import Vocabulary
from common import tiny_bert


def row_loss(student, teacher):
    return kd_loss(student, teacher, "single_label")


@pytest.fixture
def table(tokenizer, texts):
    return tokenize(tokenizer, texts)


@pytest.fixture
def space(tokenizer, model):
    return EmbeddingSpace(model.get_input_embeddings().weight, Vocabulary(tokenizer, len(tokenizer)))


@pytest.fixture
def context_of(space, table, model):
    """Context of some rows of the table, with the model as the student and another one's logits."""
    targets = torch.randn(len(table), 2, generator=torch.Generator().manual_seed(4))

    def build(rows, seed=0, copy=0, **changes):
        given = {"table": changes.pop("table", table), "classes": changes.pop("classes", None)}
        state = {"student": model, "target_logits": targets[list(rows)], "row_loss": row_loss} | changes
        return AugmentContext(RowRandom(seed, copy), space, training=TrainingState(**state), **given)

    return build


# --- the formulas ----------------------------------------------------------------------------------------


def test_mix_is_the_convex_combination():
    own, other = torch.randn(2, 5, 3).unbind()
    weight = torch.rand(5, 1)
    expected = np.stack(
        [w * a + (1 - w) * b for w, a, b in zip(weight.numpy(), own.numpy(), other.numpy(), strict=True)]
    )
    np.testing.assert_allclose(mix(own, other, weight).numpy(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(mix(own, other, 1.0), own)
    assert torch.equal(mix(own, other, 0.0), other)


def test_move_along_goes_the_given_way_in_the_given_direction():
    start, direction = torch.randn(2, 7, 4, dtype=torch.float64).unbind()
    step = torch.linspace(0, 3, 7, dtype=torch.float64)[:, None]
    moved = move_along(start, direction, step) - start
    torch.testing.assert_close(moved.norm(dim=1), step[:, 0])
    torch.testing.assert_close((moved * direction).sum(1), step[:, 0] * direction.norm(dim=1))
    torch.testing.assert_close(
        move_along(start, direction * 1e-9, step), start + moved
    )  # gradients are small
    assert torch.equal(move_along(start, torch.zeros_like(start), 5.0), start)


# --- Mix -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("repeat", [False, True])
def test_mix_moves_to_the_mean_with_the_partner(repeat, table, space, context_of):
    """Written out token by token from partner_rows and the texts' own positions."""
    rows = list(range(20))
    batch, context = table.batch(rows), context_of(rows)
    editable = space.vocabulary.editable(batch)
    perturbation = Mix(weight=0.3, repeat_partner=repeat)
    moved = perturbation.move(batch, editable, context, space.projection("cosine"))
    partners = partner_rows(batch.row_ids, len(table), "random", context.rng)
    expected, shorter = [], 0
    for row, partner in zip(rows, partners.tolist(), strict=True):
        mine, theirs = (table.batch([r]).ids[0, 1:-1].tolist() for r in (row, partner))
        shorter += len(theirs) < len(mine)
        met = zip(mine, cycle(theirs) if repeat else theirs, strict=False)  # as far as both go
        expected += [0.3 * space.table[a] + 0.7 * space.table[b] for a, b in met]
    assert shorter
    assert (int(moved.where.sum()) == int(editable.sum())) == repeat
    torch.testing.assert_close(moved.vectors, torch.stack(expected))


def test_mix_with_full_weight_is_the_identity(table, context_of):
    batch = table.batch(range(20))
    for metric in ("cosine", "l2"):
        same = Projected(Mix(weight=1.0), replace_fraction=1.0, exclude_parents=False, metric=metric)
        assert torch.equal(same(batch, context_of(range(20))).ids, batch.ids)
    partner = Projected(Mix(weight=0.0), replace_fraction=1.0, exclude_parents=False)
    assert not torch.equal(partner(batch, context_of(range(20))).ids, batch.ids)


@pytest.mark.parametrize("beta", [0.2, 1.0, 4.0])
def test_drawn_weights_have_the_beta_distribution(beta, space):
    rows = torch.arange(5000)
    batch = TokenBatch(torch.zeros(5000, 1, dtype=torch.int64), *[torch.zeros(5000, 1)] * 2, row_ids=rows)
    weights = row_weights(0.5, beta, batch, AugmentContext(RowRandom(1), space)).double().numpy()
    law = stats.beta(beta, beta)
    assert weights.mean() == pytest.approx(law.mean(), abs=4.5 * law.std() / 5000**0.5)
    assert weights.var() == pytest.approx(law.var(), rel=0.1)
    assert stats.kstest(weights, law.cdf).pvalue > 1e-4


def test_one_weight_is_drawn_for_a_row(table, space, context_of):
    """All its vectors lie at the same share of the way from the partner's token to its own."""
    batch, context = table.batch(range(20)), context_of(range(20))
    moved = Mix(beta=1.0).move(batch, space.vocabulary.editable(batch), context, space.projection("cosine"))
    own, other = space.table[batch.ids[moved.where]], space.table[moved.partner_ids[moved.where]]
    apart = (own - other).norm(dim=1) > 1e-6
    share = ((moved.vectors - other).norm(dim=1) / (own - other).norm(dim=1))[apart]
    row = torch.nonzero(moved.where)[:, 0][apart]
    means = torch.stack([share[row == r].mean() for r in row.unique()])
    assert all(share[row == r].std() < 1e-4 for r in row.unique() if (row == r).sum() > 1)
    assert means.std() > 0.1


# --- steps and rates -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.35, 0.8, 1.0])
def test_step_for_rate_flips_the_share_that_was_asked_for(rate, table, space):
    """Counted by projecting: floor(rate * n + rounding) tokens of each row change, where so many can."""
    batch = table.batch(range(20))
    chosen = space.vocabulary.editable(batch)
    start, group = space.table[batch.ids[chosen]], space.groups[batch.ids[chosen]]
    generator = torch.Generator().manual_seed(0)
    unit = torch.nn.functional.normalize(torch.randn(start.shape, generator=generator), dim=1)
    rounding = torch.rand(20, generator=generator)
    projection = space.projection("cosine")
    flips = projection.rays(batch.ids[chosen], unit, group).flips()
    finite = torch.zeros_like(chosen)
    finite[chosen] = flips.isfinite()
    assert finite[chosen].float().mean() > 0.9
    steps = step_for_rate(flips, chosen, rate, rounding)
    nearest = projection.nearest(start + steps[:, None].expand_as(chosen)[chosen][:, None] * unit, group)[
        :, 0
    ]
    changed = torch.zeros_like(chosen)
    changed[chosen] = nearest != batch.ids[chosen]
    wanted = (chosen.sum(1) * rate + rounding).floor().long()
    assert torch.equal(changed.sum(1), torch.minimum(wanted, finite.sum(1)))


def test_step_for_rate_by_hand():
    """Two of the finite steps of the first row; all that can flip of the second; none of the third."""
    inf = float("inf")
    chosen = torch.tensor([[False, True, True, True, True], [True, True, False, True, False], [False] * 5])
    flips = torch.tensor([4.0, 1.0, 2.0, 3.9, inf, 5.0, inf])
    steps = step_for_rate(flips, chosen, 0.5, torch.tensor([0.0, 0.5, 0.99]))
    assert steps.tolist() == pytest.approx([2.2, 5.5, 0.0])  # 10 % past the last: the next is further off
    steps = step_for_rate(flips, chosen, 0.75, torch.tensor([0.0, 0.9, 0.0]))
    assert steps.tolist() == pytest.approx([3.95, 5.5, 0.0])  # half way to the next, which is near


@pytest.mark.e2e
@pytest.mark.parametrize("rate", [0.1, 0.3, 0.6])
@pytest.mark.parametrize("perturbation", [FGSM, Noise])
def test_target_rate_is_met_on_average(perturbation, rate, table, context_of):
    """Over 12 copies of 20 short rows; rounding alone gives a standard error below 0.008."""
    augment = Projected(perturbation(target_rate=rate), replace_fraction=1.0, exclude_parents=False)
    batch, changed, editable = table.batch(range(20)), 0, 0
    for copy in range(12):
        context = context_of(range(20), copy=copy)
        changed += int((augment(batch, context).ids != batch.ids).sum())
        editable += context.counts.editable
    assert changed / editable == pytest.approx(rate, abs=0.03)


@pytest.mark.parametrize(
    "perturbation",
    [FGSM(), FGSM(step=4.0), Noise(), Noise(step=4.0), Mix(), Mix(beta=1.0)],
    ids=repr,
)
def test_a_row_does_not_depend_on_its_batch(perturbation, table, context_of):
    augment = Projected(perturbation, exclude_parents=isinstance(perturbation, Mix))
    rows = [5, 0, 19, 9, 12, 2, 16, 7]
    whole = augment(table.batch(rows), context_of(rows)).ids
    assert not torch.equal(whole, table.batch(rows).ids)
    for place, row in enumerate(rows):
        alone = augment(table.batch([row]), context_of([row])).ids[0]
        assert torch.equal(whole[place, : len(alone)], alone)


def test_no_step_no_change(table, context_of):
    batch = table.batch(range(20))
    for still in (FGSM(step=0.0), Noise(step=0.0), FGSM(target_rate=0.0), Noise(target_rate=0.0)):
        augment = Projected(still, replace_fraction=1.0, exclude_parents=False)
        assert torch.equal(augment(batch, context_of(range(20))).ids, batch.ids)


def test_fgsm_step_raises_the_loss(table, space, model, context_of):
    """A short step up the gradient raises each row's loss; the same step down lowers it."""
    batch, context = table.batch(range(20)), context_of(range(20))
    chosen = space.vocabulary.editable(batch)
    moved = FGSM(step=0.01).move(batch, chosen, context, space.projection("cosine"))
    inputs = batch.model_inputs()
    embeddings = model.get_input_embeddings()(inputs.pop("input_ids")).detach()
    step = torch.zeros_like(embeddings)
    step[chosen] = moved.vectors - embeddings[chosen]
    torch.testing.assert_close(
        step[chosen].norm(dim=1), torch.full((int(chosen.sum()),), 0.01), rtol=1e-3, atol=0
    )
    with torch.no_grad():
        up, here, down = (
            row_loss(
                model(inputs_embeds=embeddings + sign * step, **inputs).logits, context.training.target_logits
            )
            for sign in (1, 0, -1)
        )
    assert (up > here).all()
    assert (here > down).all()


def test_a_step_through_both_models_leads_where_they_differ(table, space, model, context_of, tokenizer):
    """Short steps: the divergence of the two grows on every row, more than by the student's step alone."""
    teacher = tiny_bert(len(tokenizer), layers=3, seed=5)
    batch = table.batch(range(20))
    with torch.no_grad():
        targets = teacher(**batch.model_inputs()).logits
    context = context_of(range(20), teacher=teacher, target_logits=targets)
    chosen = space.vocabulary.editable(batch)
    rows, inputs = {}, batch.model_inputs()
    ids = inputs.pop("input_ids")
    for through in ("student", "both"):
        moved = FGSM(step=0.02, through=through).move(batch, chosen, context, space.projection("cosine"))
        shift = torch.zeros(*ids.shape, space.table.shape[1])
        shift[chosen] = moved.vectors - space.table[ids[chosen]]
        with torch.no_grad():
            logits = [one(inputs_embeds=one.get_input_embeddings()(ids) + shift, **inputs).logits
                      for one in (model, teacher)]  # fmt: skip
        rows[through] = row_loss(*logits)
    with torch.no_grad():
        before = row_loss(model(**batch.model_inputs()).logits, targets)
    assert (rows["both"] > before).all()
    assert rows["both"].mean() > rows["student"].mean()


def test_perturbations_name_what_they_miss(table, context_of):
    batch = table.batch([0, 1])
    with pytest.raises(ValueError, match=r"AugmentContext\.table"):
        Projected(Mix())(batch, context_of([0, 1], table=None))
    with pytest.raises(ValueError, match="only during training"):
        Projected(FGSM())(batch, context_of([0, 1], student=None))
    with pytest.raises(ValueError, match=r"TrainingState\.teacher"):
        Projected(FGSM(through="both"))(batch, context_of([0, 1]))
    with pytest.raises(ValueError, match=r"TrainingState\.label"):
        AugPro(FGSM(), partner_fraction=0.5)(batch, context_of([0, 1]))
    with pytest.raises(ValueError, match="through"):
        FGSM(through="teacher")


# --- a partner's tokens first ----------------------------------------------------------------------------


def test_partner_tokens_come_first_and_the_rest_is_projected(table, space, context_of):
    """Nothing moved: a crossover of the share that was asked for. Everything moved: no token of either row."""
    batch = table.batch(range(20))
    taken = editable = 0
    for copy in range(20):
        context = context_of(range(20), copy=copy)
        made = AugPro(Mix(), replace_fraction=0.0, partner_fraction=0.4)(batch, context)
        changed = made.ids != batch.ids
        partners = table.batch(partner_rows(batch.row_ids, 20, "random", context.rng))
        for row in torch.nonzero(changed.any(1))[:, 0].tolist():
            assert set(made.ids[row][changed[row]].tolist()) <= set(partners.ids[row].tolist())
        taken += context.counts.partner
        editable += context.counts.editable
        assert context.counts.partner == context.counts.changed
    assert 0.2 < taken / editable < 0.4  # kinds differ, tokens are alike
    context = context_of(range(20))
    AugPro(Mix(), replace_fraction=1.0, partner_fraction=0.4)(batch, context)
    assert context.counts.partner <= 0.02 * context.counts.editable


@pytest.mark.e2e
def test_the_share_of_partner_tokens_and_of_moved_ones_are_drawn_apart(table, context_of):
    batch = table.batch(range(20))
    both = [AugPro(Noise(), replace_fraction=0.5, partner_fraction=0.5)(batch, context_of(range(20), copy=c)).ids
            for c in range(10)]  # fmt: skip
    moved = [
        Projected(Noise(), replace_fraction=0.5)(batch, context_of(range(20), copy=c)).ids for c in range(10)
    ]
    assert not any(torch.equal(one, other) for one, other in zip(both, moved, strict=True))


def test_the_gradient_of_crossed_text_has_the_teachers_answer_to_it(table, space, context_of):
    """FGSM after a crossover: what is asked of the teacher is the crossed text, and its answer is the target."""
    batch, asked = table.batch(range(20)), []

    def label(rows):
        asked.append(rows.ids.clone())
        return torch.full((20, 2), 3.0) * torch.tensor([1.0, -1.0])

    context = context_of(range(20), label=label)
    made = AugPro(FGSM(step=4.0), replace_fraction=0.3, partner_fraction=0.5)(batch, context)
    crossed = AugPro(Mix(), replace_fraction=0.0, partner_fraction=0.5)(batch, context_of(range(20)))
    assert len(asked) == 1
    same = asked[0] == crossed.ids
    assert same.float().mean() > 0.95  # but for pieces that were given back
    assert not torch.equal(made.ids, crossed.ids)


def test_a_copied_token_follows_the_rule_of_its_partner(tokenizer, space):
    """Beyond the end of a shorter partner tokens stay, or are met by it again from its start."""
    table = tokenize(tokenizer, ["good good good good good good good good", "the bad team"])
    batch = table.batch([0])
    for repeat, reached in ((True, 8), (False, 3)):
        method = AugPro(Mix(repeat_partner=repeat), replace_fraction=0.0, partner_fraction=1.0)
        changed = method(batch, AugmentContext(RowRandom(0), space, table)).ids != batch.ids
        assert changed[0, 1 : 1 + reached].all()
        assert not changed[0, 1 + reached :].any()


@pytest.mark.parametrize(("through", "asked"), [("student", 1), ("both", 0)])
def test_the_teacher_reads_crossed_text_only_where_its_answer_is_used(
    table, space, context_of, through, asked
):
    calls = []

    def label(rows):
        calls.append(len(rows.ids))
        return torch.zeros(len(rows.ids), 2)

    method = AugPro(FGSM(step=1.0, through=through), replace_fraction=0.5, partner_fraction=0.5)
    method(table.batch([0, 1]), context_of([0, 1], label=label, teacher=tiny_bert(len(space.table), seed=9)))
    assert len(calls) == asked
