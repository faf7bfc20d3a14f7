"""The package from a notebook: what is held is used as it is, stays as it is, and gives what names give."""

import datasets
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from augpro import DistillConfig, augment_texts, distill, run
from augpro.augment import Random, augmenter
from augpro.distillation import pipeline
from augpro.errors import InputError
from common import ANSWERS, LABELS, OTHERS, TEXTS, tiny_bert, wordpiece

SHORT = {"epochs": 1, "batch_size": 4, "student_layers": (0, 2), "augment": "none"}
NAMES = [LABELS[answer] for answer in ANSWERS]


@pytest.fixture
def teacher(tokenizer):
    return tiny_bert(len(tokenizer), layers=4, seed=1), tokenizer


@pytest.mark.e2e
def test_objects_give_the_student_that_names_give(teacher, tmp_path):
    """Folders and a file, or what was saved in them: the same weights."""
    for part in teacher:
        part.save_pretrained(tmp_path / "teacher")
    pd.DataFrame({"text": TEXTS, "label": NAMES}).to_csv(tmp_path / "data.csv", index=False)
    options = SHORT | {"augment": "augpro-mix", "epochs": 2}
    named = run(DistillConfig(data=str(tmp_path / "data.csv"), teacher=str(tmp_path / "teacher"), out=tmp_path / "s",
                              **options))  # fmt: skip
    held = distill(teacher, TEXTS, labels=NAMES, **options)
    assert held.result.metric == named.metric
    assert held.result.agreement == named.agreement
    weights = load_file(tmp_path / "s" / "model.safetensors")
    for name, value in held.student.state_dict().items():
        assert torch.equal(value, weights[name]), name


@pytest.mark.e2e
def test_what_is_held_stays_as_it_is(teacher):
    model, tokenizer = teacher
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    config, padding = model.config.to_dict(), tokenizer.padding_side
    trained = distill(teacher, TEXTS, student=teacher, **SHORT | {"freeze_embeddings": True})
    assert model.training
    assert model.config.to_dict() == config
    assert tokenizer.padding_side == padding
    assert all(weight.requires_grad for weight in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert trained.student is not model
    assert len(trained.student.bert.encoder.layer) == 2


@pytest.mark.e2e
def test_a_student_is_read_to_the_length_that_it_was_trained_with(teacher, tmp_path):
    """Whatever loads it later: a text is cut as in the training."""
    trained = distill(teacher, TEXTS, max_tokens=8, out=tmp_path / "student", **SHORT)
    saved = AutoTokenizer.from_pretrained(tmp_path / "student")
    assert (trained.tokenizer.model_max_length, saved.model_max_length) == (8, 8)
    assert teacher[1].model_max_length == 32


@pytest.mark.e2e
def test_what_is_replaced_is_counted_in_the_training_alone(teacher, monkeypatch):
    """Afterwards some texts are made again, to be checked."""
    options = SHORT | {"augment": "random", "epochs": 3}
    checked = distill(teacher, TEXTS, **options).result.replacement
    monkeypatch.setattr(pipeline, "check_rows", lambda *_: None)
    unchecked = distill(teacher, TEXTS, **options).result.replacement
    assert unchecked
    assert unchecked.items() < checked.items()


@pytest.mark.e2e
@pytest.mark.parametrize(
    "data",
    [
        datasets.Dataset.from_dict({"sentence": TEXTS, "label": NAMES}),
        pd.DataFrame({"sentence": TEXTS, "label": NAMES}),
        {"train": TEXTS, "validation": TEXTS[:5]},
        datasets.DatasetDict(train=datasets.Dataset.from_dict({"text": TEXTS, "label": NAMES})),
        list(zip(TEXTS, OTHERS, strict=True)),
    ],
)
def test_rows_may_be_held_in_many_ways(teacher, data):
    assert distill(teacher, data, **SHORT).result.eval_rows in (2, 5)


@pytest.mark.e2e
def test_a_student_of_another_kind_and_a_pipeline(teacher):
    """Its own tokenizer, and a head of another width, which is made anew."""
    words = wordpiece(["the", "is", "great", "awful"])
    student = tiny_bert(len(words), labels=("a", "b", "c"), layers=2), words

    class Pipeline:
        model, tokenizer = teacher

    trained = distill(Pipeline(), TEXTS, student=student, allow_unknown_tokens=True,
                      **SHORT | {"student_layers": (), "augment": Random(0.3)})  # fmt: skip
    assert trained.student.config.id2label == {0: "negative", 1: "positive"}
    assert len(trained.tokenizer) == len(words)
    assert trained.result.method == "random"


@pytest.mark.e2e
def test_a_loss_of_ones_own_is_the_loss_that_is_trained_with(teacher):
    seen = []

    def loss(student, teacher, problem_type, temperature):
        seen.append((student.shape, teacher.shape, problem_type, temperature))
        return (student - teacher).abs().sum(1)

    own = distill(teacher, TEXTS, loss=loss, **SHORT)
    assert seen
    assert set(seen) <= {((rows, 2), (rows, 2), "single_label", 1.0) for rows in range(1, 5)}
    usual = distill(teacher, TEXTS, **SHORT)
    assert not torch.equal(own.student.classifier.weight, usual.student.classifier.weight)


@pytest.mark.e2e
def test_a_folder_keeps_what_a_run_keeps(teacher, tmp_path):
    distill(teacher, TEXTS, out=tmp_path / "kept", **SHORT)
    assert {"model.safetensors", "tokenizer.json", "result.json"} <= {
        p.name for p in (tmp_path / "kept").iterdir()
    }


def test_nothing_is_left_where_no_folder_was_asked_for(teacher, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)
    distill(teacher, TEXTS, **SHORT)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("data", "labels", "message"),
    [
        ([], None, "list holds no texts"),
        ({"train": "text"}, None, "str holds no rows"),
        ([1, 2], None, "neither a text nor a pair"),
        ([("a", "b", "c")], None, "neither a text nor a pair"),
        (TEXTS, ["a"], "1 labels for 20 texts"),
        (["a", 3, None], None, "row 2: int is neither a text nor a pair"),
        ({"rows": TEXTS}, None, "no split named train, validation or test"),
    ],
)
def test_other_data_is_refused_in_one_sentence(teacher, data, labels, message):
    with pytest.raises(InputError, match=message):
        distill(teacher, data, labels=labels, **SHORT)


