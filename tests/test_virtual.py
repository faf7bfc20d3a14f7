"""Virtual rows against forward passes, gradients and divergences that are written out here."""

import pytest
import torch
from scipy import stats
from transformers import BertConfig, BertForSequenceClassification

from augpro.augment import AugmentContext, EmbeddingSpace, Mixup, Smart, TMix, TrainingState, VirtualFGSM
from augpro.augment.methods.perturb import row_weights
from augpro.augment.partners import partner_rows
from augpro.config import DistillConfig
from augpro.distillation.plan import make_plan
from augpro.errors import InputError
from augpro.losses import kd_loss, smoothness_loss
from augpro.models.layers import encoder_layers
from augpro.row_random import RowRandom
from augpro.tokens import tokenize
from augpro.vocabulary import Vocabulary
from common import LABELS, tiny_bert

ROWS = list(range(20))


def wide_bert(vocabulary):
    """A classifier of another width and depth than ``tiny_bert``."""
    torch.manual_seed(5)
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=vocabulary, hidden_size=24, num_hidden_layers=3, num_attention_heads=2,
            intermediate_size=32, max_position_embeddings=32, initializer_range=0.4,
            id2label=dict(enumerate(LABELS)), label2id={name: i for i, name in enumerate(LABELS)},
        )
    ).eval()  # fmt: skip


def row_loss(student, teacher):
    return kd_loss(student, teacher, "single_label")


@pytest.fixture(params=["single texts", "pairs"])
def table(request, tokenizer, texts):
    return tokenize(tokenizer, texts, [*texts[7:], *texts[:7]] if request.param == "pairs" else None)


@pytest.fixture
def context_of(tokenizer, model, table):
    space = EmbeddingSpace(model.get_input_embeddings().weight, Vocabulary(tokenizer, len(tokenizer)))
    targets = torch.randn(20, 2, generator=torch.Generator().manual_seed(4))

    def build(rows=ROWS, **changes):
        given = {"table": changes.pop("table", table), "classes": changes.pop("classes", None)}
        state = {"student": model, "target_logits": targets[list(rows)], "row_loss": row_loss} | changes
        return AugmentContext(RowRandom(2), space, training=TrainingState(**state), **given)

    return build


def ids_and_types(table, row):
    """A row's tokens and their types, without padding."""
    batch = table.batch([row])
    return batch.ids[0], batch.type_ids[0]


def combined(own, other, share):
    """[T, D] and [T', D] row by row: mixed where both have a position, else the one that has it."""
    longer = own if len(own) > len(other) else other
    both = min(len(own), len(other))
    return torch.stack(
        [share * own[t] + (1 - share) * other[t] if t < both else longer[t] for t in range(len(longer))]
    )


def pairs_of(table, context, method):
    """(row, partner, lambda) as the rules for them draw it."""
    batch = table.batch(ROWS)
    partners = partner_rows(batch.row_ids, len(table), "random", context.rng).tolist()
    weights = row_weights(method.weight, method.beta, batch, context).tolist()
    return list(zip(ROWS, partners, weights, strict=True))


# --- mixup -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [Mixup(), Mixup(weight=0.3, beta=None)], ids=repr)
def test_mixup_is_the_forward_pass_of_the_mixed_embeddings(method, table, model, context_of):
    """One row at a time and unpadded, in models of two widths, each with embeddings of its own."""
    context = context_of()
    made = method(table.batch(ROWS), context)
    for reader in (model, wide_bert(model.config.vocab_size)):
        expected = []
        for row, partner, share in pairs_of(table, context, method):
            (own, own_types), (other, other_types) = ids_and_types(table, row), ids_and_types(table, partner)
            weight = reader.get_input_embeddings().weight
            types = torch.cat([own_types, other_types[len(own) :]])
            mixed = combined(weight[own], weight[other], share)
            ones = torch.ones(1, len(mixed), dtype=torch.int64)
            expected.append(
                reader(inputs_embeds=mixed[None], token_type_ids=types[None], attention_mask=ones).logits
            )
        torch.testing.assert_close(made.run(reader), torch.cat(expected), rtol=1e-4, atol=1e-5)
    assert made.labelled_by == "teacher"


# --- tmix ------------------------------------------------------------------------------------------------


def by_hand(model, own, other, share, depth):
    """Both rows up to the layer, mixed there, and the mixed row from there on; nothing is padded."""
    bert, layers = model.bert, model.bert.encoder.layer
    states = [bert.embeddings(input_ids=ids[None], token_type_ids=types[None]) for ids, types in (own, other)]
    number = round(depth * len(layers))
    for layer in layers[:number]:
        states = [layer(state) for state in states]
    mixed = combined(states[0][0], states[1][0], share)[None]
    for layer in layers[number:]:
        mixed = layer(mixed)
    return model.classifier(bert.pooler(mixed))


