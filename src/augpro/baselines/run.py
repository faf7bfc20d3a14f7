"""A baseline's run on one page: data -> teacher labels -> features -> linear classifier -> scores -> folder."""

from dataclasses import dataclass, replace

from augpro.baselines import Baseline, Setting, baseline
from augpro.baselines.base import STUDENT
from augpro.baselines.head import fit_head
from augpro.config import BaselineConfig
from augpro.distillation.plan import Plan, make_plan
from augpro.distillation.scoring import label_scored, score_splits
from augpro.distillation.summary import describe_run, notes_of
from augpro.distillation.train import load_teacher
from augpro.errors import InputError
from augpro.files.checksums import write_tensors
from augpro.results.output import PREDICTIONS, OutputFolder
from augpro.results.result import RunResult
from augpro.teachers.label_check import match_by_rows
from augpro.training.meter import Meter
from augpro.training.options import training_arguments


@dataclass(frozen=True)
class BaselinePlan:
    """A plan of plain distillation, with the baseline in place of the student."""

    plan: Plan
    baseline: Baseline
    setting: Setting


def plan_baseline(config: BaselineConfig) -> BaselinePlan:
    """Check the configuration against data and models; loads no weights.

    Raises:
        InputError: with one sentence that names the fix.
    """
    if config.unlabelled is not None:
        raise InputError(
            f"--methods {config.baseline}: baselines use only the training rows; give --unlabelled to the other "
            "methods, as in none:unlabelled=FILE."
        )
    plan = replace(make_plan(config), method=config.baseline)
    try:
        built = baseline(config.baseline, **config.baseline_options)
    except ValueError as error:
        raise InputError(f"--methods {config.baseline}: {error}; see docs/compare.md.") from error
    if plan.searched_layers and STUDENT in config.baseline_options.values():
        raise InputError(
            f"--methods {config.baseline}: a baseline cannot use the layers of a search; "
            "name them by --student-layers."
        )
    assert plan.teacher is not None
    setting = Setting(
        plan.task, plan.teacher, plan.student, plan.student_layers, config.max_tokens, config.seed
    )
    built.check(plan.data.splits["train"], setting)
    return BaselinePlan(plan, built, setting)


def run_baseline(config: BaselineConfig) -> RunResult:
    """Fit a baseline as the configuration says; ``result.json`` and predictions are written to ``config.out``.

    Raises:
        InputError: if an input or option is wrong; nothing is written then.
    """
    planned = plan_baseline(config)
    plan, meter = planned.plan, Meter()
    device = training_arguments(plan.config).device
    with meter.phase("load"):
        teacher = load_teacher(plan, plan.config, device)
        plan = replace(plan, data=match_by_rows(plan.data, teacher))
    assert teacher is not None
    train, scored = plan.data.splits["train"], plan.scored_splits()
    with OutputFolder(config) as folder:
        with meter.phase("teacher_originals"):
            teacher_logits = teacher.label(train.texts, train.pairs)
        label_seconds = meter.seconds["teacher_originals"] + teacher.saved_seconds
        scored_teacher_logits = label_scored(plan, teacher, meter)
        with meter.phase("student"):
            setting = replace(planned.setting, task=plan.task, device=device)
            features = planned.baseline.features(train, teacher_logits, setting)
            head = fit_head(
                features.of(train), teacher_logits, plan.task.problem_type, train.keys, config.seed
            )
        with meter.phase("evaluate"):
            logits = {name: head.logits(features.of(split)) for name, split in scored.items()}
            scores = score_splits(plan.task, scored, logits, scored_teacher_logits)
            write_tensors(folder.path / PREDICTIONS, scores.predictions)
        result = describe_run(plan, scores.scores, scores.teacher, meter, teacher)
        result.label_seconds, result.notes = label_seconds, notes_of(plan, result) + scores.notes
        result.parameters = {"baseline": features.parameters + head.weights.size}
        result.save(folder.path)
        folder.finish()
        return result
