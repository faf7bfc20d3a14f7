"""In half precision a student is trained, and no model is scored or looked at in it."""

import pytest
import torch
from safetensors.torch import load_file

from augpro.config import DistillConfig, EvaluateConfig
from augpro.distillation import layer_search
from augpro.distillation.pipeline import run
from augpro.distillation.scoring import evaluate_model
from augpro.models.source import ModelSource
from augpro.teachers.teacher import Teacher
from augpro.training.trainer import DistillationTrainer


@pytest.fixture
def config(table_file, teacher_folder, save_model, tokenizer, tmp_path):
    def build(**trainer):
        student = save_model(tokenizer, layers=2, seed=4, dropout=0.1)
        return DistillConfig(
            data=str(table_file), teacher=str(teacher_folder), student=str(student), augment="augpro-fgsm",
            augment_options={"partner_fraction": 0.5},  # so that the method itself asks the teacher, too
            epochs=2, batch_size=4, learning_rate=1e-2, holdout_rows=4, out=tmp_path / "student",
            trainer_options=trainer,
        )  # fmt: skip

    return build


@pytest.mark.e2e
@pytest.mark.parametrize("trainer", [{"bf16": True}, {}], ids=str)
def test_the_stored_predictions_are_those_of_the_saved_model(config, table_file, trainer):
    config = config(**trainer)
    result = run(config)
    source = ModelSource(str(config.out))
    model = Teacher(source.load_trained_classifier(), source.load_tokenizer())
    stored = load_file(config.out / "predictions.safetensors")
    lines = (table_file / "validation.csv").read_text().splitlines()[1:]
    texts = [line.rpartition(",")[0] for line in lines]
    torch.testing.assert_close(stored["evaluation.student"], model.label(texts), rtol=0, atol=1e-6)
    options = {"data": config.data, "teacher": config.teacher, "holdout_rows": 4}
    again = evaluate_model(EvaluateConfig(model=str(config.out), **options))
    for name, scores in (("evaluation", result.evaluation), ("holdout", result.holdout)):
        assert again[name].metrics == scores.metrics
        assert again[name].distance_to_teacher == pytest.approx(scores.distance_to_teacher, abs=1e-6)


@pytest.mark.e2e
def test_autocast_is_on_in_training_and_off_after_it(config, monkeypatch):
    """For the student, and for the teacher that labels what was augmented; in the check of the samples as well."""
    seen = {"student": [], "teacher": []}
    marks = {}

    def watch(model, role):
        model.classifier.register_forward_hook(lambda *_: seen[role].append(torch.is_autocast_enabled("cpu")))
        return model

    train = DistillationTrainer.train

    def marked(self, **options):
        marks["before"] = {role: len(calls) for role, calls in seen.items()}
        train(self, **options)
        marks["after"] = {role: len(calls) for role, calls in seen.items()}

    loader, load_trained_classifier = layer_search.load_student, ModelSource.load_trained_classifier
    monkeypatch.setattr(
        "augpro.distillation.layer_search.load_student",
        lambda *given, **options: watch(loader(*given, **options), "student"),
    )
    monkeypatch.setattr(
        ModelSource, "load_trained_classifier", lambda self: watch(load_trained_classifier(self), "teacher")
    )
    monkeypatch.setattr(DistillationTrainer, "train", marked)
    run(config(bf16=True))
    for role, calls in seen.items():
        start, end = marks["before"][role], marks["after"][role]
        assert not any(calls[:start])
        assert all(calls[start:end]), role
        assert end - start >= 8  # steps
        assert not any(calls[end:]), role
        assert len(calls) > end  # both splits, and the samples
