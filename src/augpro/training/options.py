"""Options of ``transformers.TrainingArguments``: checked, and tried on a tiny model before the run starts.

A field is passed on, or augpro has its own option for it, or it would have no effect or break the run. The last two
are errors. The trial finds values that a library rejects before anything heavy is loaded.
"""

import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, get_type_hints

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import nn
from transformers import Trainer, TrainingArguments
from transformers.integrations import integration_utils
from transformers.utils import logging

from augpro.augment import Augmenter
from augpro.config import TrainOptions
from augpro.errors import InputError
from augpro.models.reading import ROWS_AT_ONCE
from augpro.results.output import CHECKPOINTS
from augpro.row_random import global_random_kept
from augpro.training.fields import NEEDS, OWN, REFUSED

_SAMPLING = (
    "random",
    "sequential",
    "group_by_length",
    "batch_rebalance",
)  # the Trainer takes any other for random
_MODULES = {
    "azure_ml": "azureml",
    "comet_ml": "comet",
    "flyte": "flytekit",
}  # integrations whose module has another name
# Options of evaluation during training.
_EVALUATION = {
    "eval_strategy", "eval_steps", "eval_delay", "eval_on_start", "eval_accumulation_steps",
    "per_device_eval_batch_size", "load_best_model_at_end", "metric_for_best_model",
}  # fmt: skip
FOLLOWS_A_METRIC = ("reduce_lr_on_plateau", "greedy")  # schedules
_LESS_IS_BETTER = ("loss", "kl_to_teacher")  # metrics

# Errors that libraries raise for a wrong value.
_FAILURES = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip


def evaluates(options: Mapping[str, Any]) -> bool:
    """Whether a run with these options is evaluated during training."""
    return options.get("eval_strategy", "no") != "no" or bool(options.get("eval_on_start"))


