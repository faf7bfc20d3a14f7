"""Sets of augmented rows: every row once, the same bytes whatever happened, and damage that is found."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from augpro.augment import AugmentContext, Augmenter, EmbeddingSpace, augmenter, register_augmenter
from augpro.data.loading import DataSpec, load_data
from augpro.errors import InputError
from augpro.results.output import folder_lock
from augpro.row_random import RowRandom
from augpro.shards import workers
from augpro.shards.manifest import MANIFEST, Manifest, file_sha256
from augpro.shards.options import AugmentConfig, LabelConfig
from augpro.shards.plan import make_augment_plan, shard_starts
from augpro.shards.relabel import make_label_plan, run_label
from augpro.shards.run import planned_rows, summary
from augpro.tokens import tokenize
from augpro.vocabulary import Vocabulary
from shard_cases import ROWS, augmented, files_of, rows_of


@pytest.fixture(scope="module")
def given(augment_given):
    return augment_given


@pytest.fixture(scope="module")
def teacher(save_model, tokenizer):
    """It gives both classes to about as many rows."""
    return save_model(tokenizer, layers=1, seed=4)


@pytest.fixture
def copied(plain, tmp_path):
    """A copy of the set without labels."""
    return Path(shutil.copytree(plain, tmp_path / "copy"))


@pytest.fixture(scope="module")
def plain(given, tmp_path_factory):
    """A set without labels."""
    folder = tmp_path_factory.mktemp("plain") / "set"
    augmented(given, folder)
    return folder


@pytest.fixture(scope="module")
def labelled(given, teacher, tmp_path_factory):
    """The same with a teacher's labels."""
    folder = tmp_path_factory.mktemp("labelled") / "set"
    augmented(given, folder, teacher=str(teacher))
    return folder


def label(folder, teacher):
    return run_label(make_label_plan(LabelConfig(augmented=folder, teacher=str(teacher))))


def shards_of(folder):
    return {name: content for name, content in files_of(folder).items() if name != MANIFEST}


def test_every_row_and_every_version_of_it_is_there_once(plain, given):
    rows = rows_of(plain)
    assert Counter((row["row_id"], row["copy"]) for row in rows) == Counter(
        (row, copy) for row in range(ROWS) for copy in range(3)
    )
    manifest = Manifest.load(plain)
    assert [(shard.first_row, shard.end_row) for shard in manifest.shards] == [(0, 256), (256, ROWS)]
    assert manifest.complete
    assert manifest.expected_rows == len(rows) == sum(shard.rows for shard in manifest.shards)
    assert [file_sha256(plain / shard.name) for shard in manifest.shards] == [
        s.sha256 for s in manifest.shards
    ]
    assert {path.name for path in plain.iterdir()} - {".lock"} == {
        MANIFEST,
        *(s.name for s in manifest.shards),
    }
    assert "no labels yet" in summary(manifest)[-1]


def test_the_originals_are_the_rows_that_distill_trains_on_in_its_order(plain, given):
    originals = [row["text"] for row in rows_of(plain) if row["copy"] == 0]
    assert originals == load_data(DataSpec(given["data"])).splits["train"].texts


def test_a_version_is_the_text_of_the_same_replica_in_training(plain, given, tokenizer):
    """Partners, too, are those of all rows together."""
    from augpro.models.source import ModelSource

    model = ModelSource(given["student"]).load_classifier()
    space = EmbeddingSpace(model.get_input_embeddings().weight, Vocabulary(tokenizer, len(tokenizer)))
    table = tokenize(tokenizer, load_data(DataSpec(given["data"])).splits["train"].texts)
    batch = augmenter("augpro-mix")(table.batch(range(ROWS)), AugmentContext(RowRandom(0, 1), space, table))
    stored = [row for row in rows_of(plain) if row["copy"] == 2]
    assert [row["text"] for row in stored] == space.vocabulary.decode(batch)[0]
    assert [row["input_ids"] for row in stored] == [
        ids[mask > 0].tolist() for ids, mask in zip(batch.ids, batch.mask, strict=True)
    ]
    assert 0.1 < sum(row["changed"] for row in stored) / ROWS < 0.9


