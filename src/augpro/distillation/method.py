"""The augmentation method and the loss of a run, checked against the data and the two models."""

import json

import torch

from augpro.augment import Augmenter, augmenter
from augpro.augment.partners import check_partner
from augpro.config import DistillConfig
from augpro.data.loading import TaskData
from augpro.distillation.matching import TEACHER_STATES
from augpro.errors import InputError
from augpro.losses import LOSSES, KDForm, Objective, kd_loss, loss_name
from augpro.models.source import ModelSource, same_tokenizer
from augpro.tasks import ProblemType, Task


def chosen_method(config: DistillConfig, data: TaskData, given: Augmenter | None = None) -> Augmenter | None:
    """The augmenter of a configuration, or None; checked against the data.

    Args:
        config: of the run.
        data: its rows.
        given: the method as an object; the configuration then only names it.

    Raises:
        InputError: if there is no such method, or an option does not fit.
    """
    if given is None and config.augment == "none":
        if config.augment_options:
            raise InputError(
                "--augment-option has no effect with --augment none; leave it out or name a method."
            )
        return None
    try:
        method = given or augmenter(config.augment, **config.augment_options)
        _check_parameters(method)
        for rule in sorted(method.partner_rules):
            check_partner(rule, len(data.splits["train"]), data.task.problem_type == "single_label")
        method.check()
    except InputError:
        raise
    except (ValueError, TypeError) as error:
        raise InputError(f"--augment {config.augment}: {error}; see docs/methods.") from error
    return method


def _check_parameters(method: Augmenter) -> None:
    """Refuse parameters that the result of a run could not hold.

    Raises:
        TypeError: naming the first.
    """
    kind = type(method).__name__
    try:
        parameters = method.parameters
    except TypeError as error:  # of dataclasses.asdict
        raise TypeError(f"{kind} is no dataclass; write @dataclass(frozen=True) above it") from error
    for name, value in parameters.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"{name} of {kind} is a {type(value).__name__}, and parameters are numbers, texts, and lists or "
                "dictionaries of them"
            ) from error


def check_shared(method: Augmenter, name: str, student: ModelSource, teacher: ModelSource) -> None:
    """Raise ``InputError`` if the method makes no text and the teacher cannot read its rows either.

    Args:
        method: the method.
        name: its name.
        student: the model that is trained.
        teacher: the model that labels.

    Raises:
        InputError: names what the two models do not share.
    """
    fix = "use a method that makes text (such as augpro-mix), or a student of the teacher's own family."
    if method.teacher_shares == "text":
        return
    if not same_tokenizer(student.load_tokenizer(), teacher.load_tokenizer()):
        raise InputError(
            f"--augment {name}: needs the same tokenizer in teacher and student, and those of "
            f"{teacher.name} and {student.name} differ; {fix}"
        )
    widths = [getattr(source.load_config(), "embedding_size", None) or source.load_config().hidden_size
              for source in (student, teacher)]  # fmt: skip
    if method.teacher_shares == "width" and len(set(widths)) > 1:
        raise InputError(
            f"--augment {name}: needs equal embedding sizes, and the student has {widths[0]}, "
            f"the teacher {teacher.name} {widths[1]}; {fix}"
        )


def check_loss(form: str | KDForm, outputs: int, problem_type: ProblemType, temperature: float) -> None:
    """Try a loss on made-up logits of two rows.

    Args:
        form: its name, or a function.
        outputs: classes, or 1 for a score.
        problem_type: of the task.
        temperature: of the run.

    Raises:
        InputError: if it fails, does not give one value a row, or gives some that cannot be trained with.
    """
    teacher = torch.linspace(-1.0, 2.0, 2 * outputs).reshape(2, outputs)
    with torch.inference_mode(False), torch.enable_grad():
        student = teacher.flip(0).mul(0.5).requires_grad_()
        before, problem = teacher.clone(), ""
        try:
            loss = kd_loss(student, teacher, problem_type, temperature, form)
        except InputError:
            raise
        except Exception as error:  # of code that is not ours
            raise InputError(
                f"--kd-loss {loss_name(form)}: it fails on logits of shape (2, {outputs}) "
                f"({type(error).__name__}: {error}); a loss is called as loss(student, teacher, problem_type, "
                "temperature) and gives one value a row."
            ) from error
    if not loss.requires_grad:
        problem = "no gradient can be taken of it"
    elif not loss.isfinite().all():
        problem = "it gives nan or infinite values"
    elif not torch.equal(teacher, before):
        problem = "it changes the teacher's logits"
    if problem:
        raise InputError(
            f"--kd-loss {loss_name(form)}: {problem} (tried on logits of shape (2, {outputs})); correct the loss."
        )


def chosen_objective(config: DistillConfig, task: Task, loss: KDForm | None) -> Objective:
    """The loss of a run, tried on made-up logits.

    Raises:
        InputError: if there is no such loss, or all its weights are 0.
    """
    if loss is None and config.kd_loss not in LOSSES:
        raise InputError(
            f"--kd-loss {config.kd_loss}: there is no such loss; use one of {', '.join(LOSSES)}."
        )
    weights = (config.label_weight, config.teacher_weight, config.augmented_weight)
    used = weights if config.augment != "none" or config.augmented else weights[:2]
    if not any((*used, *(getattr(config, name) for name in TEACHER_STATES))):
        raise InputError(
            "all weights of the loss are 0; set --label-weight, --teacher-weight or --augmented-weight."
        )
    check_loss(loss or config.kd_loss, max(1, task.outputs), task.problem_type, config.temperature)
    return Objective(
        task.problem_type, *weights, temperature=config.temperature, kd_loss=loss or config.kd_loss
    )
