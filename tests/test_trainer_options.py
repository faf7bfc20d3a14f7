"""Every field of TrainingArguments works, is an option of augpro, or is refused by name before anything runs."""

from dataclasses import fields

import pytest
import torch
from transformers import TrainingArguments

from augpro.config import DistillConfig, FinetuneConfig
from augpro.distillation.plan import make_plan
from augpro.errors import InputError
from augpro.training.fields import NEEDS, OWN, REFUSED
from augpro.training.options import check_trainer_options, training_arguments, without_evaluation

EVALUATED = {"eval_strategy": "epoch"}
STEPS = {"eval_strategy": "steps"}
WORKERS = {"dataloader_num_workers": 1}
BEST = {**EVALUATED, "load_best_model_at_end": True}
# A value of every field that is passed on, other than the one it has, and what else it needs.
WORKS = {
    "max_steps": (3, {}), "lr_scheduler_type": ("cosine", {}), "warmup_steps": (2, {}), "optim": ("sgd", {}),
    "lr_scheduler_kwargs": ({"num_cycles": 2}, {"lr_scheduler_type": "cosine"}),
    "optim_args": ("momentum=0.9", {"optim": "sgd"}), "weight_decay": (0.01, {}), "adam_beta1": (0.8, {}),
    "adam_beta2": (0.9, {}), "adam_epsilon": (1e-6, {}), "gradient_accumulation_steps": (2, {}),
    "max_grad_norm": (0.5, {}), "bf16": (True, {}), "tf32": (False, {}), "activation_checkpointing": (True, {}),
    "activation_checkpointing_kwargs": ({"use_reentrant": False}, {"activation_checkpointing": True}),
    "gradient_checkpointing": (True, {}),
    "gradient_checkpointing_kwargs": ({"use_reentrant": False}, {"gradient_checkpointing": True}),
    "neftune_noise_alpha": (5.0, {}), "torch_empty_cache_steps": (2, {}), "auto_find_batch_size": (True, {}),
    "logging_strategy": ("steps", {}), "logging_steps": (3, {"logging_strategy": "steps"}),
    "logging_first_step": (True, {}), "logging_nan_inf_filter": (False, {}),
    "include_num_input_tokens_seen": ("non_padding", {}), "log_level": ("error", {}), "disable_tqdm": (True, {}),
    "report_to": ("all", {}), "eval_strategy": ("epoch", {}), "eval_steps": (2, STEPS), "eval_delay": (1, EVALUATED),
    "per_device_eval_batch_size": (4, EVALUATED), "eval_on_start": (True, {}),
    "eval_accumulation_steps": (1, EVALUATED), "save_strategy": ("no", {}),
    "save_steps": (2, {"save_strategy": "steps"}), "save_total_limit": (2, {}),
    "load_best_model_at_end": (True, BEST),
    "metric_for_best_model": ("macro_f1", BEST), "full_determinism": (True, {}), "data_seed": (3, {}),
    "use_cpu": (True, {}), "accelerator_config": ({"even_batches": False}, {}), "dataloader_drop_last": (True, {}),
    "dataloader_num_workers": (1, {}), "dataloader_pin_memory": (False, {}),
    "dataloader_persistent_workers": (True, WORKERS), "dataloader_prefetch_factor": (2, WORKERS),
    "dataloader_multiprocessing_context": ("spawn", WORKERS), "dataloader_in_order": (False, WORKERS),
    "train_sampling_strategy": ("batch_rebalance", {}), "skip_memory_metrics": (False, {}),
}  # fmt: skip
# These need a compiler, a GPU or a library that a test does not have, or report to one.
ELSEWHERE = {
    "torch_compile", "torch_compile_backend", "torch_compile_mode", "fp16", "optim_target_modules", "run_name",
    "project", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id", "hub_private_repo",
}  # fmt: skip