@pytest.mark.parametrize(
    ("rows", "starts"), [(1, [0]), (255, [0]), (512, [0, 256]), (767, [0, 256]), (768, [0, 256, 512])]
)
def test_a_shard_has_at_least_one_block(rows, starts):
    assert shard_starts(rows, 256) == starts


@pytest.mark.e2e
def test_two_processes_write_the_bytes_of_one(plain, given, tmp_path):
    augmented(given, tmp_path / "two", workers=2)
    assert files_of(tmp_path / "two") == files_of(plain)


def test_another_seed_writes_other_texts(plain, given, tmp_path):
    augmented(given, tmp_path / "other", seed=1)
    assert shards_of(tmp_path / "other").keys() == shards_of(plain).keys()
    assert rows_of(tmp_path / "other") != rows_of(plain)


def test_labels_now_or_later_are_the_same_bytes(copied, labelled, given, teacher):
    manifest = label(copied, teacher)
    assert shards_of(copied) == shards_of(labelled)
    assert manifest.labelled
    assert manifest.labels == Manifest.load(labelled).labels
    assert {shard.teacher for shard in manifest.shards} == {
        shard.teacher for shard in Manifest.load(labelled).shards
    }
    before = files_of(copied)
    label(copied, teacher)
    augmented(given, copied)  # the command that made it only checks it
    assert files_of(copied) == before


def test_logits_and_label_are_the_teachers(labelled, teacher):
    from augpro.models.source import ModelSource
    from augpro.teachers.teacher import Teacher

    source = ModelSource(str(teacher))
    rows = rows_of(labelled)[::50]
    logits = Teacher(source.load_trained_classifier(), source.load_tokenizer()).label(
        [row["text"] for row in rows]
    )
    torch.testing.assert_close(torch.tensor([row["logits"] for row in rows]), logits)
    names = ("negative", "positive")
    assert [row["label"] for row in rows] == [names[place] for place in logits.argmax(1)]


def test_a_labelled_set_is_data_for_other_commands(labelled):
    data = load_data(DataSpec(str(labelled)))
    assert data.task.label_names == ("negative", "positive")
    assert sum(map(len, data.splits.values())) == 3 * ROWS


@pytest.mark.parametrize("damage", ["flipped", "cut", "removed"])
def test_a_damaged_shard_is_named_and_made_again(plain, copied, given, damage, caplog):
    path = sorted(copied.glob("*.parquet"))[1]
    spoil(path, damage)
    augmented(given, copied)
    assert path.name in caplog.text
    assert files_of(copied) == files_of(plain)


def spoil(path, damage):
    content = bytearray(path.read_bytes())
    if damage == "removed":
        path.unlink()
        return
    content[len(content) // 2] ^= 1
    path.write_bytes(content if damage == "flipped" else content[:-10])


@pytest.mark.parametrize("damage", ["flipped", "cut", "removed"])
def test_a_damaged_shard_is_not_labelled(copied, teacher, damage):
    path = min(copied.glob("*.parquet"))
    plan = make_label_plan(LabelConfig(augmented=copied, teacher=str(teacher)))
    spoil(path, damage)
    with pytest.raises(
        InputError, match=rf"{path.name}: this file .* run the same augpro augment command again"
    ):
        run_label(plan)


def test_a_labelling_killed_before_it_wrote_the_manifest_goes_on(copied, labelled, teacher):
    before = (copied / MANIFEST).read_bytes()
    label(copied, teacher)
    (copied / MANIFEST).write_bytes(before)
    label(copied, teacher)
    assert shards_of(copied) == shards_of(labelled)
    assert Manifest.load(copied).labelled


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format": 2}', b"not json"])
def test_a_damaged_manifest_is_refused(plain, given, tmp_path, content):
    (tmp_path / MANIFEST).write_bytes(content)
    for run in (lambda: augmented(given, tmp_path), lambda: label(tmp_path, "t")):
        with pytest.raises(InputError, match="the manifest is damaged"):
            run()


def test_a_half_made_set_is_not_labelled(plain, tmp_path, teacher):
    manifest = Manifest.load(plain)
    manifest.model_copy(update={"shards": manifest.shards[:1]}).save(tmp_path)
    with pytest.raises(
        InputError, match="only 1 of 2 files were made; run the same augpro augment command again"
    ):
        label(tmp_path, teacher)
    with pytest.raises(InputError, match="no augmented rows here"):
        label(tmp_path / "nothing", teacher)


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"seed": 1}, "--seed"), ({"copies": 3}, "--copies"), ({"augment": "random"}, "--augment"),
     ({"augment_options": {"replace_fraction": 0.5}}, "--augment-option"), ({"holdout_rows": 3}, "--holdout-rows")],
)  # fmt: skip
def test_another_configuration_is_refused_in_that_folder(plain, given, changes, named):
    with pytest.raises(InputError, match=f"another configuration .*{named}.* changed"):
        augmented(given, plain, **changes)


