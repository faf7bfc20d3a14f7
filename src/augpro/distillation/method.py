"""The augmentation method of a run, checked against the data and the two models."""

from augpro.augment import Augmenter, augmenter
from augpro.augment.partners import check_partner
from augpro.config import DistillConfig
from augpro.data.loading import TaskData
from augpro.errors import InputError
from augpro.models.source import ModelSource, same_tokenizer


def chosen_method(config: DistillConfig, data: TaskData, given: Augmenter | None = None) -> Augmenter | None:
    """The augmenter of a configuration, or None; checked against the data.

    Args:
        config: of the run.
        data: its rows.
        given: the method as an object; the configuration then only names it.

    Raises:
        InputError: if there is no such method, or an option does not fit.
    """
    if config.augment == "none":
        if config.augment_options:
            raise InputError(
                "--augment-option has no effect with --augment none; leave it out or name a method."
            )
        return None
    try:
        method = given or augmenter(config.augment, **config.augment_options)
        for rule in sorted(method.partner_rules):
            check_partner(rule, len(data.splits["train"]), data.task.problem_type == "single_label")
        method.check()
    except InputError:
        raise
    except (ValueError, TypeError) as error:
        raise InputError(f"--augment {config.augment}: {error}; see docs/methods.") from error
    return method


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
