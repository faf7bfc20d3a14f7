"""What a label store keeps: each block of rows once, for the same model reading the same tokens and for no other."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from augpro.models.source import ModelSource
from augpro.teachers import teacher as teacher_module
from augpro.teachers.teacher import Teacher
from augpro.tokens import tokenize
from augpro.vocabulary import Vocabulary
from conftest import tiny_bert


@pytest.fixture
def blocks_of_five(monkeypatch):
    """Twenty rows are four blocks, each of which is one batch."""
    monkeypatch.setattr(teacher_module, "_BLOCK", 5)


def count_batches(model, fail_at=None):
    """The rows of every batch that a model reads from now on; the batch of number ``fail_at`` kills it."""
    batches = []

    def before(_module, _args, kwargs):
        if len(batches) == fail_at:
            raise KeyboardInterrupt
        batches.append(len(kwargs["input_ids"]))

    model.register_forward_pre_hook(before, with_kwargs=True)
    return batches


def test_stored_labels_are_fresh_labels(tokenizer, tmp_path, texts):
    """The second teacher with the same weights reads the store; other weights, texts or limits do not."""
    model = tiny_bert(len(tokenizer), seed=3)
    fresh = Teacher(model, tokenizer).label(texts)
    store = tmp_path / "labels"
    assert torch.equal(Teacher(model, tokenizer, store=store).label(texts), fresh)
    again = Teacher(tiny_bert(len(tokenizer), seed=3), tokenizer, store=store)
    again.model.forward = None  # cannot be asked any more
    assert torch.equal(again.label(texts), fresh)
    for other in (
        Teacher(tiny_bert(len(tokenizer), seed=4), tokenizer, store=store).label(texts),
        Teacher(model, tokenizer, 5, store=store).label(texts),
        Teacher(model, tokenizer, store=store).label(texts[::-1]),
    ):
        assert not torch.equal(other, fresh)
    assert len(list(store.iterdir())) == 4


def test_augmented_rows_are_not_stored(tokenizer, other_tokenizer, texts, tmp_path):
    """They come once: a store would grow by a file a batch."""
    teacher = Teacher(tiny_bert(len(tokenizer), seed=3), other_tokenizer, store=tmp_path / "labels")
    batch = tokenize(tokenizer, texts).batch(range(20))
    labels = teacher.label_tokens(batch, Vocabulary(tokenizer, len(tokenizer)))
    assert labels.shape == (20, 2)
    assert not (tmp_path / "labels").exists()


# --- what a label belongs to ---


@pytest.mark.parametrize(
    "change",
    [{"hidden_act": "relu"}, {"layer_norm_eps": 0.1}, {"is_decoder": True}],
    ids=lambda change: next(iter(change)),
)
def test_the_same_weights_in_another_configuration_are_another_teacher(change, tokenizer, texts, tmp_path):
    """Nothing but the configuration tells them apart, and the answers are others."""
    one, other = tiny_bert(len(tokenizer), seed=3), tiny_bert(len(tokenizer), seed=3, **change)
    first = Teacher(one, tokenizer, store=tmp_path).label(texts)
    second = Teacher(other, tokenizer, store=tmp_path).label(texts)
    assert torch.equal(second, Teacher(other, tokenizer).label(texts))
    assert (first - second).abs().max() > 1e-3


def test_the_same_numbers_in_another_place_are_another_teacher(tokenizer, texts, tmp_path):
    """Two tensors of the same shape that have changed their names: all bytes are those of before, in their order."""
    model = tiny_bert(len(tokenizer), seed=3)
    first = Teacher(model, tokenizer, store=tmp_path)
    renamed = Teacher(tiny_bert(len(tokenizer), seed=3), tokenizer, store=tmp_path)
    state = {name.replace(".query.", ".other."): value for name, value in model.state_dict().items()}
    renamed.model.state_dict = lambda: state
    first.label(texts)
    batches = count_batches(renamed.model)
    renamed.label(texts)
    assert sum(batches) == 20


def test_where_a_model_lies_and_how_its_labels_are_called_does_not_count(tokenizer, texts, tmp_path):
    model = tiny_bert(len(tokenizer), seed=3)
    labels = Teacher(model, tokenizer, store=tmp_path / "labels").label(texts)
    model.config.id2label = {0: "bad", 1: "good"}
    model.config.label2id = {"bad": 0, "good": 1}
    model.save_pretrained(tmp_path / "model")
    again = Teacher(
        ModelSource(str(tmp_path / "model")).load_trained_classifier(), tokenizer, store=tmp_path / "labels"
    )
    batches = count_batches(again.model)
    assert torch.equal(again.label(texts), labels)
    assert not batches


# --- blocks ---


def test_a_killed_labelling_goes_on_where_it_was(blocks_of_five, tokenizer, texts, tmp_path):
    whole = Teacher(tiny_bert(len(tokenizer), seed=3), tokenizer, store=tmp_path / "whole").label(texts)
    killed = Teacher(tiny_bert(len(tokenizer), seed=3), tokenizer, store=tmp_path / "killed")
    first = count_batches(killed.model, fail_at=3)
    with pytest.raises(KeyboardInterrupt):
        killed.label(texts)
    assert first == [5, 5, 5]
    again = Teacher(tiny_bert(len(tokenizer), seed=3), tokenizer, store=tmp_path / "killed")
    second = count_batches(again.model)
    assert torch.equal(again.label(texts), whole)
    assert second == [5]


def test_pairs_are_stored_in_blocks_too(blocks_of_five, tokenizer, texts, tmp_path):
    teacher = Teacher(tiny_bert(len(tokenizer), seed=3), tokenizer, store=tmp_path)
    labels = teacher.label(texts, texts[::-1])
    assert len(list(tmp_path.iterdir())) == 4
    torch.testing.assert_close(
        labels, Teacher(teacher.model, tokenizer).label(texts, texts[::-1]), rtol=1e-4, atol=1e-5
    )


def test_blocks_that_are_the_same_are_not_read_again(blocks_of_five, tokenizer, texts, tmp_path):
    """Rows at the end that have changed, or are new, leave the blocks before them as they are."""
    teacher = Teacher(tiny_bert(len(tokenizer), seed=3), tokenizer, store=tmp_path)
    before = teacher.label(texts)
    batches = count_batches(teacher.model)
    after = teacher.label([*texts[:17], "a slow page", "help", "never", "my bill", "good"])
    assert batches == [5, 2]
    assert torch.equal(after[:15], before[:15])
    assert not torch.allclose(after[17], before[17])


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-4]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not a tensor"),
        lambda path: save_file({"others": torch.zeros(5, 2)}, path),
        lambda path: save_file({"logits": torch.zeros(4, 2)}, path),
    ],
    ids=["cut off", "empty", "no tensors", "other tensors", "other rows"],
)
def test_a_damaged_file_is_made_again(damage, blocks_of_five, tokenizer, texts, tmp_path):
    teacher = Teacher(tiny_bert(len(tokenizer), seed=3), tokenizer, store=tmp_path)
    labels = teacher.label(texts)
    path = min(tmp_path.iterdir())
    good = load_file(path)["logits"].clone()
    damage(path)
    batches = count_batches(teacher.model)
    assert torch.equal(teacher.label(texts), labels)
    assert batches == [5]
    assert torch.equal(load_file(path)["logits"], good)
