"""Work that runs out of memory goes on in halves, and gives what it would have given with enough memory."""

import logging
from itertools import chain

import pytest
import torch
from transformers import Trainer, TrainingArguments

from augpro.augment import EmbeddingSpace, augmenter
from augpro.augment.gradient import embedding_gradient
from augpro.errors import InputError
from augpro.losses import Objective
from augpro.models import processes
from augpro.models.memory import RowsAtOnce, is_out_of_memory
from augpro.models.reading import mean_states, predict_logits
from augpro.teachers.teacher import Teacher
from augpro.tokens import tokenize
from augpro.training.dataset import DistillationDataset
from augpro.training.online import OnlineAugmentation
from augpro.training.representation import Matching, RepresentationLoss
from augpro.training.trainer import DistillationTrainer
from augpro.vocabulary import Vocabulary
from common import ANSWERS, TRAINER, tiny_bert

OBJECTIVE = Objective("single_label", label_weight=0.5)


def run_out(tensor, most):
    if len(tensor) > most:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.")


def with_memory_for(model, most):
    """The model with a memory that is too small for the forward pass of more rows."""
    model.get_input_embeddings().register_forward_pre_hook(lambda _module, given: run_out(given[0], most))
    return model


def with_memory_to_go_back(model, most):
    """Likewise; memory runs out at the end of the backward pass, when most weights have their gradients."""

    def watch(_module, _given, output):
        if output.requires_grad:
            output.register_hook(lambda gradient: run_out(gradient, most))

    model.get_input_embeddings().register_forward_hook(watch)
    return model


