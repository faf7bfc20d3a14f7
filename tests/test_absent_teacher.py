"""A teacher that is not there any more: a label store answers for it, as far as labels go."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from augpro.config import DistillConfig
from augpro.distillation.pipeline import run
from augpro.distillation.plan import make_plan
from augpro.distillation.train import load_teacher
from augpro.errors import InputError
from augpro.models.source import ModelSource
from augpro.teachers.absent import StoredTeacher
from augpro.teachers.store import LabelStore
from augpro.teachers.teacher import Teacher
from augpro.tokens import tokenize
from augpro.vocabulary import Vocabulary
from common import TEXTS


@pytest.fixture
def folders(teacher_folder, tmp_path):
    """A teacher, a student with the same tokenizer, and a store with the teacher's labels of all texts."""
    for name in ("teacher", "student"):
        shutil.copytree(teacher_folder, tmp_path / name)
    source = ModelSource(str(tmp_path / "teacher"))
    for limit in (None, 8):
        teacher = Teacher(
            source.load_trained_classifier(), source.load_tokenizer(), limit, store=tmp_path / "store"
        )
        teacher.label(TEXTS)
    return tmp_path


@pytest.fixture
def plan(folders, table_file):
    def build(**options):
        given = {"data": str(table_file), "teacher": str(folders / "teacher"), "student": str(folders / "student"),
                 "label_store": folders / "store", "augment": "none", "batch_size": 4, "epochs": 1,
                 "learning_rate": 1e-3, "trainer_options": {"save_strategy": "no", "disable_tqdm": True},
                 "out": folders / "out"}  # fmt: skip
        return DistillConfig(**given | options)

    return build


@pytest.fixture
def gone(folders):
    shutil.rmtree(folders / "teacher")


@pytest.mark.parametrize("augment", [pytest.param("none", marks=pytest.mark.e2e), "random"])
def test_a_run_of_stored_labels_is_the_run_with_the_teacher(augment, plan, folders):
    """With augmented texts too: the same seed makes the same ones."""
    with_teacher = run(plan(out=folders / "one", augment=augment))
    shutil.rmtree(folders / "teacher")
    without = run(plan(out=folders / "two", augment=augment))
    asked = with_teacher.teacher_labels["asked"]
    assert without.teacher_labels == {"asked": asked, "read": without.teacher_labels["read"], "computed": 0}
    assert without.distance_to_teacher == with_teacher.distance_to_teacher
    assert without.label_names == ["negative", "positive"]
    weights = [(folders / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]
    assert any("teacher is not there; its labels are read from" in note for note in without.notes)
    assert not any("is not there" in note for note in with_teacher.notes)


@pytest.mark.parametrize("limit", [None, 8])
def test_its_answers_are_those_of_the_limit_of_the_run(plan, folders, limit):
    source = ModelSource(str(folders / "teacher"))
    expected = Teacher(source.load_trained_classifier(), source.load_tokenizer(), limit).label(TEXTS)
    shutil.rmtree(folders / "teacher")
    teacher = load_teacher(make_plan(plan(max_tokens=limit)), plan(max_tokens=limit), torch.device("cpu"))
    assert isinstance(teacher, StoredTeacher)
    assert torch.equal(teacher.label(TEXTS), expected)


def test_augmented_rows_are_found_by_their_token_ids(plan, folders, tokenizer, other_tokenizer):
    source = ModelSource(str(folders / "teacher"))
    batch = tokenize(tokenizer, ["my bad app", "good good"]).batch([0, 1])
    vocabulary = Vocabulary(tokenizer, len(tokenizer))
    real = Teacher(source.load_trained_classifier(), source.load_tokenizer(), store=folders / "store")
    expected = real.label_tokens(batch, vocabulary)
    shutil.rmtree(folders / "teacher")
    teacher = load_teacher(make_plan(plan()), plan(), torch.device("cpu"))
    assert teacher.reads_ids_of(tokenizer)
    assert not teacher.reads_ids_of(other_tokenizer)
    assert torch.equal(teacher.label_tokens(batch, vocabulary), expected)
    with pytest.raises(InputError, match="needs 1 labels that are not in it, first that of 'bad bad'"):
        teacher.label_tokens(tokenize(tokenizer, ["bad bad"]).batch([0]), vocabulary)
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(InputError, match="labels in float32 in bfloat16"),
    ):
        teacher.label(["good"])


