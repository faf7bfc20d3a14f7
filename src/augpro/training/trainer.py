"""Distillation as a ``transformers.Trainer``: accumulation, bf16, resume, callbacks and logging are its own.

One step: augment the batch, let the teacher label what came out, run originals and augmented rows
through the student in one forward pass (virtual rows in a second one), and add up the terms of the loss. Hidden
states and pooled vectors are matched on the rows of the first pass.
The teacher's logits of the originals are a stored column.
"""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from augpro.augment.base import VirtualRows
from augpro.errors import InputError
from augpro.losses import Objective
from augpro.models.finite import blamed
from augpro.tokens import TokenBatch, join
from augpro.training.counting import CountsCallback, store_counts
from augpro.training.dataset import DistillationDataset
from augpro.training.meter import Meter
from augpro.training.online import OnlineAugmentation
from augpro.training.representation import RepresentationLoss
from augpro.training.sampling import EpochOrder

_CANDIDATES = "candidates.safetensors"  # of a checkpoint


def use_one_device(arguments: TrainingArguments | None) -> None:
    """Keep the Trainer from ``torch.nn.DataParallel`` where several GPUs are visible, with a warning.

    It would multiply the batch size by their number, and what some methods put in the place of embeddings is not
    split between its replicas as the batch is.
    """
    if arguments is None or arguments.n_gpu <= 1:
        return
    warnings.warn(
        f"{arguments.n_gpu} GPUs are visible, and this run uses only {arguments.device}; "
        "set CUDA_VISIBLE_DEVICES=0, or the number of another one, to choose the GPU and to silence this.",
        stacklevel=3,
    )
    arguments._n_gpu = (
        1  # as the Trainer itself does for a model that spans devices; there is no public option
    )


