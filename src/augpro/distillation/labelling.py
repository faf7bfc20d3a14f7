"""Active labelling: choose unlabelled texts once, before the training; the teacher labels them as training rows.

``coverage`` compares sentence vectors of the initial student. ``uncertainty`` and ``bald`` use the predictions of a
copy of the student after a warm-up: plain distillation on the rows of the data, for a fifth of the steps of the main
training. There is one round: with more, the rows and steps of the training would be unknown at its start.
"""

import copy
import logging
import random
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from augpro.augment.gradient import without_dropout
from augpro.config import DistillConfig
from augpro.data.loading import Split
from augpro.distillation.acquisition import bald, drawn, farthest, highest, uncertainty
from augpro.distillation.plan import Plan
from augpro.files.checksums import DamagedError, read_tensors, write_tensors
from augpro.models.reading import mean_states, over_rows, predict_logits, run_logits
from augpro.results.output import CHECKPOINTS, OutputFolder
from augpro.teachers.teacher import Teacher
from augpro.tokens import TokenTable, tokenize
from augpro.training.dataset import DistillationDataset, label_tensor
from augpro.training.meter import Meter
from augpro.training.options import training_arguments, without_evaluation
from augpro.training.trainer import DistillationTrainer

CHOSEN = "chosen-texts.safetensors"
WARM_UP_SHARE = 0.2  # steps of the warm-up, as a share of those of the main training
DROPOUT_PASSES = 10
log = logging.getLogger(__name__)


def add_pool(
    plan: Plan,
    dataset: DistillationDataset,
    student: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    teacher: Teacher,
    folder: OutputFolder,
    meter: Meter,
) -> tuple[Plan, DistillationDataset]:
    """Choose texts of the plan's pool, let the teacher label them, and add them to the training rows.

    Args:
        plan: a plan with a pool; ``label_budget`` of its texts are chosen.
        dataset: the training rows of the data, with the teacher's logits.
        student: the initial student; it is not changed.
        tokenizer: the student's.
        teacher: labels the chosen texts only.
        folder: of the run. The choice is stored beside the checkpoints, so a resumed run does not choose again.
        meter: records the phases "choose_texts" and "teacher_originals".

    Returns:
        The plan, with the chosen texts as its pool and among its training rows; and all training rows, shuffled, as a
        dataset.
    """
    config, train = plan.config, plan.data.splits["train"]
    assert isinstance(config, DistillConfig)
    assert plan.pool is not None
    assert dataset.teacher_logits is not None
    with meter.phase("choose_texts"):
        choice = Choice(plan, config, plan.pool, dataset, student, tokenizer)
        chosen = plan.pool.select(_kept(choice, folder, meter))
    with meter.phase("teacher_originals"):
        # Not in one call with the training rows: a stored block that mixes both would label these again.
        logits = torch.cat([dataset.teacher_logits, teacher.label(chosen.texts, chosen.pairs)])
    # Shuffled because methods that mix rows take partners from neighbouring row ids.
    order = list(range(len(train) + len(chosen)))
    random.Random(config.seed).shuffle(order)
    rows = _joined(train, chosen).select(order)
    table = tokenize(tokenizer, rows.texts, rows.pairs, config.max_tokens)
    data = replace(plan.data, splits=plan.data.splits | {"train": rows})
    labels = label_tensor(rows.labels, plan.task)
    return replace(plan, data=data, pool=chosen), DistillationDataset(table, labels, logits[order])


def _joined(one: Split, other: Split) -> Split:
    pairs = None if one.pairs is None or other.pairs is None else [*one.pairs, *other.pairs]
    return Split([*one.texts, *other.texts], pairs, [*one.labels, *other.labels], one.source)


