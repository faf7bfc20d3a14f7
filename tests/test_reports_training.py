"""Inputs made after public reports about training in other projects; each test names its report.

"was:" says what augpro did with the input before.
"""

import pytest
import torch
from safetensors.torch import save_file

from augpro.compare.grid import method_options
from augpro.config import DistillConfig, FinetuneConfig
from augpro.distillation.labelling import Choice
from augpro.errors import InputError
from augpro.results.output import OutputFolder
from augpro.training.options import training_arguments
from augpro.training.steps import step_notes
from augpro.training.trainer import DistillationTrainer
from common import TEXTS

# --- paths ---


@pytest.mark.parametrize("method", ["1.csv", "none:unlabelled=pool:1.csv"])
def test_a_value_of_a_method_holds_no_comma_and_no_colon(method):
    """huggingface/datasets#7468: a path was read as a pattern. Here one with a comma or colon is cut in --methods.

    was: "unknown method '1.csv'", of a file pool,1.csv.
    """
    with pytest.raises(InputError, match="here a comma starts the next method and a colon the next option"):
        method_options(method)


def test_a_folder_with_brackets_is_resumed(table_file, tmp_path):
    """simpletransformers#770: a folder with "checkpoint" in its name was taken for one. Was right."""
    config = DistillConfig(data=str(table_file), teacher="t", out=tmp_path / "checkpoint-12 [a*]")
    with OutputFolder(config) as folder:
        write_checkpoint(folder.path / "checkpoints" / "checkpoint-5")
    with OutputFolder(config.model_copy(update={"resume": True})) as folder:
        assert folder.checkpoint.endswith("checkpoint-12 [a*]/checkpoints/checkpoint-5")


# --- steps ---


@pytest.fixture
def planned_notes(planned):
    """Notes of a plan of 20 rows."""

    def notes(trainer, **options):
        return " | ".join(planned(epochs=2, trainer_options=trainer, **options).data.notes)

    return notes


def test_rows_that_no_step_sees_are_told(planned_notes):
    """dreamquark-ai/tabnet#537: a batch larger than the data was dropped: a loss of 0 for 99 epochs.

    was: the larger batch was refused; rows left out, and a step of fewer rows than asked for, passed silently.
    """
    drop = {"dataloader_drop_last": True}
    with pytest.raises(InputError, match=r"20 training rows are fewer than one batch of 32; .*--batch-size"):
        planned_notes(drop, batch_size=32)
    assert "dataloader_drop_last leaves out 4 of 20 training rows in every epoch" in planned_notes(
        drop, batch_size=16
    )
    assert "leaves out" not in planned_notes(drop, batch_size=5)
    joined = (
        "gradient_accumulation_steps=64: an epoch has only 5 batches, so a step uses 20 rows instead of 256"
    )
    assert joined in planned_notes({"gradient_accumulation_steps": 64})
    assert "a step takes" not in planned_notes({"gradient_accumulation_steps": 5})


@pytest.mark.parametrize("steps", [0, -2])
def test_no_steps_are_no_training(planned_notes, steps):
    """The same; was: one step at a learning rate of 0 (for 0), or all epochs (for -2)."""
    with pytest.raises(InputError, match=f"max_steps={steps}: give at least 1, or leave it out"):
        planned_notes({"max_steps": steps})


@pytest.mark.parametrize(
    ("trainer", "said"),
    [({"warmup_steps": 500}, "warmup_steps=500 of 10 steps: the learning rate rises until the end and reaches 1.8%"),
     ({"warmup_steps": 10}, "warmup_steps=10 of 10 steps"), ({"warmup_steps": 9}, ""), ({"warmup_steps": 0.5}, ""),
     ({"warmup_steps": 3, "max_steps": 3}, "warmup_steps=3 of 3 steps"),
     ({"warmup_steps": 2, "lr_scheduler_type": "constant"}, "no effect with lr_scheduler_type=constant"),
     ({"max_steps": 3}, "max_steps=3: the training takes 0.6 epochs instead of 2")],
)  # fmt: skip
def test_a_warm_up_longer_than_the_training_is_told(planned_notes, trainer, said):
    """gaoyixu/CAIL2020-Argument-Mining#1: the learning rate only rose, and results did not match.

    was: silent, with 1.8 % of the learning rate; and of max_steps and --epochs it was not told which counts.
    """
    notes = planned_notes(trainer)
    assert said in notes
    assert said or "warmup_steps" not in notes


