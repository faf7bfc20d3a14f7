"""Candidates that are least similar to their row are not chosen: by definition, in training, and from disk."""

import numpy as np
import pytest
import torch

from augpro.augment import EmbeddingSpace, augmenter
from augpro.compare.grid import Grid
from augpro.config import CompareConfig, DistillConfig
from augpro.distillation.plan import make_plan
from augpro.distillation.train import augmentation_of
from augpro.errors import InputError
from augpro.losses import Objective
from augpro.results.cell import Cell
from augpro.shards.read import open_set
from augpro.teachers.teacher import Teacher
from augpro.tokens import TokenBatch, join, tokenize
from augpro.training.candidates import Candidates
from augpro.training.dataset import DistillationDataset
from augpro.training.meter import Meter
from augpro.training.online import OnlineAugmentation
from augpro.training.similarity import SimilarityBound, most_similar
from augpro.vocabulary import Vocabulary
from common import OTHERS, TEXTS, tiny_bert
from shard_cases import augmented

OWNERS = torch.tensor([0, 0, 0, 1, 2, 2, 2, 2, 3, 3])  # rows have 3, 1, 4 and 2 candidates
SIMILAR = torch.tensor([0.9, 0.1, 0.5, -1.0, 0.2, 0.4, 0.2, 0.3, 0.7, 0.6])


