"""The number of training steps, and notes on options that conflict with it."""

import math

from augpro.config import TrainOptions
from augpro.errors import InputError

_NO_WARM_UP = ("constant", "reduce_lr_on_plateau", "greedy")  # schedules that take no warm-up


def step_notes(config: TrainOptions, rows: int) -> list[str]:
    """Notes on a training whose options do not have their apparent effect.

    Args:
        config: of the run, with checked options for the Trainer.
        rows: number of training rows.

    Raises:
        InputError: if ``max_steps`` is below 1.
    """
    options, size = config.trainer_options, config.batch_size
    drops, joined = options.get("dataloader_drop_last", False), options.get("gradient_accumulation_steps", 1)
    batches = rows // size if drops else math.ceil(rows / size)
    notes = []
    if drops and rows % size:
        notes.append(f"dataloader_drop_last leaves out {rows % size} of {rows} training rows in every epoch")
    if joined > batches:
        notes.append(
            f"gradient_accumulation_steps={joined}: an epoch has only {batches} batches, so a step uses "
            f"{min(rows, batches * size)} rows instead of {joined * size}"
        )
    per_epoch = max(1, math.ceil(batches / joined))
    steps = options.get("max_steps", -1)
    if steps == -1:  # the library's value for: determined by the epochs
        steps = math.ceil(config.epochs * per_epoch)
    elif steps < 1:
        raise InputError(
            f"--trainer-option max_steps={steps}: give at least 1, or leave it out to train for --epochs."
        )
    else:
        notes.append(f"max_steps={steps}: the training takes {steps / per_epoch:.3g} epochs "
                     f"instead of {config.epochs:g}")  # fmt: skip
    return [*notes, *_warm_up_notes(config, steps)]


def _warm_up_notes(config: TrainOptions, steps: int) -> list[str]:
    options = config.trainer_options
    given, schedule = options.get("warmup_steps", 0), options.get("lr_scheduler_type")
    warm_up = int(given) if given >= 1 else math.ceil(steps * given)
    if warm_up and schedule in _NO_WARM_UP:
        return [f"warmup_steps={given:g} has no effect with lr_scheduler_type={schedule!s}"]
    if warm_up and warm_up >= steps:
        # The first step has a learning rate of 0, so the last one has that of steps - 1.
        share = f"{(steps - 1) / warm_up:.1%} of {config.learning_rate:g}"
        return [
            f"warmup_steps={given:g} of {steps} steps: the learning rate rises until the end and reaches {share}"
        ]
    return []
