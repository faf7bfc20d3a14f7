"""Sets of augmented rows: damage is found, and what cannot be done is refused in one sentence."""

import json

import pytest

from augpro.errors import InputError
from augpro.results.output import folder_lock
from augpro.shards.manifest import MANIFEST, Manifest
from augpro.shards.options import AugmentConfig, LabelConfig
from augpro.shards.plan import make_augment_plan
from augpro.shards.relabel import make_label_plan, run_label
from augpro.shards.run import planned_rows
from shard_cases import ROWS, augmented, files_of, label, shards_of, spoil


@pytest.mark.parametrize("damage", ["flipped", "cut", "removed"])
def test_a_damaged_shard_is_named_and_made_again(plain_set, copied_set, augment_given, damage, caplog):
    path = sorted(copied_set.glob("*.parquet"))[1]
    spoil(path, damage)
    augmented(augment_given, copied_set)
    assert path.name in caplog.text
    assert files_of(copied_set) == files_of(plain_set)


@pytest.mark.parametrize("damage", ["flipped", "cut", "removed"])
def test_a_damaged_shard_is_not_labelled(copied_set, both_classes, damage):
    path = min(copied_set.glob("*.parquet"))
    plan = make_label_plan(LabelConfig(augmented=copied_set, teacher=str(both_classes)))
    spoil(path, damage)
    with pytest.raises(
        InputError, match=rf"{path.name}: this file .* run the same augpro augment command again"
    ):
        run_label(plan)


@pytest.mark.e2e
def test_a_labelling_killed_before_it_wrote_the_manifest_goes_on(copied_set, labelled_set, both_classes):
    before = (copied_set / MANIFEST).read_bytes()
    label(copied_set, both_classes)
    (copied_set / MANIFEST).write_bytes(before)
    label(copied_set, both_classes)
    assert shards_of(copied_set) == shards_of(labelled_set)
    assert Manifest.load(copied_set).labelled


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format": 2}', b"not json"])
def test_a_damaged_manifest_is_refused(plain_set, augment_given, tmp_path, content):
    (tmp_path / MANIFEST).write_bytes(content)
    for run in (lambda: augmented(augment_given, tmp_path), lambda: label(tmp_path, "t")):
        with pytest.raises(InputError, match="the manifest is damaged"):
            run()


def test_a_half_made_set_is_not_labelled(plain_set, tmp_path, both_classes):
    manifest = Manifest.load(plain_set)
    manifest.model_copy(update={"shards": manifest.shards[:1]}).save(tmp_path)
    with pytest.raises(
        InputError, match="only 1 of 2 files were made; run the same augpro augment command again"
    ):
        label(tmp_path, both_classes)
    with pytest.raises(InputError, match="no augmented rows here"):
        label(tmp_path / "nothing", both_classes)


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"seed": 1}, "--seed"), ({"copies": 3}, "--copies"), ({"augment": "random"}, "--augment"),
     ({"augment_options": {"replace_fraction": 0.5}}, "--augment-option"), ({"holdout_rows": 3}, "--holdout-rows")],
)  # fmt: skip
def test_another_configuration_is_refused_in_that_folder(plain_set, augment_given, changes, named):
    with pytest.raises(InputError, match=f"another configuration .*{named}.* changed"):
        augmented(augment_given, plain_set, **changes)


def test_changed_data_and_another_student_are_refused(augment_given, tmp_path, save_model, tokenizer):
    folder, data = tmp_path / "set", tmp_path / "rows.csv"
    data.write_text("text\n" + "a good film\nmy server is slow\nthe plot\nnever again\n")
    augmented(augment_given, folder, data=str(data))
    other = str(save_model(tokenizer, layers=1, seed=4))
    with pytest.raises(InputError, match=r"\(the student changed\)"):
        augmented(augment_given, folder, data=str(data), student=other)
    data.write_text(data.read_text() + "a bad film\n")
    with pytest.raises(InputError, match=r"\(the data changed\)"):
        augmented(augment_given, folder, data=str(data))


def test_labels_of_another_teacher_are_kept(labelled_set, augment_given, save_model, tokenizer):
    other = save_model(tokenizer, layers=1, seed=9)
    with pytest.raises(InputError, match="have labels of another teacher"):
        label(labelled_set, other)
    with pytest.raises(InputError, match=r"\(the teacher changed\)"):
        augmented(augment_given, labelled_set, teacher=str(other))


