"""Evaluation within training: it changes nothing but what it is asked to, and the result says what it decided."""

import csv
import re

import pytest
import torch
from safetensors.torch import load_file
from transformers import EarlyStoppingCallback, TrainerCallback

from augpro.config import DistillConfig, FinetuneConfig
from augpro.distillation.pipeline import run
from common import ANSWERS, LABELS, TEXTS

BEST = {"eval_strategy": "epoch", "load_best_model_at_end": True}
pytestmark = pytest.mark.e2e  # whole runs, most of them twice
STEPS = 4  # of an epoch: 16 rows, 4 a step


class Stopped(BaseException):
    """Stands for a kill."""


class Watch(TrainerCallback):
    """Keeps what every evaluation found, and stops after the checkpoint of a step."""

    def __init__(self, stop=None):
        self.stop, self.found = stop, []

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        self.found.append(metrics)

    def on_save(self, args, state, control, **kwargs):
        if state.global_step == self.stop:
            raise Stopped


def write(folder, splits, label=lambda row: LABELS[ANSWERS[row]]):
    folder.mkdir(exist_ok=True)
    for name, rows in splits.items():
        with open(folder / f"{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows([["text", "label"], *([TEXTS[row], label(row)] for row in rows)])
    return folder


@pytest.fixture
def data(tmp_path):
    return write(tmp_path / "data", {"train": range(16), "validation": range(16, 20), "test": range(12, 16)})


@pytest.fixture(scope="module")
def student(save_model, tokenizer):
    return save_model(tokenizer, layers=2, seed=4, dropout=0.1)


@pytest.fixture
def train(data, teacher_folder, student, tmp_path):
    def start(name, trainer, callbacks=(), kind=DistillConfig, **options):
        models = (
            {"teacher": str(teacher_folder), "student": str(student), "augment": "none"}
            if kind is DistillConfig
            else {"model": str(student)}
        )
        given = {
            "data": str(data),
            "epochs": 3,
            "batch_size": 4,
            "learning_rate": 1e-2,
            "out": tmp_path / name,
        }
        quiet = {"disable_tqdm": True, "logging_strategy": "no"}
        return run(kind(**{**given, **models, **options}, trainer_options=quiet | trainer), callbacks)

    return start


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (DistillConfig, {}), (DistillConfig, {"augment": "augpro-mix", "hidden_weight": 1.0}),
        (FinetuneConfig, {}),
    ],
)  # fmt: skip
def test_to_be_watched_changes_no_training(train, tmp_path, kind, options):
    train("alone", {}, kind=kind, **options)
    watch = Watch()
    result = train("watched", {"eval_strategy": "epoch"}, [watch], kind, **options)
    assert same(weights(tmp_path / "alone"), weights(tmp_path / "watched"))
    last = watch.found[-1]
    assert len(watch.found) == 3
    assert last["eval_accuracy"] == result.metric
    if kind is DistillConfig:
        assert last["eval_kl_to_teacher"] == pytest.approx(result.distance_to_teacher, abs=1e-5)
        assert last["eval_agreement"] == result.agreement
    assert not any("split" in note and "weights" in note for note in result.notes)


@pytest.mark.parametrize("metric", ["accuracy", "kl_to_teacher"])
def test_the_best_checkpoint_is_kept_and_the_result_says_where_it_was_chosen(train, metric):
    watch = Watch()
    trainer = {**BEST, "metric_for_best_model": metric}
    result = train("best", trainer, [watch], epochs=6, learning_rate=0.1)
    values = [found[f"eval_{metric}"] for found in watch.found]
    best = min(values) if metric == "kl_to_teacher" else max(values)
    assert (result.distance_to_teacher if metric == "kl_to_teacher" else result.metric) == pytest.approx(
        best, abs=1e-5
    )
    step = STEPS * (1 + values.index(best))
    assert any(
        f"weights are those of step {step} of 24, which had the best {metric}" in note
        for note in result.notes
    )
    assert re.search(
        "is also scored, so its scores are too optimistic; .* --eval-split test", result.notes[-1]
    )
    other = train("other", trainer, epochs=1, eval_split="test")
    assert "on the validation split" in other.notes[-1], (
        "where other rows are scored, that is all there is to say"
    )
    held = train("held", trainer, epochs=1, holdout_rows=4, batch_size=2)
    assert "the holdout is not affected" in held.notes[-1]


def test_early_stopping_by_the_trainers_own_callback(train):
    result = train("early", {**BEST, "save_total_limit": 5}, [EarlyStoppingCallback(2, 2.0)], epochs=20)
    assert result.epochs == 3, "nothing is better by 2 than the first"
    assert any(
        "training stopped after step 12 of 80, because of the accuracy" in note for note in result.notes
    )


def test_a_score_is_watched_too(train, save_model, tokenizer, tmp_path):
    folder = write(
        tmp_path / "scores", {"train": range(16), "validation": range(16, 20)}, lambda row: row / 7
    )
    teacher = save_model(tokenizer, labels=(), num_labels=1, seed=3)
    watch = Watch()
    train(
        "score", BEST, [watch], data=str(folder), teacher=str(teacher), student=str(teacher), augment="random"
    )
    assert {"eval_pearson", "eval_spearman", "eval_kl_to_teacher"} <= watch.found[0].keys()


def test_stopped_and_resumed_it_is_the_run_that_was_not(train, tmp_path):
    """Even in a folder of another name, and with the best checkpoint and the patience of before."""
    options = {"augment": "augpro-mix", "learning_rate": 0.05}
    whole = train("whole", BEST, [Watch(), EarlyStoppingCallback(3)], **options)
    with pytest.raises(Stopped):
        train("stopped", BEST, [Watch(2 * STEPS), EarlyStoppingCallback(3)], **options)
    (tmp_path / "stopped").rename(tmp_path / "moved")
    again = train("moved", BEST, [Watch(), EarlyStoppingCallback(3)], resume=True, **options)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "moved"))
    assert again.notes == whole.notes


def test_a_rate_that_follows_a_metric(train):
    trainer = {"eval_strategy": "epoch", "lr_scheduler_type": "reduce_lr_on_plateau"}
    notes = train("rate", trainer, epochs=1).notes
    assert any("the learning rate followed the accuracy on the validation split" in note for note in notes)
    assert "too optimistic" in notes[-1]


def test_a_run_that_ends_before_it_is_evaluated_says_so(train):
    notes = train("short", {"eval_strategy": "epoch", "eval_delay": 5}, epochs=1).notes
    assert "the run ended before it was evaluated on the validation split" in notes[-1]


def test_options_that_draw_are_resumed(train, tmp_path):
    trainer = {"neftune_noise_alpha": 5.0, "train_sampling_strategy": "batch_rebalance"}
    train("whole", trainer, epochs=2)
    with pytest.raises(Stopped):
        train("stopped", trainer, [Watch(STEPS)], epochs=2)
    train("stopped", trainer, resume=True, epochs=2)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))
