"""A run that was stopped and resumed is the run that was not: weights, rows, counts, samples and seconds."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from augpro.config import DistillConfig
from augpro.pipeline import run
from augpro.sampling import EpochOrder
from augpro.trainer import DistillationTrainer

ROWS, BATCH = 20, 4
STEPS = ROWS // BATCH  # of an epoch
MAKE_TEXT = ("augpro-mix", "random")


class Stopped(Exception):
    """Stands for a kill."""


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

        monkeypatch.setattr("augpro.pipeline.DistillationTrainer", Watched)
        given = {"data": str(table_file), "teacher": str(teacher_folder), "student": str(student), "epochs": 3,
                 "batch_size": BATCH, "learning_rate": 1e-2, "out": tmp_path / name}  # fmt: skip
        saving = {"save_strategy": "steps", "save_steps": stop or 100, "disable_tqdm": True}
        given["candidates"] = 2 if options.get("augment") in MAKE_TEXT else None
        config = DistillConfig(**{**given, "trainer_options": {**saving, **(trainer or {})}, **options})
        try:
            return run(config), rows
        except Stopped:
            assert stop, "stopped although nobody asked for it"
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