@pytest.mark.e2e
@pytest.mark.parametrize("depth", [0.0, 0.5, 1.0])
def test_tmix_is_the_forward_pass_mixed_after_the_layer(depth, table, model, context_of):
    """0 is the output of the embedding layer, 1 the last hidden state; a deeper teacher at the same share."""
    method, context = TMix(depths=(depth,)), context_of()
    made = method(table.batch(ROWS), context)
    for reader in (model, wide_bert(model.config.vocab_size), tiny_bert(model.config.vocab_size, layers=5)):
        expected = [
            by_hand(reader, ids_and_types(table, row), ids_and_types(table, partner), share, depth)
            for row, partner, share in pairs_of(table, context, method)
        ]
        torch.testing.assert_close(made.run(reader), torch.cat(expected), rtol=1e-4, atol=2e-5)


def test_tmix_draws_a_layer_for_each_row(table, model, context_of):
    method, context = TMix(depths=(0.0, 0.5, 1.0)), context_of()
    logits = method(table.batch(ROWS), context).run(model)
    draw = context.rng.uniform("depth", torch.arange(20))[:, 0].tolist()
    drawn = [method.depths[int(3 * value)] for value in draw]
    assert set(drawn) == set(method.depths)
    expected = [
        by_hand(model, ids_and_types(table, row), ids_and_types(table, partner), share, depth)
        for (row, partner, share), depth in zip(pairs_of(table, context, method), drawn, strict=True)
    ]
    torch.testing.assert_close(logits, torch.cat(expected), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_padding_is_never_mixed_in(attention, table, model, context_of):
    model.set_attn_implementation(attention)
    method = TMix(depths=(0.0, 0.5, 1.0))
    whole = method(table.batch(ROWS), context_of()).run(model)
    for row in ROWS:
        alone = method(table.batch([row]), context_of([row])).run(model)
        torch.testing.assert_close(alone[0], whole[row], rtol=1e-4, atol=2e-5)


def test_tmix_refuses_gradient_checkpointing_in_training_alone(table, model, context_of):
    made = TMix()(table.batch(ROWS), context_of())
    expected = made.run(model)
    model.gradient_checkpointing_enable()
    assert torch.equal(made.run(model), expected)
    model.train()
    with pytest.raises(ValueError, match="gradient_checkpointing"):
        made.run(model)


@pytest.mark.parametrize("method", [TMix(), Mixup(), VirtualFGSM(), Smart()], ids=lambda m: type(m).__name__)
def test_no_hook_is_left_behind(method, table, model, context_of, monkeypatch):
    made = method(table.batch(ROWS), context_of())
    made.run(model)

    def fail(*_args, **_kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr(encoder_layers(model)[1], "forward", fail)
    with pytest.raises(ZeroDivisionError):
        made.run(model)
    with pytest.raises(ZeroDivisionError):
        method(table.batch(ROWS), context_of()).run(model)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


# --- fgsm ------------------------------------------------------------------------------------------------


def gradient_at(model, batch, targets, offset=0.0):
    """Of the summed loss at the word embeddings plus an offset, through ``inputs_embeds``; and those."""
    inputs = batch.model_inputs()
    words = model.get_input_embeddings().weight[inputs.pop("input_ids")].detach()
    point = (words + offset).requires_grad_()
    row_loss(model(inputs_embeds=point, **inputs).logits, targets).sum().backward()
    gradient = point.grad
    model.zero_grad()
    return gradient, words, inputs


def test_fgsm_steps_up_the_gradient_by_a_share_of_the_rows_length(table, model, context_of):
    batch, context = table.batch(ROWS), context_of()
    gradient, words, inputs = gradient_at(model, batch, context.training.target_logits)
    offset = torch.zeros_like(words)
    for row in ROWS:
        inside = [
            t for t in range(words.shape[1]) if batch.segments[row, t] >= 0
        ]  # specials and padding stay
        length = sum(words[row, t].norm() for t in inside) / len(inside)
        for t in inside:
            offset[row, t] = 0.02 * length * gradient[row, t] / gradient[row, t].norm()
    with torch.no_grad():
        expected = model(inputs_embeds=words + offset, **inputs).logits
        made = VirtualFGSM(step=0.02)(batch, context).run(model)
        torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-5)
        before = row_loss(model(**batch.model_inputs()).logits, context.training.target_logits)
        assert (row_loss(made, context.training.target_logits) > before).float().mean() > 0.9


# --- smart -----------------------------------------------------------------------------------------------


def test_smart_steps_in_the_worst_direction_at_the_noise(table, model, context_of):
    """Divided by each token's largest coordinate; in float64, as the gradient there is tiny."""
    model.double()
    batch, method = table.batch(ROWS), Smart(step=0.05, noise=1e-3)
    context = context_of()
    rows, positions = batch.ids.shape
    normal = context.rng.normal("noise", batch.row_ids, positions * 16).view(rows, positions, 16).double()
    with torch.no_grad():
        clean = model(**batch.model_inputs()).logits
    gradient, words, inputs = gradient_at(model, batch, clean, 1e-3 * normal * batch.mask[..., None])
    offset = 0.05 * gradient / gradient.abs().amax(-1, keepdim=True).clamp_min(1e-300) * batch.mask[..., None]
    made = method(batch, context)
    assert made.labelled_by == "student"
    with torch.no_grad():
        expected = model(inputs_embeds=words + offset, **inputs).logits
        torch.testing.assert_close(made.run(model), expected, rtol=0, atol=1e-6)


def test_smoothness_is_the_symmetric_divergence():
    """By ``scipy.stats.entropy`` both ways: of the classes, of each label's two outcomes; squared for a score."""
    one, other = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(3)).double() * 2

    def both_ways(p, q):
        return stats.entropy(p, q) + stats.entropy(q, p)

    classes = [
        both_ways(*map(torch.Tensor.numpy, pq)) for pq in zip(one.softmax(1), other.softmax(1), strict=True)
    ]
    assert smoothness_loss(one, other, "single_label").tolist() == pytest.approx(classes, rel=1e-9)
    labels = [
        sum(both_ways([a, 1 - a], [b, 1 - b]) for a, b in zip(p.tolist(), q.tolist(), strict=True)) / 4
        for p, q in zip(one.sigmoid(), other.sigmoid(), strict=True)
    ]
    assert smoothness_loss(one, other, "multi_label").tolist() == pytest.approx(labels, rel=1e-9)
    squared = ((one - other)[:, 0] ** 2).tolist()
    scores = smoothness_loss(one[:, :1], other[:, :1], "regression")
    assert scores.tolist() == pytest.approx(squared, rel=1e-9)


