"""Inputs made after public reports about training, scores and texts in other projects; each test names its report.

"was:" says what augpro did with the input before.
"""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from augpro.augment.methods.text import EDA
from augpro.compare.comparison import Comparison
from augpro.compare.grid import method_options
from augpro.config import DistillConfig, EvaluateConfig, FinetuneConfig
from augpro.data.loading import Split
from augpro.distillation.labelling import Choice
from augpro.distillation.pipeline import run
from augpro.distillation.plan import make_plan
from augpro.distillation.samples import samples_markdown
from augpro.distillation.scoring import evaluate_model
from augpro.distillation.summary import notes_of
from augpro.errors import InputError
from augpro.evaluation.metrics import majority_share, score
from augpro.evaluation.notes import answer_notes, label_notes
from augpro.models.source import ModelSource, load_student
from augpro.report.texts import _runs
from augpro.results.output import OutputFolder
from augpro.results.result import Sample
from augpro.tasks import Task
from augpro.teachers.teacher import Teacher
from augpro.training.options import training_arguments
from augpro.training.steps import step_notes
from augpro.training.trainer import DistillationTrainer
from common import LABELS, TEXTS, tiny_bert
from report_cases import cell_result

NAN, TASK = float("nan"), Task("reviews", "single_label", "accuracy", LABELS)
TAGS = Task("tags", "multi_label", "micro_f1", ("billing", "refund", "bug"))
SCORE = Task("sts", "regression", "pearson")
ABC = replace(TASK, label_names=("a", "b", "c"))
ONE_CLASS = (
    "all 3 labelled rows are 'positive': always predicting it has an accuracy of 1, and Matthews' correlation is "
    "undefined (reported as 0)"
)


# --- huggingface/sentence-transformers#3233 ---


@pytest.fixture(scope="module")
def spoiled(tokenizer, tmp_path_factory):
    """Teachers with one weight that is no number: of the head, or of the word "refund"."""
    models = {name: tiny_bert(len(tokenizer), layers=3, seed=1) for name in ("nan", "inf", "word")}
    models["nan"].classifier.weight.data[0, 0] = NAN
    models["inf"].classifier.weight.data[0, 0] = float("inf")
    word = tokenizer.convert_tokens_to_ids("refund")
    models["word"].get_input_embeddings().weight.data[word] = NAN
    folders = {name: tmp_path_factory.mktemp(name) for name in models}
    for name, folder in folders.items():
        models[name].save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folders


@pytest.fixture
def given(table_file, teacher_folder, tmp_path):
    """Options of a short distillation."""
    return {"data": str(table_file), "teacher": str(teacher_folder), "student": str(teacher_folder), "epochs": 2,
            "batch_size": 4, "augment": "none", "out": tmp_path / "out"}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "answers", "first", "weight"),
    [("nan", "20 of 20", "'", "classifier.weight"),
     ("inf", "20 of 20", "'", "classifier.weight"),
     ("word", "1 of 20", "'my refund works'; ", "bert.embeddings.word_embeddings.weight")],
)  # fmt: skip
def test_a_teacher_whose_answers_are_no_numbers_is_refused_before_the_training(
    given, spoiled, monkeypatch, name, answers, first, weight
):
    """sentence-transformers#3233: a model trained in float16 gave nan, and was trained and saved without a word.

    was: a student full of nan with an accuracy of 0.625, and exit code 0.
    """
    monkeypatch.setattr(DistillationTrainer, "train", lambda *_, **__: pytest.fail("trained"))
    said = f"logits for {answers} texts are not finite ({weight} holds nan or infinity), first for {first}"
    with pytest.raises(InputError, match=re.escape(said)):
        run(DistillConfig(**given | {"teacher": str(spoiled[name])}))
    assert not given["out"].exists()