def test_changed_data_and_another_student_are_refused(given, tmp_path, save_model, tokenizer):
    folder, data = tmp_path / "set", tmp_path / "rows.csv"
    data.write_text("text\n" + "a good film\nmy server is slow\nthe plot\nnever again\n")
    augmented(given, folder, data=str(data))
    other = str(save_model(tokenizer, layers=1, seed=4))
    with pytest.raises(InputError, match=r"\(the student changed\)"):
        augmented(given, folder, data=str(data), student=other)
    data.write_text(data.read_text() + "a bad film\n")
    with pytest.raises(InputError, match=r"\(the data changed\)"):
        augmented(given, folder, data=str(data))


def test_labels_of_another_teacher_are_kept(labelled, given, save_model, tokenizer):
    other = save_model(tokenizer, layers=1, seed=9)
    with pytest.raises(InputError, match="have labels of another teacher"):
        label(labelled, other)
    with pytest.raises(InputError, match=r"\(the teacher changed\)"):
        augmented(given, labelled, teacher=str(other))


def test_a_folder_with_other_files_is_left_alone(given, tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="is not empty and holds no augmented rows"):
        augmented(given, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_second_run_on_a_folder_is_told(plain, given, teacher):
    plan = make_label_plan(LabelConfig(augmented=plain, teacher=str(teacher)))
    with folder_lock(plain):
        for run in (lambda: augmented(given, plain), lambda: run_label(plan)):
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
        ({"augment": "knn", "augment_options": {"space": "teacher"}}, "it reads the teacher's embeddings"),
        ({"augment_options": {"partner": "same-class"}}, "partner=same-class needs the teacher's classes"),
        ({"augment_options": {"weight": 7}}, "weight must"),
        ({"student": "./no-such-folder"}, "no such model folder"),
        ({"data": "no-such-file.csv"}, "file not found"),
    ],
)
def test_what_cannot_be_done_is_refused_in_the_plan(given, tmp_path, changes, told):
    with pytest.raises(InputError, match=told):
        make_augment_plan(AugmentConfig(**{**given, "out": tmp_path / "set", **changes}))
    assert not (tmp_path / "set").exists()


def test_a_class_rule_needs_one_class_a_row(given, tmp_path, save_model, tokenizer):
    several = save_model(tokenizer, layers=1, problem_type="multi_label_classification")
    with pytest.raises(InputError, match="a multi_label task does not have"):
        augmented(given, tmp_path, teacher=str(several), augment_options={"partner": "same-class"})


def test_partners_of_one_class(given, labelled, teacher, tmp_path):
    manifest = augmented(
        given, tmp_path / "a", teacher=str(teacher), augment_options={"partner": "same-class"}
    )
    assert manifest.labelled
    assert rows_of(tmp_path / "a") != rows_of(labelled)


def test_a_dry_run_reads_all_rows_and_writes_nothing(given, tmp_path):
    data = tmp_path / "rows.csv"
    data.write_text("text\n" + "".join(f"a good film {row}\n" for row in range(5000)) + " \n")
    plan = make_augment_plan(AugmentConfig(**{**given, "out": tmp_path / "set"}))
    assert planned_rows(plan) == ROWS
    assert plan.describe(ROWS)["files"] == "2 of 256 training rows each"
    spoilt = make_augment_plan(AugmentConfig(**{**given, "data": str(data), "out": tmp_path / "set"}))
    with pytest.raises(InputError, match="row 5002"):
        planned_rows(spoilt)
    assert not (tmp_path / "set").exists()


