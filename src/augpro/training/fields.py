"""Fields of ``transformers.TrainingArguments`` that augpro does not simply pass on, with the reasons."""

from collections.abc import Callable

from transformers import TrainingArguments

# Fields that augpro has its own options for.
OWN = {
    "output_dir": "--out", "num_train_epochs": "--epochs", "per_device_train_batch_size": "--batch-size",
    "learning_rate": "--learning-rate", "seed": "--seed", "resume_from_checkpoint": "--resume",
}  # fmt: skip
# Fields that would have no effect or break a run, by reason.
_REASONS = {
    "augpro's loss has no label smoothing": ("label_smoothing_factor",),
    "augpro passes row numbers to the Trainer, not columns of a table": (
        "remove_unused_columns", "label_names", "length_column_name",
    ),
    "only the example scripts of transformers use it": ("do_train", "do_eval", "do_predict"),
    "augpro computes the metrics itself, from the logits of all rows": (
        "prediction_loss_only", "include_for_metrics", "batch_eval_metrics", "eval_do_concat_batches",
    ),
    "augpro knows the direction of every metric": ("greater_is_better",),
    "it does not affect evaluation during training, and the final model is scored in float32": (
        "bf16_full_eval", "fp16_full_eval",
    ),
    "a classifier generates no text": ("use_cache", "use_liger_kernel", "liger_kernel_config"),
    "a run writes only to --out; upload that folder after the run": (
        "push_to_hub", "hub_token", "hub_model_id", "hub_strategy", "hub_always_push", "hub_revision",
    ),
    "a run could not be resumed from a checkpoint without the optimizer": ("save_only_model",),
    "--resume always continues exactly from the checkpoint": (
        "ignore_data_skip", "restore_callback_states_from_checkpoint",
    ),
    "it would end the training early, and the run would count as finished; use --resume for an interrupted run": (
        "enable_jit_checkpoint",
    ),
    "augpro divides the batches among processes itself, see torchrun in docs/recipes.md": (
        "local_rank", "ddp_find_unused_parameters", "ddp_bucket_cap_mb", "ddp_broadcast_buffers", "ddp_static_graph",
        "ddp_backend", "ddp_timeout", "fsdp", "fsdp_config", "deepspeed", "parallelism_config",
        "average_tokens_across_devices", "log_on_each_node", "save_on_each_node", "log_level_replica",
        "eval_use_gather_object",
    ),
    "it fails on the attention mask of a text, or needs a TPU": ("debug",),
}  # fmt: skip
REFUSED = {name: reason for reason, names in _REASONS.items() for name in names}

Needed = tuple[str, Callable[[TrainingArguments], bool]]
_evaluates: Needed = ("eval_strategy=epoch", lambda given: given.eval_strategy != "no" or given.eval_on_start)
_saves: Needed = ("save_strategy", lambda given: given.save_strategy != "no")
_reports: Needed = ("report_to", lambda given: bool(given.report_to))
_trackio: Needed = ("report_to=trackio", lambda given: "trackio" in (given.report_to or ()))
_checkpoints: Needed = (
    "activation_checkpointing=true",  # its name is gradient_checkpointing in older versions of transformers
    lambda given: any(getattr(given, f"{kind}_checkpointing", False) for kind in ("activation", "gradient")),
)
# What a field needs to have an effect.
NEEDS: dict[str, Needed] = {
    "save_steps": ("save_strategy=steps", lambda given: given.save_strategy == "steps"),
    "save_total_limit": _saves,
    "logging_steps": (
        "logging_strategy=steps",
        lambda given: "steps" in (given.logging_strategy, given.eval_strategy),
    ),
    "eval_steps": ("eval_strategy=steps", lambda given: given.eval_strategy == "steps"),
    "eval_delay": _evaluates,
    "eval_accumulation_steps": _evaluates,
    "per_device_eval_batch_size": _evaluates,
    "metric_for_best_model": _evaluates,
    "activation_checkpointing_kwargs": _checkpoints,
    "gradient_checkpointing_kwargs": _checkpoints,
    "dataloader_in_order": ("dataloader_num_workers", lambda given: given.dataloader_num_workers > 0),
    "optim_args": (
        "an optim that has such options",
        lambda given: given.optim not in ("adamw_torch", "adamw_torch_fused", "adafactor"),
    ),
    "optim_target_modules": (
        "a low-rank optim such as galore_adamw",
        lambda given: given.optim.startswith(("galore", "apollo")),
    ),
    "run_name": _reports,
    "project": _trackio,
    "trackio_space_id": _trackio,
    "trackio_bucket_id": _trackio,
    "trackio_static_space_id": _trackio,
    "hub_private_repo": _trackio,
    "fp16": ("a GPU (bf16 also works on a CPU)", lambda given: given.device.type != "cpu"),
}
