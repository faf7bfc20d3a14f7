"""Distillation from stored rows: the plan, the draw of versions, and runs that are whole, stopped and resumed."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from augpro.config import DistillConfig, build
from augpro.distillation.pipeline import run
from augpro.distillation.plan import make_plan
from augpro.errors import InputError
from augpro.shards.manifest import MANIFEST, Manifest
from augpro.shards.options import LabelConfig
from augpro.shards.read import open_set
from augpro.shards.relabel import make_label_plan, run_label
from augpro.shards.stored import StoredAugmentation, drawn_versions
from augpro.tasks import Task
from augpro.testing import TEXTS
from augpro.tokens import tokenize
from augpro.training.dataset import DistillationDataset, label_tensor
from augpro.training.meter import Meter
from shard_cases import ROWS, augmented, rows_of

COPIES = 5


@pytest.fixture(scope="module")
def folder(augment_given, both_classes, tmp_path_factory):
    """A set of rows with five versions each, labelled."""
    out = tmp_path_factory.mktemp("augmented") / "set"
    augmented(augment_given, out, copies=COPIES, teacher=str(both_classes), train_rows=60)
    return out


@pytest.fixture
def planned(folder, augment_given, tmp_path):
    """The plan of a run on the set."""

    def plan(**options):
        given = {"data": augment_given["data"], "student": augment_given["student"], "augmented": folder}
        given |= {"out": tmp_path / "student", "batch_size": 4, "epochs": 2, "learning_rate": 1e-2}
        return make_plan(DistillConfig(**{**given, **options}))

    return plan


@pytest.mark.parametrize(("size", "copies"), [(1, 5), (2, 5), (3, 5), (5, 5), (2, 6), (7, 12)])
def test_no_version_is_drawn_again_before_all_were(size, copies):
    row_ids = torch.arange(50)
    counts = torch.full((50,), copies)
    cycle = -(-copies // size)
    for start in range(0, 3 * cycle, cycle):
        epochs = [
            drawn_versions(row_ids, counts, copies, size, epoch, 0) for epoch in range(start, start + cycle)
        ]
        for row in range(50):
            taken = [epoch[row].tolist() for epoch in epochs]
            assert all(len(set(each)) == size for each in taken)
            seen = Counter(version for each in taken for version in each)
            assert set(seen) == set(range(copies))
            assert max(seen.values()) <= 2
            assert sum(seen.values()) - copies == cycle * size - copies < size


def test_the_draw_depends_on_row_epoch_and_seed_alone():
    whole = drawn_versions(torch.arange(40), torch.full((40,), 12), 12, 3, 1, 0)
    part = drawn_versions(torch.tensor([30, 7]), torch.full((2,), 12), 12, 3, 1, 0)
    assert torch.equal(part, whole[[30, 7]])
    assert not torch.equal(whole, drawn_versions(torch.arange(40), torch.full((40,), 12), 12, 3, 2, 0))
    assert not torch.equal(whole, drawn_versions(torch.arange(40), torch.full((40,), 12), 12, 3, 1, 1))
    assert len({tuple(row) for row in whole.tolist()}) > 20


def test_rows_with_fewer_versions_have_fewer_candidates():
    drawn = drawn_versions(torch.arange(3), torch.tensor([1, 2, 5]), 5, 3, 0, 0)
    assert [(row >= 0).sum().item() for row in drawn] == [1, 2, 3]
    assert drawn[0].max() == 0
    assert drawn[1].max() == 1


def augmentation_of(folder, tokenizer, candidates=2):
    stored = open_set(folder)
    versions = stored.versions(tokenizer.pad_token_id, True, folder)
    meter = Meter()
    return StoredAugmentation(stored, versions, "single_label", 0, candidates, meter, tokenizer)


def test_candidates_are_the_stored_texts_and_logits_and_the_hardest_is_chosen(folder, tokenizer, model):
    from augpro.losses import divergence

    augmentation = augmentation_of(folder, tokenizer, candidates=COPIES)
    rows = rows_of(folder)
    texts = open_set(folder).originals.texts
    table = tokenize(tokenizer, texts)
    logits = open_set(folder).original_logits()
    task = Task("t", "single_label", "accuracy", ("negative", "positive"))
    dataset = DistillationDataset(table, label_tensor([None] * len(texts), task), logits)
    batch = table.batch([50, 3, 17])
    chosen, targets = augmentation(batch, logits[[50, 3, 17]], dataset, model, 0)
    assert chosen.row_ids.tolist() == [50, 3, 17]
    model.eval()
    for number, row in enumerate([50, 3, 17]):
        versions = [each for each in rows if each["row_id"] == row and each["copy"]]
        own = torch.tensor([each["logits"] for each in versions])
        with torch.no_grad():
            answers = torch.cat([model(torch.tensor([each["input_ids"]])).logits for each in versions])
        hardest = versions[int(divergence(answers, own, "single_label").argmax())]
        assert chosen.ids[number][chosen.mask[number] > 0].tolist() == hardest["input_ids"]
        torch.testing.assert_close(targets[number], torch.tensor(hardest["logits"]))


def test_the_plan_trains_on_the_stored_rows_and_scores_those_of_data(planned, folder, both_classes):
    plan = planned()
    assert len(plan.data.splits["train"]) == 60
    assert plan.data.splits["train"].texts == [row["text"] for row in rows_of(folder) if row["copy"] == 0]
    assert len(plan.scored_splits()["evaluation"]) == 20
    assert plan.teacher is None
    assert plan.task.label_names == ("negative", "positive")
    assert plan.method == "augpro-mix"
    assert plan.config.candidates == 3
    assert "each with 5 augmented versions (augpro-mix)" in plan.describe()["training rows"]
    assert planned(teacher=str(both_classes)).teacher is not None


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"augment": "knn"}, r"--augment: no use with --augmented"),
        ({"augment_options": {"replace_fraction": 0.1}}, "--augment-options: no use"),
        ({"new_candidates": 0.5}, "--new-candidates: no use"),
        ({"label_weight": 0.5, "hidden_weight": 1.0}, "--label-weight, --hidden-weight: no use"),
        ({"train_rows": 10}, "--train-rows: no use"),
        ({"student_layers": "auto:1"}, "--student-layers auto:1: no use"),
        ({"student": None}, "--student is missing"),
        ({"candidates": 6}, "has 5 augmented versions of each row; give at most that"),
        ({"max_tokens": 16}, "were cut at the limit of the tokenizer"),
        ({"augmented": "nothing"}, "no augmented rows here"),
        (
            {"trainer_options": {"eval_strategy": "epoch", "metric_for_best_model": "agreement"}},
            "can be scored by accuracy, macro_f1, f1, matthews or loss",
        ),
        (
            {"augment": "none", "teacher_weight": 0.0, "augmented_weight": 0.0},
            "all weights of the loss are 0",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(planned, options, told):
    with pytest.raises(InputError, match=told):
        planned(**options)


def test_a_teacher_is_required_without_stored_rows():
    with pytest.raises(InputError, match="--teacher is missing"):
        build(DistillConfig, {"data": "d", "out": "o"})
    assert build(DistillConfig, {"data": "d", "out": "o", "augmented": "a"}).teacher is None


def test_models_that_do_not_fit_are_refused(planned, save_model, tokenizer, other_tokenizer):
    with pytest.raises(InputError, match="has another tokenizer than"):
        planned(student=str(save_model(other_tokenizer, layers=1)))
    with pytest.raises(InputError, match=r"its classes \(a, b\) are not those"):
        planned(teacher=str(save_model(tokenizer, layers=1, labels=("a", "b"))))


def test_a_teacher_that_did_not_label_the_rows_is_told(planned, both_classes, save_model, tokenizer):
    told = "is another model; the agreement is measured with the latter"
    assert not any(told in note for note in planned(teacher=str(both_classes)).data.notes)
    other = save_model(tokenizer, layers=1, seed=8)
    assert any(told in note for note in planned(teacher=str(other)).data.notes)


def test_a_student_cut_from_the_teacher_of_the_rows_learns_as_slowly_as_one_cut_while_it_labels(
    planned, both_classes
):
    student, teacher = (
        planned(learning_rate=None, **given) for given in ({}, {"student": str(both_classes)})
    )
    assert student.config.learning_rate == 5e-4
    assert teacher.config.learning_rate == 2e-4


def test_labels_with_other_names_need_an_order(planned, folder, tmp_path):
    lines = [f"{text} today,{label}" for text in ("good", "bad", "fine", "slow") for label in ("yes", "no")]
    (tmp_path / "validation.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    with pytest.raises(InputError, match=r"is not a class of|do not have the names of the classes"):
        planned(data=str(tmp_path))
    assert planned(data=str(tmp_path), label_order="no,yes").task.label_names == ("negative", "positive")


@pytest.mark.e2e
def test_evaluation_rows_that_are_trained_on_are_refused_or_told(planned, folder, tmp_path, augment_given):
    rows = augment_given["data"] + "/train.jsonl"
    with pytest.raises(
        InputError, match="rows of the holdout split are among its training rows; give the --data"
    ):
        planned(holdout_rows=100, augmented=augmented_all(augment_given, tmp_path))
    assert planned(data=rows, augmented=folder).scored_splits()
    texts = [row["text"] for row in rows_of(folder) if row["copy"] == 0][:10]
    (tmp_path / "validation.csv").write_text("\n".join(["text", *texts, "new text", "another one"]) + "\n")
    note = "10 of 12 rows have a text that is also in the train split"
    assert any(note in each for each in planned(data=str(tmp_path)).data.notes)


def augmented_all(given, tmp_path):
    """A labelled set of all rows."""
    augmented(given, tmp_path / "all", copies=3, teacher=given["student"])
    return tmp_path / "all"


def test_damaged_half_made_and_unlabelled_sets_are_refused(planned, folder, augment_given, tmp_path):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    path = next(copy.glob("*.parquet"))
    content = path.read_bytes()
    path.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])
    with pytest.raises(
        InputError, match="does not match its checksum; run the same augpro augment command again"
    ):
        planned(augmented=copy)
    path.unlink()
    with pytest.raises(InputError, match="this file is missing"):
        planned(augmented=copy)
    manifest = Manifest.load(copy)
    manifest.model_copy(update={"shards": ()}).save(copy)
    with pytest.raises(InputError, match="only 0 of 1 files were made"):
        planned(augmented=copy)
    (copy / MANIFEST).write_text("{")
    with pytest.raises(InputError, match="the manifest is damaged"):
        planned(augmented=copy)
    augmented(augment_given, tmp_path / "bare", train_rows=30, copies=1)
    with pytest.raises(InputError, match="these rows have no labels; run augpro label"):
        planned(augmented=tmp_path / "bare")


@pytest.mark.e2e
def test_it_trains_without_a_teacher(planned, folder, tmp_path, monkeypatch):
    from augpro.distillation.pipeline import run_plan

    monkeypatch.setattr("augpro.distillation.train.Teacher", None)
    result = run_plan(planned(trainer_options={"save_strategy": "no", "disable_tqdm": True})).result
    rows = rows_of(folder)
    assert result.train_rows == 60
    assert result.method == "augpro-mix"
    assert result.agreement is None
    assert not result.teacher
    assert result.replacement["changed"] == pytest.approx(Manifest.load(folder).counts.shares()["changed"])
    assert result.samples[0].augmented == next(row["text"] for row in rows if row["copy"] == 1)
    assert result.samples[0].original == rows[0]["text"]
    assert result.replacement["rows_retokenized_differently"] < 0.2
    assert {"label_flips", "duplicates", "near_duplicates"} <= result.replacement.keys()
    lines = [json.loads(line) for line in (tmp_path / "student" / "samples.jsonl").read_text().splitlines()]
    assert len(lines) == 60
    assert (tmp_path / "student" / "model.safetensors").is_file()


def test_rows_without_a_version_are_their_own(folder, tokenizer, tmp_path, both_classes, augment_given):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    path = next(copy.glob("*.parquet"))
    table = pq.read_table(path)
    keep = [
        row != 7 or copy == 0
        for row, copy in zip(table["row_id"].to_pylist(), table["copy"].to_pylist(), strict=True)
    ]
    groups = table.filter(keep)
    with pq.ParquetWriter(path, table.schema) as writer:
        for number in range(COPIES + 1):
            writer.write_table(groups.filter([copy == number for copy in groups["copy"].to_pylist()]))
    stored = open_set(folder)
    versions = type(stored)(copy, stored.manifest, stored.labels).versions(
        tokenizer.pad_token_id, True, tmp_path
    )
    counts = versions.counts(torch.arange(60).numpy())
    assert counts[7] == 1
    assert set(counts) == {1, COPIES}
    own = versions.table.batch(versions.order[versions.starts[7] : versions.starts[8]])
    assert own.ids[0].tolist() == table["input_ids"][7].as_py()


@pytest.mark.e2e
def test_stopped_and_resumed_it_is_the_run_that_was_not(
    planned, folder, tmp_path, augment_given, save_model, tokenizer
):
    from safetensors.torch import load_file

    from test_resume import StopAt, Stopped

    student = save_model(tokenizer, layers=2, seed=4, dropout=0.1)
    given = {"data": augment_given["data"], "student": str(student), "augmented": folder, "batch_size": 4}
    given |= {"epochs": 3, "learning_rate": 1e-2, "candidates": 2}

    def train(name, stop=None, resume=False):
        saving = {"save_strategy": "steps", "save_steps": stop or 100, "disable_tqdm": True}
        config = DistillConfig(**given, out=tmp_path / name, trainer_options=saving, resume=resume)
        return run(config, [StopAt(stop)] if stop and not resume else ())

    whole = train("whole")
    for stop in (15, 22):
        with pytest.raises(Stopped):
            train(f"stopped-{stop}", stop)
        resumed = train(f"stopped-{stop}", stop, resume=True)
        one, other = (
            load_file(tmp_path / name / "model.safetensors") for name in ("whole", f"stopped-{stop}")
        )
        assert all(torch.equal(one[name], other[name]) for name in one)
        assert resumed.replacement == whole.replacement
        assert resumed.metric == whole.metric


@pytest.mark.e2e
def test_labels_added_later_can_be_trained_on(augment_given, both_classes, planned, tmp_path):
    augmented(augment_given, tmp_path / "set", train_rows=30, copies=1)
    run_label(make_label_plan(LabelConfig(augmented=tmp_path / "set", teacher=str(both_classes))))
    plan = planned(augmented=tmp_path / "set")
    assert plan.stored.rows.original_logits().shape == (30, 2)
    assert plan.config.candidates == 1
    assert ROWS > 30


def test_single_texts_are_not_scored_by_a_set_of_pairs(augment_given, both_classes, planned, tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    rows = [{"text": f"{text} {number}", "text_pair": text} for number, text in enumerate(TEXTS)]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {**augment_given, "data": str(pairs), "train_rows": None, "holdout_rows": 0}
    augmented(given, tmp_path / "set", teacher=str(both_classes))
    with pytest.raises(
        InputError, match=r"its rows are pairs of texts, and those of the .* split are single texts"
    ):
        planned(augmented=tmp_path / "set")


def test_a_label_store_needs_a_teacher(planned, tmp_path):
    with pytest.raises(InputError, match="--label-store: no use without --teacher"):
        planned(label_store=tmp_path / "labels.sqlite")
