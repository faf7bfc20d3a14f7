"""Methods, losses and models of one's own in ``distill``: what does not fit is told before the training."""

import random
import threading
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from transformers import EarlyStoppingCallback

from augpro import RunResult, augment_texts, distill
from augpro.augment import Augmenter, Compose, Mix, Random, Several
from augpro.errors import InputError
from augpro.models.held import HeldModel
from common import TEXTS, tiny_bert

SHORT = {"epochs": 1, "batch_size": 4, "student_layers": (0, 2), "augment": "none"}


@pytest.fixture
def teacher(tokenizer):
    return tiny_bert(len(tokenizer), layers=4, seed=1), tokenizer


@dataclass(frozen=True)
class Listed(Random):
    """Has a parameter that is no JSON."""

    words: frozenset = field(default_factory=lambda: frozenset({"a"}))


class Bare(Augmenter):
    """Is no dataclass."""

    def __call__(self, batch, context):
        return batch


@dataclass(frozen=True)
class Texts(Augmenter):
    """Returns what no method may."""

    def __call__(self, batch, context):
        return ["a"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"augment": Random}, r"augment: Random is no method; it is a class; give an object of it, Random\("),
        ({"augment": Mix()}, r"augment: Mix is no method; .* give Projected\(Mix\("),
        ({"augment": None}, "NoneType is no method; give 'none'"),
        ({"augment": Random(), "augment_options": {"replace_fraction": 0.9}}, "Random has its options already"),
        ({"augment": Listed()}, "words of Listed is a frozenset"),
        ({"augment": Bare()}, "Bare is no dataclass"),
        ({"loss": torch.nn.MSELoss}, r"MSELoss is no function of logits; give an object of it"),
        ({"loss": None}, "NoneType is no function of logits; give a name or a function"),
        ({"loss": torch.nn.functional.mse_loss}, r"kd-loss mse_loss: .* one value per row, shape \(2,\), not \(\)"),
        ({"loss": lambda student, teacher: 0}, "takes 2 positional arguments .* a loss is called as loss"),
        ({"loss": lambda s, *_: [0.0] * len(s)}, r"one value per row, shape \(2,\), not list"),
        ({"loss": lambda s, *_: s.mean(1) * float("nan")}, "gives nan or infinite values"),
        ({"loss": lambda s, *_: s.mean(1).detach()}, "no gradient can be taken of it"),
        ({"loss": lambda s, t, *_: (s - t.mul_(0)).mean(1)}, "changes the teacher's logits"),
        ({"loss": lambda s, *_: s.mean(1), "kd_loss": "mse"}, "give one of the two"),
        ({"callbacks": [3]}, "int is no transformers.TrainerCallback"),
        ({"resume": True}, "only a run with a folder can be resumed"),
        ({"epoch": 3}, r"unknown option 'epoch' \(did you mean 'epochs'\?"),
        ({"trainer_options": "seed=1"}, "trainer-options 'seed=1': input should be a valid dictionary"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_before_the_training(teacher, options, message, monkeypatch):
    monkeypatch.setattr("augpro.api.run_plan", lambda *_: pytest.fail("it was trained"))
    with pytest.raises(InputError, match=message):
        distill(teacher, TEXTS, **SHORT | options)


def test_labels_belong_into_a_named_file():
    with pytest.raises(InputError, match="those of helpdesk belong into a column"):
        distill("anything", "helpdesk", labels=["a"])


@pytest.mark.parametrize("kind", [Compose, Several])
def test_methods_of_methods_want_parts(kind):
    with pytest.raises(TypeError, match=r"of must hold parts such as Part\('knn'"):
        kind((Random(), Random()))


def test_a_method_that_returns_something_else_is_named(teacher):
    with pytest.raises(TypeError, match="Texts must return a TokenBatch, not a list"):
        distill(teacher, TEXTS, **SHORT | {"augment": Texts()})


def test_options_that_are_lists_are_kept_in_the_result(teacher):
    """The layers of tmix are a tuple."""
    assert (
        len(distill(teacher, TEXTS, **SHORT | {"augment": "tmix"}).result.config["augmenter"]["depths"]) == 3
    )


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16, torch.float64])
def test_a_teacher_in_another_precision_answers_as_from_a_folder(teacher, precision, tmp_path):
    model, tokenizer = teacher
    held = HeldModel("held", model=model.to(precision), tokenizer=tokenizer).load_trained_classifier()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    named = HeldModel("named", model=type(model).from_pretrained(tmp_path).float(), tokenizer=tokenizer)
    assert {weight.dtype for weight in held.parameters()} == {torch.float32}
    assert {weight.dtype for weight in model.parameters()} == {precision}
    for name, value in named.load_trained_classifier().state_dict().items():
        assert torch.equal(value, held.state_dict()[name]), name


@pytest.mark.parametrize("work", ["distill", "augment_texts"])
def test_the_random_state_of_the_process_stays_as_it_is(teacher, tmp_path, work):
    model, tokenizer = teacher
    model.base_model.save_pretrained(tmp_path)  # without a head, which is drawn when it is loaded
    tokenizer.save_pretrained(tmp_path)
    torch.manual_seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    if work == "distill":
        distill(teacher, TEXTS, **SHORT)
    else:
        augment_texts(TEXTS, tmp_path)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert random.getstate() == before[2]


@pytest.mark.e2e
def test_two_threads_and_no_gradients_give_the_same_student(teacher):
    """The random state of the process is one for all threads."""
    found = []

    def train():
        with torch.inference_mode():
            found.append(distill(teacher, TEXTS, **SHORT).student.classifier.weight.clone())

    threads = [threading.Thread(target=train) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found.append(distill(teacher, TEXTS, **SHORT).student.classifier.weight)
    assert len(found) == 3
    assert all(torch.equal(one, found[0]) for one in found)


def test_the_best_checkpoint_can_be_asked_for_without_a_folder(teacher):
    trained = distill(teacher, TEXTS, callbacks=EarlyStoppingCallback(1), trainer_options={
        "eval_strategy": "epoch", "load_best_model_at_end": True}, **SHORT)  # fmt: skip
    assert any("had the best" in note for note in trained.result.notes)


@pytest.mark.parametrize(
    ("first", "then", "changed"),
    [
        ({"augment": Random(0.5)}, {"augment": Random(0.9)}, "method of augmentation"),
        ({"loss": lambda s, t, *_: (s - t).abs().sum(1)}, {"loss": lambda s, t, *_: (s - t).square().sum(1)}, "loss"),
    ],
)  # fmt: skip
@pytest.mark.e2e
def test_a_run_goes_on_with_what_it_was_started_with(teacher, tmp_path, first, then, changed, monkeypatch):
    monkeypatch.setattr("augpro.distillation.pipeline.write_training_rows", lambda *_: 1 / 0)  # stops it late
    options = SHORT | {"out": tmp_path / "run"}
    with pytest.raises(ZeroDivisionError):
        distill(teacher, TEXTS, **options | first)
    with pytest.raises(InputError, match=f"the {changed} changed"):
        distill(teacher, TEXTS, resume=True, **options | then)
    with pytest.raises(ZeroDivisionError):
        distill(teacher, TEXTS, resume=True, **options | first)


def test_a_result_is_kept_and_read_by_a_name(teacher, tmp_path):
    result = distill(teacher, TEXTS, **SHORT).result
    result.save(str(tmp_path))
    assert RunResult.load(str(tmp_path)).model_dump_json() == result.model_dump_json()


def test_a_class_is_no_method_for_texts_alone(teacher):
    with pytest.raises(InputError, match="Random is no method"):
        augment_texts(TEXTS, teacher, augment=Random)
