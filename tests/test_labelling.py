"""From a pool of texts to training rows: who is chosen, what the teacher reads, and what a kill leaves behind."""

import json

import pytest
import torch
from safetensors.torch import load_file

from augpro.compare.cost import fixed_seconds
from augpro.config import DistillConfig
from augpro.data.same_text import row_keys
from augpro.distillation import labelling
from augpro.distillation.acquisition import bald, drawn, farthest, highest
from augpro.distillation.labelling import (
    CHOSEN,
    DROPOUT_PASSES,
    WARM_UP_SHARE,
    Choice,
    dropout_logits,
    sentence_vectors,
)
from augpro.distillation.pipeline import run
from augpro.distillation.plan import make_plan
from augpro.errors import InputError
from augpro.losses import entropy
from augpro.models.fixed_shapes import logits_in_fixed_shapes
from augpro.models.reading import predict_logits
from augpro.models.source import ModelSource, load_student
from augpro.results.provenance import TRAINING_ROWS
from augpro.teachers.teacher import Teacher
from augpro.tokens import tokenize
from augpro.training.dataset import DistillationDataset, label_tensor
from augpro.training.trainer import DistillationTrainer
from common import TEXTS, tiny_bert

POOL = [f"{who} {what} {how}" for who in ("the movie", "my app", "your server", "a bill")
        for what in ("looks", "feels") for how in ("good", "bad", "very slow")]  # fmt: skip
SCORED = TEXTS[:8]
BUDGET = 6
CRITERIA = ("random", "coverage", "uncertainty", "bald")


class Stopped(BaseException):
    """Stands for a kill: no error that a run could clean up after."""


@pytest.fixture(scope="module")
def student(save_model, tokenizer):
    return save_model(tokenizer, layers=2, seed=4, dropout=0.1)


@pytest.fixture
def pool_file(tmp_path):
    """The pool, in which the scored rows are too."""
    path = tmp_path / "pool.csv"
    path.write_text("\n".join(["text", *POOL, *SCORED]) + "\n")
    return path


@pytest.fixture
def options(table_file, teacher_folder, student, pool_file):
    header, *rows = (table_file / "train.csv").read_text().splitlines()
    (table_file / "train.csv").write_text("\n".join([header, *rows[8:]]) + "\n")
    return {"data": str(table_file), "teacher": str(teacher_folder), "student": str(student), "epochs": 2,
            "batch_size": 4, "learning_rate": 1e-2, "unlabelled": pool_file, "label_budget": BUDGET,
            "trainer_options": {"disable_tqdm": True}, "augment": "none", "dropout": 0.1}  # fmt: skip


@pytest.fixture
def read(monkeypatch):
    """The texts of every call of the teacher."""
    calls, label = [], Teacher.label
    monkeypatch.setattr(Teacher, "label", lambda self, texts, pairs=None: calls.append(list(texts))
                        or label(self, texts, pairs))  # fmt: skip
    return calls


@pytest.fixture
def train(options, tmp_path):
    def start(name, **changes):
        return run(DistillConfig(**{**options, "out": tmp_path / name, **changes}))

    return start


@pytest.fixture
def choice(options, tokenizer, teacher_folder, tmp_path):
    """What a run chooses from."""

    def make(**changes):
        plan = make_plan(DistillConfig(**{**options, "out": tmp_path / "choice", **changes}))
        rows = plan.data.splits["train"]
        logits = Teacher(ModelSource(str(teacher_folder)).load_trained_classifier(), tokenizer).label(
            rows.texts
        )
        table = tokenize(tokenizer, rows.texts)
        dataset = DistillationDataset(table, label_tensor(rows.labels, plan.task), logits)
        model = load_student(plan.student, plan.task, freeze_embeddings=True, dropout=plan.config.dropout)
        return Choice(plan, plan.config, plan.pool, dataset, model, tokenizer)

    return make


def weights(folder):
    return load_file(folder / "model.safetensors")


def same_weights(one, other):
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# --- which texts ---


@pytest.mark.e2e
def test_random_is_a_draw_of_the_seed(choice):
    assert choice(label_by="random", seed=3).rows() == drawn(len(POOL), BUDGET, 3)


def test_coverage_compares_what_the_student_reads_at_its_start(choice):
    made = choice(label_by="coverage")
    before = {name: value.clone() for name, value in made.student.state_dict().items()}
    points, known = (sentence_vectors(made.student, tokenize(made.tokenizer, each))
                     for each in (made.pool.texts, made.dataset.table.texts))  # fmt: skip
    assert made.rows() == farthest(points, known, BUDGET).tolist()
    assert all(torch.equal(value, before[name]) for name, value in made.student.state_dict().items())


