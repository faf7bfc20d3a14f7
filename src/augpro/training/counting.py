"""What a run has counted and measured so far is part of its checkpoints: a resumed run reports on all its parts."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

# Its place among the states in trainer_state.json. The Trainer writes that file last, so a checkpoint that a kill
# left without counts is one without a state, which nobody resumes from.
KEY = "augpro"


class CountsCallback(TrainerCallback):
    """Takes up the counts of the checkpoint that training goes on from, if it has any.

    Args:
        trainer: a :class:`augpro.training.trainer.DistillationTrainer`.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Restore the counts; seconds and memory are those of both processes."""
        best = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.best_global_step}"
        if state.best_model_checkpoint is None and best.is_dir():
            state.best_model_checkpoint = str(best)  # the run's folder has another name now
        found = state.stateful_callbacks.get(KEY)
        if found is None:  # a new run, or a checkpoint from before counts were kept
            return
        self.trainer.rows_seen = found["rows_seen"]
        self.trainer.meter.add(found["seconds"], found["peak_mib"])
        if self.trainer.representation is not None:
            self.trainer.representation.rows = found["matched"]
        augmentation = self.trainer.augmentation
        if augmentation is not None and "labelled" in found:
            augmentation.labelled = found["labelled"]
            vars(augmentation.counts).update(found["replaced"])
            vars(augmentation.space.earlier).update(found["searched"])


def store_counts(trainer: Any) -> None:
    """Put the counts of a trainer into its state, which is about to be saved."""
    seconds, peak_mib = trainer.meter.so_far()
    counts = {"rows_seen": trainer.rows_seen, "seconds": seconds, "peak_mib": peak_mib}
    if trainer.representation is not None:
        counts["matched"] = trainer.representation.rows
    augmentation = trainer.augmentation
    if augmentation is not None:
        counts |= {
            "labelled": augmentation.labelled,
            "replaced": asdict(augmentation.counts),
            "searched": asdict(augmentation.space.searched()),
        }
    trainer.state.stateful_callbacks[KEY] = counts