@pytest.fixture
def plan(table_file, teacher_folder, save_model, tokenizer, tmp_path):
    student = str(save_model(tokenizer, layers=2, seed=2))

    def make(trainer, kind=DistillConfig, **options):
        models = (
            {"teacher": str(teacher_folder), "student": student}
            if kind is DistillConfig
            else {"model": student}
        )
        given = {
            "data": str(table_file),
            "epochs": 2,
            "batch_size": 4,
            "out": tmp_path / "out",
            **models,
            **options,
        }
        return make_plan(kind(**given, trainer_options=trainer))

    return make


@pytest.fixture
def config(tmp_path):
    return lambda **trainer: FinetuneConfig(data="x", out=tmp_path / "out", trainer_options=trainer)


def test_every_field_is_one_of_three():
    names = {field.name for field in fields(TrainingArguments) if field.init}
    groups = [set(WORKS) | ELSEWHERE, set(OWN), set(REFUSED)]
    assert names == set.union(*groups)
    assert sum(map(len, groups)) == len(names)
    assert set(NEEDS) <= groups[0]


@pytest.mark.parametrize("name", sorted(WORKS))
def test_what_is_passed_on_reaches_the_trainer(config, name):
    value, more = WORKS[name]
    wanted = config(**{**more, name: value})
    options = check_trainer_options(wanted)
    made = getattr(training_arguments(wanted.model_copy(update={"trainer_options": options})), name)
    if name == "accelerator_config":
        made = {"even_batches": made.even_batches}
    assert made == ([] if name == "report_to" else value)


@pytest.mark.parametrize("name", sorted({*OWN, *REFUSED}))
def test_what_is_not_passed_on_is_refused_by_name(config, name):
    said = f"use {OWN[name]}" if name in OWN else REFUSED[name]
    with pytest.raises(InputError, match=f"--trainer-option {name}: .*") as error:
        check_trainer_options(config(**{name: True}))
    assert said in str(error.value)


