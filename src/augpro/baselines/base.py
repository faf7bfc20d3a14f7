"""Baselines: text features with a linear classifier that is trained on the teacher's probabilities.

The classifier is the same for all of them (:mod:`augpro.baselines.head`); they differ only in their features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from augpro.data.loading import Split
from augpro.evaluation.resampling import Array
from augpro.models.reading import mean_states
from augpro.models.source import ModelSource, load_student
from augpro.tasks import Task
from augpro.tokens import tokenize

TEACHER, STUDENT = "teacher", "student"  # model names of a baseline, besides folders and hub names


@dataclass(frozen=True)
class Setting:
    """What a baseline may use besides the training rows.

    Attributes:
        task: problem type and classes.
        teacher: the fine-tuned teacher.
        student: the model that the students of the comparison start from.
        student_layers: the layers of it that they keep; all if empty.
        max_tokens: texts are truncated here; None for the limit of each model.
        seed: of the run.
        device: device of the models; None for the CPU.
    """

    task: Task
    teacher: ModelSource
    student: ModelSource
    student_layers: tuple[int, ...]
    max_tokens: int | None = None
    seed: int = 0
    device: torch.device | None = None

    def source(self, name: str) -> ModelSource:
        """The model with a name: "teacher", "student", or any other model."""
        known = {TEACHER: self.teacher, STUDENT: self.student}
        return known.get(name) or ModelSource(name, self.teacher.trust_remote_code)

    def load_body(self, name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """The model with a name, without its head, and its tokenizer; "student" is cut to the student's layers.

        Raises:
            InputError: if it cannot be loaded.
        """
        source, layers = self.source(name), self.student_layers if name == STUDENT else ()
        model = load_student(source, self.task, layers, seed=self.seed)
        if self.device is not None:
            torch.nn.Module.to(model, self.device)
        body: PreTrainedModel = getattr(model, model.base_model_prefix)
        return body, source.load_tokenizer()


@dataclass(frozen=True)
class Features:
    """Texts as numbers.

    Attributes:
        of: computes the features of some rows, [rows, D], dense or sparse.
        parameters: number of parameters, such as the weights of a model.
    """

    of: Callable[[Split], Any]
    parameters: int


class Baseline(Protocol):
    """One way to make features; its fields are the options of the method."""

    def check(self, train: Split, setting: Setting) -> None:
        """Raise ``InputError`` if it cannot work here; loads nothing heavy."""

    def features(self, train: Split, teacher_logits: Tensor, setting: Setting) -> Features:
        """Fit the features to the training rows, [N], and the teacher's logits for them, [N, C]."""


def check_model(model: str, setting: Setting) -> None:
    """Raise ``InputError`` unless a model and its tokenizer are available."""
    source = setting.source(model)
    source.load_config()
    source.load_tokenizer()


def check_name(name: str, value: object) -> None:
    """Raise ``ValueError`` naming the argument unless it is text."""
    if not isinstance(value, str) or not value:
        raise ValueError(
            f"{name} must be teacher, student, minilm, a model folder or a hub name, not {value!r}"
        )


def mean_pooled(
    body: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    limit: int | None,
    pairs: Sequence[str] | None = None,
) -> Array:
    """Mean of the last hidden states over the tokens of each text or pair, without padding, [N, D]."""
    body.eval()
    return mean_states(body, tokenize(tokenizer, texts, pairs, limit), "embeddings").numpy()


def combine(split: Split, encode: Callable[[Sequence[str]], Array]) -> Array:
    """Embeddings of unit length, [N, D]; for pairs u, v, |u - v| and u * v, [N, 4 D].

    As in InferSent (Conneau et al. 2017, arXiv 1705.02364). The products are multiplied by the square root of D to
    have unit length on average, because the penalty on the weights is the same for all four.
    """
    first = unit(encode(split.texts))
    if split.pairs is None:
        return first
    second = unit(encode(split.pairs))
    product = first * second * np.sqrt(first.shape[1])
    return np.hstack([first, second, np.abs(first - second), product])


def unit(vectors: Array) -> Array:
    """Vectors divided by their length, [N, D]."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12))
