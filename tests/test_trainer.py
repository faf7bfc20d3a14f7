"""The training step and the equalities that must hold between two ways to do the same work."""

from dataclasses import replace

import pytest
import torch
from scipy import stats
from transformers import EarlyStoppingCallback, TrainingArguments

from augpro.augment import EmbeddingSpace, augmenter
from augpro.losses import NO_LABEL, Objective
from augpro.models.layers import encoder_layers
from augpro.models.reading import predict_logits
from augpro.teachers.teacher import Teacher
from augpro.tokens import tokenize
from augpro.training.dataset import DistillationDataset, label_tensor
from augpro.training.online import OnlineAugmentation
from augpro.training.trainer import DistillationTrainer
from augpro.vocabulary import Vocabulary
from common import ANSWERS, TRAINER, tiny_bert

OBJECTIVE = Objective("single_label", label_weight=0.5)


@pytest.fixture
def teacher(tokenizer):
    return Teacher(tiny_bert(len(tokenizer), layers=3, seed=7), tokenizer)


@pytest.fixture
def dataset(tokenizer, texts, teacher):
    return DistillationDataset(tokenize(tokenizer, texts), torch.tensor(ANSWERS), teacher.label(texts))


@pytest.fixture
def make_trainer(tokenizer, teacher, dataset, tmp_path):
    def make(augment="augpro-mix", objective=OBJECTIVE, dropout=0.0, extra=None, rows=dataset, **options):
        student = tiny_bert(len(tokenizer), dropout=dropout)
        augmentation = None
        if augment != "none":
            space = EmbeddingSpace(
                student.get_input_embeddings().weight, Vocabulary(tokenizer, len(tokenizer))
            )
            augmentation = OnlineAugmentation(augmenter(augment), space, teacher, objective, seed=3)
        settings = {"output_dir": str(tmp_path / "checkpoints"), **TRAINER}
        arguments = TrainingArguments(**{**settings, **options})
        return DistillationTrainer(student, objective, rows, augmentation, args=arguments, **(extra or {}))

    return make


def weights(trainer):
    return {name: value.detach().clone() for name, value in trainer.model.state_dict().items()}


def assert_same(one, other, tolerance=0.0):
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=tolerance, atol=tolerance, msg=name)


def differ(one, other):
    return any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "augment",
    ["augpro-mix", *(pytest.param(name, marks=pytest.mark.e2e) for name in (
        "none", "mixup", "augpro-fgsm", "augpro-noise", "random", "knn", "crossover", "tmix", "fgsm", "smart"))],
)  # fmt: skip
def test_training_moves_the_weights_and_lowers_the_loss(make_trainer, dataset, augment):
    trainer = make_trainer(augment, num_train_epochs=9)
    before = weights(trainer)
    loss_before = trainer.evaluate(dataset)["eval_loss"]
    trainer.train()
    assert differ(before, weights(trainer))
    assert trainer.evaluate(dataset)["eval_loss"] < 0.7 * loss_before


def test_the_teacher_computes_in_the_precision_of_the_trainers_arguments(make_trainer):
    """Also for who sets nothing but ``TrainingArguments``."""
    trainer = make_trainer("augpro-mix", num_train_epochs=1, bf16=True)
    seen = []
    teacher = trainer.augmentation.teacher.model
    teacher.classifier.register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    trainer.train()
    assert set(seen) == {torch.bfloat16}
    trainer.finished_student()
    assert trainer.augmentation.half is None


@pytest.mark.parametrize("augment", [
    "augpro-mix", *(pytest.param(name, marks=pytest.mark.e2e) for name in ("none", "augpro-fgsm", "random", "mixup")),
])  # fmt: skip
def test_accumulated_gradients_equal_one_large_batch(make_trainer, augment):
    plain = {"num_train_epochs": 1, "optim": "sgd", "max_grad_norm": 0.0, "lr_scheduler_type": "constant"}
    large = make_trainer(augment, per_device_train_batch_size=20, **plain)
    small = make_trainer(augment, per_device_train_batch_size=5, gradient_accumulation_steps=4, **plain)
    before = weights(large)
    large.train()
    small.train()
    assert large.state.global_step == small.state.global_step == 1
    assert differ(before, weights(large))
    assert_same(weights(large), weights(small), 1e-5)