@pytest.mark.parametrize(
    ("quantile", "kept"),
    [
        (0.0, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (0.33, [0, 1, 2, 3, 5, 6, 7, 8, 9]),
        (0.34, [0, 2, 3, 5, 6, 7, 8, 9]),
        (0.5, [0, 2, 3, 5, 7, 8]),
        (0.99, [0, 3, 5, 8]),
    ],
)
def test_the_least_similar_of_each_row_are_left_out(quantile, kept):
    """Rounded down, so that the most similar one stays, and the earlier of two that are alike goes first."""
    assert most_similar(SIMILAR, OWNERS, quantile).tolist() == kept


def test_a_share_that_is_a_whole_number_is_one():
    owners = torch.zeros(100, dtype=torch.int64)
    assert len(most_similar(torch.arange(100.0), owners, 0.29)) == 71


@pytest.fixture
def space(tokenizer, model):
    return EmbeddingSpace(model.get_input_embeddings().weight, Vocabulary(tokenizer, len(tokenizer)))


def test_similarity_is_the_cosine_of_weighted_embeddings(tokenizer, space):
    """Without special tokens, padding and the second row's length."""
    rows = tokenize(tokenizer, TEXTS, OTHERS)
    originals, texts = rows.batch([0, 3]), rows.batch([5, 6, 7, 8, 9])
    owners = torch.tensor([0, 0, 0, 1, 1])
    bound = SimilarityBound.of(0.5, space)
    kept = bound.within(originals, Candidates(texts, torch.arange(5.0)[:, None], owners))
    table = space.embeddings("weighted").double().numpy()
    sums = [[table[ids[part >= 0]].sum(0) for ids, part in zip(each.ids.numpy(), each.segments.numpy(), strict=True)]
            for each in (originals, texts)]  # fmt: skip
    cosines = [
        one @ sums[0][row] / np.linalg.norm(one) / np.linalg.norm(sums[0][row])
        for one, row in zip(sums[1], owners.tolist(), strict=True)
    ]
    expected = [*(i for i in range(3) if i != int(np.argmin(cosines[:3]))), 3 + int(np.argmax(cosines[3:]))]
    assert kept.logits[:, 0].tolist() == expected
    assert kept.owners.tolist() == [0, 0, 1]
    assert torch.equal(kept.rows.ids, texts.ids[expected])


def test_a_row_without_an_allowed_token_keeps_a_candidate(tokenizer, space):
    rows = tokenize(tokenizer, ["\u2603 \u2603", "a good film"])
    candidates = Candidates(rows.batch([0, 1]), torch.zeros(2, 2), torch.tensor([0, 0]))
    assert len(SimilarityBound.of(0.5, space).within(rows.batch([0]), candidates).owners) == 1


@pytest.fixture
def online(tokenizer, space):
    """An augmentation with texts that keep all tokens or few of them, and what it is called with."""
    teacher = Teacher(tiny_bert(len(tokenizer), layers=3, seed=7), tokenizer)
    dataset = DistillationDataset(
        tokenize(tokenizer, TEXTS), torch.zeros(20, dtype=torch.int64), teacher.label(TEXTS)
    )

    def build(quantile, rows=range(20)):
        method = augmenter("several", of="random(replace_fraction=0.1)+random(replace_fraction=1.0)")
        bound = SimilarityBound.of(quantile, space) if quantile else None
        options = {"seed": 3, "candidates": 4, "new_candidates": 4, "bound": bound}
        made = OnlineAugmentation(method, space, teacher, Objective("single_label"), **options)
        batch = dataset.table.batch(rows)
        return made, (batch, dataset.teacher_logits[list(rows)], dataset, tiny_bert(len(tokenizer)))

    return build


def kept_tokens(rows, originals):
    return float(((rows.ids == originals.ids) & (originals.segments >= 0)).sum(1).float().mean())


def test_what_the_student_trains_on_is_more_similar(online):
    """Half of a row's texts have lost all tokens, and the student is not asked about those."""
    chosen = {}
    for quantile in (None, 0.5, 0.75):
        augmentation, given = online(quantile)
        read = []
        given[3].register_forward_pre_hook(
            lambda _m, _a, inputs, read=read: read.append(len(inputs["input_ids"])), with_kwargs=True
        )
        rows, logits = augmentation(*given, epoch=0)
        texts = torch.stack([augmentation.augment(*given, copy).ids for copy in range(4)])
        assert ((texts == rows.ids).all(2).any(0)).all()
        torch.testing.assert_close(
            logits, augmentation.teacher.label_tokens(rows, augmentation.space.vocabulary)
        )
        chosen[quantile] = kept_tokens(rows, given[0]), sum(read)
    assert [asked for _, asked in chosen.values()] == [80, 40, 0]
    assert chosen[None][0] < 0.75 * chosen[0.5][0]
    assert chosen[0.5][0] <= chosen[0.75][0]


def test_a_row_is_bounded_by_its_own_candidates(online):
    """As it must be for the shares of a batch that several processes take."""
    augmentation, given = online(0.5)
    whole = augmentation(*given, epoch=0)[0]
    parts = [online(0.5, range(start, start + 10)) for start in (0, 10)]
    first, second = (part(*arguments, epoch=0)[0] for part, arguments in parts)
    both: TokenBatch = join(first, second, 0)
    assert torch.equal(both.ids, whole.ids[:, : both.ids.shape[1]])


@pytest.mark.e2e
def test_stored_versions_are_bounded_too(augment_given, both_classes, tmp_path, tokenizer, model):
    """The plan's option reaches the rows on disk."""
    options = {"copies": 4, "teacher": str(both_classes), "train_rows": 40}
    augmented(
        augment_given,
        tmp_path / "set",
        augment="random",
        augment_options={"replace_fraction": 0.5},
        **options,
    )
    given = {
        "data": augment_given["data"],
        "student": augment_given["student"],
        "augmented": tmp_path / "set",
    }
    kept = {}
    for quantile in (None, 0.75):
        config = DistillConfig(
            **given, out=tmp_path, batch_size=4, candidates=4, similarity_quantile=quantile
        )
        made = augmentation_of(make_plan(config), config, model, tokenizer, None, Meter())
        texts, logits = open_set(tmp_path / "set").originals.texts, made.stored.original_logits()
        dataset = DistillationDataset(tokenize(tokenizer, texts), torch.zeros(40), logits)
        batch = dataset.table.batch(range(40))
        rows, _ = made(batch, logits, dataset, model, 0)
        kept[quantile] = kept_tokens(rows, batch)
        if quantile:
            space = EmbeddingSpace(model.get_input_embeddings().weight, Vocabulary(tokenizer, len(tokenizer)))
            assert torch.equal(made.bound.table, SimilarityBound.of(0.75, space).table)
    assert kept[0.75] > kept[None]
    with pytest.raises(
        InputError, match=r"--similarity-quantile 0.2: .* of 4 versions .* at least 0.25, or raise"
    ):
        make_plan(config.model_copy(update={"similarity_quantile": 0.2}))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, r"--similarity-quantile 0.3: has no effect, .* of 3 .* at least 0.34, or raise --candidates"),
        ({"candidates": 1}, r"--similarity-quantile 0.3: .* only one augmented version to choose from"),
        ({"augment": "mixup"}, r"leave it out, or raise --candidates \(of a method that makes text\)"),
    ],
)
def test_a_quantile_that_leaves_none_out_is_refused(planned, options, told):
    with pytest.raises(InputError, match=told):
        planned(**{"augment": "random", "similarity_quantile": 0.3, **options})


def test_the_plan_takes_a_quantile_that_has_an_effect(planned):
    assert planned(augment="random", similarity_quantile=0.34).config.similarity_quantile == 0.34
    assert planned(augment="random", similarity_quantile=0.0).config.similarity_quantile == 0
    assert planned(similarity_quantile=0.34).augmenter is None  # of a comparison


def test_a_method_of_a_comparison_can_have_its_own(tmp_path):
    method = "augpro-mix:similarity_quantile=0.34"
    config = CompareConfig(data="d", teacher="t", methods=(method, "random"), out=tmp_path)
    grid = Grid(config)
    own, other = (grid.distill_config(Cell(name, None, 0, 1.0), tmp_path) for name in (method, "random"))
    assert own.similarity_quantile == 0.34
    assert other.similarity_quantile is None
    assert own.augment_options == {}
