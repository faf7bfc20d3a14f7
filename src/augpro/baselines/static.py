"""Static embeddings: one vector per token, distilled from a model, so inference needs no layers."""

import os
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from augpro.augment.checks import check_whole
from augpro.baselines.base import TEACHER, Features, Setting, check_model, check_name, combine
from augpro.data.loading import Split
from augpro.plugins import check_installed


@dataclass(frozen=True)
class Static:
    """A Model2Vec model: the model's output for each single token, weighted by its rank; mean over tokens.

    Attributes:
        model: as of ``embeddings``.
        dimensions: width of the vectors, by principal components; a narrower model keeps its own width.

    Source: Tulkens and van Dongen 2024, Model2Vec (github.com/MinishLab/model2vec).
    """

    model: str = TEACHER
    dimensions: int = 256

    def __post_init__(self) -> None:
        check_name("model", self.model)
        check_whole("dimensions", self.dimensions, 1, 4096)

    def check(self, train: Split, setting: Setting) -> None:
        """Check that its library and the model are available."""
        check_installed("--methods static", ("model2vec", "skeletoken"), "static")
        check_model(self.model, setting)

    def features(self, train: Split, teacher_logits: Tensor, setting: Setting) -> Features:
        """A vector for every token of the model's vocabulary; the training rows are not used."""
        from model2vec.distill import distill_from_model

        body, tokenizer = setting.load_body(self.model)
        body.name_or_path = os.curdir  # any other name would be looked up on the hub
        distil: Any = distill_from_model  # its type annotations are too narrow
        static = distil(
            body,
            tokenizer,
            device=str(setting.device or "cpu"),
            pca_dims=self.dimensions,
            quantize_to="float32",
        )
        options = {"max_length": setting.max_tokens, "use_multiprocessing": False}
        return Features(
            lambda split: combine(split, lambda texts: static.encode(list(texts), **options)),
            static.embedding.size,
        )