@dataclass(frozen=True)
class Blank(Augmenter):
    """Loses all words of every third row."""

    def __call__(self, batch, context):
        ids = batch.ids.clone()
        lost = (batch.row_ids % 3 == 0)[:, None] & (batch.segments >= 0)
        ids[lost] = context.space.vocabulary.tokenizer.pad_token_id
        texts = tuple(
            ("",) if row % 3 == 0 else text
            for row, text in zip(batch.row_ids.tolist(), batch.texts, strict=True)
        )
        return replace(
            batch,
            mask=batch.mask * ~lost,
            segments=batch.segments.masked_fill(lost, -1),
            ids=ids,
            texts=texts,
        )


register_augmenter("blank", Blank)


def test_rows_that_are_not_there_are_counted_with_the_reason(given, tmp_path, teacher):
    manifest = augmented(given, tmp_path, augment="blank", copies=1)
    lost = -(-ROWS // 3)
    assert manifest.missing == {"the augmented text is empty": lost}
    assert len(rows_of(tmp_path)) == 2 * ROWS - lost
    assert f"{lost} rows are missing: the augmented text is empty" in summary(manifest)
    assert label(tmp_path, teacher).labelled


def test_pairs(given, tmp_path, teacher):
    data = tmp_path / "pairs.csv"
    lines = [f"the movie is great {'very ' * (row % 3)},my server is slow {row},x" for row in range(300)]
    data.write_text("premise,hypothesis,label\n" + "\n".join(lines) + "\n")
    augmented(given, tmp_path / "set", data=str(data), teacher=str(teacher))
    rows = rows_of(tmp_path / "set")
    assert all(row["text"].strip() and row["text_pair"].strip() for row in rows)
    assert all(len(row["input_ids"]) == len(row["segments"]) == len(row["token_type_ids"]) for row in rows)
    assert {1} < {kind for row in rows for kind in row["segments"]}
    assert any(row["token_type_ids"][-1] == 1 for row in rows)


def dying(task, watch):
    watch(1)
    os.kill(os.getpid(), signal.SIGKILL)


def failing(task, watch):
    raise KeyError("a bug")


def refusing(task, watch):
    raise InputError(f"{task.name}: cannot")


@dataclass(frozen=True)
class Task:
    name: str
    rows: int = 1


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("work", "error", "told"),
    [(dying, InputError, "b: the process that made it was killed by signal 9.*3 times"),
     (failing, RuntimeError, "a bug"), (refusing, InputError, "b: cannot")],
)  # fmt: skip
def test_what_happens_in_another_process_is_told(work, error, told):
    rows = []
    with pytest.raises(error, match=told):
        list(workers.made([Task("b")], work, 2, rows.append))
    assert sum(rows) == 0


@pytest.mark.e2e
@pytest.mark.parametrize("count", [1, 2])
def test_killed_at_any_moment_and_started_again_it_writes_the_same_bytes(given, teacher, tmp_path, count):
    options = {**given, "copies": 6, "shard_rows": 256, "teacher": str(teacher), "workers": count}
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]

    def start(out):
        command = [sys.executable, "-m", "augpro.cli", "augment", *arguments, "--out", str(out)]
        return subprocess.Popen(
            command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    whole = start(tmp_path / "whole")
    began = time.monotonic()
    assert whole.wait() == 0, whole.stderr.read()
    took = time.monotonic() - began
    draw = random.Random(count)
    for _ in range(4):
        process = start(tmp_path / "killed")
        time.sleep(took * draw.uniform(0.4, 0.95))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    last = start(tmp_path / "killed")
    assert last.wait() == 0, last.stderr.read()
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")
    assert json.loads((tmp_path / "killed" / MANIFEST).read_text())["training_rows"] == ROWS