@pytest.mark.parametrize(
    "trainer", [{}, {"dataloader_drop_last": True}, {"gradient_accumulation_steps": 3}, {"max_steps": 7}]
)
@pytest.mark.parametrize(("rows", "size", "epochs"), [(20, 4, 2.0), (22, 4, 0.3), (9, 4, 1.5)])
def test_the_number_of_steps_is_the_trainers(model, tmp_path, trainer, rows, size, epochs):
    """The same: told of the steps that are made."""
    options = {"warmup_steps": 1000, **trainer}
    config = FinetuneConfig(data="d", out=tmp_path, epochs=epochs, batch_size=size, trainer_options=options)
    trainer = DistillationTrainer(model, None, [0] * rows, args=training_arguments(config))
    trainer.args.train_sampling_strategy = "random"
    made = trainer.set_initial_training_values(trainer.args, trainer.get_train_dataloader())[-1]
    assert f"warmup_steps=1000 of {made} steps" in step_notes(config, rows)[-1]


def test_a_short_training_warms_up_for_a_share_of_it(planned, tokenizer, model, monkeypatch, tmp_path):
    """setfit#137: warm-up steps were counted on another number of steps.

    was: the training before a choice of texts, a fifth as long, took all warm-up steps of the long one.
    """
    pool = tmp_path / "pool.csv"
    pool.write_text("text\n" + "".join(f"{text} today\n" for text in TEXTS))
    options = {"unlabelled": pool, "label_budget": 5, "label_by": "uncertainty", "epochs": 20}
    plan = planned(**options, trainer_options={"warmup_steps": 50})
    seen = []

    class Caught(Exception):
        pass

    def caught(*_, args):
        seen.append(args)
        raise Caught

    monkeypatch.setattr("augpro.distillation.labelling.DistillationTrainer", caught)
    with pytest.raises(Caught):
        Choice(plan, plan.config, plan.pool, [0] * 20, model, tokenizer).trained()
    assert seen[0].warmup_steps == 10
    assert seen[0].num_train_epochs == pytest.approx(0.2 * 20 * 25 / 20)


# --- resuming ---


def write_checkpoint(folder):
    """Files of the kinds that a checkpoint has."""
    folder.mkdir(parents=True)
    save_file({"weight": torch.ones(3)}, folder / "model.safetensors")
    for name in ("optimizer.pt", "rng_state.pth"):
        torch.save({"state": torch.ones(3)}, folder / name)
    (folder / "trainer_state.json").write_text("{}")


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json"])
def test_a_checkpoint_that_was_cut_short_is_not_gone_on_from(table_file, tmp_path, name):
    """verl-project/verl#7401: what a kill left was resumed wrongly. Here one byte is missing at a file's end.

    was: a traceback of the library that reads it, whatever checkpoint was before it.
    """
    config = DistillConfig(data=str(table_file), teacher="t", out=tmp_path / "out")
    with OutputFolder(config) as folder:
        for step in (5, 10):
            write_checkpoint(folder.path / "checkpoints" / f"checkpoint-{step}")
    path = config.out / "checkpoints" / "checkpoint-10" / name
    path.write_bytes(path.read_bytes()[:-1])
    with OutputFolder(config.model_copy(update={"resume": True})) as folder:
        assert folder.checkpoint.endswith("checkpoint-5")


@pytest.mark.parametrize("changed", [{"learning_rate": 1e-5}, {"epochs": 8.0}])
def test_another_learning_rate_is_refused(table_file, tmp_path, changed):
    """bmaltais/kohya_ss#1924: a resumed run silently kept its old learning rate. Was right."""
    config = DistillConfig(data=str(table_file), teacher="t", out=tmp_path / "out")
    with OutputFolder(config) as folder:
        write_checkpoint(folder.path / "checkpoints" / "checkpoint-5")
    again = config.model_copy(update={"resume": True, **changed})
    with (
        pytest.raises(InputError, match=f"but the option {next(iter(changed))} changed"),
        OutputFolder(again),
    ):
        pass
