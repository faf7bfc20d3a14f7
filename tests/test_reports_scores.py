"""Inputs made after public reports about answers, scores and texts in other projects; each test names its report.

"was:" says what augpro did with the input before.
"""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from augpro.augment.methods.text import EDA
from augpro.compare.comparison import Comparison
from augpro.config import DistillConfig, EvaluateConfig, FinetuneConfig
from augpro.data.loading import Split
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
from augpro.results.result import Sample
from augpro.tasks import Task
from augpro.teachers.teacher import Teacher
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

# --- answers that are no numbers ---


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