class DistillationTrainer(Trainer):
    """A ``transformers.Trainer`` whose loss is the distillation loss of :mod:`augpro.losses`.

    Args:
        model: the student.
        objective: weights, temperature and problem type.
        train_dataset: rows to train on; with ``teacher_logits`` None and no augmentation this is plain
            fine-tuning.
        augmentation: makes and labels augmented rows; None trains on the originals alone.
        meter: its seconds are kept in the checkpoints, as the counts are; default is the augmentation's.
        representation: matches the teacher's hidden states or pooled vectors too. Its learned maps are part of the
            model, and so of the checkpoints, until :meth:`finished_student` is called.
        **trainer: anything else a Trainer takes: args, eval_dataset, callbacks, optimizers, ... Of several
            visible GPUs one is used, see :func:`use_one_device`.

    Raises:
        ValueError: if augmentation is asked for without the teacher's logits of the originals.
    """

    def __init__(
        self,
        model: Any,
        objective: Objective,
        train_dataset: DistillationDataset,
        augmentation: OnlineAugmentation | None = None,
        meter: Meter | None = None,
        representation: RepresentationLoss | None = None,
        **trainer: Any,
    ) -> None:
        if augmentation is not None and train_dataset.teacher_logits is None:
            raise ValueError("augmentation needs train_dataset.teacher_logits: label the original rows first")
        use_one_device(trainer.get("args"))
        if representation is not None:
            representation.attach(model)
        super().__init__(
            model=model, train_dataset=train_dataset, data_collator=DistillationDataset.collate, **trainer
        )
        # The loss is a mean over rows, so the Trainer must average it over accumulated batches.
        self.model_accepts_loss_kwargs = False
        self.objective: Objective = objective
        self.rows = train_dataset
        self.augmentation = augmentation
        self.representation = representation
        self.meter = meter or (Meter() if augmentation is None else augmentation.meter)
        self.flaw = blamed(model)  # of the weights that it starts with
        self.rows_seen = 0  # by the student in training, augmented ones counted
        self._compute_in(torch.bfloat16 if self.args.bf16 else torch.float16 if self.args.fp16 else None)
        self.add_callback(CountsCallback(self))

    def _compute_in(self, half: torch.dtype | None) -> None:
        """Teacher and augmented rows in the precision of the Trainer's own forward pass."""
        for part in (self.augmentation, self.representation):
            if part is not None:
                part.half = half

    @property
    def finished_epochs(self) -> int:
        """Whole passes over the rows so far; the margin is for the rounding of their sum."""
        return int((self.state.epoch or 0.0) + 1e-6)

    def finished_student(self) -> Any:
        """The student as it is saved, which computes in float32; call it when the training is over.

        Accelerate leaves its autocast on the model's ``forward``, and its ``unwrap_model`` removes more than that.
        """
        vars(self.model).pop("forward", None)
        self._compute_in(None)
        if self.representation is not None:
            self.representation.detach(self.model)  # type: ignore[arg-type]
        return self.model

    def evaluate(self, *arguments: Any, **options: Any) -> dict[str, float]:
        """As the Trainer's, but training goes on as if there had been no evaluation: no random number is used up."""
        devices = [self.args.device] if self.args.device.type == "cuda" else []
        with torch.random.fork_rng(devices), self.meter.phase("evaluate"):
            return super().evaluate(*arguments, **options)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        rows = self.rows if train_dataset is None else train_dataset
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        batch_size = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return EpochOrder(rows.table.lengths.tolist(), batch_size, seed, lambda: self.finished_epochs)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        store_counts(self)
        if self.augmentation is not None:
            # Before the state, which is written last: a checkpoint without one is not resumed from.
            folder = (
                Path(self._get_output_dir(trial=trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            )
            folder.mkdir(parents=True, exist_ok=True)
            self.augmentation.kept.save(folder / _CANDIDATES)
        super()._save_checkpoint(model, trial)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.augmentation is not None:
            self.augmentation.kept.load(Path(resume_from_checkpoint) / _CANDIDATES)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Distillation loss of one batch; augmented rows are part of it in training only.

        Raises:
            InputError: if a loss in training is nan or infinite.
        """
        batch = TokenBatch(
            inputs["input_ids"],
            inputs["attention_mask"],
            inputs["segments"],
            inputs["row_ids"],
            inputs.get("token_type_ids"),
            # Rows to evaluate on are numbered otherwise, and their texts are not asked for.
            self.rows.table.texts_of(inputs["row_ids"].tolist()) if model.training else None,
        )
        teacher_logits = inputs.get("teacher_logits")
        rows, forward, augmented, theirs = len(batch.ids), batch, None, None
        if self.augmentation is not None and model.training and teacher_logits is not None:
            # Compiled code would not see the hooks by which a gradient at the embeddings is taken.
            student = self.accelerator.unwrap_model(model, keep_torch_compile=False)
            epoch = self.finished_epochs
            augmented, theirs = self.augmentation(batch, teacher_logits, self.rows, student, epoch)
            if isinstance(augmented, TokenBatch):
                forward = join(batch, augmented, self.rows.table.pad_id)
        if self.representation is not None and model.training:
            logits, loss = self.representation(model, forward)
        else:
            logits = model(**forward.model_inputs()).logits
            loss = logits.new_zeros(())
        loss = loss + self.objective.originals(logits[:rows], inputs.get("labels"), teacher_logits)
        if model.training:
            self.rows_seen += rows * (1 if augmented is None else 2)
        if augmented is not None:
            ours = augmented.run(model) if isinstance(augmented, VirtualRows) else logits[rows:]
            if theirs is None:
                loss = loss + self.objective.smoothness(ours, logits[:rows])
            else:
                loss = loss + self.objective.augmented(ours, theirs)
        if model.training:
            self._check_finite(loss, theirs)
        return (loss, {"logits": logits[:rows]}) if return_outputs else loss

    def _check_finite(self, loss: Tensor, teacher_logits: Tensor | None) -> None:
        """Stop before a loss that is no number spreads to every weight; the Trainer would leave it out of its log.

        Not in float16, whose loss scaling leaves out such a step.
        """
        if self.accelerator.scaler is not None or torch.isfinite(loss):
            return
        if teacher_logits is not None and not torch.isfinite(teacher_logits).all():
            why = "the teacher's answers to augmented texts are no finite numbers; give another teacher"
        elif self.flaw:
            why = f"the training started with such weights{self.flaw}; give another model to start from"
        else:
            why = "the training has diverged; give a lower --learning-rate"
        self.callback_handler.on_train_end(self.args, self.state, self.control)  # ends the line of its bar
        raise InputError(
            f"the loss of step {self.state.global_step + 1} of {self.state.max_steps} is no finite number: {why}."
        )