def test_a_folder_with_other_files_is_left_alone(augment_given, tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="is not empty and holds no augmented rows"):
        augmented(augment_given, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_second_run_on_a_folder_is_told(plain_set, augment_given, both_classes):
    plan = make_label_plan(LabelConfig(augmented=plain_set, teacher=str(both_classes)))
    with folder_lock(plain_set):
        for run in (lambda: augmented(augment_given, plain_set), lambda: run_label(plan)):
            with pytest.raises(InputError, match="another augpro run is at work here"):
                run()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"augment": "none"}, "there is nothing to write"),
        ({"augment": "nothing"}, "augment must be none or one of"),
        ({"augment": "augpro-fgsm"}, "it follows the student during the training"),
        ({"augment": "compose", "augment_options": {"of": "knn+augpro-fgsm"}}, "it follows the student"),
        ({"augment": "mixup"}, "it makes no text"),
        ({"augment_options": {"partner": "near"}}, "it depends on all training rows"),
        (
            {"augment": "random", "augment_options": {"distribution": "unigram"}},
            "it depends on all training rows",
        ),
        (
            {"augment": "several", "augment_options": {"of": "knn+random(distribution=unigram)"}},
            "all training rows",
        ),
        (
            {"augment": "knn", "augment_options": {"space": "teacher"}},
            "it uses the teacher's embeddings or gradient",
        ),
        ({"augment": "counterfactual"}, "it uses the teacher's embeddings or gradient"),
        ({"augment_options": {"partner": "same-class"}}, "partner=same-class needs the teacher's classes"),
        ({"augment_options": {"weight": 7}}, "weight must"),
        ({"student": "./no-such-folder"}, "no such model folder"),
        ({"data": "no-such-file.csv"}, "file not found"),
    ],
)
def test_what_cannot_be_done_is_refused_in_the_plan(augment_given, tmp_path, changes, told):
    with pytest.raises(InputError, match=told):
        make_augment_plan(AugmentConfig(**{**augment_given, "out": tmp_path / "set", **changes}))
    assert not (tmp_path / "set").exists()


def test_a_class_rule_needs_one_class_a_row(augment_given, tmp_path, save_model, tokenizer):
    several = save_model(tokenizer, layers=1, problem_type="multi_label_classification")
    with pytest.raises(InputError, match="a multi_label task does not have"):
        augmented(augment_given, tmp_path, teacher=str(several), augment_options={"partner": "same-class"})


@pytest.mark.e2e
def test_a_dry_run_reads_all_rows_and_writes_nothing(augment_given, tmp_path):
    data = tmp_path / "rows.csv"
    data.write_text("text\n" + "".join(f"a good film {row}\n" for row in range(5000)) + " \n")
    plan = make_augment_plan(AugmentConfig(**{**augment_given, "out": tmp_path / "set"}))
    assert planned_rows(plan) == ROWS
    assert plan.describe(ROWS)["files"] == "2 of 256 training rows each"
    spoilt = make_augment_plan(AugmentConfig(**{**augment_given, "data": str(data), "out": tmp_path / "set"}))
    with pytest.raises(InputError, match="row 5002"):
        planned_rows(spoilt)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(("name", "value"), [("training_rows", 10), ("student", "another")])
def test_an_edited_manifest_is_refused(name, value, copied_set, both_classes):
    path = copied_set / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(InputError, match="the manifest is damaged"):
        label(copied_set, both_classes)


@pytest.mark.e2e
def test_labels_of_a_run_that_ended_since_the_plan_are_kept(copied_set, both_classes, save_model, tokenizer):
    other = save_model(tokenizer, seed=12)
    plan = make_label_plan(LabelConfig(augmented=copied_set, teacher=str(other)))
    label(copied_set, both_classes)
    with pytest.raises(InputError, match="these rows have labels of another teacher"):
        run_label(plan)


@pytest.mark.e2e
def test_the_stored_rows_of_a_run_that_was_killed_at_its_end_are_removed(copied_set, both_classes):
    (copied_set / "rows").mkdir()
    label(copied_set, both_classes)
    assert not (copied_set / "rows").exists()
