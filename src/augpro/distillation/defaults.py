"""Default values that depend on the data and the models; docs/recipes.md has the measurements behind them."""

import math
from typing import Any

import torch

from augpro.augment import Augmenter
from augpro.config import DistillConfig
from augpro.errors import InputError
from augpro.training.similarity import left_out


def resolve_defaults(
    config: DistillConfig, augmenter: Augmenter | None, layers: int, rows: int, from_teacher: bool
) -> DistillConfig:
    """The options, with a value for each that is None.

    Args:
        config: options of the run.
        augmenter: the method, or None.
        layers: number of layers of the student.
        rows: number of training rows.
        from_teacher: whether the student is cut from the teacher.

    Raises:
        InputError: if the method cannot make that many candidates, if more new ones are made than are kept, or if a
            bound on their similarity would leave none out.
    """
    defaults: dict[str, Any] = {}
    if config.epochs is None:
        defaults["epochs"] = float(min(25, max(3, round(25_000 / rows))))
    if config.learning_rate is None:
        shallow = 2e-4 if from_teacher else 5e-4  # a student cut from the teacher has less to learn
        defaults["learning_rate"] = shallow if layers <= 3 else 1e-4
    if config.candidates is None:
        defaults["candidates"] = 3 if augmenter and augmenter.makes_text else 1
    if config.new_candidates is None:
        defaults["new_candidates"] = 1.0
    config = config.model_copy(update=defaults)
    _check_candidates(config, augmenter)
    if augmenter or config.augmented:
        _check_quantile(config)
    return config


def resolve_dropout(config: DistillConfig, augmenter: Augmenter | None, layers: int) -> DistillConfig:
    """The options with the student's dropout; None is that of the model that it starts from.

    Augmented rows do what dropout is there for, and a small student has little to overfit with.
    """
    if config.dropout is not None or (augmenter and augmenter.needs_dropout):
        return config
    return config.model_copy(
        update={"dropout": 0.0 if augmenter or config.augmented or layers <= 3 else None}
    )


def _check_candidates(config: DistillConfig, augmenter: Augmenter | None) -> None:
    """Raise ``InputError`` for several candidates of a method without text, and for more new ones than are kept."""
    if augmenter is None:
        return
    for option, given in {"candidates": config.candidates, "new-candidates": config.new_candidates}.items():
        if given != 1 and not augmenter.makes_text:
            raise InputError(
                f"--{option} {given:g}: {config.augment} makes no text, so it has one augmented version of each row; "
                f"use a method that makes text, or leave out --{option}."
            )
    kept, made = config.candidates or 1, config.new_candidates or 1.0
    if augmenter.takes_turns and made != int(made):
        raise InputError(
            f"--new-candidates {made:g}: the methods of {config.augment} take turns, which needs a whole number; "
            "give 1."
        )
    if made > kept:
        raise InputError(
            f"--new-candidates {made:g}: only {kept} augmented versions of each row are kept; give at most {kept}, "
            "or raise --candidates."
        )


def _check_quantile(config: DistillConfig) -> None:
    """Raise ``InputError`` for a quantile that leaves out no candidate."""
    quantile, candidates = config.similarity_quantile, config.candidates or 1
    if not quantile or int(left_out(torch.tensor(candidates), quantile)):
        return
    option = f"--similarity-quantile {quantile:g}"
    if candidates == 1:
        raise InputError(
            f"{option}: has no effect, because each row has only one augmented version to choose from; leave it out, "
            "or raise --candidates (of a method that makes text)."
        )
    least = math.ceil(100 / candidates) / 100
    raise InputError(
        f"{option}: has no effect, because this share of {candidates} versions of a row is less than one; give at "
        f"least {least:g}, or raise --candidates."
    )


def default_layers(depth: int) -> tuple[int, ...]:
    """Of up to six layers the first, the one at 40 % of the depth and the last; of more the first half.

    docs/recipes.md has the measurements, with teachers of 6 and 12 layers.

    >>> default_layers(6), default_layers(12)
    ((0, 2, 5), (0, 1, 2, 3, 4, 5))
    """
    return (0, round(0.4 * (depth - 1)), depth - 1) if depth <= 6 else tuple(range(depth // 2))
