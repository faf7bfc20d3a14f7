"""Stores the counts and measurements of a run in its checkpoints, so that a resumed run reports the whole run."""

from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

# Key in trainer_state.json. The Trainer writes that file last, so an interrupted checkpoint without counts has no
# state either and is not resumed from.
KEY = "augpro"


class CountsCallback(TrainerCallback):
    """Restores the counts of the checkpoint that training resumes from, if it has any.

    Args:
        trainer: a :class:`augpro.training.trainer.DistillationTrainer`.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Restore the counts; seconds and memory then cover both processes."""
        best = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.best_global_step}"
        if state.best_model_checkpoint is None and best.is_dir():
            state.best_model_checkpoint = str(best)  # the run's folder was renamed
        stored = state.stateful_callbacks.get(KEY)
        if stored is None:  # a new run, or a checkpoint of a version without counts
            return
        self.trainer.rows_seen = stored["rows_seen"]
        self.trainer.meter.add(stored["seconds"], stored["peak_mib"])
        if self.trainer.representation is not None:
            self.trainer.representation.rows = stored["matched"]
        augmentation = self.trainer.augmentation
        if augmentation is not None and "labelled" in stored:
            augmentation.restore(stored)


def store_counts(trainer: Any) -> None:
    """Put the counts of a trainer into its state, before the state is saved."""
    seconds, peak_mib = trainer.meter.so_far()
    counts = {"rows_seen": trainer.rows_seen, "seconds": seconds, "peak_mib": peak_mib}
    if trainer.representation is not None:
        counts["matched"] = trainer.representation.rows
    augmentation = trainer.augmentation
    if augmentation is not None:
        counts |= augmentation.progress()
    trainer.state.stateful_callbacks[KEY] = counts
