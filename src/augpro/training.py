"""From our few options to ``transformers.TrainingArguments``, which has all the others."""

import torch
from transformers import TrainingArguments

from augpro.config import TrainOptions
from augpro.errors import InputError
from augpro.output import CHECKPOINTS


def training_arguments(config: TrainOptions) -> TrainingArguments:
    """Arguments of the Trainer; ``config.trainer_options`` has the last word.

    Raises:
        InputError: if an option is unknown or its value does not fit.
    """
    options = {
        "output_dir": str(config.out / CHECKPOINTS),
        "num_train_epochs": config.epochs,
        "per_device_train_batch_size": config.batch_size,
        "learning_rate": config.learning_rate,
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
        raise InputError(f"--trainer-option: {str(error).splitlines()[0]}; mend that value.") from error