def close(one, other, tolerance=1e-5):
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_the_errors_of_a_small_memory_are_known():
    with pytest.raises(RuntimeError) as error:
        torch.empty(10**15)
    assert is_out_of_memory(error.value)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("any words"))
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried"))
    assert is_out_of_memory(
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`")
    )
    assert not is_out_of_memory(RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"))


def test_halves_are_halved_again_and_kept_so_and_every_size_is_said_once(caplog):
    memory, tried = RowsAtOnce("work"), []

    def compute(part):
        tried.append(part.stop - part.start)
        run_out(range(10)[part], 3)
        return list(range(10)[part])

    assert memory.notes() == []
    with caplog.at_level(logging.WARNING):
        assert list(chain.from_iterable(memory.parts(10, compute))) == list(range(10))
        assert tried == [10, 5, 3, 3, 3, 1]
        assert list(chain.from_iterable(memory.parts(6, compute))) == list(range(6))
    assert tried[6:] == [3, 3]
    assert [record.message for record in caplog.records] == [
        f"note: work: memory ran out, so at most {rows} rows are computed at once; results are equal within float "
        "rounding" for rows in (5, 3)
    ]  # fmt: skip
    assert memory.notes() == [caplog.records[-1].message.removeprefix("note: ")]


def test_one_row_is_the_end_and_other_errors_are_errors():
    with pytest.raises(InputError, match=r"^work: memory runs out for a single row; buy more\.$"):
        list(RowsAtOnce("work", "buy more").parts(3, lambda part: run_out(range(9)[part], 0)))
    with pytest.raises(ValueError, match="bug"):
        list(RowsAtOnce("work").parts(3, lambda _part: (_ for _ in ()).throw(ValueError("bug"))))


@pytest.mark.e2e
def test_predictions_and_states_are_those_of_a_large_memory(tokenizer, texts):
    model, table = tiny_bert(len(tokenizer), dropout=0.0), tokenize(tokenizer, texts)
    logits, states = predict_logits(model, table), mean_states(model.base_model.eval(), table, "states")
    with_memory_for(model, 3)
    close(predict_logits(model, table), logits)
    close(mean_states(model.base_model, table, "states"), states)


@pytest.mark.e2e
def test_labels_are_those_of_a_large_memory_and_computed_once(tokenizer, texts, tmp_path, caplog):
    wanted = Teacher(tiny_bert(len(tokenizer), seed=7), tokenizer).label(texts)
    teacher = Teacher(with_memory_for(tiny_bert(len(tokenizer), seed=7), 3), tokenizer, store=tmp_path)
    close(teacher.label(texts), wanted)
    assert teacher.counts.computed == len(set(texts))
    teacher.label([f"{text} again" for text in texts])
    assert teacher.counts.computed == 2 * len(set(texts))
    assert "within float rounding" in caplog.text
    said = [record.message for record in caplog.records]
    assert len(said) == len(set(said))
    poor = Teacher(with_memory_for(tiny_bert(len(tokenizer), seed=7), 0), tokenizer)
    with pytest.raises(InputError, match=r"labels of .*single row; give a shorter --max-tokens"):
        poor.label(texts)


@pytest.mark.parametrize("second_model", [False, True])
def test_gradients_of_embeddings_are_those_of_a_large_memory(tokenizer, texts, second_model):
    student, batch = tiny_bert(len(tokenizer)), tokenize(tokenizer, texts).batch(range(8))
    other = tiny_bert(len(tokenizer), seed=7)
    target = other if second_model else other.eval()(**batch.model_inputs()).logits.detach()
    offset = torch.rand(*batch.ids.shape, student.config.hidden_size)
    wanted = embedding_gradient(student, batch, OBJECTIVE.kd, target, offset)
    with_memory_for(student, 3)
    close(embedding_gradient(student, batch, OBJECTIVE.kd, target, offset), wanted)


def trained(
    tokenizer, texts, folder, shrink=None, augment="augpro-mix", matched=False, extra=None, **options
):
    """A trainer after two epochs of batches of 4 rows."""
    student = tiny_bert(len(tokenizer), dropout=0.0)
    teacher = Teacher(tiny_bert(len(tokenizer), layers=3, seed=7), tokenizer)
    table = tokenize(tokenizer, texts)
    rows = DistillationDataset(table, torch.tensor(ANSWERS), teacher.label(texts))
    augmentation = None
    if augment != "none":
        vocabulary = Vocabulary(tokenizer, len(tokenizer))
        space = EmbeddingSpace(student.get_input_embeddings().weight, vocabulary)
        augmentation = OnlineAugmentation(
            augmenter(augment), space, teacher, OBJECTIVE, seed=3, **(extra or {})
        )
    matching = None
    if matched:
        given = Vocabulary(tokenizer, len(tokenizer))
        matching = RepresentationLoss(Matching(1.0, 0.5, 1.0, ((0, 1),)), teacher, tokenizer, table, given)
    settings = {"output_dir": str(folder), **TRAINER, "optim": "sgd", "learning_rate": 0.1, **options}
    arguments = TrainingArguments(**settings)
    trainer = DistillationTrainer(
        student, OBJECTIVE, rows, augmentation, representation=matching, args=arguments, eval_dataset=rows
    )
    if shrink:
        shrink(student, 5)  # two rows with an augmented version each; five without
    trainer.train()
    return trainer


CASES = {
    "mix": {},
    "fgsm": {"augment": "augpro-fgsm"},
    "candidates": {"extra": {"candidates": 3, "new_candidates": 1.5}},
    "none": {"augment": "none", "per_device_train_batch_size": 8},
    "accumulated": {"gradient_accumulation_steps": 2},
    "matched": {"matched": True},
}


@pytest.mark.parametrize(
    ("given", "shrink"),
    [
        pytest.param(given, shrink, marks=[] if name == "none" and not back else pytest.mark.e2e)
        for name, given in CASES.items()
        for back, shrink in enumerate((with_memory_for, with_memory_to_go_back))
    ],
)
def test_a_training_is_that_of_a_large_memory(tokenizer, texts, tmp_path, given, shrink):
    whole = trained(tokenizer, texts, tmp_path / "whole", **given)
    halves = trained(tokenizer, texts, tmp_path / "halves", shrink, **given)
    assert (whole.memory.most, halves.memory.most) == (None, 4 if given.get("augment") == "none" else 2)
    close(dict(halves.model.state_dict()), dict(whole.model.state_dict()))
    assert halves.rows_seen == whole.rows_seen
    if whole.augmentation:
        assert halves.augmentation.labelled == whole.augmentation.labelled
        assert halves.augmentation.counts == whole.augmentation.counts
        teachers = halves.augmentation.teacher, whole.augmentation.teacher
        assert teachers[0].counts == teachers[1].counts
    losses = [
        [entry["train_loss"] for entry in one.state.log_history if "train_loss" in entry]
        for one in (halves, whole)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert halves.evaluate()["eval_loss"] == pytest.approx(whole.evaluate()["eval_loss"], rel=1e-4)


@pytest.mark.e2e
def test_a_row_that_does_not_fit_ends_the_training_in_one_sentence(tokenizer, texts, tmp_path):
    with pytest.raises(
        InputError, match=r"^training: memory runs out for a single row; .*gradient_checkpointing"
    ):
        trained(tokenizer, texts, tmp_path, lambda model, _most: with_memory_for(model, 1))


def test_rows_without_text_are_not_halved(tokenizer, texts, tmp_path):
    with pytest.raises(InputError, match=r"batch of 4 rows.*smaller --batch-size"):
        trained(tokenizer, texts, tmp_path, lambda model, _most: with_memory_for(model, 2), augment="mixup")


def test_a_process_of_several_ends_with_one_sentence(monkeypatch):
    def too_large(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(Trainer, "training_step", too_large)
    trainer = object.__new__(DistillationTrainer)
    with pytest.raises(InputError, match=r"share of a batch of 4 rows, which is not .*smaller --batch-size"):
        trainer.training_step(None, {"input_ids": [[0]] * 4})