@pytest.mark.parametrize("given", [3, (1, 2), (1, 2, 3), object()])
def test_other_models_are_refused_in_one_sentence(given):
    with pytest.raises(
        InputError, match=r"teacher: \w+ is no model with its tokenizer; give \(model, tokenizer\)"
    ):
        distill(given, TEXTS)


def test_a_model_that_is_no_classifier_is_refused(teacher):
    with pytest.raises(InputError, match="load it with AutoModelForSequenceClassification"):
        distill((teacher[0].bert, teacher[1]), TEXTS, **SHORT)


def test_an_unknown_option_is_named(teacher):
    with pytest.raises(InputError, match="unknown option 'epoch'"):
        distill(teacher, TEXTS, epoch=3)


# --- texts alone ---


def test_copies_differ_and_follow_the_seed(teacher):
    one, two = augment_texts(TEXTS, teacher, copies=2, seed=4)
    assert len(one) == len(two) == len(TEXTS)
    assert one != two
    assert augment_texts(TEXTS, teacher, copies=2, seed=4) == [one, two]
    assert augment_texts(TEXTS, teacher, seed=5) != [one]


def test_pairs_and_classes(teacher):
    (made,) = augment_texts(TEXTS, teacher, pairs=OTHERS, augment=augmenter("crossover", partner="same-class"),
                            classes=ANSWERS)  # fmt: skip
    assert [len(pair) for pair in made] == [2] * len(TEXTS)


@pytest.mark.parametrize(
    ("augment", "message"), [("mixup", "makes no text"), ("augpro-fgsm", "only during training")]
)
def test_methods_that_need_more_say_so(teacher, augment, message):
    with pytest.raises(ValueError, match=message):
        augment_texts(TEXTS, teacher, augment=augment)
