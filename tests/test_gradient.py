"""The gradient of the loss with respect to embeddings: right, local to its row, and without a trace."""

import pytest
import torch

from augpro.augment.gradient import embedding_gradient, override_output
from augpro.losses import kd_loss
from augpro.tokens import tokenize
from common import tiny_bert


def row_loss(student, teacher):
    return kd_loss(student, teacher, "single_label")


@pytest.fixture
def table(tokenizer, texts):
    return tokenize(tokenizer, texts)


def test_gradient_by_finite_differences(table):
    model = tiny_bert(200).double()
    batch = table.batch([0, 3, 6])
    target = torch.tensor([[2.0, -1.0], [0.0, 0.5], [-3.0, 1.0]], dtype=torch.float64)
    gradient = embedding_gradient(model, batch, row_loss, target)
    inputs = batch.model_inputs()
    embeddings = model.get_input_embeddings()(inputs.pop("input_ids")).detach()
    assert gradient.shape == embeddings.shape

    def losses(moved):
        with torch.no_grad():
            return row_loss(model(inputs_embeds=moved, **inputs).logits, target)

    for seed in range(8):
        way = torch.randn(
            embeddings.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
        )
        slope = (losses(embeddings + 1e-5 * way) - losses(embeddings - 1e-5 * way)) / 2e-5
        torch.testing.assert_close((gradient * way).sum((1, 2)), slope, rtol=1e-5, atol=1e-8)
    assert gradient[batch.mask == 0].abs().max() == 0.0


def test_two_models_that_agree_on_several_labels_have_no_gradient(table, tokenizer):
    """However unsure they are: what is climbed is their difference."""
    model = tiny_bert(len(tokenizer))

    def loss(student, teacher):
        return kd_loss(student, teacher, "multi_label")

    assert embedding_gradient(model, table.batch([0, 1]), loss, model).abs().max() < 1e-6


def test_a_model_that_never_calls_its_embeddings_is_refused(table, tokenizer):
    compiled = tiny_bert(len(tokenizer))
    batch, target = table.batch([0, 1]), torch.zeros(2, 2)
    compiled.get_input_embeddings = lambda: torch.nn.Embedding(3, 4)
    with pytest.raises(ValueError, match="Embedding was not called, so its output was not replaced"):
        embedding_gradient(compiled, batch, row_loss, target)
    with (
        pytest.raises(ValueError, match="was not called"),
        override_output(compiled.get_input_embeddings(), lambda *a: a[2]),
    ):
        compiled(**batch.model_inputs())


def test_gradient_leaves_no_trace(table, tokenizer):
    """A partly frozen model with dropout, some modules training and some not, inside no_grad."""
    model = tiny_bert(len(tokenizer), dropout=0.5)
    model.train()
    model.bert.encoder.layer[0].eval()
    model.bert.embeddings.word_embeddings.weight.requires_grad_(False)
    kept = model.classifier.weight.grad = torch.ones_like(model.classifier.weight)
    flags = [module.training for module in model.modules()]
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    batch, target = table.batch([0, 1, 2]), torch.randn(3, 2)
    state = torch.random.get_rng_state()
    with torch.no_grad():
        gradient = embedding_gradient(model, batch, row_loss, target)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [module.training for module in model.modules()] == flags
    assert True in flags
    assert False in flags
    assert [parameter.requires_grad for parameter in model.parameters()] == wanted
    assert torch.equal(kept, torch.ones_like(kept))
    assert all(p.grad is None for n, p in model.named_parameters() if n != "classifier.weight")
    assert not gradient.requires_grad
    assert gradient.norm() > 0
    assert torch.equal(gradient, embedding_gradient(model, batch, row_loss, target))  # dropout is off


def test_flags_come_back_after_an_error(table, model):
    model.train()
    with pytest.raises(ZeroDivisionError):
        embedding_gradient(model, table.batch([0]), lambda *_: 1 / 0, torch.zeros(1, 2))
    assert all(module.training for module in model.modules())


def test_gradient_of_a_row_does_not_depend_on_its_batch(table, model):
    target = torch.randn(20, 2, generator=torch.Generator().manual_seed(1))
    whole = embedding_gradient(model, table.batch(range(20)), row_loss, target)
    for row in (0, 9, 16):
        alone = embedding_gradient(model, table.batch([row]), row_loss, target[row : row + 1])[0]
        torch.testing.assert_close(whole[row, : len(alone)], alone, rtol=1e-3, atol=1e-5)


def test_gradient_through_two_models_by_finite_differences(table, tokenizer):
    """Both models' embeddings are moved along one direction; the loss of each row grows by gradient times step."""
    student, teacher = (tiny_bert(len(tokenizer), seed=seed).double() for seed in (1, 2))
    batch = table.batch(range(6))
    gradient = embedding_gradient(student, batch, row_loss, teacher)

    def loss(shift):
        inputs = batch.model_inputs()
        ids = inputs.pop("input_ids")
        with torch.no_grad():
            logits = [model(inputs_embeds=model.get_input_embeddings()(ids) + shift, **inputs).logits
                      for model in (student, teacher)]  # fmt: skip
        return row_loss(*logits)

    generator = torch.Generator().manual_seed(3)
    for _ in range(3):
        way = torch.randn(gradient.shape, generator=generator, dtype=torch.float64)
        slope = (loss(1e-4 * way) - loss(-1e-4 * way)) / 2e-4
        torch.testing.assert_close((gradient * way).sum((1, 2)), slope, rtol=1e-3, atol=1e-9)
    alone = embedding_gradient(student, batch, row_loss, teacher(**batch.model_inputs()).logits.detach())
    assert not torch.allclose(gradient, alone, rtol=0.1)