@pytest.mark.usefixtures("gone")
@pytest.mark.parametrize(
    ("options", "needs"),
    [
        ({"student": None, "student_layers": (0,)}, "the tokenizer of the teacher"),
        ({"hidden_weight": 1.0}, "the tokenizer of the teacher"),
        ({"augment": "mixup"}, "the tokenizer of the teacher"),
    ],
)
def test_what_needs_the_model_is_refused_in_the_plan(plan, options, needs):
    match = f"teacher: no such model folder, and .* has only its labels, but this run needs {needs}"
    with pytest.raises(InputError, match=match):
        make_plan(plan(**options))


@pytest.mark.usefixtures("gone")
def test_a_label_that_is_missing_is_refused_in_the_plan(plan, table_file):
    path = table_file / "train.csv"
    path.write_text(path.read_text() + "a new text,positive\n")
    with pytest.raises(
        InputError, match="needs 1 labels that are not in it, first that of 'a new text'; give the f"
    ):
        make_plan(plan())


@pytest.mark.usefixtures("gone")
@pytest.mark.parametrize("options", [{"label_store": None}, {"label_store": Path("other.sqlite")}])
def test_without_its_labels_a_teacher_is_missing(plan, folders, options):
    with pytest.raises(InputError, match="no such model folder; give a save_pretrained folder or a hub name"):
        make_plan(plan(**options))


@pytest.mark.usefixtures("gone")
def test_the_model_itself_cannot_be_used(plan):
    teacher = load_teacher(make_plan(plan()), plan(), torch.device("cpu"))
    for use in (lambda: teacher.model(input_ids=None), lambda: teacher.model.config):
        with pytest.raises(
            InputError, match="needs the model of the teacher; give the folder of the teacher"
        ):
            use()


@pytest.mark.e2e
def test_of_two_models_with_one_name_the_one_used_last_counts(plan, folders, save_model, tokenizer):
    """Used again, an older one is the newer one."""
    first, other = folders / "teacher", folders / "first"
    run(plan(out=folders / "one"))
    first.rename(other)
    shutil.copytree(save_model(tokenizer, layers=3, seed=9), first)
    run(plan(out=folders / "two"))
    shutil.rmtree(first)
    other.rename(first)
    run(plan(out=folders / "three"))
    shutil.rmtree(first)
    run(plan(out=folders / "four"))
    weights = [(folders / name / "model.safetensors").read_bytes() for name in ("one", "two", "four")]
    assert weights[0] == weights[2] != weights[1]


def test_a_relative_name_is_that_of_its_whole_path(plan, folders, gone, monkeypatch):
    monkeypatch.chdir(folders)
    monkeypatch.setattr(
        "time.sleep", lambda _seconds: None
    )  # the hub, which is asked first, is asked again at once
    planned = make_plan(plan(teacher="teacher"))
    assert planned.teacher.name == "teacher"
    assert "by this name alone" not in " ".join(planned.data.notes)


def test_a_relative_name_is_not_that_of_another_folder(plan, folders, monkeypatch):
    monkeypatch.chdir(folders)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    source = ModelSource("teacher")
    teacher = Teacher(source.load_trained_classifier(), source.load_tokenizer(), store=folders / "shared")
    teacher.label(TEXTS)
    whole = teacher.record
    assert whole.name == str(folders / "teacher")
    (folders / "elsewhere").mkdir()
    monkeypatch.chdir(folders / "elsewhere")
    options = {"teacher": "teacher", "label_store": folders / "shared"}
    told = f"teacher: there is no such model, and .* has labels of {folders}/teacher; give that as --teacher"
    with pytest.raises(InputError, match=told):
        make_plan(plan(**options))
    # An earlier version stored the name as it was given, and hub names are stored so.
    LabelStore(folders / "shared").write(replace(whole, name="teacher"), [])
    assert "by this name alone" in " ".join(make_plan(plan(**options)).data.notes)
    LabelStore(folders / "shared").write(replace(whole, name="./teacher"), [])
    with pytest.raises(InputError, match=r"./teacher: there is no such model, and .* has labels of "):
        make_plan(plan(**options | {"teacher": "./teacher"}))


def test_another_limit_is_told(plan, gone):
    with pytest.raises(InputError, match=r"texts of at most 8, \d+ tokens; give that as --max-tokens"):
        make_plan(plan(max_tokens=9))
