"""What a run does where nothing is asked for, by what was measured (docs/recipes.md)."""

from typing import Any

from augpro.augment import Augmenter
from augpro.config import DistillConfig
from augpro.errors import InputError


def resolve_defaults(
    config: DistillConfig, changer: Augmenter | None, layers: int, rows: int, from_teacher: bool
) -> DistillConfig:
    """The options with a value for each that was left open.

    Args:
        config: what was asked for.
        changer: the method, or None.
        layers: of the student.
        rows: to train on.
        from_teacher: whether the student is cut from the teacher.

    Raises:
        InputError: if candidates are asked for that the method does not make, or more new ones than are kept.
    """
    found: dict[str, Any] = {}
    if config.epochs is None:
        found["epochs"] = float(min(25, max(3, round(25_000 / rows))))
    if config.learning_rate is None:
        short = 2e-4 if from_teacher else 5e-4  # it has less to learn
        found["learning_rate"] = short if layers <= 3 else 1e-4
    if config.candidates is None:
        found["candidates"] = 3 if changer and changer.makes_text else 1
    if config.new_candidates is None:
        found["new_candidates"] = 1.0
    config = config.model_copy(update=found)
    _check_candidates(config, changer)
    return config


def _check_candidates(config: DistillConfig, changer: Augmenter | None) -> None:
    """Refuse candidates where there is no text, and more new ones than are kept."""
    if changer is None:
        return
    for option, given in {"candidates": config.candidates, "new-candidates": config.new_candidates}.items():
        if given != 1 and not changer.makes_text:
            raise InputError(
                f"--{option} {given:g}: {config.augment} makes points between texts, one a row; "
                f"use a method that makes text, or leave --{option} out."
            )
    kept, made = config.candidates or 1, config.new_candidates or 1.0
    if changer.takes_turns and made != int(made):
        raise InputError(
            f"--new-candidates {made:g}: the methods of {config.augment} take turns from text to text, "
            "which needs a whole number; give 1."
        )
    if made > kept:
        raise InputError(
            f"--new-candidates {made:g}: one is chosen from {kept} texts of a row; give at most {kept}, "
            "or raise --candidates."
        )


def default_layers(depth: int) -> tuple[int, int, int]:
    """The first layer, one two fifths up, and the last one (docs/recipes.md).

    >>> default_layers(6), default_layers(12)
    ((0, 2, 5), (0, 4, 11))
    """
    return 0, round(0.4 * (depth - 1)), depth - 1
