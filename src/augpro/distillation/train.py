"""From a plan to the parts of its training: teacher, augmentation, additional losses and evaluation."""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments

from augpro.augment import EmbeddingSpace
from augpro.config import DistillConfig, FinetuneConfig
from augpro.distillation.plan import Plan
from augpro.distillation.scoring import label_split
from augpro.errors import InputError
from augpro.models import processes
from augpro.results.output import CHECKPOINTS
from augpro.shards.stored import StoredAugmentation
from augpro.teachers.absent import AbsentTeacher, StoredTeacher
from augpro.teachers.teacher import Teacher
from augpro.tokens import TokenTable, tokenize
from augpro.training.augmentation import Augmentation
from augpro.training.dataset import DistillationDataset, label_tensor
from augpro.training.meter import Meter
from augpro.training.online import OnlineAugmentation
from augpro.training.options import FOLLOWS_A_METRIC
from augpro.training.representation import RepresentationLoss
from augpro.training.similarity import SimilarityBound
from augpro.training.trainer import DistillationTrainer
from augpro.training.validation import compute_metrics
from augpro.vocabulary import Vocabulary


def check_processes(plan: Plan) -> None:
    """Refuse what several processes cannot share.

    Raises:
        InputError: names it, and the fix.
    """
    config = plan.config
    sampling = config.trainer_options.get("train_sampling_strategy", "group_by_length")
    reasons = {
        f"--augment {plan.method}: makes no text": plan.augmenter and not plan.augmenter.makes_text,
        "a loss on hidden states or pooled vectors": plan.matching,
        "a search for the student's layers": plan.searched_layers,
        "--unlabelled": plan.pool,
        f"--trainer-option train_sampling_strategy={sampling}": sampling != "group_by_length",
    }
    for reason, applies in reasons.items():
        if applies and processes.count() > 1:
            raise InputError(
                f"{reason}: runs in one process, and there are {processes.count()}; leave it out, or start the run "
                "without torchrun."
            )


def load_teacher(plan: Plan, config: FinetuneConfig | DistillConfig, device: torch.device) -> Teacher | None:
    """The plan's teacher with its tokenizer, or None.

    Without ``--label-store``, a run that can be resumed stores the labels beside its checkpoints until it ends, so an
    interrupted labelling can continue.
    """
    if plan.teacher is None or not isinstance(config, DistillConfig):
        return None
    if isinstance(plan.teacher, AbsentTeacher):
        return StoredTeacher(plan.teacher, device)
    resumable = config.trainer_options.get("save_strategy") != "no"
    store = config.label_store or (config.out / CHECKPOINTS / "teacher-labels" if resumable else None)
    model, tokenizer = plan.teacher.load_trained_classifier(), plan.teacher.load_tokenizer()
    return Teacher(model, tokenizer, config.max_tokens, device, store)


def label_train(plan: Plan, teacher: Teacher | None) -> Tensor | None:
    """The teacher's logits of the training rows, [rows, C]; None if nothing needs them."""
    if plan.stored:
        return plan.stored.rows.original_logits()
    needed = plan.augmenter or plan.objective.teacher_weight or plan.searched_layers or plan.pool
    return label_split(teacher, plan.data.splits["train"]) if teacher and needed else None


def augmentation_of(
    plan: Plan,
    config: FinetuneConfig | DistillConfig,
    student: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    teacher: Teacher | None,
    meter: Meter,
) -> OnlineAugmentation | StoredAugmentation | None:
    """The plan's augmentation: read from disk, or made in the space of the student's word embeddings; or None."""
    if not isinstance(config, DistillConfig):
        return None
    quantile = config.similarity_quantile
    if plan.stored:
        types = "token_type_ids" in tokenizer.model_input_names
        with meter.phase("load"):
            versions = plan.stored.rows.versions(int(tokenizer.pad_token_id or 0), types, config.out)
            bound = SimilarityBound.of(quantile, _space(student, tokenizer)) if quantile else None
        problem_type, candidates = plan.objective.problem_type, config.candidates or 1
        return StoredAugmentation(
            plan.stored.rows, versions, problem_type, config.seed, candidates, meter, tokenizer, bound
        )
    if plan.augmenter is None or teacher is None:
        return None
    space = _space(student, tokenizer)
    return OnlineAugmentation(
        plan.augmenter,
        space,
        teacher,
        plan.objective,
        seed=config.seed,
        candidates=config.candidates or 1,
        new_candidates=config.new_candidates or 1.0,
        bound=SimilarityBound.of(quantile, space) if quantile else None,
        meter=meter,
    )


