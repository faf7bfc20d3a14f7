"""Hidden states, relations and pooled vectors: what they cost, what they teach, and that nothing of them is left."""

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    ModernBertConfig,
    RobertaConfig,
    TrainingArguments,
    XLNetConfig,
)

from augpro.augment import EmbeddingSpace, augmenter
from augpro.compare.grid import Grid
from augpro.config import CompareConfig, DistillConfig
from augpro.distillation.matching import layer_pairs
from augpro.distillation.pipeline import run
from augpro.distillation.plan import make_plan
from augpro.errors import InputError
from augpro.losses import Objective, relation_loss, state_loss
from augpro.models.layers import encoder_layers
from augpro.models.source import ModelSource
from augpro.results.cell import Cell
from augpro.teachers.teacher import Teacher
from augpro.tokens import tokenize
from augpro.training.dataset import DistillationDataset
from augpro.training.online import OnlineAugmentation
from augpro.training.representation import Matching, RepresentationLoss, StateReader
from augpro.training.trainer import DistillationTrainer
from augpro.vocabulary import Vocabulary
from common import ANSWERS, LABELS, OTHERS, TRAINER, tiny_bert

NOTHING = Objective("single_label", 0.0, 0.0, 0.0)
LAYERS = ((0, 0), (1, 2))
ALL = Matching(0.5, 2.0, 0.7, LAYERS)


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


# --- the loss of a batch ---


def wide_bert(vocabulary, seed=7, layers=3):
    """A teacher of another width."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=vocabulary, hidden_size=24, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32, initializer_range=0.4, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        id2label=dict(enumerate(LABELS)), label2id={name: row for row, name in enumerate(LABELS)},
    )  # fmt: skip
    return BertForSequenceClassification(config).eval()


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


# --- a run ---


@pytest.fixture(scope="module")
def wide_teacher(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wide")
    wide_bert(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def config(table_file, wide_teacher, save_model, tokenizer, tmp_path):
    def build(**options):
        given = {"data": str(table_file), "teacher": str(wide_teacher), "epochs": 2, "batch_size": 4,
                 "augment": "none", "out": tmp_path / "student"}  # fmt: skip
        if "student" not in options:
            given["student"] = str(save_model(tokenizer, layers=2, seed=4))
        return DistillConfig(**{**given, **options})

    return build


@pytest.mark.e2e
def test_a_run_matches_and_writes_an_ordinary_student(config):
    config = config(hidden_weight=1, relation_weight=5, pooled_weight=0.5, augment="augpro-mix")
    result = run(config)
    _, info = BertForSequenceClassification.from_pretrained(config.out, output_loading_info=True)
    assert not any(info.values()), info
    read = round(result.texts_per_second["teacher"] * result.phase_seconds["teacher"])
    assert read == 2 * 20 * (2 + 1), "originals and augmented rows once more, and one new text a row"
    stored = sum(value.numel() for value in load_file(config.out / "model.safetensors").values())
    assert result.parameters["student"] == stored


@pytest.mark.e2e
def test_the_plan_tells_of_it(config, save_model, tokenizer):
    assert "representations" not in make_plan(config()).describe()
    plan = make_plan(config(hidden_weight=1, pooled_weight=0.5))
    assert plan.describe()["representations"] == (
        "hidden 1, pooled 0.5 (student layer 0 as 1, 1 as 2 of the teacher)"
    )
    assert make_plan(config(relation_weight=1, layer_map="last")).matching.layers == ((1, 2),)
    assert make_plan(config(pooled_weight=1)).matching.layers == ()
    cut = {"student": None, "teacher": str(save_model(tokenizer, layers=6, seed=1)), "hidden_weight": 1}
    assert make_plan(config(**cut)).matching.layers == ((0, 0), (1, 2), (2, 5))
    assert make_plan(config(**cut, student_layers="1,4")).matching.layers == ((0, 1), (1, 4))
    other = {**cut, "student": str(save_model(tokenizer, layers=4, seed=2))}
    assert make_plan(config(**other, student_layers="0,3")).matching.layers == ((0, 2), (1, 5))


def test_it_may_be_the_only_term_of_the_loss(config):
    plan = make_plan(config(teacher_weight=0, pooled_weight=1))
    assert plan.method == "none"
    with pytest.raises(InputError, match="all weights of the loss are 0"):
        make_plan(config(teacher_weight=0))


@pytest.mark.parametrize(
    ("weights", "said"),
    [({"hidden_weight": 1}, "--hidden-weight:"), ({"relation_weight": 1}, "--relation-weight:"),
     ({"hidden_weight": 1, "relation_weight": 1, "pooled_weight": 1}, "--hidden-weight and --relation-weight:")],
)  # fmt: skip
def test_hidden_states_of_other_tokens_are_refused(config, save_model, other_tokenizer, weights, said):
    student = str(save_model(other_tokenizer, layers=2, seed=4))
    with pytest.raises(InputError, match=f"{said} teacher and student need the same tokenizer.*--pooled-w"):
        make_plan(config(student=student, **weights))
    assert make_plan(config(student=student, pooled_weight=1)).matching == Matching(pooled_weight=1.0)


@pytest.mark.e2e
def test_a_run_matches_pooled_vectors_of_other_tokens_and_another_width(config, save_model, other_tokenizer):
    student = str(save_model(other_tokenizer, layers=2, seed=4))
    result = run(config(student=student, pooled_weight=1, augment="augpro-mix"))
    assert result.samples
    assert result.metric is not None


def test_a_teacher_that_reads_less_is_refused(config, save_model, tokenizer):
    student, teacher = (save_model(tokenizer, layers=layers) for layers in (2, 3))
    shorter = ModelSource(str(teacher)).load_tokenizer()
    shorter.model_max_length = 20
    shorter.save_pretrained(teacher)
    given = {"student": str(student), "teacher": str(teacher), "hidden_weight": 1}
    with pytest.raises(InputError, match=r"reads up to 20 tokens, .* 32; give --max-tokens 20"):
        make_plan(config(**given))
    assert make_plan(config(**given, max_tokens=20)).matching


def test_encoder_decoders_are_refused(config, translator):
    with pytest.raises(
        InputError, match=r"--hidden-weight: .* is an encoder-decoder.*--pooled-weight compares"
    ):
        make_plan(config(student=str(translator), hidden_weight=1))


def test_methods_of_a_comparison_may_have_it_one_by_one(table_file, wide_teacher, tmp_path):
    methods = "none,none:hidden_weight=1,random:pooled_weight=2:layer_map=last"
    config = CompareConfig(
        data=str(table_file), teacher=str(wide_teacher), methods=methods, relation_weight=3, out=tmp_path
    )
    grid = Grid(config)
    made = {method: grid.distill_config(Cell(method, None, 0, 1.0), tmp_path) for method in grid.methods}
    of = {
        name: (each.hidden_weight, each.relation_weight, each.pooled_weight, each.layer_map)
        for name, each in made.items()
    }
    assert of == {
        "fine-tune": (0, 0, 0, "uniform"),
        "none": (0, 3, 0, "uniform"),
        "none:hidden_weight=1": (1, 3, 0, "uniform"),
        "random:pooled_weight=2:layer_map=last": (0, 3, 2, "last"),
    }