@pytest.mark.e2e
@pytest.mark.parametrize("augment", ["augpro-mix", "augpro-fgsm", "random", "tmix"])
def test_resumed_training_equals_uninterrupted_training(make_trainer, tmp_path, augment):
    saving = {"save_strategy": "epoch", "dropout": 0.1, "num_train_epochs": 4, "output_dir": str(tmp_path)}
    whole = make_trainer(augment, **saving)
    whole.train()
    resumed = make_trainer(augment, **saving)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-10"))
    assert_same(weights(whole), weights(resumed))


@pytest.mark.parametrize("augment", ["mixup", "tmix", "fgsm", "smart"])
def test_loss_and_gradients_of_virtual_rows(make_trainer, teacher, dataset, augment):
    """The term is written out; the student learns from virtual rows, the teacher not, and smart asks none."""
    objective = Objective("single_label", 0.0, 0.0, augmented_weight=0.7)
    trainer, asked = make_trainer(augment, objective), []
    model, augmentation = trainer.model.train(), trainer.augmentation
    teacher.model.register_forward_hook(lambda *_: asked.append(1))
    trainer.compute_loss(model, dataset.collate([dataset[row] for row in range(20)])).backward()
    assert bool(asked) == (augment != "smart")
    assert all(parameter.grad is None for parameter in teacher.model.parameters())
    for part in (model.get_input_embeddings(), encoder_layers(model)[0].attention, model.classifier):
        assert any(parameter.grad.abs().sum() > 0 for parameter in part.parameters())

    loss = trainer.compute_loss(model, dataset.collate([dataset[row] for row in range(20)])).item()
    batch = dataset.table.batch(range(20))
    made = augmentation.augment(batch, dataset.teacher_logits, dataset, model, 0)
    with torch.no_grad():
        ours = made.run(model).softmax(1).double()
        plain = model(**batch.model_inputs()).logits.softmax(1).double()
        if augment == "smart":
            rows = stats.entropy(ours, plain, axis=1) + stats.entropy(plain, ours, axis=1)
        else:
            rows = stats.entropy(made.run(teacher.model).softmax(1).double(), ours, axis=1)
    assert loss == pytest.approx(0.7 * rows.mean(), rel=1e-2 if augment == "smart" else 1e-4)


def test_originals_and_augmented_rows_share_one_forward(make_trainer, dataset):
    trainer = make_trainer("augpro-mix", num_train_epochs=1)
    seen = []
    trainer.model.register_forward_hook(
        lambda _m, _a, kwargs, _o: seen.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    trainer.train()
    assert seen == [8] * 5


def test_every_epoch_has_other_augmented_text(make_trainer, teacher, monkeypatch):
    trainer = make_trainer("augpro-mix", num_train_epochs=2, per_device_train_batch_size=20)
    texts = []
    label = teacher.label_tokens

    def spy(batch, vocabulary):
        texts.append(dict(zip(batch.row_ids.tolist(), vocabulary.decode(batch)[0], strict=True)))
        return label(batch, vocabulary)

    monkeypatch.setattr(teacher, "label_tokens", spy)
    trainer.train()
    assert sum(texts[0][row] != texts[1][row] for row in range(20)) > 10


@pytest.mark.e2e
@pytest.mark.parametrize("weight", ["label_weight", "teacher_weight", "augmented_weight", "temperature"])
def test_every_weight_changes_what_is_learned(make_trainer, weight):
    base = Objective("single_label", 0.5, 1.0, 1.0, 2.0)
    other = Objective(**{**vars(base), weight: 0.1})
    results = []
    for objective in (base, other):
        trainer = make_trainer("augpro-mix", objective, num_train_epochs=1)
        trainer.train()
        results.append(weights(trainer))
    assert differ(*results)


def test_labels_of_unlabelled_rows_do_not_matter(make_trainer, dataset):
    unlabelled = DistillationDataset(dataset.table, torch.full((20,), NO_LABEL), dataset.teacher_logits)
    trainer = make_trainer("none", Objective("single_label", 1.0, 0.0), rows=unlabelled)
    before = weights(trainer)
    trainer.train()
    assert not differ(before, weights(trainer))


@pytest.mark.e2e
def test_ids_and_text_give_the_teacher_the_same_augmented_rows(make_trainer, teacher, monkeypatch):
    results = []
    for by_ids in (True, False):
        monkeypatch.setattr(Teacher, "reads_ids_of", lambda self, tokenizer, by_ids=by_ids: by_ids)
        trainer = make_trainer("augpro-mix")
        trainer.train()
        results.append(weights(trainer))
    assert_same(*results, tolerance=1e-4)


@pytest.mark.e2e
def test_the_trainers_own_features_work(make_trainer, dataset):
    stopping = EarlyStoppingCallback(early_stopping_patience=1)
    trainer = make_trainer(
        "augpro-mix", bf16=True, eval_strategy="epoch", save_strategy="epoch", load_best_model_at_end=True,
        metric_for_best_model="eval_loss", num_train_epochs=50, learning_rate=0.5,
        extra={"eval_dataset": dataset, "callbacks": [stopping]},
    )  # fmt: skip
    trainer.train()
    assert trainer.state.epoch < 50
    assert trainer.state.best_metric is not None


def test_other_rows_are_scored_as_they_are(make_trainer, teacher, tokenizer, dataset, texts):
    """Of a set longer than the training rows, and of a dict of sets."""
    texts = [f"{text} again" for text in texts] + texts
    logits = teacher.label(texts)
    other = DistillationDataset(
        tokenize(tokenizer, texts), torch.zeros(len(texts), dtype=torch.int64), logits
    )
    trainer = make_trainer("none", extra={"eval_dataset": {"train": dataset, "other": other}})
    found = trainer.predict(other)
    torch.testing.assert_close(torch.tensor(found.predictions), predict_logits(trainer.model, other.table))
    assert found.label_ids.tolist() == [0] * len(texts)
    measured = trainer.evaluate()
    assert measured["eval_other_loss"] == pytest.approx(trainer.evaluate(other)["eval_loss"], abs=1e-6)
    assert measured["eval_train_loss"] == pytest.approx(trainer.evaluate(dataset)["eval_loss"], abs=1e-6)


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("augment", "changes", "labelled"),
    [
        ("none", {}, 0), ("random", {}, 20), ("mixup", {}, 20), ("smart", {}, 0),
        ("random", {"candidates": 3}, 20), ("random", {"candidates": 3, "new_candidates": 3.0}, 60),
    ],
)  # fmt: skip
def test_rows_are_counted_as_they_are_read(make_trainer, augment, changes, labelled):
    trainer = make_trainer(augment, num_train_epochs=1)
    if trainer.augmentation is not None:
        trainer.augmentation = replace(trainer.augmentation, **changes)
    trainer.train()
    trainer.evaluate(trainer.rows)
    assert trainer.rows_seen == (20 if augment == "none" else 40)
    assert (trainer.augmentation.labelled if trainer.augmentation else 0) == labelled