def _space(student: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> EmbeddingSpace:
    """The space of the student's word embeddings before training."""
    table = student.get_input_embeddings().get_parameter("weight")
    return EmbeddingSpace(table, Vocabulary(tokenizer, len(table)))


def representation_loss(
    plan: Plan,
    config: FinetuneConfig | DistillConfig,
    tokenizer: PreTrainedTokenizerBase,
    teacher: Teacher | None,
    augmentation: Augmentation | None,
    table: TokenTable,
    meter: Meter,
) -> RepresentationLoss | None:
    """The plan's loss on hidden states and pooled vectors, or None."""
    if plan.matching is None or teacher is None:
        return None
    return RepresentationLoss(
        plan.matching,
        teacher,
        tokenizer,
        table,
        augmentation.space.vocabulary if isinstance(augmentation, OnlineAugmentation) else None,
        config.seed,
        meter,
    )


def validation(
    plan: Plan,
    tokenizer: PreTrainedTokenizerBase,
    teacher: Teacher | None,
    arguments: TrainingArguments,
    meter: Meter,
) -> dict[str, Any]:
    """The Trainer's arguments for evaluation during training; empty if the plan has none.

    The metrics are those of the result, including the distance to the teacher.
    """
    if plan.validation_split is None:
        return {}
    split = plan.data.splits[plan.validation_split]
    with meter.phase("evaluate"):
        logits = label_split(teacher, split) if teacher else None
        table = tokenize(tokenizer, split.texts, split.pairs, plan.config.max_tokens)
    if logits is not None:
        arguments.label_names = ["labels", "teacher_logits"]
    rows = DistillationDataset(table, label_tensor(split.labels, plan.task), logits)
    return {"eval_dataset": rows, "compute_metrics": compute_metrics(plan.task)}


def training_notes(plan: Plan, trainer: DistillationTrainer) -> list[str]:
    """What the user should know of the training, once it is over."""
    return trainer.memory.notes() + _validation_notes(plan, trainer)


def _validation_notes(plan: Plan, trainer: DistillationTrainer) -> list[str]:
    """What the evaluation during training decided, and whether that makes the scores too optimistic."""
    args, state, rows = trainer.args, trainer.state, plan.validation_split
    if rows is None:
        return []
    notes, of, metric = [], f"of {state.max_steps}", args.metric_for_best_model
    if state.best_metric is None:
        return [
            f"the run ended before it was evaluated on the {rows} split; see eval_strategy and eval_steps"
        ]
    if args.load_best_model_at_end and state.best_model_checkpoint is not None:
        best = f"{metric} ({state.best_metric:.3f}) on the {rows} split"
        notes.append(
            f"the weights are those of step {state.best_global_step} {of}, which had the best {best}"
        )
    if state.global_step < state.max_steps:
        notes.append(
            f"training stopped after step {state.global_step} {of}, because of the {metric} on the {rows} split"
        )
    if args.lr_scheduler_type in FOLLOWS_A_METRIC:
        notes.append(f"the learning rate followed the {metric} on the {rows} split")
    if notes and rows == plan.eval_split:
        splits = plan.data.splits
        other = "score other rows with " + ("--eval-split test" if "test" in splits else "--holdout-rows")
        fix = "the holdout is not affected" if "holdout" in splits else other
        notes.append(
            f"the {rows} split decided this and is also scored, so its scores are too optimistic; {fix}"
        )
    return notes