@pytest.mark.parametrize("name", sorted(NEEDS))
def test_what_has_no_effect_by_itself_is_refused(config, name):
    value = WORKS[name][0] if name in WORKS else True if name in ("fp16", "hub_private_repo") else "some"
    given = {"use_cpu": True, "save_strategy": "no" if name == "save_total_limit" else "epoch", name: value}
    needed = NEEDS[name][0].split()[0]
    with pytest.raises(InputError, match=f"--trainer-option {name}: has no effect without {needed}"):
        check_trainer_options(config(**given))


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        ({"no_such": 1}, r"no_such: transformers.TrainingArguments has no such field"),
        ({"weight_decay": "much"}, r"weight_decay=much: .*valid number"),
        ({"gradient_accumulation_steps": 2.5}, r"gradient_accumulation_steps=2.5: .*integer"),
        ({"gradient_accumulation_steps": 0}, r"gradient_accumulation_steps=0: .*zero"),
        ({"report_to": "wandb"}, r"report_to=wandb: that library is not installed"),
        ({"report_to": "paper"}, r"report_to=paper: is not one of .*tensorboard"),
        ({"report_to": None}, r"report_to=None: is not one of .*none"),
        ({"optim": "adamw_bnb_8bit"}, r"optim=adamw_bnb_8bit: .*install `bitsandbytes`"),
        ({"optim": "magic"}, r"optim=magic: .*adamw_torch"),
        ({"optim": "sgd", "optim_args": "oops"}, r"--trainer-option optim_args=oops: "),
        ({"adam_beta1": 3}, r"adam_beta1=3.0: Invalid beta"),
        ({"lr_scheduler_type": "cosine_with_min_lr"}, r"lr_scheduler_type=cosine_with_min_lr: .*min_lr"),
        ({"lr_scheduler_kwargs": {"oops": 1}}, r"lr_scheduler_kwargs={'oops': 1}: "),
        ({"train_sampling_strategy": "magic"}, r"train_sampling_strategy=magic: use one of random, sequential"),
        ({"dataloader_num_workers": -1}, r"dataloader_num_workers=-1: "),
        ({"accelerator_config": {"oops": 1}}, r"accelerator_config={'oops': 1}: "),
        ({"log_level": "loud"}, r"log_level=loud: "),
        ({"torch_compile_backend": "magic"}, r"torch_compile_backend=magic: "),
        ({"bf16": True, "fp16": True}, r"--trainer-option bf16=True, fp16=True: At most one"),
        ({"max_steps": 3, "optim": "lomo", "weight_decay": 0.1}, r"--trainer-option optim=lomo: "),
        ({"load_best_model_at_end": True}, r"load_best_model_at_end=True: .*save and eval strategy to match"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, r"requires an eval strategy"),
        ({"save_strategy": "best"}, r"save_strategy=best: "),
        ({**EVALUATED, "metric_for_best_model": "magic"}, r"validation.csv can be scored by accuracy.*kl_to_teacher"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_told_by_the_plan_in_one_sentence(plan, trainer, said, tmp_path):
    with pytest.raises(InputError, match=said) as error:
        plan(trainer)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_finetuning_has_no_distance_to_a_teacher(plan):
    trainer = {**EVALUATED, "metric_for_best_model": "kl_to_teacher"}
    assert plan(trainer).config.trainer_options == trainer
    with pytest.raises(InputError, match="accuracy, macro_f1, f1, matthews or loss"):
        plan(trainer, FinetuneConfig)


def test_rows_without_labels_can_only_be_compared_with_a_teacher(plan, table_file):
    (table_file / "validation.csv").write_text("text,label\nmy app works,\na slow page,\n")
    assert plan(EVALUATED).config.trainer_options["metric_for_best_model"] == "kl_to_teacher"
    with pytest.raises(InputError, match=r"validation.csv: no row has a label, .* --label-column"):
        plan(EVALUATED, FinetuneConfig)


@pytest.mark.parametrize(
    ("metric", "greater"),
    [
        ("accuracy", True),
        ("agreement", True),
        ("kl_to_teacher", False),
        ("loss", False),
        ("eval_loss", False),
    ],
)
def test_the_direction_of_a_metric_is_its_own(plan, metric, greater):
    made = plan({**BEST, "metric_for_best_model": metric, "lr_scheduler_type": "reduce_lr_on_plateau"})
    arguments = training_arguments(made.config)
    assert arguments.greater_is_better == greater
    assert arguments.lr_scheduler_kwargs == {"mode": "max" if greater else "min"}


@pytest.mark.e2e
def test_checkpoints_are_chosen_on_the_validation_split_where_the_test_split_is_scored(plan, table_file):
    (table_file / "validation.csv").rename(table_file / "test.csv")
    assert plan(BEST).validation_split == plan(BEST).eval_split == "test"
    (table_file / "validation.csv").write_text((table_file / "test.csv").read_text())
    made = plan(BEST, eval_split="test")
    assert (made.validation_split, made.eval_split) == ("validation", "test")
    assert made.describe()["evaluated during training on"] == "validation split, checkpoints by accuracy"
    assert plan({}).validation_split is None


@pytest.mark.parametrize("name", ["gradient_checkpointing", "activation_checkpointing"])
def test_what_a_method_excludes_goes_by_all_its_names(plan, name):
    with pytest.raises(InputError, match="--augment tmix: cannot be combined with gradient_checkpointing"):
        plan({name: True}, augment="tmix")


def test_a_plan_leaves_random_states_alone(plan):
    torch.manual_seed(7)
    state = torch.get_rng_state()
    plan({"weight_decay": 0.1})
    assert torch.equal(torch.get_rng_state(), state)


def test_the_training_before_a_choice_of_texts_is_not_evaluated():
    options = {**BEST, "lr_scheduler_type": "reduce_lr_on_plateau", "weight_decay": 0.1, "eval_steps": 2}
    assert without_evaluation(options) == {"weight_decay": 0.1}
