"""A YAML file says what the flags say."""

import pytest
import yaml
from pydantic import ValidationError

from augpro.cli.options import _options
from augpro.config import CompareConfig, DistillConfig, EvaluateConfig, FinetuneConfig
from augpro.errors import InputError
from augpro.values import parse_value

NEEDED = {
    DistillConfig: "data: x\nteacher: y\nout: z\n",
    FinetuneConfig: "data: x\nout: z\n",
    CompareConfig: "data: x\nteacher: y\nout: z\n",
    EvaluateConfig: "data: x\nmodel: y\n",
}


@pytest.fixture
def read(tmp_path):
    def options(text, kind=DistillConfig, **flags):
        (tmp_path / "run.yaml").write_text(NEEDED[kind] + text)
        return _options(kind, {"config": tmp_path / "run.yaml", **flags})

    return options


@pytest.mark.parametrize(
    "written", ["1e-2", ".5", "0.3", "3", "true", "True", "no", "None", "2024-01-01", "dot", "1_0"]
)
@pytest.mark.parametrize(
    ("mapping", "flag"), [("trainer_options", "trainer_option"), ("augment_options", "augment_option")]
)
def test_an_option_of_something_else(read, mapping, flag, written):
    from_file = getattr(read(f"{mapping}:\n  some-name: {written}\n"), mapping)
    from_flag = getattr(read("", **{flag: [f"some-name={written}"]}), mapping)
    assert from_file == from_flag == {"some_name": parse_value(written)}


@pytest.mark.parametrize(
    ("kind", "name", "written"),
    [
        (DistillConfig, "learning_rate", "1e-4"), (DistillConfig, "student_layers", "3"),
        (DistillConfig, "label_column", "no"), (DistillConfig, "text_column", "1"), (DistillConfig, "resume", "yes"),
        (DistillConfig, "train_rows", ".5"), (CompareConfig, "seeds", "0"), (CompareConfig, "sizes", "1e3"),
        (CompareConfig, "methods", "none"), (FinetuneConfig, "pair_column", "2024-01-01"),
        (EvaluateConfig, "seed", "3"), (DistillConfig, "freeze_embeddings", "off"),
    ],
)  # fmt: skip
def test_every_other_option(read, kind, name, written):
    assert getattr(read(f"{name}: {written}\n", kind), name) == getattr(
        read("", kind, **{name: written}), name
    )


def test_flags_and_file_are_one_mapping_of_names_with_underscores(read):
    found = read("trainer_options: {weight-decay: 1e-2, max_steps: 3}\n", trainer_option=["weight_decay=0.5"])
    assert found.trainer_options == {"weight_decay": 0.5, "max_steps": 3}


def test_values_within_lists_and_mappings(read):
    found = read("trainer_options: {lr_scheduler_kwargs: {min_lr: 1e-6}}\naugment_options: {of: [knn, 2]}\n")
    assert found.trainer_options == {"lr_scheduler_kwargs": {"min_lr": 1e-6}}
    assert found.augment_options == {"of": ["knn", 2]}


def test_null_is_the_default_but_an_unknown_option_is_told(read):
    found = read("student: null\nepochs: ~\ntrainer_options:\n", trainer_option=["max_steps=3"])
    assert (found.student, found.epochs, found.trainer_options) == (None, None, {"max_steps": 3})
    with pytest.raises(InputError, match="unknown option 'studnt'"):
        read("studnt: null\n")


@pytest.mark.parametrize("flags", [{}, {"trainer_option": ["max_steps=3"]}])
def test_options_that_are_no_mapping_are_told(read, flags):
    with pytest.raises(InputError, match=r"trainer.options"):
        read("trainer_options: [max_steps, 3]\n", **flags)


def test_python_reads_texts_alike():
    given = {"data": "x", "teacher": "y", "out": "z"}
    assert DistillConfig(**given, trainer_options={"weight-decay": "1e-2"}).trainer_options == {
        "weight_decay": 0.01
    }
    with pytest.raises(ValidationError):
        DistillConfig(**given, trainer_options="max_steps=3")


def test_anchors_and_merged_keys_still_work(read):
    found = read("augment_options: &some {top_k: 3}\ntrainer_options: {<<: *some, max_steps: 2}\n")
    assert found.trainer_options == {"top_k": 3, "max_steps": 2}
    assert yaml.safe_load("a: 1") == {"a": 1}, "the loader of other programs is as it was"
