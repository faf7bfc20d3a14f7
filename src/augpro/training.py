"""From the options of a run to what trains: ``transformers.TrainingArguments``, the teacher, the augmentation."""

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments

from augpro.augment import EmbeddingSpace
from augpro.config import DistillConfig, FinetuneConfig, TrainOptions
from augpro.errors import InputError
from augpro.meter import Meter
from augpro.online import OnlineAugmentation
from augpro.output import CHECKPOINTS
from augpro.plan import Plan
from augpro.representation import RepresentationLoss
from augpro.teacher import Teacher
from augpro.tokens import TokenTable
from augpro.vocabulary import Vocabulary


def training_arguments(config: TrainOptions) -> TrainingArguments:
    """Arguments of the Trainer; ``config.trainer_options`` has the last word.

    Raises:
        InputError: if an option is unknown or its value does not fit.
    """
    options = {
        "output_dir": str(config.out / CHECKPOINTS),
        "num_train_epochs": config.epochs,
        "per_device_train_batch_size": config.batch_size,
        "learning_rate": float(config.learning_rate),
        "seed": config.seed,
        "save_strategy": "epoch",
        "save_total_limit": 1,
        "logging_strategy": "epoch",
        "report_to": "none",
        # Said outright, or bf16=true would be refused on a machine that has only its CPU.
        "use_cpu": not torch.accelerator.is_available(),
        "disable_tqdm": False,  # it would follow the library's log level
        # Batches of like length, as little is padded then.
        "train_sampling_strategy": "group_by_length",
        # Rows are numbers until they are collated, so there are no columns for the Trainer to remove.
        "remove_unused_columns": False,
        "label_names": ["labels"],
        **config.trainer_options,
    }
    unknown = sorted(set(options) - set(TrainingArguments.__dataclass_fields__))
    if unknown:
        raise InputError(
            f"--trainer-option {unknown[0]}: transformers.TrainingArguments has no such field; see its documentation."
        )
    try:
        return TrainingArguments(**options)
    except (TypeError, ValueError) as error:
        raise InputError(f"--trainer-option: {str(error).splitlines()[0]}; fix that value.") from error


def load_teacher(plan: Plan, config: FinetuneConfig | DistillConfig, device: torch.device) -> Teacher | None:
    """The plan's teacher with its own tokenizer, if it has one.

    Without a store of the user's, a run that can be resumed keeps the labels beside its checkpoints until it ends:
    killed while the teacher reads, it goes on where it was.
    """
    if plan.teacher is None or not isinstance(config, DistillConfig):
        return None
    resumable = config.trainer_options.get("save_strategy") != "no"
    store = config.label_store or (config.out / CHECKPOINTS / "teacher-labels" if resumable else None)
    model, tokenizer = plan.teacher.load_finished(), plan.teacher.load_tokenizer()
    return Teacher(model, tokenizer, config.max_tokens, device, store)


def online_augmentation(
    plan: Plan,
    config: FinetuneConfig | DistillConfig,
    student: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    teacher: Teacher | None,
    meter: Meter,
) -> OnlineAugmentation | None:
    """The plan's augmentation over the student's word embeddings, if it has one."""
    if plan.augmenter is None or teacher is None or not isinstance(config, DistillConfig):
        return None
    table = student.get_input_embeddings().get_parameter("weight")
    space = EmbeddingSpace(table, Vocabulary(tokenizer, len(table)))
    return OnlineAugmentation(
        plan.augmenter,
        space,
        teacher,
        plan.objective,
        config.seed,
        config.candidates or 1,
        config.new_candidates or 1.0,
        bool(config.trainer_options.get("bf16")),
        meter,
    )


def representation_loss(
    plan: Plan,
    config: FinetuneConfig | DistillConfig,
    tokenizer: PreTrainedTokenizerBase,
    teacher: Teacher | None,
    augmentation: OnlineAugmentation | None,
    table: TokenTable,
    meter: Meter,
) -> RepresentationLoss | None:
    """The plan's loss on hidden states and pooled vectors, if it has one."""
    if plan.matching is None or teacher is None:
        return None
    return RepresentationLoss(
        plan.matching,
        teacher,
        tokenizer,
        table,
        augmentation.space.vocabulary if augmentation else None,
        config.seed,
        bool(config.trainer_options.get("bf16")),
        meter,
    )
