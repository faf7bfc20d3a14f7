"""Sentence embeddings of a frozen language model."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from augpro.baselines.base import (
    STUDENT,
    TEACHER,
    Features,
    Setting,
    check_model,
    check_name,
    combine,
    mean_pooled,
    unit,
)
from augpro.data.loading import Split


@dataclass(frozen=True)
class Embeddings:
    """Mean over tokens of a model's last hidden states.

    Attributes:
        model: "minilm", "teacher" (the fine-tuned teacher's whole body), "student" (the body and the layers that the
            students start from), a model folder or a hub name.

    Source: Reimers and Gurevych 2019, arXiv 1908.10084 (mean pooling).
    """

    model: str = "minilm"

    def __post_init__(self) -> None:
        check_name("model", self.model)

    def check(self, train: Split, setting: Setting) -> None:
        """Check that the model is available."""
        check_model(self.model, setting)

    def features(self, train: Split, teacher_logits: Tensor, setting: Setting) -> Features:
        """The embeddings; nothing is trained."""
        body, tokenizer = setting.load_body(self.model)
        limit = setting.max_tokens

        def of(split: Split) -> Any:
            if self.model in (TEACHER, STUDENT):  # has learned to read the texts of a pair together
                return unit(mean_pooled(body, tokenizer, split.texts, limit, split.pairs))
            return combine(split, lambda texts: mean_pooled(body, tokenizer, texts, limit))

        return Features(of, sum(part.numel() for part in body.parameters()))
