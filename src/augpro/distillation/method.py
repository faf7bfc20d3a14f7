"""The method of augmentation that a run asks for, and whether its two models can use it."""

from augpro.augment import Augmenter, augmenter
from augpro.augment.partners import check_partner
from augpro.config import DistillConfig
from augpro.data.loading import TaskData
from augpro.errors import InputError
from augpro.models.source import ModelSource, same_tokenizer


def chosen_method(config: DistillConfig, data: TaskData, given: Augmenter | None = None) -> Augmenter | None:
    """The augmenter that a configuration asks for, or None; checked against the data.

    Args:
        config: of the run.
        data: its rows.
        given: the method itself, which the configuration then only names.

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
        changer = given or augmenter(config.augment, **config.augment_options)
        for rule in sorted(changer.partner_rules):
            check_partner(rule, len(data.splits["train"]), data.task.problem_type == "single_label")
        changer.check()
    except InputError:
        raise
    except (ValueError, TypeError) as error:
        raise InputError(f"--augment {config.augment}: {error}; see docs/methods.") from error
    return changer


def check_shared(changer: Augmenter, name: str, student: ModelSource, teacher: ModelSource) -> None:
    """Refuse a method whose rows the teacher cannot read: there is no text that it could be given.

    Args:
        changer: the method.
        name: of it.
        student: the model that is trained.
        teacher: the model that labels.

    Raises:
        InputError: naming what the two models do not share.
    """
    fix = "use a method that makes text (such as augpro-mix), or a student of the teacher's own family."
    if changer.teacher_shares == "text":
        return
    if not same_tokenizer(student.load_tokenizer(), teacher.load_tokenizer()):
        raise InputError(
            f"--augment {name}: it needs teacher and student to have one tokenizer, and those of "
            f"{teacher.name} and {student.name} differ; {fix}"
        )
    widths = [getattr(source.load_config(), "embedding_size", None) or source.load_config().hidden_size
              for source in (student, teacher)]  # fmt: skip
    if changer.teacher_shares == "width" and len(set(widths)) > 1:
        raise InputError(
            f"--augment {name}: it moves the teacher's embeddings as the student's, and these are {widths[0]} "
            f"wide, those of {teacher.name} {widths[1]}; {fix}"
        )