def test_nor_is_it_trained_where_only_a_scored_text_is_hit(given, spoiled, table_file, monkeypatch):
    """The same; was: found by nobody, and the distance to the teacher was null."""
    (table_file / "train.csv").write_text(
        "text,label\n"
        + "".join(f"the app is {word},positive\n" for word in ["good", "bad", "slow", "fine", "great"])
        + "a bad film,negative\n"
    )
    (table_file / "validation.csv").write_text("text,label\na fine refund,positive\nthe page,negative\n")
    monkeypatch.setattr(DistillationTrainer, "train", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(InputError, match=r"logits for 1 of 2 texts are not .* first for 'a fine refund'"):
        run(DistillConfig(**given | {"teacher": str(spoiled["word"])}))


def test_a_model_whose_answers_are_no_numbers_is_not_scored(table_file, teacher_folder, spoiled):
    """The same; was: the accuracy of always answering the first class, and agreement 1.0 with such a teacher."""
    shared, good, bad = {"data": str(table_file)}, str(teacher_folder), str(spoiled["nan"])
    for models in ({"model": bad}, {"model": good, "teacher": bad}):
        with pytest.raises(InputError, match=r"logits for 8 of 8 texts are not finite \(classifier.weight"):
            evaluate_model(EvaluateConfig(**shared, **models))


def test_such_answers_are_never_kept(spoiled, tokenizer, tmp_path):
    """The same, with a store of labels; was: kept for the next run."""
    model = ModelSource(str(spoiled["word"])).load_trained_classifier()
    teacher = Teacher(model, tokenizer, store=tmp_path)
    with pytest.raises(InputError, match="my refund works"):
        teacher.label(TEXTS)
    kept = [label for _, _, label in teacher.store.rows()]
    assert all(np.isfinite(label.logits).all() for label in kept)
    assert {label.text for label in kept} < set(TEXTS)


def test_a_cut_of_such_a_model_is_refused_for_that(spoiled):
    """The same; was: "a BertForSequenceClassification cut to these layers gives other logits when it is saved"."""
    with pytest.raises(InputError, match=r"logits of this Bert.* not finite \(classifier.weight holds"):
        load_student(ModelSource(str(spoiled["inf"])), TASK, (0, 1))


@pytest.mark.e2e
def test_a_loss_that_is_no_number_ends_the_training(given, spoiled, monkeypatch):
    """The same; was: the log showed the mean of the losses before, and the student was saved."""
    options = {key: given[key] for key in ("data", "epochs", "batch_size", "out")}
    said = r"loss of step 1 of 10 .*: the training started with weights .* not finite \(classifier.weight holds nan"
    with pytest.raises(InputError, match=said):
        run(FinetuneConfig(**options, model=str(spoiled["nan"])))
    assert not given["out"].exists()
    said = (
        r"loss of step 2 of 10 is not finite, in \d+ of \d+ rows, .*: the training has diverged; .*--learning"
    )
    with pytest.raises(InputError, match=said):
        run(DistillConfig(**given, learning_rate=4e9))
    label = Teacher.label_tokens
    monkeypatch.setattr(Teacher, "label_tokens", lambda *arguments: label(*arguments) * NAN)
    with pytest.raises(
        InputError, match=r"loss of step 1 of .*: the teacher's logits of augmented texts are not"
    ):
        run(DistillConfig(**given | {"augment": "random"}))


# --- paths ---


@pytest.mark.parametrize("method", ["1.csv", "none:unlabelled=pool:1.csv"])
def test_a_value_of_a_method_holds_no_comma_and_no_colon(method):
    """huggingface/datasets#7468: a path was read as a pattern. Here one with a comma or colon is cut in --methods.

    was: "unknown method '1.csv'", of a file pool,1.csv.
    """
    with pytest.raises(InputError, match="here a comma starts the next method and a colon the next option"):
        method_options(method)


def test_a_folder_with_brackets_is_resumed(table_file, tmp_path):
    """simpletransformers#770: a folder with "checkpoint" in its name was taken for one. Was right."""
    config = DistillConfig(data=str(table_file), teacher="t", out=tmp_path / "checkpoint-12 [a*]")
    with OutputFolder(config) as folder:
        write_checkpoint(folder.path / "checkpoints" / "checkpoint-5")
    with OutputFolder(config.model_copy(update={"resume": True})) as folder:
        assert folder.checkpoint.endswith("checkpoint-12 [a*]/checkpoints/checkpoint-5")


# --- steps ---


@pytest.fixture
def planned_notes(given):
    """Notes of a plan of 20 rows."""

    def notes(trainer, **options):
        return " | ".join(make_plan(DistillConfig(**given | options, trainer_options=trainer)).data.notes)

    return notes


def test_rows_that_no_step_sees_are_told(planned_notes):
    """dreamquark-ai/tabnet#537: a batch larger than the data was dropped: a loss of 0 for 99 epochs.

    was: the larger batch was refused; rows left out, and a step of fewer rows than asked for, passed silently.
    """
    drop = {"dataloader_drop_last": True}
    with pytest.raises(InputError, match=r"20 training rows are fewer than one batch of 32; .*--batch-size"):
        planned_notes(drop, batch_size=32)
    assert "dataloader_drop_last leaves out 4 of 20 training rows in every epoch" in planned_notes(
        drop, batch_size=16
    )
    assert "leaves out" not in planned_notes(drop, batch_size=5)
    joined = (
        "gradient_accumulation_steps=64: an epoch has only 5 batches, so a step uses 20 rows instead of 256"
    )
    assert joined in planned_notes({"gradient_accumulation_steps": 64})
    assert "a step takes" not in planned_notes({"gradient_accumulation_steps": 5})


@pytest.mark.parametrize("steps", [0, -2])
def test_no_steps_are_no_training(planned_notes, steps):
    """The same; was: one step at a learning rate of 0 (for 0), or all epochs (for -2)."""
    with pytest.raises(InputError, match=f"max_steps={steps}: give at least 1, or leave it out"):
        planned_notes({"max_steps": steps})


@pytest.mark.parametrize(
    ("trainer", "said"),
    [({"warmup_steps": 500}, "warmup_steps=500 of 10 steps: the learning rate rises until the end and reaches 1.8%"),
     ({"warmup_steps": 10}, "warmup_steps=10 of 10 steps"), ({"warmup_steps": 9}, ""), ({"warmup_steps": 0.5}, ""),
     ({"warmup_steps": 3, "max_steps": 3}, "warmup_steps=3 of 3 steps"),
     ({"warmup_steps": 2, "lr_scheduler_type": "constant"}, "no effect with lr_scheduler_type=constant"),
     ({"max_steps": 3}, "max_steps=3: the training takes 0.6 epochs instead of 2")],
)  # fmt: skip
def test_a_warm_up_longer_than_the_training_is_told(planned_notes, trainer, said):
    """gaoyixu/CAIL2020-Argument-Mining#1: the learning rate only rose, and results did not match.

    was: silent, with 1.8 % of the learning rate; and of max_steps and --epochs it was not told which counts.
    """
    notes = planned_notes(trainer)
    assert said in notes
    assert said or "warmup_steps" not in notes


@pytest.mark.parametrize(
    "trainer", [{}, {"dataloader_drop_last": True}, {"gradient_accumulation_steps": 3}, {"max_steps": 7}]
)
@pytest.mark.parametrize(("rows", "size", "epochs"), [(20, 4, 2.0), (22, 4, 0.3), (9, 4, 1.5)])
def test_the_number_of_steps_is_the_trainers(model, tmp_path, trainer, rows, size, epochs):
    """The same: told of the steps that are made."""
    options = {"warmup_steps": 1000, **trainer}
    config = FinetuneConfig(data="d", out=tmp_path, epochs=epochs, batch_size=size, trainer_options=options)
    trainer = DistillationTrainer(model, None, [0] * rows, args=training_arguments(config))
    trainer.args.train_sampling_strategy = "random"
    made = trainer.set_initial_training_values(trainer.args, trainer.get_train_dataloader())[-1]
    assert f"warmup_steps=1000 of {made} steps" in step_notes(config, rows)[-1]


def test_a_short_training_warms_up_for_a_share_of_it(given, tokenizer, model, monkeypatch, tmp_path):
    """setfit#137: warm-up steps were counted on another number of steps.

    was: the training before a choice of texts, a fifth as long, took all warm-up steps of the long one.
    """
    pool = tmp_path / "pool.csv"
    pool.write_text("text\n" + "".join(f"{text} today\n" for text in TEXTS))
    options = {"unlabelled": pool, "label_budget": 5, "label_by": "uncertainty", "epochs": 20}
    plan = make_plan(DistillConfig(**given | options, trainer_options={"warmup_steps": 50}))
    seen = []

    class Caught(Exception):
        pass

    def caught(*_, args):
        seen.append(args)
        raise Caught

    monkeypatch.setattr("augpro.distillation.labelling.DistillationTrainer", caught)
    with pytest.raises(Caught):
        Choice(plan, plan.config, plan.pool, [0] * 20, model, tokenizer).trained()
    assert seen[0].warmup_steps == 10
    assert seen[0].num_train_epochs == pytest.approx(0.2 * 20 * 25 / 20)


# --- resuming ---


def write_checkpoint(folder):
    """Files of the kinds that a checkpoint has."""
    folder.mkdir(parents=True)
    save_file({"weight": torch.ones(3)}, folder / "model.safetensors")
    for name in ("optimizer.pt", "rng_state.pth"):
        torch.save({"state": torch.ones(3)}, folder / name)
    (folder / "trainer_state.json").write_text("{}")


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json"])
def test_a_checkpoint_that_was_cut_short_is_not_gone_on_from(table_file, tmp_path, name):
    """verl-project/verl#7401: what a kill left was resumed wrongly. Here one byte is missing at a file's end.

    was: a traceback of the library that reads it, whatever checkpoint was before it.
    """
    config = DistillConfig(data=str(table_file), teacher="t", out=tmp_path / "out")
    with OutputFolder(config) as folder:
        for step in (5, 10):
            write_checkpoint(folder.path / "checkpoints" / f"checkpoint-{step}")
    path = config.out / "checkpoints" / "checkpoint-10" / name
    path.write_bytes(path.read_bytes()[:-1])
    with OutputFolder(config.model_copy(update={"resume": True})) as folder:
        assert folder.checkpoint.endswith("checkpoint-5")


@pytest.mark.parametrize("changed", [{"learning_rate": 1e-5}, {"epochs": 8.0}])
def test_another_learning_rate_is_refused(table_file, tmp_path, changed):
    """bmaltais/kohya_ss#1924: a resumed run silently kept its old learning rate. Was right."""
    config = DistillConfig(data=str(table_file), teacher="t", out=tmp_path / "out")
    with OutputFolder(config) as folder:
        write_checkpoint(folder.path / "checkpoints" / "checkpoint-5")
    again = config.model_copy(update={"resume": True, **changed})
    with (
        pytest.raises(InputError, match=f"but the option {next(iter(changed))} changed"),
        OutputFolder(again),
    ):
        pass


# --- scores ---


@pytest.mark.parametrize(
    ("task", "labels", "said"),
    [(TAGS, [(), (), ()], "none of 3 rows has a positive label, so F1 is undefined and reported as 0"),
     (TAGS, [(0,), (2,), None], "1 of 3 classes have no row ('refund'): macro F1 counts 0 for each of them"),
     (TAGS, [(0,), (2, 1)], None),
     (TASK, [1, 1, None, 1], ONE_CLASS),
     (ABC, [1, 1, 0], "1 of 3 classes have no row ('c'): macro F1 counts 0 for each of them that is predicted"),
     (TASK, [1, 0], None), (TASK, [None, 1], None),
     (SCORE, [2.5, 2.5, None], "all 2 rows have the score 2.5, so the correlation is undefined and reported as 0"),
     (SCORE, [2.5, 2.0], None)],
)  # fmt: skip
def test_labels_that_leave_a_metric_without_meaning_are_told(task, labels, said):
    """facebookresearch/fastText#92, Lightning-AI/torchmetrics#1494: rows without any label, or without a class.

    was: F1, Matthews' and other correlations of 0.000 (0.000 to 0.000), as if the model had failed.
    """
    split = Split(["x"] * len(labels), None, labels, "f.csv")
    assert label_notes(task, {"evaluation": split}) == ([f"evaluation, f.csv: {said}"] if said else [])


@pytest.mark.parametrize(
    ("task", "labels", "logits", "said"),
    [(SCORE, [1.0, 2.0], [[0.5], [0.5]],
      "predicts the same score (0.5) for all 2 rows, so the correlation is undefined and reported as 0"),
     (SCORE, [1.0, 2.0], [[0.5], [0.6]], None), (SCORE, [1.0, 1.0], [[0.5], [0.5]], None),
     (TASK, [0, 1], [[1.0, 0.0], [2.0, 0.0]], "predicts the same ('negative') for all 2 rows"),
     (TASK, [0, 0], [[1.0, 0.0], [2.0, 0.0]], None),
     (TAGS, [[0, 1, 0], [1, 1, 0]], [[-1.0] * 3, [-2.0] * 3], "predicts the same (no label) for all 2 rows"),
     (TAGS, [[0, 1, 0], [1, 1, 0]], [[1.0, -1.0, 1.0]] * 2, "predicts the same ('billing', 'bug') for all 2 rows")],
)  # fmt: skip
def test_a_model_that_answers_alike_on_all_rows_is_told(task, labels, logits, said):
    """google-research/bert#748: texts "always" came out neutral. was: a correlation of 0.000 (0.000 to 0.000)."""
    labels = torch.tensor(labels) if task is TASK else torch.tensor(labels, dtype=torch.float32)
    notes = answer_notes(task, torch.tensor(logits), labels, "m")
    assert [note.split(";")[0] for note in notes] == ([f"m: {said}"] if said else [])


def test_no_interval_is_given_where_no_resample_differs():
    """The same: an interval from 0 to 0 would be certainty."""
    scores = score(SCORE, torch.rand(8, 1, generator=torch.Generator().manual_seed(0)), torch.full((8,), 2.5))
    assert scores.metrics["pearson"] == 0.0
    assert np.isnan(scores.interval).all()


def test_plan_scores_and_comparison_tell_it(given, save_model, tokenizer, table_file, caplog):
    """The same, where a user sees it."""
    (table_file / "validation.csv").write_text(
        "text,label\n" + "".join(f"{text},positive\n" for text in TEXTS[:8])
    )
    said = "all 8 labelled rows are 'positive'"
    assert any(said in note for note in make_plan(DistillConfig(**given)).data.notes)
    evaluate_model(EvaluateConfig(data=given["data"], model=given["teacher"]))
    assert said in caplog.text
    assert f"- note: {said}" in Comparison([], [said]).markdown()


def test_a_share_is_not_below_itself():
    """Found beside it: the teacher's accuracy (0.333) "is below always answering the most frequent class (0.333)"."""
    labels = torch.tensor([0, 1, 2] * 4)
    teacher = score(ABC, torch.eye(3)[[0] * 12], labels)
    assert majority_share(labels) <= teacher.metrics["accuracy"]


# --- texts ---

ONLY = {"synonym": 0.0, "insertion": 0.0, "swap": 0.0, "deletion": 0.0}
ODD = [
    "hello hello",
    "refund",
    "!!!",
    "火箭险胜勇士",
    "the movie is great\n\n  - never again\n\tplease help",
    "a-b a/b",
]


@pytest.mark.parametrize("option", ONLY)
def test_odd_texts_are_changed_without_an_end_and_without_a_blank(wordnet, context, option):
    """QData/TextAttack#368, makcedward/nlpaug#76: an endless loop, and an IndexError for one word. Was right."""
    new = EDA(**{**ONLY, option: 1.0}).rewrite([ODD], torch.arange(len(ODD)), context())[0]
    assert all(text.strip() for text in new)
    assert new[2:4] == ODD[2:4]


@pytest.mark.parametrize("seed", range(5))
def test_line_breaks_stay_where_they_were(wordnet, context, seed):
    """facebookresearch/AugLy#200: line breaks became spaces. was: in eda too, in every text that was changed."""
    text = " the movie is great\n\n  - never  again\n\tplease help\n"
    gaps = re.split(r"\S+", text)

    def new(**options):
        return EDA(**{**ONLY, **options}).rewrite([[text]], torch.tensor([0]), context(seed=seed))[0][0]

    for options in ({"swap": 0.5}, {"synonym": 0.01}):
        assert new(**options) != text
        assert re.split(r"\S+", new(**options).replace("motion picture", "x")) == gaps
    kept = new(deletion=0.3)
    assert (kept[0], kept[-1]) == (" ", "\n")
    assert all(piece in text for piece in re.findall(r"\s+\S+", kept)[1:])
    grown = new(insertion=0.01)
    assert any(grown.replace(f"{word} ", "", 1) == text or grown.replace(f" {word}", "", 1) == text
               for word in ("film", "picture", "motion picture", "outstanding", "anew")), grown  # fmt: skip


@pytest.mark.parametrize(("share", "told"), [(0.51, True), (0.5, False)])
def test_a_method_that_changes_next_to_nothing_is_told(share, told):
    """QData/TextAttack#411: Chinese text was written out 180 times as it was. was: told by no note."""
    plan = SimpleNamespace(data=SimpleNamespace(notes=[]), task=TASK,
                           scored_splits=lambda: {"evaluation": Split(["x"], None, [0], "f")})  # fmt: skip
    result = cell_result("eda", replacement={"unchanged_texts": share})
    notes = notes_of(plan, result)
    assert any("51.0% of the augmented texts equal their originals" in note for note in notes) == told


def test_control_characters_are_shown_in_pages_of_texts():
    """meta-pytorch/captum#1226, huggingface/tokenizers#2210: texts acted on the page that should show them.

    was: HTML and Markdown were shown as text; ESC and the override of the reading direction went in as they are.
    """
    text, shown = "\x1b[31m red \u202e help", r"\x1b[31m red \u202e help"
    label = "negative 0.90"
    sample = Sample(original=text, augmented=text, original_label=label, augmented_label=label)
    page = samples_markdown(cell_result("eda", samples=[sample]))
    assert not {"\x1b", "\u202e"} & set(page)
    assert page.count(shown.replace("\\", "\\\\").replace("[", "\\[")) == 2
    assert _runs(text, text) == [[shown], [shown]]