def without_evaluation(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options without those that need evaluation rows; a schedule that follows a metric becomes linear."""
    dropped = set(_EVALUATION)
    if options.get("lr_scheduler_type") in FOLLOWS_A_METRIC:
        dropped |= {"lr_scheduler_type", "lr_scheduler_kwargs"}
    return {name: value for name, value in options.items() if name not in dropped}


def training_arguments(config: TrainOptions, has_callbacks: bool = False) -> TrainingArguments:
    """Arguments of the Trainer for checked options; the user's callbacks resume from a checkpoint's state."""
    options = _all_options(config, config.trainer_options)
    return TrainingArguments(**options, restore_callback_states_from_checkpoint=has_callbacks)


def _all_options(config: TrainOptions, given: Mapping[str, Any]) -> dict[str, Any]:
    metric = given.get("metric_for_best_model") or ("loss" if evaluates(given) else None)
    greater = None if metric is None else metric not in _LESS_IS_BETTER
    kwargs = given.get("lr_scheduler_kwargs")
    if given.get("lr_scheduler_type") in FOLLOWS_A_METRIC:
        kwargs = {
            "mode": "max" if greater else "min",
            **(kwargs or {}),
        }  # which the Trainer would leave at min
    return {
        "output_dir": str(config.out / CHECKPOINTS),
        "num_train_epochs": config.epochs,
        "per_device_train_batch_size": config.batch_size,
        "per_device_eval_batch_size": ROWS_AT_ONCE,
        "learning_rate": float(config.learning_rate),
        "seed": config.seed,
        "save_strategy": "epoch",
        "save_total_limit": 1,
        "logging_strategy": "epoch",
        "report_to": "none",
        # Set explicitly: without it bf16=true fails on a machine without a GPU.
        "use_cpu": not torch.accelerator.is_available(),
        "disable_tqdm": False,  # the default follows the library's log level
        # Batches of similar length need little padding.
        "train_sampling_strategy": "group_by_length",
        # Rows are numbers until they are collated, so the Trainer has no columns to remove.
        "remove_unused_columns": False,
        "label_names": ["labels"],
        **given,
        "metric_for_best_model": metric,
        "greater_is_better": greater,
        "lr_scheduler_kwargs": kwargs,
    }


def check_trainer_options(config: TrainOptions, augmenter: Augmenter | None = None) -> dict[str, Any]:
    """The options for the Trainer, converted to their types and tried.

    Args:
        config: of the run, with all defaults resolved.
        augmenter: the method of the run.

    Raises:
        InputError: names an option that is unknown, not allowed, without effect, or in conflict with others.
    """
    for name in config.trainer_options:
        if name in OWN:
            raise InputError(f"--trainer-option {name}: augpro has its own option for this; use {OWN[name]}.")
        if name in REFUSED:
            raise InputError(f"--trainer-option {name}: {REFUSED[name]}; leave it out.")
    given = {name: _typed(name, value) for name, value in config.trainer_options.items()}
    if not given:
        return given
    _check_names(given)
    arguments = _tried(config, given)
    for name in (name for name in NEEDS if name in given):
        needed, there = NEEDS[name]
        default = TrainingArguments.__dataclass_fields__[name].default
        off = given[name] in (None, False) and given[name] == default
        if not off and not there(arguments):
            raise InputError(f"--trainer-option {name}: has no effect without {needed}; leave it out.")
    for option in augmenter.excludes if augmenter else ():
        if getattr(arguments, option, False):
            method = getattr(config, "augment", "")
            raise InputError(f"--augment {method}: cannot be combined with {option}; leave out {option}.")
    return given


def _typed(name: str, value: Any) -> Any:
    """The value converted to the type of its field."""
    if name not in TrainingArguments.__dataclass_fields__:
        raise InputError(
            f"--trainer-option {name}: transformers.TrainingArguments has no such field; see its documentation."
        )
    kind = get_type_hints(TrainingArguments)[name]
    adapter = TypeAdapter(kind, config=ConfigDict(arbitrary_types_allowed=True, coerce_numbers_to_str=True))
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise InputError(f"--trainer-option {name}={value}: {message[0].lower()}{message[1:]}.") from error


def _check_names(given: Mapping[str, Any]) -> None:
    """Raise ``InputError`` for wrong names that libraries check too late or not at all."""
    sampling = given.get("train_sampling_strategy", "random")
    if sampling not in _SAMPLING:
        raise InputError(
            f"--trainer-option train_sampling_strategy={sampling}: use one of {', '.join(_SAMPLING)}."
        )
    wanted = given.get("report_to", "none")
    for name in wanted if isinstance(wanted, list) else [wanted]:
        if name in ("none", "all"):
            continue
        there = getattr(integration_utils, f"is_{_MODULES.get(name, name)}_available", None)
        if there is None or name not in integration_utils.INTEGRATION_TO_CALLBACK:
            known = ", ".join(sorted(integration_utils.INTEGRATION_TO_CALLBACK))
            raise InputError(f"--trainer-option report_to={name}: is not one of {known}, all or none.")
        if not there():
            raise InputError(
                f"--trainer-option report_to={name}: that library is not installed; install it or leave this out."
            )


def _tried(config: TrainOptions, given: dict[str, Any]) -> TrainingArguments:
    """The arguments, after a trial; an error names the options that caused it.

    Raises:
        InputError: if a Trainer cannot be made with them.
    """

    def failure(options: Mapping[str, Any]) -> Exception | None:
        try:
            _try(_all_options(config, options))
        except _FAILURES as error:
            return error
        return None

    error = failure(given)
    if error is None:
        return TrainingArguments(**_all_options(config, given))
    if failure({}) is not None:  # not caused by the user's options
        raise error
    blamed = [name for name in given if not failure({key: given[key] for key in given if key != name})] or [
        name for name in given if failure({name: given[name]})
    ]
    named = ", ".join(f"{name}={given[name]}" for name in blamed or given)
    message = " ".join(str(error).split()).rstrip(".")
    raise InputError(f"--trainer-option {named}: {message}; change or leave that out.") from error


class _TinyModel(nn.Module):
    """A model with one small layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, labels: torch.Tensor) -> torch.Tensor:
        """The layer's output."""
        output: torch.Tensor = self.layer(labels)
        return output


def _try(options: Mapping[str, Any]) -> None:
    """Create everything that a Trainer creates before its first step, in a temporary folder."""
    if options.get("optim_target_modules"):
        options = {**options, "optim_target_modules": "all-linear"}  # the given names are of the real model
    rows: Any = [{"input_ids": [0]}] * (2 * int(options["per_device_train_batch_size"]))
    with tempfile.TemporaryDirectory() as folder, _global_state_kept():
        # Integrations would start to report, and full determinism would hold for the whole process.
        changes = {"output_dir": folder, "report_to": "none", "full_determinism": False}
        arguments = TrainingArguments(**{**options, **changes})
        trainer = Trainer(
            _TinyModel(), arguments, train_dataset=rows, eval_dataset=rows, compute_metrics=lambda _: {}
        )
        loader = trainer.get_train_dataloader()
        trainer.get_eval_dataloader()
        trainer.set_initial_training_values(arguments, loader)
        trainer.create_optimizer()
        trainer.create_scheduler(num_training_steps=10)
        trainer.accelerator.prepare_model(trainer.model)


@contextmanager
def _global_state_kept() -> Iterator[None]:
    """Restore random states and the libraries' verbosity afterwards, and suppress warnings; the run repeats them."""
    level = logging.get_verbosity()
    with global_random_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.set_verbosity_error()
        try:
            yield
        finally:
            logging.set_verbosity(level)
