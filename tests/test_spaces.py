"""Other tables to move tokens in: against definitions, and that the projection is exact in them."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from augpro.augment import AugmentContext, EmbeddingSpace, TrainingState, augmenter
from augpro.augment.spaces import centred, teacher_table, weighted
from augpro.config import DistillConfig
from augpro.distillation.plan import make_plan
from augpro.errors import InputError
from augpro.row_random import RowRandom
from augpro.tokens import tokenize
from augpro.vocabulary import Vocabulary
from augpro.vocabulary.frequency import token_frequencies
from common import OTHERS, TEXTS, tiny_bert


@pytest.fixture
def teacher(tokenizer):
    """Embeddings of another width."""
    torch.manual_seed(5)
    model = tiny_bert(len(tokenizer), seed=5)
    model.set_input_embeddings(torch.nn.Embedding(len(tokenizer), 24))
    return model


@pytest.fixture
def space(tokenizer, model):
    return EmbeddingSpace(model.get_input_embeddings().weight, Vocabulary(tokenizer, len(tokenizer)))


def test_centred_has_no_mean_and_no_first_components():
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(500, 256, generator=generator) + 3
    table[:, 7] *= 20
    table[:, 9] *= 15
    groups = torch.where(torch.arange(500) % 5 == 0, -1, 0)
    table[groups < 0] += 100  # what is no candidate has no say
    made = centred(table, groups)
    words = table[groups >= 0].double().numpy()
    left = words - words.mean(0)
    _, _, directions = np.linalg.svd(left)
    for direction in directions[:2]:
        left -= np.outer(left @ direction, direction)
    np.testing.assert_allclose(made[groups >= 0].numpy(), left, atol=1e-3)
    assert (made @ torch.from_numpy(directions[:2].T).float()).abs().max() < 1e-2


def test_weighted_are_principal_components_and_less_of_frequent_tokens():
    """Against scikit-learn's components of the allowed tokens; cosines do not depend on their signs."""
    generator = torch.Generator().manual_seed(0)
    scale = torch.linspace(0.1, 3, 300)
    table = torch.randn(500, 300, generator=generator) * scale + 3
    groups = torch.where(torch.arange(500) % 5 == 0, -1, 0)
    table[groups < 0] += 100
    frequencies = torch.rand(500, generator=generator).double() / 500
    made = weighted(table, groups, frequencies)
    assert made.shape == (500, 256)
    assert made.dtype == torch.float32
    components = PCA(256).fit(table[groups >= 0].double().numpy()).transform(table.double().numpy())
    expected = components * (1e-4 / (1e-4 + frequencies.numpy()))[:, None]
    np.testing.assert_allclose(np.abs(made.numpy()), np.abs(expected), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose((made @ made.T).numpy(), expected @ expected.T, rtol=1e-3, atol=1e-2)
    assert weighted(table[:, :40], groups, frequencies).shape == (500, 40)


def test_frequencies_follow_the_order_of_the_allowed_tokens(space):
    frequencies = token_frequencies(space.vocabulary)
    allowed = frequencies[space.groups >= 0]
    ranks = torch.arange(len(allowed)).double()
    torch.testing.assert_close(allowed, (1 / (ranks + 2)) / (1 / (ranks + 2)).sum())
    assert not frequencies[space.groups < 0].any()


def test_frequencies_of_a_unigram_tokenizer_are_its_own():
    """Rare tokens come first here, and the table has more rows than the tokenizer has tokens."""
    pieces = [("<unk>", 0.0), ("▁rare", -9.0), ("▁often", -1.0), ("▁the", -0.5), ("s", -2.0)]
    inner = Tokenizer(models.Unigram(pieces, unk_id=0))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")
    vocabulary = Vocabulary(tokenizer, 8)
    assert (vocabulary.groups >= 0).tolist() == [False, True, True, True, True, False, False, False]
    shares = np.exp([-9.0, -1.0, -0.5, -2.0])
    expected = [0, *(shares / shares.sum()), 0, 0, 0]
    np.testing.assert_allclose(token_frequencies(vocabulary).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("method", ["augpro-mix", "knn"])
@pytest.mark.parametrize("name", ["centred", "weighted", "teacher"])
def test_tokens_are_the_nearest_in_the_space(method, name, tokenizer, space, teacher):
    """Every moved token by brute force over the table."""
    table = tokenize(tokenizer, TEXTS, OTHERS)
    batch, context = (
        table.batch(range(20)),
        AugmentContext(RowRandom(0), space, table, training=TrainingState(teacher=teacher)),
    )
    options = {"partner_fraction": 0.0} if method == "augpro-mix" else {}
    (made,) = augmenter(method, space=name, replace_fraction=1.0, top_k=1, **options).methods
    chosen = space.vocabulary.editable(batch)
    new = made.replace(batch, chosen, context)
    moved = made.perturbation.move(batch, chosen, context, space.projection("cosine", name))
    vectors = teacher.get_input_embeddings().weight if name == "teacher" else space.embeddings(name)
    vectors = torch.nn.functional.normalize(vectors.detach().double(), dim=1)
    own, other = batch.ids[new.where], moved.other
    raw = space.projection("cosine", name).table.double()
    queries = torch.nn.functional.normalize((raw[own] + raw[other]) / 2, dim=1)
    scores = queries @ vectors.T
    scores[space.groups[own][:, None] != space.groups] = -torch.inf
    for excluded in (own, other):
        scores.scatter_(1, excluded[:, None], -torch.inf)
    taken = scores.gather(1, new.ids[:, None])[:, 0]
    torch.testing.assert_close(taken, scores.amax(1), atol=1e-6, rtol=0)
    ids = made(batch, context).ids
    plain = augmenter(method, replace_fraction=1.0, top_k=1, **options)(batch, context).ids
    assert not torch.equal(ids, plain)


def test_each_table_is_made_once(space, teacher):
    first = space.projection("cosine", "teacher", teacher)
    assert space.projection("cosine", "teacher", None) is first
    assert space.projection("cosine") is not first
    assert torch.equal(space.projection("cosine").table, space.table)
    assert first.table.shape == (len(space.table), 24)


def test_a_teacher_with_more_or_fewer_rows(space, teacher):
    """Both may pad their tables; only the tokens of the tokenizer count."""
    weight = teacher.get_input_embeddings().weight.detach()
    rows = len(weight)
    longer = torch.cat([space.table, torch.zeros(8, 16)])
    groups = torch.cat([space.groups, torch.full((8,), -1)])
    assert torch.equal(teacher_table(teacher, longer, groups)[:rows], weight)
    assert not teacher_table(teacher, longer, groups)[rows:].any()
    fewer = torch.where(torch.arange(rows) < rows - 4, space.groups, -1)
    assert torch.equal(teacher_table(teacher, space.table[:-4], fewer[:-4]), weight[:-4])
    with pytest.raises(ValueError, match=r"TrainingState\.teacher"):
        teacher_table(None, space.table, space.groups)
    with pytest.raises(ValueError, match=f"embeddings of only {rows} tokens"):
        teacher_table(teacher, longer, torch.zeros(rows + 8, dtype=torch.int64))


def test_the_plan_refuses_a_teacher_of_another_tokenizer(
    table_file, teacher_folder, save_model, other_tokenizer
):
    common = {"data": str(table_file), "teacher": str(teacher_folder), "out": "out", "batch_size": 4,
              "augment": "several", "augment_options": {"of": "knn(space=teacher)+random"}}  # fmt: skip
    make_plan(DistillConfig(**common, student_layers=(0,)))
    with pytest.raises(InputError, match="the same tokenizer"):
        make_plan(DistillConfig(**common, student=str(save_model(other_tokenizer))))