def test_a_sentence_vector_is_the_mean_of_the_states_of_its_own_tokens(tokenizer):
    model = tiny_bert(len(tokenizer), dropout=0.5).train()
    vectors = sentence_vectors(model, tokenize(tokenizer, TEXTS))
    assert model.training
    model.eval()
    for text, vector in zip(TEXTS, vectors, strict=True):
        states = model.bert(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        torch.testing.assert_close(vector, torch.nn.functional.normalize(states.mean(0), dim=0))


@pytest.mark.e2e
def test_uncertainty_asks_a_student_trained_on_the_rows_at_hand(choice):
    """It is another one than at the start, its training costs a fifth of the steps, and the start is left alone."""
    made = choice(label_by="uncertainty", epochs=20)
    before = {name: value.clone() for name, value in made.student.state_dict().items()}
    table = tokenize(made.tokenizer, made.pool.texts)
    trained = made.trained()
    assert made.rows() == highest(entropy(predict_logits(trained, table)), BUDGET).tolist()
    assert all(torch.equal(value, before[name]) for name, value in made.student.state_dict().items())
    assert not torch.equal(trained.classifier.weight, made.student.classifier.weight)


@pytest.mark.e2e
@pytest.mark.parametrize("given", [{}, {"max_steps": 90}])
def test_the_training_before_a_choice_has_a_fifth_of_the_steps(choice, monkeypatch, given):
    steps = []
    monkeypatch.setattr(labelling, "DistillationTrainer", type("Watched", (DistillationTrainer,), {
        "training_step": lambda self, *a, **k: steps.append(1) or DistillationTrainer.training_step(self, *a, **k)
    }))  # fmt: skip
    made = choice(label_by="bald", epochs=20, trainer_options={"disable_tqdm": True, **given})
    made.trained()
    after = given.get("max_steps", 20 * (len(made.dataset) + BUDGET) / 4)
    assert len(steps) == pytest.approx(WARM_UP_SHARE * after, abs=1)


@pytest.mark.e2e
def test_bald_draws_dropout_by_the_seed(choice):
    made = choice(label_by="bald")
    table = tokenize(made.tokenizer, made.pool.texts)
    trained, state = made.trained(), torch.get_rng_state()
    passes = dropout_logits(trained, table, seed=made.config.seed)
    assert torch.equal(torch.get_rng_state(), state)
    assert passes.shape == (DROPOUT_PASSES, len(POOL), 2)
    assert passes.std(0).min() > 0
    assert torch.equal(dropout_logits(trained, table, seed=0), passes)
    assert not torch.equal(dropout_logits(trained, table, seed=1), passes)
    assert made.rows() == highest(bald(passes, "single_label"), BUDGET).tolist()


@pytest.mark.e2e
def test_labels_alone_are_no_warm_up(choice):
    """With --teacher-weight 0 and augmentation the rows at hand still are what the student is trained on first."""
    made = choice(label_by="uncertainty", teacher_weight=0.0, augment="random", epochs=20)
    assert not torch.equal(made.trained().classifier.weight, made.student.classifier.weight)


# --- what a run does with them ---


@pytest.mark.e2e
@pytest.mark.parametrize("by", CRITERIA)
def test_what_is_labelled_is_trained_on_and_nothing_else(train, read, tmp_path, by):
    result = train("student", label_by=by)
    rows, chosen, evaluation = read
    assert (sorted(rows), evaluation) == (sorted(TEXTS[8:]), SCORED)
    assert len(chosen) == len(set(chosen)) == BUDGET
    assert set(chosen) < set(POOL)
    assert (result.train_rows, result.pool_labels) == (12, BUDGET)
    assert json.loads((tmp_path / "student" / "result.json").read_text())["pool_labels"] == BUDGET
    known = set(load_file(tmp_path / "student" / TRAINING_ROWS)["row_keys"].tolist())
    assert known == set(row_keys([*rows, *chosen]))
    assert not known & set(row_keys(SCORED))
    assert result.phase_seconds["choose_texts"] > 0
    assert fixed_seconds(result) > result.label_seconds > 0
    assert not (tmp_path / "student" / "checkpoints").exists()
    again = train("again", label_by=by)
    assert read[4] == chosen
    assert again.metric == result.metric
    assert same_weights(tmp_path / "student", tmp_path / "again")


@pytest.mark.e2e
def test_each_row_of_the_training_has_the_teachers_answer_to_it(
    train, teacher_folder, tokenizer, monkeypatch
):
    batches = []
    compute = DistillationTrainer.compute_loss

    def watched(self, model, inputs, *arguments, **keywords):
        batches.append(({**inputs}, self.rows))
        return compute(self, model, inputs, *arguments, **keywords)

    monkeypatch.setattr(DistillationTrainer, "compute_loss", watched)
    train("student", label_by="random", augment="random", candidates=1, epochs=1)
    teacher = Teacher(ModelSource(str(teacher_folder)).load_trained_classifier(), tokenizer)
    seen = []
    for inputs, dataset in batches:
        texts = [dataset.table.texts[row] for row in inputs["row_ids"].tolist()]
        seen += texts
        torch.testing.assert_close(inputs["teacher_logits"], teacher.label(texts), rtol=1e-4, atol=1e-5)
        gold = [label >= 0 for label in inputs["labels"].tolist()]
        assert gold == [text not in POOL for text in texts]
    assert sorted(seen) == sorted(dataset.table.texts)
    order = [text in POOL for text in dataset.table.texts]
    assert order != sorted(order), "texts of the pool stand together"


@pytest.mark.e2e
def test_without_a_budget_all_are_labelled_and_a_store_serves_them(train, read, tmp_path):
    store = tmp_path / "store"
    first = train("first", label_budget=None, label_store=store)
    assert read[1] == POOL
    assert first.pool_labels == len(POOL)
    assert "choose_texts" in first.phase_seconds
    assert first.teacher_labels["computed"] > 0
    second = train("second", label_budget=None, label_store=store, seed=0, learning_rate=1e-3)
    assert second.teacher_labels["computed"] == 0


# --- kill and resume ---


@pytest.mark.e2e
@pytest.mark.parametrize("by", ["coverage", "bald"])
def test_killed_after_the_choice_a_run_chooses_and_pays_for_nothing_twice(train, tmp_path, monkeypatch, by):
    whole = train("whole", label_by=by)
    with monkeypatch.context() as patch:
        patch.setattr(labelling, "tokenize", refuse_when(lambda texts: set(texts) & set(TEXTS[8:])))
        with pytest.raises(Stopped):
            train("killed", label_by=by)
    kept = load_file(tmp_path / "killed" / "checkpoints" / CHOSEN)
    monkeypatch.setattr(Choice, "rows", lambda self: 1 / 0)
    reads = []
    monkeypatch.setattr(
        "augpro.teachers.teacher.logits_in_fixed_shapes",
        lambda model, table, *args: (
            reads.append(list(table.texts)) or logits_in_fixed_shapes(model, table, *args)
        ),
    )
    resumed = train("killed", label_by=by, resume=True)
    assert reads == [SCORED]
    assert same_weights(tmp_path / "whole", tmp_path / "killed")
    assert (resumed.metric, resumed.pool_labels) == (whole.metric, BUDGET)
    assert resumed.phase_seconds["choose_texts"] > float(kept["seconds"]) > 0


def refuse_when(condition):
    def wrapped(tokenizer, texts, *arguments):
        if condition(texts):
            raise Stopped
        return tokenize(tokenizer, texts, *arguments)

    return wrapped


@pytest.mark.e2e
def test_killed_within_the_training_it_is_the_run_that_was_not(train, tmp_path, monkeypatch):
    options = {"label_by": "uncertainty", "augment": "random", "candidates": 1,
               "trainer_options": {"disable_tqdm": True, "save_strategy": "steps", "save_steps": 3}}  # fmt: skip
    whole = train("whole", **options)
    save = DistillationTrainer._save_checkpoint

    def killed(self, *arguments, **keywords):
        save(self, *arguments, **keywords)
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(DistillationTrainer, "_save_checkpoint", killed)
        with pytest.raises(Stopped):
            train("killed", **options)
    state = json.loads(
        (tmp_path / "killed" / "checkpoints" / "checkpoint-3" / "trainer_state.json").read_text()
    )
    spent = state["stateful_callbacks"]["augpro"]["seconds"]["choose_texts"]
    monkeypatch.setattr(Choice, "rows", lambda self: 1 / 0)
    resumed = train("killed", resume=True, **options)
    assert same_weights(tmp_path / "whole", tmp_path / "killed")
    assert resumed.metric == whole.metric
    assert spent <= resumed.phase_seconds["choose_texts"] < 2 * spent, "counted twice"


@pytest.mark.e2e
def test_another_pool_is_refused_when_a_run_goes_on(train, pool_file, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(labelling, "tokenize", refuse_when(lambda texts: set(texts) & set(TEXTS[8:])))
        with pytest.raises(Stopped):
            train("killed", label_by="random")
    before = pool_file.read_text()
    pool_file.write_text(before.replace("my app looks good", "my app looks fine"))
    with pytest.raises(InputError, match="started with, but the unlabelled texts changed; restore"):
        train("killed", label_by="random", resume=True)
    pool_file.write_text(before)
    assert train("killed", label_by="random", resume=True).pool_labels == BUDGET
