"""Training on hidden states, relations and pooled vectors: the terms, the maps, and two ways to do the same work."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import BertForSequenceClassification, TrainingArguments

from augpro.augment import EmbeddingSpace, augmenter
from augpro.losses import Objective, relation_loss, state_loss
from augpro.models.layers import encoder_layers
from augpro.teachers.teacher import Teacher
from augpro.tokens import tokenize
from augpro.training.dataset import DistillationDataset
from augpro.training.online import OnlineAugmentation
from augpro.training.representation import Matching, RepresentationLoss
from augpro.training.trainer import DistillationTrainer
from augpro.vocabulary import Vocabulary
from common import ANSWERS, OTHERS, TRAINER, tiny_bert
from tiny_models import wide_bert

NOTHING = Objective("single_label", 0.0, 0.0, 0.0)
LAYERS = ((0, 0), (1, 2))
ALL = Matching(0.5, 2.0, 0.7, LAYERS)


@pytest.fixture
def make_trainer(tokenizer, other_tokenizer, texts, tmp_path):
    def make(
        matching=ALL, augment="none", objective=NOTHING, wide=False, other=False, student=None, pairs=None,
        dropout=0.0, **options,
    ):  # fmt: skip
        read = other_tokenizer if other else tokenizer
        teacher = Teacher(wide_bert(len(read)) if wide else tiny_bert(len(read), layers=3, seed=7), read)
        student = student or tiny_bert(len(tokenizer), dropout=dropout)
        rows = DistillationDataset(
            tokenize(tokenizer, texts, pairs), torch.tensor(ANSWERS), teacher.label(texts, pairs)
        )
        vocabulary = Vocabulary(tokenizer, len(tokenizer))
        augmentation = None
        if augment != "none":
            space = EmbeddingSpace(student.get_input_embeddings().weight, vocabulary)
            augmentation = OnlineAugmentation(augmenter(augment), space, teacher, objective, seed=3)
        settings = {"output_dir": str(tmp_path / "checkpoints"), **TRAINER}
        matched = matching and RepresentationLoss(
            matching, teacher, tokenizer, rows.table, vocabulary if augmentation else None,
        )  # fmt: skip
        arguments = TrainingArguments(**{**settings, **options})
        return DistillationTrainer(
            student, objective, rows, augmentation, representation=matched, args=arguments
        )

    return make


def weights(trainer):
    return {name: value.detach().clone() for name, value in trainer.model.state_dict().items()}


def assert_same(one, other, tolerance=0.0):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=tolerance, atol=tolerance, msg=name)


def loss_of(trainer, rows=range(20)):
    trainer.model.train()
    return trainer.compute_loss(
        trainer.model, trainer.rows.collate([trainer.rows[row] for row in rows])
    ).item()


def head_input(model, outputs):
    """What the pooler gives, before dropout, which is 0 here."""
    return model.bert.pooler(outputs.hidden_states[-1])


@pytest.mark.parametrize("augment", ["none", "random", "mixup"])
def test_the_terms_add_up_to_their_definition(make_trainer, tokenizer, texts, augment):
    """On originals and augmented texts alike; of points between texts only the originals count."""
    trainer = make_trainer(augment=augment)
    teacher, batch = trainer.representation.teacher.model, trainer.rows.table.batch(range(20))
    rows = [batch]
    if augment == "random":
        logits = trainer.rows.teacher_logits
        rows.append(trainer.augmentation.augment(batch, logits, trainer.rows, trainer.model, 0))
    expected = []
    with torch.no_grad():
        for part in rows:
            ours, theirs = (
                model.bert(**part.model_inputs(), output_hidden_states=True) for model in (trainer.model, teacher)
            )  # fmt: skip
            loss = 0.7 * state_loss(head_input(trainer.model, ours), head_input(teacher, theirs))
            for student, other in LAYERS:
                pair = ours.hidden_states[student + 1], theirs.hidden_states[other + 1], part.mask
                loss = loss + 0.25 * state_loss(*pair) + relation_loss(*pair)
            expected.append(loss)
    assert loss_of(trainer) == pytest.approx(torch.cat(expected).mean().item(), rel=1e-5)
    assert trainer.representation.rows == 20 * len(rows)
    assert trainer.representation.meter.seconds["teacher"] > 0


@pytest.mark.e2e
@pytest.mark.parametrize("changed", ["hidden_weight", "relation_weight", "pooled_weight", "layers"])
def test_every_weight_and_the_layers_change_what_is_learned(make_trainer, changed):
    base = make_trainer(ALL, num_train_epochs=1)
    other = make_trainer(
        Matching(**{**vars(ALL), changed: ((1, 2),) if changed == "layers" else 0.0}), num_train_epochs=1
    )
    for trainer in (base, other):
        trainer.train()
    one, two = weights(base), weights(other)
    assert not all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.e2e
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(
    "matching", [Matching(hidden_weight=1.0, layers=LAYERS), Matching(relation_weight=1.0, layers=LAYERS),
                 Matching(pooled_weight=1.0)],
)  # fmt: skip
def test_training_brings_the_states_nearer(make_trainer, matching, wide):
    trainer = make_trainer(
        matching, wide=wide, per_device_train_batch_size=20, max_steps=15, learning_rate=3e-2
    )
    before = loss_of(trainer)
    trainer.train()
    assert loss_of(trainer) < 0.7 * before


@pytest.mark.e2e
def test_a_map_is_learned_where_widths_differ_and_only_there(make_trainer):
    assert not make_trainer(wide=False).representation.maps
    assert not make_trainer(Matching(relation_weight=1.0, layers=LAYERS), wide=True).representation.maps
    trainer = make_trainer(wide=True)
    maps = trainer.representation.maps
    before = {name: value.clone() for name, value in maps.state_dict().items()}
    assert {name: tuple(value.shape) for name, value in before.items()} == {
        f"{name}.weight": (24, 16) for name in ("hidden_0", "hidden_1", "pooled")
    }
    again = make_trainer(wide=True).representation.maps.state_dict()
    assert all(torch.equal(before[name], again[name]) for name in before), "not decided by the seed"
    trainer.train()
    assert not any(torch.equal(before[name], value) for name, value in maps.state_dict().items())


@pytest.mark.e2e
def test_the_finished_student_has_no_map_and_no_hook(make_trainer, tmp_path, tokenizer):
    trainer = make_trainer(wide=True, augment="random")
    plain = tiny_bert(len(tokenizer)).state_dict().keys()
    trainer.train()
    student = trainer.finished_student()
    assert student.state_dict().keys() == plain
    assert not student.classifier._forward_pre_hooks
    assert not trainer.representation.teacher.model.classifier._forward_pre_hooks
    student.save_pretrained(tmp_path / "saved")
    assert load_file(tmp_path / "saved" / "model.safetensors").keys() == plain
    _, info = BertForSequenceClassification.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not any(info.values()), info


def test_scoring_during_training_asks_for_logits_alone(make_trainer):
    trainer = make_trainer(objective=Objective("single_label"))
    trainer.evaluate(trainer.rows)
    assert trainer.representation.rows == 0
    expected = Objective("single_label").originals(
        trainer.model(**trainer.rows.table.batch(range(20)).model_inputs()).logits, None, trainer.rows.teacher_logits
    )  # fmt: skip
    assert trainer.evaluate(trainer.rows)["eval_loss"] == pytest.approx(expected.item(), rel=1e-5)


# --- two ways to do the same work ---

PLAIN = {"num_train_epochs": 1, "optim": "sgd", "max_grad_norm": 0.0, "lr_scheduler_type": "constant"}


@pytest.mark.e2e
@pytest.mark.parametrize("augment", ["random", "mixup"])
def test_accumulated_gradients_equal_one_large_batch(make_trainer, augment):
    objective = Objective("single_label")
    large = make_trainer(
        augment=augment, objective=objective, wide=True, per_device_train_batch_size=20, **PLAIN
    )
    small = make_trainer(
        augment=augment, objective=objective, wide=True, per_device_train_batch_size=5,
        gradient_accumulation_steps=4, **PLAIN,
    )  # fmt: skip
    for trainer in (large, small):
        trainer.train()
    assert large.state.global_step == small.state.global_step == 1
    assert_same(weights(large), weights(small), 1e-5)


@pytest.mark.e2e
def test_resumed_training_equals_uninterrupted_training(make_trainer, tmp_path):
    """Bit by bit, the learned maps too."""
    given = {"save_strategy": "epoch", "dropout": 0.1, "num_train_epochs": 3, "output_dir": str(tmp_path),
             "wide": True, "augment": "random", "objective": Objective("single_label")}  # fmt: skip
    whole, resumed = make_trainer(**given), make_trainer(**given)
    start = {name: value.clone() for name, value in whole.representation.maps.state_dict().items()}
    whole.train()
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    assert any(name.startswith("representation_maps") for name in weights(whole))
    assert_same(weights(whole), weights(resumed))
    ours = whole.representation.maps.state_dict()
    assert_same(ours, resumed.representation.maps.state_dict())
    assert not any(torch.equal(ours[name], start[name]) for name in start)
    assert whole.representation.rows == resumed.representation.rows == 3 * 20 * 2


@pytest.mark.parametrize("pairs", [None, OTHERS])
def test_ids_and_text_give_the_teacher_the_same_rows(make_trainer, monkeypatch, pairs):
    """Pooled vectors: a teacher that is given text in its own tokens answers as one that is given ids."""
    losses = []
    for by_ids in (True, False):
        monkeypatch.setattr(Teacher, "reads_ids_of", lambda self, tokenizer, by_ids=by_ids: by_ids)
        losses.append(loss_of(make_trainer(Matching(pooled_weight=1.0), "random", pairs=pairs)))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("augment", ["none", "random"])
def test_a_teacher_with_another_tokenizer_reads_the_text(make_trainer, texts, augment, monkeypatch):
    trainer = make_trainer(Matching(pooled_weight=1.0), augment, other=True)
    teacher, read = trainer.representation.teacher, []
    teacher.model.register_forward_pre_hook(
        lambda _m, _a, kwargs: read.append(kwargs["input_ids"]), with_kwargs=True
    )
    loss_of(trainer)
    decoded = teacher.tokenizer.batch_decode(read[-1], skip_special_tokens=True)
    assert decoded[:20] == texts
    assert len(decoded) == (20 if augment == "none" else 40)
    expected = teacher.model.bert(
        **tokenize(teacher.tokenizer, texts).batch(range(20)).model_inputs(), output_hidden_states=True
    )
    if augment == "none":
        ours = trainer.model.bert(
            **trainer.rows.table.batch(range(20)).model_inputs(), output_hidden_states=True
        )
        own = state_loss(head_input(trainer.model, ours), head_input(teacher.model, expected)).mean()
        assert loss_of(trainer) == pytest.approx(own.item(), rel=1e-5)
    with pytest.raises(ValueError, match="hidden states need a teacher with the student's tokenizer"):
        make_trainer(ALL, other=True)


@pytest.mark.e2e
def test_in_bfloat16_and_compiled_it_trains_as_well(make_trainer):
    """The loss itself is float32; compiled code gives out the head's input and the hidden states too."""
    plain = make_trainer(wide=True, objective=Objective("single_label"), **PLAIN)
    compiled = make_trainer(
        wide=True, objective=Objective("single_label"), torch_compile=True, torch_compile_backend="eager", **PLAIN
    )  # fmt: skip
    half = make_trainer(wide=True, objective=Objective("single_label"), bf16=True, **PLAIN)
    for trainer in (plain, compiled, half):
        trainer.train()
        trainer.finished_student()
    assert_same(weights(plain), weights(compiled), 1e-4)
    assert not all(torch.equal(value, weights(half)[name]) for name, value in weights(plain).items())
    assert_same(weights(plain), weights(half), 0.1)


def test_frozen_embeddings_stay_and_every_layer_learns(make_trainer, tokenizer):
    student = tiny_bert(len(tokenizer))
    student.get_input_embeddings().weight.requires_grad_(False)
    trainer = make_trainer(Matching(hidden_weight=1.0, layers=((1, 2),)), student=student)
    before = weights(trainer)
    trainer.train()
    after = weights(trainer)
    words = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(before[words], after[words])
    for layer in range(len(encoder_layers(trainer.model))):
        name = f"bert.encoder.layer.{layer}.output.dense.weight"
        assert not torch.equal(before[name], after[name])