def test_length_grouping_is_possible_and_keeps_every_row(make_trainer):
    trainer = make_trainer("none", train_sampling_strategy="group_by_length")
    rows = [row for batch in trainer.get_train_dataloader() for row in batch["row_ids"].tolist()]
    assert sorted(rows) == list(range(20))


def test_augmentation_without_teacher_labels_is_refused(make_trainer, dataset, tokenizer, teacher):
    bare = DistillationDataset(dataset.table, dataset.labels)
    trainer = make_trainer("augpro-mix")
    with pytest.raises(ValueError, match="teacher_logits"):
        DistillationTrainer(trainer.model, OBJECTIVE, bare, trainer.augmentation)


def test_label_tensor_marks_missing_labels():
    from augpro.tasks import Task

    single = Task("t", "single_label", "accuracy", ("a", "b"))
    assert label_tensor([1, None], single).tolist() == [1, NO_LABEL]
    score = label_tensor([0.5, None], Task("t", "regression", "pearson"))
    assert score[0] == 0.5
    assert bool(score[1].isnan())
    several = label_tensor([(0, 2), (), None], Task("t", "multi_label", "micro_f1", ("a", "b", "c")))
    assert several[0].tolist() == [1, 0, 1]
    assert several[1].tolist() == [0, 0, 0]
    assert bool(several[2].isnan().all())


@pytest.mark.e2e
def test_of_several_gpus_one_is_used_and_that_is_told(make_trainer, monkeypatch):
    """Two GPUs as the Trainer counts them; without any, its DataParallel hands all rows to the model itself."""
    alone = make_trainer()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.warns(UserWarning, match=r"2 GPUs are visible.*CUDA_VISIBLE_DEVICES"):
        trainer = make_trainer(use_cpu=False, dataloader_pin_memory=False)
    assert (trainer.args.n_gpu, trainer.args.train_batch_size) == (1, 4)
    for each in (trainer, alone):
        each.train()
    assert not isinstance(trainer.model_wrapped, torch.nn.DataParallel)
    assert trainer.state.global_step == alone.state.global_step == 10
    assert_same(weights(trainer), weights(alone))
