"""From options to a :class:`~augpro.training.representation.Matching`, checked against both models."""

from typing import Any

from augpro.config import DistillConfig
from augpro.errors import InputError
from augpro.models.source import ModelSource, same_tokenizer
from augpro.tasks import LayerMap
from augpro.tokens import max_length
from augpro.training.representation import Matching

TEACHER_STATES = ("hidden_weight", "relation_weight", "pooled_weight")
_OF_TOKENS = TEACHER_STATES[:2]  # one vector per token, so both models need the same tokens
_LEAVE_OUT = "leave out --hidden-weight and --relation-weight; --pooled-weight compares one vector per text"


def plan_matching(
    config: DistillConfig, student: ModelSource, kept: tuple[int, ...], teacher: ModelSource
) -> Matching | None:
    """The matching that the options ask for, or None; reads configurations and tokenizers, no weights.

    Args:
        config: weights and layer map.
        student: the model that the student starts from.
        kept: layers of it that are kept; all if empty.
        teacher: the teacher.

    Raises:
        InputError: if hidden states are to be matched and the models do not have one state for each of the same
            tokens.
    """
    weights = {name: getattr(config, name) for name in TEACHER_STATES}
    if not any(weights.values()):
        return None
    asked = [f"--{name.replace('_', '-')}" for name in _OF_TOKENS if weights[name]]
    if not asked:
        return Matching(**weights)
    _check_tokens(f"{' and '.join(asked)}:", config, student, teacher)
    if config.searched_layers and not kept:
        return Matching(**weights)  # the pairs are known after the layer search
    depths = [_depth(source) for source in (student, teacher)]
    cut = kept if student == teacher else ()
    pairs = layer_pairs(config.layer_map, len(kept) or depths[0], depths[1], cut)
    return Matching(**weights, layers=pairs)


def layer_pairs(
    layer_map: LayerMap, student: int, teacher: int, cut: tuple[int, ...] = ()
) -> tuple[tuple[int, int], ...]:
    """Pairs (student layer, teacher layer) whose hidden states are compared.

    Args:
        layer_map: "last": the last layers. "uniform": each student layer.
        student: number of student layers.
        teacher: number of teacher layers.
        cut: teacher layer that each student layer was cut from; if empty, teacher layers are evenly spaced and the
            last layers are paired (Jiao et al. 2020, arXiv 1909.10351).

    >>> layer_pairs("uniform", 3, 6), layer_pairs("uniform", 3, 6, (0, 2, 5)), layer_pairs("last", 3, 6)
    (((0, 1), (1, 3), (2, 5)), ((0, 0), (1, 2), (2, 5)), ((2, 5),))
    """
    if layer_map == "last":
        return ((student - 1, teacher - 1),)
    spread = [-(-number * teacher // student) - 1 for number in range(1, student + 1)]
    return tuple(enumerate(cut or spread))


def _check_tokens(asked: str, config: DistillConfig, student: ModelSource, teacher: ModelSource) -> None:
    """Raise ``InputError`` for models that do not give one hidden state for each of the same tokens."""
    for source in (student, teacher):
        if source.load_config().is_encoder_decoder:
            raise InputError(f"{asked} {source.name} is an encoder-decoder, not an encoder; {_LEAVE_OUT}.")
    tokenizers = student.load_tokenizer(), teacher.load_tokenizer()
    if not same_tokenizer(*tokenizers):
        raise InputError(
            f"{asked} teacher and student need the same tokenizer, and those of {teacher.name} and {student.name} "
            f"differ; {_LEAVE_OUT}."
        )
    limits = [max_length(tokenizer, config.max_tokens) for tokenizer in tokenizers]
    if limits[0] > limits[1]:
        raise InputError(
            f"{asked} {teacher.name} reads up to {limits[1]} tokens, {student.name} {limits[0]}; "
            f"give --max-tokens {limits[1]}."
        )


def _depth(source: ModelSource) -> int:
    config: Any = source.load_config().get_text_config()
    depth = getattr(config, "num_hidden_layers", None)
    if not depth:
        raise InputError(
            f"{source.name}: its configuration does not say how many layers it has; {_LEAVE_OUT}."
        )
    return int(depth)
