"""A run that was stopped and resumed is the run that was not: weights, rows, counts, samples and seconds."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from augpro.config import DistillConfig
from augpro.distillation.identity import input_fingerprints
from augpro.distillation.pipeline import run
from augpro.distillation.plan import make_plan
from augpro.errors import InputError
from augpro.results.output import CONFIG, OutputFolder, check_output, folder_lock
from augpro.training.sampling import EpochOrder
from augpro.training.trainer import DistillationTrainer
from common import LABELS

pytestmark = pytest.mark.e2e  # whole runs, most of them twice
ROWS, BATCH = 20, 4
STEPS = ROWS // BATCH  # of an epoch
MAKE_TEXT = ("augpro-mix", "random")


class Stopped(BaseException):
    """Stands for a kill: no error that a run could clean up after."""


class StopAt(TrainerCallback):
    """Stops as soon as the checkpoint of a step is written."""

    def __init__(self, step):
        self.step = step

    def on_save(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise Stopped


@pytest.fixture(scope="module")
def student(save_model, tokenizer):
    return save_model(tokenizer, layers=2, seed=4, dropout=0.1)


@pytest.fixture
def train(table_file, teacher_folder, student, tmp_path, monkeypatch):
    """Runs; returns the result, or None where it was stopped, and the rows of every step."""

    def start(name="student", stop=None, trainer=None, **options):
        rows = []

        class Watched(DistillationTrainer):
            def __init__(self, *arguments, **keywords):
                super().__init__(*arguments, **keywords)
                self.add_callback(StopAt(stop))

            def compute_loss(self, model, inputs, *arguments, **keywords):
                if model.training:
                    rows.append(inputs["row_ids"].tolist())
                return super().compute_loss(model, inputs, *arguments, **keywords)

        monkeypatch.setattr("augpro.distillation.pipeline.DistillationTrainer", Watched)
        given = {"data": str(table_file), "teacher": str(teacher_folder), "student": str(student), "epochs": 3,
                 "batch_size": BATCH, "learning_rate": 1e-2, "out": tmp_path / name}  # fmt: skip
        saving = {"save_strategy": "steps", "save_steps": stop or 100, "disable_tqdm": True} | (trainer or {})
        if saving["save_strategy"] != "steps":
            del saving["save_steps"]
        given["candidates"] = 2 if options.get("augment") in MAKE_TEXT else None
        config = DistillConfig(**{**given, "trainer_options": saving, **options})
        try:
            return run(config), rows
        except Stopped:
            if stop is None:
                raise

            return None, rows

    return start


def same_weights(one, other):
    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("augment", "trainer", "stops"),
    [
        ("augpro-mix", {}, (STEPS, 7, 13)),
        ("random", {"train_sampling_strategy": "random"}, (7,)),
        ("random", {"gradient_accumulation_steps": 2}, (4,)),
        ("mixup", {"dataloader_num_workers": 1}, (7,)),
    ],
)
def test_resumed_from_any_step_it_is_the_run_that_was_not_stopped(train, tmp_path, augment, trainer, stops):
    whole, order = train("whole", augment=augment, trainer=trainer)
    epochs = [
        [row for rows in order[start : start + STEPS] for row in rows] for start in range(0, 3 * STEPS, STEPS)
    ]
    assert all(sorted(rows) == list(range(ROWS)) for rows in epochs), "a row is missing or there twice"
    assert epochs[0] != epochs[1] != epochs[2]
    for stop in stops:
        name = f"stopped-{stop}"
        _, before = train(name, stop=stop, augment=augment, trainer=trainer)
        resumed, after = train(name, stop=stop, augment=augment, trainer=trainer, resume=True)
        assert before + after == order, f"stopped at step {stop}"
        assert same_weights(tmp_path / "whole", tmp_path / name), f"stopped at step {stop}"
        assert resumed.metric == whole.metric


def test_the_order_of_an_epoch_depends_on_seed_and_epoch_alone():
    lengths = torch.randint(1, 100, (1000,), generator=torch.Generator().manual_seed(0)).tolist()
    state = torch.get_rng_state()
    orders = {
        (seed, epoch): list(EpochOrder(lengths, 10, seed, lambda epoch=epoch: epoch))
        for seed in range(3)
        for epoch in range(3)
    }
    assert torch.equal(torch.get_rng_state(), state)
    assert list(EpochOrder(lengths, 10, 2, lambda: 1)) == orders[2, 1]
    assert len({tuple(order) for order in orders.values()}) == 9
    for order in orders.values():
        assert sorted(order) == list(range(1000))
        batches = [[lengths[row] for row in order[start : start + 10]] for start in range(0, 1000, 10)]
        padded = sum(max(batch) * len(batch) for batch in batches)
        assert padded < 1.1 * sum(lengths), "batches are not of like length"


@pytest.mark.parametrize(
    ("augment", "stop"), [("augpro-mix", 7), ("augpro-mix", 3 * STEPS), ("mixup", 7), ("none", 3 * STEPS)]
)
def test_a_resumed_run_reports_on_both_parts(train, tmp_path, augment, stop):
    whole, _ = train("whole", augment=augment)
    train("stopped", stop=stop, augment=augment)
    checkpoint = tmp_path / "stopped" / "checkpoints" / f"checkpoint-{stop}" / "trainer_state.json"
    spent = json.loads(checkpoint.read_text())["stateful_callbacks"]["augpro"]["seconds"]
    resumed, _ = train("stopped", stop=stop, augment=augment, resume=True)
    assert resumed.replacement == whole.replacement
    assert resumed.epochs == whole.epochs == 3
    texts = [{phase: round(rate * result.phase_seconds[phase]) for phase, rate in result.texts_per_second.items()}
             for result in (whole, resumed)]  # fmt: skip
    assert texts[0] == texts[1]
    assert texts[0]["student"] == 3 * ROWS * (1 if augment == "none" else 2)
    assert resumed.phase_seconds.keys() == whole.phase_seconds.keys()
    assert all(resumed.phase_seconds[phase] >= seconds for phase, seconds in spent.items())
    assert all(
        resumed.phase_seconds[phase] > spent[phase] for phase in ("load", "teacher_originals", "student")
    )
    assert spent["student"] > 0.01
    assert resumed.samples == whole.samples
    for name in ("samples.jsonl", "samples.md"):
        made = augment in MAKE_TEXT
        files = [tmp_path / run / name for run in ("whole", "stopped")]
        assert [path.is_file() for path in files] == [made, made]
        assert not made or files[0].read_bytes() == files[1].read_bytes()


def test_a_checkpoint_from_before_there_were_counts_is_resumed(train, tmp_path):
    train(stop=7, augment="random")
    path = tmp_path / "student" / "checkpoints" / "checkpoint-7" / "trainer_state.json"
    state = json.loads(path.read_text())
    del state["stateful_callbacks"]["augpro"]
    path.write_text(json.dumps(state))
    (path.parent / "checksums.json").unlink()
    result, rows = train(stop=7, augment="random", resume=True)
    assert len(rows) == 3 * STEPS - 7
    assert result.samples


def test_killed_while_it_wrote_the_state_a_run_goes_on_from_the_checkpoint_before(train, tmp_path):
    options = {"trainer": {"save_steps": 1, "save_total_limit": 3}, "augment": "none"}
    train(stop=7, **options)
    path = tmp_path / "student" / "checkpoints" / "checkpoint-7" / "trainer_state.json"
    path.write_text(path.read_text()[:100])
    _, rows = train(resume=True, **(options | {"trainer": {**options["trainer"], "save_steps": 1}}))
    assert len(rows) == 3 * STEPS - 6


def flip(table_file):
    path = table_file / "train.csv"
    header, *rows = path.read_text().splitlines()
    flipped = [f"{row.rpartition(',')[0]},{LABELS[row.endswith(LABELS[0])]}" for row in rows]
    path.write_text("\n".join([header, *flipped]) + "\n")


def change_model(folder):
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("changed", ["data", "teacher", "student"])
def test_changed_inputs_are_refused_and_named(train, table_file, save_model, tokenizer, tmp_path, changed):
    models = {
        role: save_model(tokenizer, layers=2, seed=seed) for role, seed in (("teacher", 1), ("student", 4))
    }
    options = {"augment": "random", **{role: str(folder) for role, folder in models.items()}}
    train(stop=7, **options)
    before = {path: path.read_bytes() for path in (tmp_path / "student").rglob("*") if path.is_file()}
    if changed == "data":
        flip(table_file)
    else:
        change_model(models[changed])
    with pytest.raises(InputError, match=f"started with, but the {changed} changed; restore .*--out"):
        train(stop=7, resume=True, **options)
    after = {path: path.read_bytes() for path in (tmp_path / "student").rglob("*") if path.is_file()}
    assert after == before
    if changed == "data":
        flip(table_file)
    else:
        change_model(models[changed])
    assert train(stop=7, resume=True, **options)[0] is not None


def test_options_and_inputs_that_changed_are_named_together(train, table_file):
    """A longer file also changes the epochs that nobody asked for, and the sentence must not blame these alone."""
    train(stop=7, augment="none", epochs=None)
    path = table_file / "train.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(rows * 60)]) + "\n")
    with pytest.raises(InputError, match=r"but the option epochs and the data changed; restore"):
        train(stop=7, augment="none", epochs=None, resume=True)
    with pytest.raises(InputError, match=r"but the options epochs, seed and the data changed; restore"):
        train(stop=7, augment="none", epochs=None, seed=3, resume=True)


def test_a_folder_from_before_there_were_fingerprints_is_resumed(train, table_file, tmp_path):
    train(stop=7, augment="none")
    path = tmp_path / "student" / CONFIG
    options = json.loads(path.read_text())
    assert options["data"] == str(table_file)
    assert options["holdout_rows"] == 0
    del options["inputs"], options["checksum"]
    path.write_text(json.dumps(options))
    flip(table_file)
    assert train(stop=7, augment="none", resume=True)[0] is not None


def test_the_model_of_a_method_is_an_input(table_file, teacher_folder, masked_lm, tmp_path):
    given = {
        "data": str(table_file),
        "teacher": str(teacher_folder),
        "student": str(teacher_folder),
        "batch_size": 4,
    }
    config = DistillConfig(
        **given, augment="masked-lm", augment_options={"model": str(masked_lm)}, out=tmp_path / "out"
    )
    found = input_fingerprints(make_plan(config))
    assert found.keys() == {"data", "teacher", "student", "model of the method", "method of augmentation"}
    assert found["teacher"] == found["student"] != found["model of the method"]


def test_models_are_not_hashed_for_a_run_that_cannot_be_resumed(train, monkeypatch):
    monkeypatch.setattr("augpro.distillation.identity.model_content", lambda source: 1 / 0)
    assert train(augment="none", trainer={"save_strategy": "no"})[0] is not None
    with pytest.raises(ZeroDivisionError):
        train("other", augment="none")


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_that_a_run_is_at_work_in_is_refused(train, tmp_path, resume):
    train(stop=7, augment="none")
    folder = tmp_path / "student" if resume else tmp_path / "new"
    folder.mkdir(exist_ok=True)
    with folder_lock(folder):
        before = sorted(path.name for path in folder.iterdir())
        with pytest.raises(
            InputError, match=r"another augpro run .*; wait for it to end or give another --out"
        ):
            train(folder.name, stop=7, augment="none", resume=resume)
        assert sorted(path.name for path in folder.iterdir()) == before
    assert train(folder.name, augment="none", stop=7 if resume else None, resume=resume)[0] is not None
    assert not (folder / ".lock").exists()


def test_a_folder_is_locked_as_long_as_its_run_lasts(tmp_path):
    """And that is told before anything is loaded."""
    config = DistillConfig(data="x", teacher="y", out=tmp_path / "a" / "run")
    again = config.model_copy(update={"resume": True})
    with OutputFolder(config) as folder:
        assert (folder.path / CONFIG).is_file()
        with pytest.raises(InputError, match="another augpro run"):
            check_output(again)
    check_output(again)


def test_killed_while_the_teacher_reads_a_run_goes_on_where_it_was(train, tmp_path, monkeypatch):
    """No label is computed again, and the seconds of those that the killed run has made are still charged."""
    from augpro.teachers import teacher

    predict, read = teacher.logits_in_fixed_shapes, []

    def watched(*args, stop=99):
        for rows, logits in predict(*args):
            if len(read) == stop:
                raise Stopped
            read.append(len(rows))
            yield rows, logits

    with monkeypatch.context() as patch:
        patch.setattr(teacher, "logits_in_fixed_shapes", lambda *args: watched(*args, stop=2))
        with pytest.raises(Stopped):
            train(augment="none", stop=None)
    done = sum(read)
    assert 0 < done < 20
    monkeypatch.setattr(teacher, "logits_in_fixed_shapes", watched)
    result, _ = train(augment="none", resume=True)
    assert sum(read) == 20, "the evaluation rows are among the training rows"
    assert result.teacher_labels == {"asked": 28, "read": done + 8, "computed": 20 - done}
    stored = result.label_seconds - result.phase_seconds["teacher_originals"]
    assert stored > 0
    assert not (tmp_path / "student" / "checkpoints").exists()
