"""Distillation as a ``transformers.Trainer``, with its accumulation, bf16, resuming, callbacks and logging.

One step: augment the batch; let the teacher label the augmented rows; run originals and augmented rows through the
student in one forward pass (virtual rows in a second one); add up the terms of the loss. Hidden states and pooled
vectors are matched on the rows of the first pass. The teacher's logits of the originals are stored in the dataset.
If memory is too small for a step, its halves are computed one after the other (:mod:`augpro.training.step`).
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from augpro.augment.base import VirtualRows
from augpro.errors import InputError
from augpro.files.checksums import write_sums
from augpro.files.durable import writing
from augpro.losses import Objective
from augpro.models import processes
from augpro.models.finite import blamed
from augpro.models.memory import SHORTER, RowsAtOnce, not_in_parts
from augpro.tokens import TokenBatch, join
from augpro.training.augmentation import Augmentation
from augpro.training.counting import CountsCallback, store_counts
from augpro.training.dataset import DistillationDataset
from augpro.training.meter import Meter
from augpro.training.representation import RepresentationLoss
from augpro.training.sampling import EpochOrder
from augpro.training.step import PART, Part, Step, in_parts


def use_one_device(arguments: TrainingArguments | None) -> None:
    """Prevent ``torch.nn.DataParallel`` if several GPUs are visible, with a warning.

    It would multiply the batch size by the number of GPUs, and it does not split the embeddings that some methods
    substitute as it splits the batch.
    """
    if arguments is None or arguments.n_gpu <= 1:
        return
    warnings.warn(
        f"{arguments.n_gpu} GPUs are visible, and this run uses only {arguments.device}; "
        "set CUDA_VISIBLE_DEVICES=0, or another number, to choose the GPU and to silence this warning.",
        stacklevel=3,
    )
    arguments._n_gpu = (
        1  # the Trainer itself sets this for a model on several devices; there is no public option
    )


class DistillationTrainer(Trainer):
    """A ``transformers.Trainer`` whose loss is the distillation loss of :mod:`augpro.losses`.

    Args:
        model: the student.
        objective: weights, temperature and problem type.
        train_dataset: training rows; with ``teacher_logits`` None and no augmentation this is plain
            fine-tuning.
        augmentation: makes or reads augmented rows and their labels; None trains on the originals only.
        meter: its seconds are stored in the checkpoints together with the counts; default is the augmentation's.
        representation: also matches the teacher's hidden states or pooled vectors. Its learned maps are part of the
            model, and so of the checkpoints, until :meth:`finished_student` is called.
        **trainer: other arguments of a Trainer: args, eval_dataset, callbacks, optimizers, ... Only one of several
            visible GPUs is used, see :func:`use_one_device`.

    Raises:
        ValueError: if there is augmentation but no teacher logits of the originals.
    """

    def __init__(
        self,
        model: Any,
        objective: Objective,
        train_dataset: DistillationDataset,
        augmentation: Augmentation | None = None,
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
        # The loss is a mean over rows, so the Trainer must average over accumulated batches.
        self.model_accepts_loss_kwargs = False
        self.objective: Objective = objective
        self.rows = train_dataset
        self.augmentation = augmentation
        self.representation = representation
        self.meter = meter or (Meter() if augmentation is None else augmentation.meter)
        self.flaw = blamed(model)  # a non-finite initial weight
        self.rows_seen = 0  # by the student in training, including augmented rows
        self.memory = RowsAtOnce("training", f"{SHORTER}, or --trainer-option gradient_checkpointing=true")
        self._reading = RowsAtOnce("evaluation")
        self._compute_in(torch.bfloat16 if self.args.bf16 else torch.float16 if self.args.fp16 else None)
        self.add_callback(CountsCallback(self))

    def _compute_in(self, half: torch.dtype | None) -> None:
        """Set the precision of the teacher and of augmented rows to that of the Trainer's forward pass."""
        for part in (self.augmentation, self.representation):
            if part is not None:
                part.half = half

    @property
    def finished_epochs(self) -> int:
        """Number of complete epochs; the margin covers rounding."""
        return int((self.state.epoch or 0.0) + 1e-6)

    def finished_student(self) -> Any:
        """The student in float32, ready to be saved; call it after the training.

        Accelerate leaves its autocast on the model's ``forward``, and its ``unwrap_model`` removes more than that.
        """
        vars(self.model).pop("forward", None)
        self._compute_in(None)
        if self.representation is not None:
            self.representation.detach(self.model)  # type: ignore[arg-type]
        return self.model

    def evaluate(self, *arguments: Any, **options: Any) -> dict[str, float]:
        """As the Trainer's, but without changing the random state, so that evaluation does not affect training."""
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

    def get_train_dataloader(self) -> Any:
        """The Trainer's; with several processes all read the same batches, of which each takes its share."""
        if processes.count() == 1:
            return super().get_train_dataloader()
        return DataLoader(
            self.rows,
            self.args.train_batch_size,
            sampler=self._get_train_sampler(),
            collate_fn=self.data_collator,
            drop_last=self.args.dataloader_drop_last,
            num_workers=self.args.dataloader_num_workers,
        )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        store_counts(self)
        folder = Path(self._get_output_dir(trial=trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        if self.augmentation is not None and processes.leads():
            # Before the state, which is written last: a checkpoint without a state is not resumed from.
            folder.mkdir(parents=True, exist_ok=True)
            self.augmentation.save(folder)
        with writing(folder):
            super()._save_checkpoint(model, trial)
        processes.wait_for_all()  # each has written its random state
        if processes.leads():
            write_sums(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.augmentation is not None:
            self.augmentation.load(Path(resume_from_checkpoint))

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """The Trainer's; the halves of a batch one after the other if memory runs out.

        The loss is a mean over rows, so the weighted gradients of the halves add up to that of the batch, within
        float rounding. Dropout draws other units than for the whole batch. Augmented rows are made and labelled once.

        Raises:
            InputError: if memory runs out for one row, or in one of several processes.
        """
        whole: Callable[..., Tensor] = super().training_step
        if processes.count() > 1:  # the others wait for this one's whole batch
            with not_in_parts(f"its share of a batch of {len(inputs['input_ids'])} rows"):
                return whole(model, inputs, num_items_in_batch)
        return in_parts(self.memory, inputs, model, lambda part: whole(model, part, num_items_in_batch))

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Distillation loss of one batch; augmented rows take part only in training.

        Raises:
            InputError: if the loss in training is nan or infinite.
        """
        if not model.training:
            return self._evaluation_loss(model, self._batch(inputs, texts=False), inputs, return_outputs)
        part: Part = inputs.get(PART) or Part()
        step = part.step(lambda: self._step(inputs, model))
        own, augmented, targets, rows = step.own, step.augmented, step.targets, step.rows
        forward = (
            own if not isinstance(augmented, TokenBatch) else join(own, augmented, self.rows.table.pad_id)
        )
        if self.representation is not None:
            logits, loss = self.representation(model, forward)
        else:
            logits = model(**forward.model_inputs()).logits
            loss = logits.new_zeros(())
        mine = logits[: len(own.ids)]
        originals = processes.gather(mine)[:rows]
        loss = loss + self.objective.originals(originals, step.labels, step.teacher_logits)
        if augmented is not None:
            outputs = augmented.run(model) if isinstance(augmented, VirtualRows) else logits[len(mine) :]
            if targets is None:
                loss = loss + self.objective.smoothness(outputs, mine)
            else:
                targets = processes.gather(targets)[:rows]
                loss = loss + self.objective.augmented(processes.gather(outputs)[:rows], targets)
        self._check_finite(loss, targets, own, logits)
        loss = processes.gradient_of_all(loss * step.share)
        return (loss, {"logits": mine}) if return_outputs else loss

    def _batch(self, inputs: dict[str, Any], texts: bool) -> TokenBatch:
        """The rows; evaluation rows have other row ids, and nothing needs their texts."""
        return TokenBatch(
            inputs["input_ids"],
            inputs["attention_mask"],
            inputs["segments"],
            inputs["row_ids"],
            inputs.get("token_type_ids"),
            self.rows.table.texts_of(inputs["row_ids"].tolist()) if texts else None,
        )

    def _evaluation_loss(
        self, model: Any, batch: TokenBatch, inputs: dict[str, Any], return_outputs: bool
    ) -> Any:
        logits = self._reading.joined(
            len(batch.ids), lambda part: model(**batch.some(part).model_inputs()).logits
        )
        loss = self.objective.originals(logits, inputs.get("labels"), inputs.get("teacher_logits"))
        return (loss, {"logits": logits}) if return_outputs else loss

    def _step(self, inputs: dict[str, Any], model: Any) -> Step:
        """The rows of a batch with their augmented versions, which are made here."""
        batch = own = self._batch(inputs, texts=True)
        rows, teacher_logits = len(batch.ids), inputs.get("teacher_logits")
        if processes.count() > 1:
            own = batch.take(processes.share(rows).to(batch.ids.device))
        augmented, targets = self._augmented(own, batch, teacher_logits, model)
        self.rows_seen += rows * (1 if augmented is None else 2)
        return Step(own, rows, augmented, targets, inputs.get("labels"), teacher_logits)

    def _augmented(
        self, own: TokenBatch, batch: TokenBatch, teacher_logits: Tensor | None, model: Any
    ) -> tuple[TokenBatch | VirtualRows | None, Tensor | None]:
        """Augmented rows of this process and the teacher's logits for them, see :class:`OnlineAugmentation`."""
        if self.augmentation is None or teacher_logits is None:
            return None, None
        if own is not batch:
            teacher_logits = teacher_logits[processes.share(len(batch.ids)).to(teacher_logits.device)]
        # Compiled code would ignore the hooks for gradients at the embeddings.
        student = self.accelerator.unwrap_model(model, keep_torch_compile=False)
        return self.augmentation(own, teacher_logits, self.rows, student, self.finished_epochs)

    def _check_finite(
        self, loss: Tensor, teacher_logits: Tensor | None, batch: TokenBatch, logits: Tensor
    ) -> None:
        """Stop at a loss that is not finite, before it reaches the weights; the Trainer would hide it in its log.

        Not in float16, where loss scaling skips such a step.
        """
        if self.accelerator.scaler is not None or torch.isfinite(loss):
            return
        wrong = torch.nonzero(~torch.isfinite(logits[: len(batch.ids)]).all(1))[:, 0].tolist()
        some = [repr(batch.texts[row][0][:60]) for row in wrong[:2]] if batch.texts else []
        where = f", in {len(wrong)} of {len(batch.ids)} rows, first {', '.join(some)}" if some else ""
        if teacher_logits is not None and not torch.isfinite(teacher_logits).all():
            why = "the teacher's logits of augmented texts are not finite; give another teacher"
        elif self.flaw:
            why = (
                f"the training started with weights that are not finite{self.flaw}; start from another model"
            )
        else:
            why = "the training has diverged; give a lower --learning-rate"
        self.callback_handler.on_train_end(self.args, self.state, self.control)  # closes its progress bar
        raise InputError(
            f"the loss of step {self.state.global_step + 1} of {self.state.max_steps} is not finite{where}: {why}."
        )