@pytest.mark.parametrize("problem_type", ["single_label", "multi_label", "regression"])
def test_gradients_of_smoothness_flow_to_both_sides(problem_type):
    one, other = torch.randn(2, 3, 2, dtype=torch.float64).unbind()
    one.requires_grad_(), other.requires_grad_()
    smoothness_loss(one, other, problem_type).sum().backward()
    assert one.grad.abs().sum() > 0
    assert other.grad.abs().sum() > 0
    assert torch.autograd.gradcheck(lambda a, b: smoothness_loss(a, b, problem_type), (one, other))


# --- what the teacher must share -------------------------------------------------------------------------


@pytest.fixture
def plan_of(table_file, save_model, tokenizer, tmp_path):
    def plan(augment, teacher):
        return make_plan(
            DistillConfig(
                data=str(table_file), teacher=str(teacher), student=str(save_model(tokenizer)), augment=augment,
                out=tmp_path / "out", batch_size=4,
            )
        )  # fmt: skip

    return plan


@pytest.mark.parametrize("augment", ["mixup", "tmix", "fgsm"])
def test_a_teacher_of_another_tokenizer_is_refused(augment, plan_of, save_model, other_tokenizer):
    with pytest.raises(InputError, match=r"the same tokenizer.*use a method that makes text"):
        plan_of(augment, save_model(other_tokenizer))


@pytest.mark.parametrize("augment", ["smart", "random"])
def test_other_methods_take_any_teacher(augment, plan_of, save_model, other_tokenizer):
    assert plan_of(augment, save_model(other_tokenizer)).method == augment


@pytest.mark.e2e
def test_a_teacher_of_another_width_is_refused_by_fgsm_alone(plan_of, tokenizer, tmp_path):
    teacher = tmp_path / "wide"
    wide_bert(len(tokenizer)).save_pretrained(teacher)
    tokenizer.save_pretrained(teacher)
    with pytest.raises(InputError, match=r"student has 16.* 24; use a method that makes text"):
        plan_of("fgsm", teacher)
    assert plan_of("mixup", teacher).method == "mixup"
    assert plan_of("tmix", teacher).method == "tmix"
