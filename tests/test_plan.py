"""What a run does where nothing is asked for, and what is refused before anything heavy is loaded."""

import re

import pytest
import torch
from safetensors.torch import load_file

from augpro.config import DistillConfig
from augpro.distillation.plan import make_plan
from augpro.errors import InputError
from augpro.models.source import load_student


@pytest.fixture
def resolve_defaults(table_file, teacher_folder, save_model, tokenizer, tmp_path):
    """Options of a plan for a student of so many layers."""

    def build(layers=2, **options):
        student = save_model(tokenizer, layers=layers, seed=2)
        given = {"data": str(table_file), "teacher": str(teacher_folder), "student": str(student)}
        return plan_of(**{**given, "batch_size": 4, "out": tmp_path, **options}).config

    return build


def plan_of(**options):
    return make_plan(DistillConfig(**options))


@pytest.mark.e2e
def test_the_learning_rate_follows_the_depth_of_the_student(resolve_defaults):
    assert resolve_defaults(layers=2).learning_rate == resolve_defaults(layers=3).learning_rate == 5e-4
    assert resolve_defaults(layers=4).learning_rate == 1e-4
    assert resolve_defaults(layers=4, student_layers=(0, 3)).learning_rate == 5e-4
    assert resolve_defaults(layers=2, learning_rate=3e-5).learning_rate == 3e-5


@pytest.mark.parametrize(
    ("options", "dropout"),
    [
        ({"layers": 4}, 0.0),
        ({"layers": 3, "augment": "none"}, 0.0),
        ({"layers": 4, "augment": "none"}, None),  # as in the model
        ({"layers": 4, "augment": "none", "dropout": 0.2}, 0.2),
        ({"layers": 3, "augment": "smart"}, None),
        ({"dropout": 0.2}, 0.2),
    ],
)
def test_dropout_follows_the_depth_and_the_augmentation(resolve_defaults, options, dropout):
    assert resolve_defaults(**options).dropout == dropout


@pytest.mark.e2e
def test_epochs_follow_the_training_rows(resolve_defaults, table_file):
    assert resolve_defaults().epochs == 25
    assert resolve_defaults(epochs=4).epochs == 4
    path = table_file / "train.csv"
    header, *rows = path.read_text().splitlines()
    for count, epochs in ((1000, 25), (3000, 8), (20_000, 3)):
        path.write_text("\n".join([header, *(rows * (count // len(rows) + 1))[:count]]))
        assert resolve_defaults().epochs == epochs


@pytest.mark.parametrize(
    ("augment", "candidates"),
    [("augpro-mix", 3), ("random", 3), ("augpro-fgsm", 3), ("mixup", 1), ("smart", 1), ("none", 1)],
)
def test_methods_that_make_text_have_candidates(resolve_defaults, augment, candidates):
    assert resolve_defaults(augment=augment).candidates == candidates
    if augment == "random":
        assert resolve_defaults(augment=augment, candidates=7).candidates == 7


def test_candidates_need_text(resolve_defaults):
    with pytest.raises(InputError, match=r"--candidates 2: mixup makes no text.* leave out --candidates"):
        resolve_defaults(augment="mixup", candidates=2)


def test_no_more_is_made_anew_than_is_chosen_from(resolve_defaults):
    assert resolve_defaults().new_candidates == 1
    assert resolve_defaults(candidates=3, new_candidates=3).new_candidates == 3
    with pytest.raises(InputError, match=r"--new-candidates 4: .* at most 3, or raise --candidates"):
        resolve_defaults(candidates=3, new_candidates=4)
    with pytest.raises(
        InputError, match=r"--new-candidates 0.5: mixup makes no text.* leave out --new-candidates"
    ):
        resolve_defaults(augment="mixup", new_candidates=0.5)
    assert resolve_defaults(augment="several", new_candidates=2).new_candidates == 2
    with pytest.raises(
        InputError,
        match=r"--new-candidates 0.5: the methods of several take turns, which needs a whole number",
    ):
        resolve_defaults(augment="several", new_candidates=0.5)


def test_without_a_name_the_student_is_cut_from_the_teacher(table_file, save_model, tokenizer, tmp_path):
    """Embeddings, layers, pooler and head are the teacher's; the learning rate follows the depth."""
    teacher = save_model(tokenizer, layers=6, seed=1)
    given = {"data": str(table_file), "teacher": str(teacher), "batch_size": 4, "out": tmp_path}
    plan = plan_of(**given)
    assert plan.student_layers == (0, 2, 5)
    assert plan.config.learning_rate == 2e-4
    assert plan.describe()["student"] == f"{teacher}, layers 0, 2, 5 (cut from the teacher, with its head)"
    assert plan_of(**given, student_layers="1,4").student_layers == (1, 4)
    student = load_student(plan.student, plan.task, plan.student_layers).state_dict()
    whole = load_file(teacher / "model.safetensors")
    kept = {0: 0, 1: 2, 2: 5}
    for name, value in student.items():
        number = re.search(r"layer\.(\d+)\.", name)
        source = name.replace(number[0], f"layer.{kept[int(number[1])]}.") if number else name
        assert torch.equal(value, whole[source]), name


def test_a_shallow_teacher_is_not_cut_unasked(table_file, save_model, tokenizer, tmp_path):
    teacher = save_model(tokenizer, layers=3, seed=1)
    given = {"data": str(table_file), "teacher": str(teacher), "batch_size": 4, "out": tmp_path}
    with pytest.raises(InputError, match=r"3 layers is not cut by default; .*--student-layers"):
        plan_of(**given)
    assert plan_of(**given, student_layers="0,2").student.name == str(teacher)
