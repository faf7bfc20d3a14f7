"""A whole run on one page: data -> tokens -> teacher labels -> augmented training -> scores -> folder."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

from augpro.config import DistillConfig, FinetuneConfig
from augpro.distillation.identity import input_fingerprints
from augpro.distillation.labelling import add_pool
from augpro.distillation.layer_search import load_start, search_layers
from augpro.distillation.plan import Plan, make_plan
from augpro.distillation.samples import CheckedRows, check_rows, joined, samples_markdown
from augpro.distillation.scoring import label_scored, score_splits
from augpro.distillation.summary import notes_of, summarize
from augpro.distillation.train import (
    augmentation_of,
    check_processes,
    label_train,
    load_teacher,
    representation_loss,
    training_notes,
    validation,
)
from augpro.files.checksums import write_json_lines, write_sums, write_tensors
from augpro.files.durable import finalize_files, write_text, writing
from augpro.models import processes
from augpro.models.reading import predict_logits
from augpro.results.output import CONFIG, PREDICTIONS, SAMPLES, OutputFolder, check_output
from augpro.results.provenance import write_training_rows
from augpro.results.result import RunResult
from augpro.shards.stored import StoredAugmentation
from augpro.teachers.label_check import match_by_rows
from augpro.tokens import max_length, tokenize
from augpro.training.dataset import DistillationDataset, label_tensor
from augpro.training.meter import Meter
from augpro.training.online import OnlineAugmentation
from augpro.training.options import training_arguments
from augpro.training.trainer import DistillationTrainer

_SAMPLES_TEXT = "samples.md"


@dataclass(frozen=True)
class Trained:
    """The output of a run.

    Attributes:
        student: the trained model, on the device of its training.
        tokenizer: the student's.
        result: scores and costs.
    """

    student: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    result: RunResult


def run(config: FinetuneConfig | DistillConfig, callbacks: Sequence[TrainerCallback] = ()) -> RunResult:
    """Train a model as the configuration says and write it to ``config.out``.

    The folder is an ordinary ``save_pretrained`` folder. It also holds ``result.json``,
    ``predictions.safetensors`` (logits, labels and a hash of the text of every scored row),
    ``training-rows.safetensors`` (hashes of the training texts) and, if texts were augmented, ``samples.md`` for
    people and ``samples.jsonl`` with up to 500 rows for programs.

    Args:
        config: of the run.
        callbacks: of the Trainer, such as ``transformers.EarlyStoppingCallback(3)`` for a run with the options
            ``eval_strategy`` and ``load_best_model_at_end``; a resumed run needs the same ones.

    Raises:
        augpro.errors.InputError: if an input or option is wrong; nothing is written then.
    """
    if processes.leads():
        check_output(config)
    return run_plan(make_plan(config), callbacks).result


def run_plan(plan: Plan, callbacks: Sequence[TrainerCallback] = ()) -> Trained:
    """:func:`run` for a given plan; under ``torchrun`` in several processes, of which the first alone writes."""
    check_processes(plan)
    config, meter, arguments = plan.config, Meter(), training_arguments(plan.config, bool(callbacks))
    with meter.phase("load"):
        tokenizer = plan.student.load_tokenizer()
        teacher = load_teacher(plan, config, arguments.device)
        plan = replace(plan, data=match_by_rows(plan.data, teacher))
        student = torch.nn.Module.to(load_start(plan), arguments.device)
        train, scored = plan.data.splits["train"], plan.scored_splits()
        tables = {
            name: tokenize(tokenizer, split.texts, split.pairs, config.max_tokens)
            for name, split in {"train": train, **scored}.items()
        }
        inputs = input_fingerprints(plan)

    with processes.first_enters(OutputFolder(config, inputs, processes.leads())) as folder:
        with meter.phase("teacher_originals"):
            teacher_logits = label_train(plan, teacher)
        plan, student, search = search_layers(plan, student, tokenizer, teacher, teacher_logits, meter)
        dataset = DistillationDataset(tables["train"], label_tensor(train.labels, plan.task), teacher_logits)
        if plan.pool and teacher:
            plan, dataset = add_pool(plan, dataset, student, tokenizer, teacher, folder, meter)
            tables["train"] = dataset.table
        # Computed before the training, which adds the seconds of a checkpoint: those of stored labels are in both.
        label_seconds = meter.seconds["teacher_originals"] + (teacher.saved_seconds if teacher else 0.0)
        scored_teacher_logits = label_scored(plan, teacher, meter)
        augmentation = augmentation_of(plan, config, student, tokenizer, teacher, meter)
        matching = representation_loss(plan, config, tokenizer, teacher, augmentation, dataset.table, meter)
        evaluation = validation(plan, tokenizer, teacher, arguments, meter)
        parts = (student, plan.objective, dataset, augmentation, meter, matching)
        trainer = DistillationTrainer(*parts, args=arguments, callbacks=list(callbacks), **evaluation)
        with meter.phase("student"):
            trainer.train(resume_from_checkpoint=folder.checkpoint)
            student = trainer.finished_student()
            saved = _limited(tokenizer, config.max_tokens)
            if processes.leads():
                _save(plan, student, saved, folder.path)  # before anything else can fail

        with meter.phase("evaluate"):
            logits = {name: predict_logits(student, tables[name]) for name in scored}
            scores = score_splits(plan.task, scored, logits, scored_teacher_logits)
        # Before the check, which makes more texts.
        done = augmentation.counted().shares() if augmentation else {}
        checked = _check(plan, augmentation, dataset, student, meter)
        result = summarize(plan, scores.scores, scores.teacher, meter, trainer, teacher)
        result.label_seconds, result.layer_search = label_seconds, search
        result.replacement = done | (checked.shares if checked else {})
        if checked:
            result.samples = checked.samples
        result.notes = notes_of(plan, result) + scores.notes + training_notes(plan, trainer)
        if processes.leads():
            write_tensors(folder.path / PREDICTIONS, scores.predictions)
            _save_result(result, checked, folder.path)
            folder.finish()
        return Trained(student, saved, result)


def _check(
    plan: Plan,
    augmentation: OnlineAugmentation | StoredAugmentation | None,
    dataset: DistillationDataset,
    student: PreTrainedModel,
    meter: Meter,
) -> CheckedRows | None:
    """What the texts of some rows are like, for the process that writes it; None for methods that make none."""
    makes_text = plan.stored or (plan.augmenter and plan.augmenter.makes_text)
    if not augmentation or not makes_text or not processes.leads():
        return None
    with meter.phase("check"):
        scored = plan.scored_splits().values()
        eval_texts = [text for split in scored for text in joined(split.texts, split.pairs)]
        return check_rows(augmentation, dataset, student, plan.task, eval_texts)


def _save_result(result: RunResult, checked: CheckedRows | None, path: Path) -> None:
    if checked:
        write_text(path / _SAMPLES_TEXT, samples_markdown(result))
        write_json_lines(path / SAMPLES, (line.model_dump() for line in checked.lines))
    result.save(path)


def _limited(tokenizer: PreTrainedTokenizerBase, limit: int | None) -> PreTrainedTokenizerBase:
    """The tokenizer, or with ``--max-tokens`` a copy that has this limit, for whatever loads the model later."""
    if limit is None:
        return tokenizer
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.model_max_length = max_length(tokenizer, limit)
    return tokenizer


def _save(plan: Plan, student: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: Path) -> None:
    with writing(path):
        student.save_pretrained(path)
        tokenizer.save_pretrained(path)
        finalize_files(path)
    write_training_rows(path, plan.data.splits["train"], plan.student.name)
    write_sums(path, without=(CONFIG, PREDICTIONS, SAMPLES, _SAMPLES_TEXT))  # what is not the model's
