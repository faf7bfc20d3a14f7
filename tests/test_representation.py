"""Hidden states, relations and pooled vectors: the losses against their definitions, and what is read of a model."""

import pytest
import torch
from torch.nn import functional as F
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    ModernBertConfig,
    RobertaConfig,
    XLNetConfig,
)

from augpro.distillation.matching import layer_pairs
from augpro.errors import InputError
from augpro.losses import relation_loss, state_loss
from augpro.tokens import tokenize
from augpro.training.representation import StateReader
from common import tiny_bert

# --- the losses ---


def states(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])


def test_losses_equal_their_definitions_token_by_token():
    ours, theirs, wide = states(2, 4, 3), states(2, 4, 3, seed=1), states(2, 4, 5, seed=2)
    for row, length in enumerate((4, 2)):
        hidden = [2 - 2 * F.cosine_similarity(ours[row, i], theirs[row, i], dim=0) for i in range(length)]
        assert state_loss(ours, theirs, MASK)[row] == pytest.approx(sum(hidden) / length)
        pairs = [
            (
                F.cosine_similarity(ours[row, i], ours[row, j], dim=0)
                - F.cosine_similarity(wide[row, i], wide[row, j], dim=0)
            )
            ** 2
            for i in range(length)
            for j in range(length)
        ]
        assert relation_loss(ours, wide, MASK)[row] == pytest.approx(sum(pairs) / length**2)
    pooled = 2 - 2 * F.cosine_similarity(ours[:, 0], theirs[:, 0], dim=1)
    torch.testing.assert_close(state_loss(ours[:, 0], theirs[:, 0]), pooled)


def test_gradients_are_those_of_finite_differences():
    ours = states(2, 4, 3).requires_grad_()
    theirs, wide = states(2, 4, 3, seed=1), states(2, 4, 5, seed=2)
    assert torch.autograd.gradcheck(lambda s: state_loss(s, theirs, MASK), ours)
    assert torch.autograd.gradcheck(lambda s: state_loss(s[:, 0], theirs[:, 0]), ours)
    assert torch.autograd.gradcheck(lambda s: relation_loss(s, wide, MASK), ours)


@pytest.mark.parametrize("loss", [state_loss, relation_loss])
def test_padding_does_not_count_and_learns_nothing(loss):
    ours, theirs = states(2, 4, 3).requires_grad_(), states(2, 4, 3, seed=1)
    before = loss(ours, theirs, MASK)
    (gradient,) = torch.autograd.grad(before.sum(), ours)
    assert not gradient[MASK == 0].any()
    assert gradient[MASK == 1].any()
    changed = ours.detach().masked_fill(MASK[..., None] == 0, 7.0)
    assert torch.equal(loss(changed, theirs, MASK), before)
    assert torch.allclose(loss(3 * ours, theirs, MASK), before), "lengths count"
    assert loss(theirs, theirs, MASK).tolist() == pytest.approx([0, 0])


def test_which_layers_are_compared():
    assert layer_pairs("uniform", 2, 12) == ((0, 5), (1, 11))
    assert layer_pairs("uniform", 4, 6) == ((0, 1), (1, 2), (2, 4), (3, 5))
    assert layer_pairs("uniform", 6, 2) == ((0, 0), (1, 0), (2, 0), (3, 1), (4, 1), (5, 1))
    assert layer_pairs("uniform", 2, 6, (4, 1)) == ((0, 4), (1, 1))
    assert layer_pairs("last", 2, 6, (4, 1)) == ((1, 5),)


# --- reading the states ---

SMALL = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "num_labels": 3,
         "intermediate_size": 16, "max_position_embeddings": 40, "pad_token_id": 0}  # fmt: skip
DISTIL = {"vocab_size": 50, "dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 16, "num_labels": 3}
COMMON = {"vocab_size": 50, "n_layer": 3, "n_head": 2, "pad_token_id": 0, "num_labels": 3}
GPT2 = {**COMMON, "n_embd": 16, "n_positions": 40}
XLNET = {**COMMON, "d_model": 16, "d_inner": 16}


@pytest.mark.parametrize(
    "config",
    [
        BertConfig(**SMALL),
        RobertaConfig(**SMALL),
        DistilBertConfig(**DISTIL),
        ElectraConfig(**SMALL, embedding_size=8),
        ModernBertConfig(**SMALL),
        GPT2Config(**GPT2),
        XLNetConfig(**XLNET),
    ],
    ids=lambda config: config.model_type,
)
def test_what_the_head_reads_gives_the_logits(config, texts, tokenizer):
    """Of any architecture: the last linear layer on the pooled vector is the model's own answer."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    batch = tokenize(tokenizer, texts[:5]).batch(range(5))
    ids = torch.where(batch.mask == 1, batch.ids % 47 + 3, 0)
    batch = type(batch)(ids, batch.mask, batch.segments, batch.row_ids)
    reader = StateReader(model, (0, 2), pooled=True)
    with torch.no_grad():
        logits, found = reader(model, batch)
        expected = model(**batch.model_inputs(), output_hidden_states=True)
        head = next(part for part in reversed(list(model.modules())) if getattr(part, "out_features", 0) == 3)
        reader.close()
        torch.testing.assert_close(head(found.pooled), expected.logits)
    assert torch.equal(logits, expected.logits)
    assert all(found.hidden[n].equal(expected.hidden_states[layer + 1]) for n, layer in enumerate((0, 2)))


def test_models_that_have_no_such_states_are_refused(tokenizer, texts):
    model = tiny_bert(len(tokenizer))
    batch = tokenize(tokenizer, texts).batch([0, 1])
    with pytest.raises(
        InputError, match="one hidden state for each token and layer; leave out --hidden-weight"
    ):
        StateReader(model, (5,), pooled=False)(model, batch)
    model.classifier = torch.nn.Identity()
    with pytest.raises(
        InputError, match=r"no linear layer with 2 outputs \(its logits\); leave out --pooled-weight"
    ):
        StateReader(model, (), pooled=True)


def test_hidden_states_are_asked_for_only_where_they_are_matched(tokenizer, texts):
    asked = []
    model = tiny_bert(len(tokenizer))
    model.bert.register_forward_pre_hook(
        lambda _m, _a, kwargs: asked.append(kwargs.get("output_hidden_states")), with_kwargs=True
    )
    batch = tokenize(tokenizer, texts).batch([0, 1])
    StateReader(model, (), pooled=True)(model, batch)
    StateReader(model, (1,), pooled=False)(model, batch)
    assert asked == [None, True]