def _kept(choice: "Choice", folder: OutputFolder, meter: Meter) -> list[int]:
    """Chosen rows of the pool, in its order: read from a resumed run, else chosen now and stored."""
    path = folder.path / CHECKPOINTS / CHOSEN
    stored = _stored(path) if choice.config.resume else None
    if stored is not None:
        if folder.checkpoint is None:  # else the checkpoint includes these seconds
            meter.seconds["choose_texts"] += float(stored["seconds"])
        return [int(row) for row in stored["rows"]]
    rows = sorted(choice.rows())
    if choice.config.trainer_options.get("save_strategy") != "no":
        seconds = torch.tensor(meter.so_far()[0]["choose_texts"], dtype=torch.float64)
        write_tensors(path, {"rows": torch.tensor(rows), "seconds": seconds})
    return rows


def _stored(path: Path) -> dict[str, Tensor] | None:
    """What an earlier process has stored, if it is there and whole."""
    try:
        return read_tensors(path)
    except FileNotFoundError:
        return None
    except DamagedError as error:
        log.warning("note: %s, so the texts are chosen again", error)
        return None


@dataclass(frozen=True)
class Choice:
    """Chooses texts of a pool.

    Attributes:
        plan: of the run.
        config: its options, including ``label_by`` and ``label_budget``.
        pool: the texts.
        dataset: training rows with the teacher's logits.
        student: the initial student.
        tokenizer: the student's.
    """

    plan: Plan
    config: DistillConfig
    pool: Split
    dataset: DistillationDataset
    student: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    def rows(self) -> list[int]:
        """Indices of the chosen texts by the criterion of the options; all texts without one."""
        by, count, problem_type = self.config.label_by, self.count, self.plan.task.problem_type
        if by is None:
            return list(range(len(self.pool)))
        if by == "random":
            return drawn(len(self.pool), count, self.config.seed)
        table = tokenize(self.tokenizer, self.pool.texts, self.pool.pairs, self.config.max_tokens)
        if by == "coverage":
            points, known = (sentence_vectors(self.student, each) for each in (table, self.dataset.table))
            device = self.student.device
            return [int(row) for row in farthest(points.to(device), known.to(device), count)]
        student = self.trained()
        if by == "uncertainty":
            scores = uncertainty(predict_logits(student, table, what="uncertainty of texts"), problem_type)
        else:
            scores = bald(dropout_logits(student, table, self.config.seed), problem_type)
        return [int(row) for row in highest(scores, count)]

    @property
    def count(self) -> int:
        """Number of texts to choose."""
        assert self.config.label_budget is not None  # set by open_pool
        return self.config.label_budget

    def trained(self) -> PreTrainedModel:
        """A copy of the student after the warm-up on the training rows."""
        options = without_evaluation(self.config.trainer_options)
        options |= {"save_strategy": "no", "logging_strategy": "no"}
        share = WARM_UP_SHARE * (1 + self.count / len(self.dataset))
        assert self.config.epochs is not None  # set by the plan
        epochs = share * self.config.epochs
        if options.get("max_steps", 0) > 0:
            options["max_steps"] = max(1, round(WARM_UP_SHARE * options["max_steps"]))
        if options.get("warmup_steps", 0) >= 1:  # below 1 it is a share
            options["warmup_steps"] = max(1, round(WARM_UP_SHARE * options["warmup_steps"]))
        config = self.config.model_copy(update={"epochs": epochs, "trainer_options": options})
        weight = self.plan.objective.teacher_weight or 1.0
        trainer = DistillationTrainer(
            copy.deepcopy(self.student),
            replace(self.plan.objective, teacher_weight=weight),
            self.dataset,
            args=training_arguments(config),
        )
        trainer.train()
        student: PreTrainedModel = trainer.finished_student()
        return student


def sentence_vectors(model: PreTrainedModel, table: TokenTable) -> Tensor:
    """Mean of the last hidden states over the tokens of each row, as unit vectors, [rows, D], without dropout."""
    with without_dropout(model):
        return F.normalize(mean_states(model.base_model, table, "comparing texts"), dim=1)


def dropout_logits(model: PreTrainedModel, table: TokenTable, seed: int) -> Tensor:
    """Logits of each row in 10 passes with different dropout masks, [10, rows, C]; leaves dropout on."""
    model.train()
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        passes = [over_rows(table, lambda batch: run_logits(model, batch)) for _ in range(DROPOUT_PASSES)]
    return torch.stack(passes)
