"""Replacement of tokens by predictions of a masked language model."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from augpro.augment.base import AugmentContext
from augpro.augment.checks import check_range, check_whole
from augpro.augment.methods.text import TextAugmenter, check_text, in_full, sample
from augpro.errors import InputError
from augpro.models.source import ModelSource
from augpro.tokens import NO_LIMIT, TokenBatch, max_length, tokenize
from augpro.vocabulary import Vocabulary


@dataclass
class MaskedLanguageModel:
    """A masked language model with its tokenizer.

    Attributes:
        model: in evaluation mode.
        tokenizer: its own, without truncation.
        vocabulary: token groups of its tokens.
        limit: maximum number of tokens that it reads.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    vocabulary: Vocabulary
    limit: int

    @classmethod
    def load(cls, source: ModelSource) -> "MaskedLanguageModel":
        """Load a model.

        Raises:
            InputError: if it is missing, or not a masked language model.
        """
        model, tokenizer = source.load_masked_lm(), source.load_tokenizer()
        limit = max_length(tokenizer)
        tokenizer.model_max_length = NO_LIMIT
        return cls(model, tokenizer, Vocabulary(tokenizer, model.config.vocab_size), limit)


@dataclass(frozen=True)
class MaskedLM(TextAugmenter):
    """Masks some tokens of a text and replaces them by predictions of a masked language model, all at once.

    The model uses its own tokens. A word start is replaced by a word start and a continuation by a continuation,
    never by the same token or a special token. For a pair the model reads both original texts. A row that is too long
    for the model is not changed.
    Cost: one forward pass of the model per row. Memory for the scores of every token of a batch:
    4 bytes * batch_size * tokens * vocabulary.

    Attributes:
        model: folder or hub name of a masked language model with a mask token and a fast tokenizer.
        replace_fraction: share of the model's tokens that are replaced, drawn independently, in [0, 1].
        top_k: a token is drawn from this many tokens of highest probability, 1 to 1,000.
        temperature: of that draw, in [0.001, 1000]; above 1 flattens, below 1 sharpens.
        batch_size: rows per forward pass, 1 to 4,096; does not change the result.

    Raises:
        ValueError: if a value is out of range.

    Source: Kumar et al. 2020 (arXiv 2003.02245), who use masked language models in general. 0.15 is BERT's masking
    rate (arXiv 1810.04805). 15 is the number of candidate words of TinyBERT (arXiv 1909.10351), which draws from them
    uniformly and masks word by word.
    """

    name: ClassVar[str] = "masked-lm"

    model: str = ""
    replace_fraction: float = 0.15
    top_k: int = 15
    temperature: float = 1.0
    batch_size: int = 64

    def __post_init__(self) -> None:
        check_text("model", self.model)
        check_range("replace_fraction", self.replace_fraction, 0.0, 1.0)
        check_whole("top_k", self.top_k, 1, 1000)
        check_range("temperature", self.temperature, 1e-3, 1e3)
        check_whole("batch_size", self.batch_size, 1, 4096)

    def check(self) -> None:
        """Check that a model is named and available, and that it has a mask token; reads no weights.

        Raises:
            InputError: names the fix.
        """
        if not self.model:
            raise InputError(
                "masked-lm needs a masked language model: name it, as in --augment-option "
                "model=distilbert/distilroberta-base."
            )
        source = ModelSource(self.model)
        source.load_config()
        if source.load_tokenizer().mask_token_id is None:
            raise InputError(f"{self.model}: its tokenizer has no mask token; name a masked language model.")

    def rewrite(self, columns: list[list[str]], row_ids: Tensor, context: AugmentContext) -> list[list[str]]:
        """Process rows of similar length together; both texts of a pair in one pass."""
        masked_lm = context.load((self.name, self.model), self._load)
        masked_lm.model.to(row_ids.device)
        table = tokenize(masked_lm.tokenizer, columns[0], columns[1] if len(columns) > 1 else None, NO_LIMIT)
        order = np.argsort(table.lengths, kind="stable")
        order = order[table.lengths[order] <= masked_lm.limit]
        rewritten = [list(column) for column in columns]
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            batch = replace(table.batch(rows).to(row_ids.device), row_ids=row_ids[rows])
            written = masked_lm.vocabulary.decode(batch.with_ids(self.fill(batch, masked_lm, context)))
            for column, texts in zip(
                rewritten, written, strict=False
            ):  # the second is None where there is no pair
                for row, text in zip(rows.tolist(), texts or (), strict=True):
                    column[row] = text
        return rewritten

    def fill(self, batch: TokenBatch, masked_lm: MaskedLanguageModel, context: AugmentContext) -> Tensor:
        """The batch's ids with the drawn tokens replaced, int64 [B, T]."""
        length, own_ids = batch.ids.shape[1], batch.ids
        editable = masked_lm.vocabulary.editable(batch)
        draw = context.rng.uniform("masked", batch.row_ids, length)
        chosen = editable & (draw < self.replace_fraction)
        if not chosen.any():
            return own_ids
        masked = batch.with_ids(own_ids.masked_fill(chosen, masked_lm.tokenizer.mask_token_id))
        with in_full(own_ids.device):
            scores = masked_lm.model(**masked.model_inputs()).logits[chosen].float()
        own = own_ids[chosen]
        groups = masked_lm.vocabulary.groups.to(own.device)
        scores.masked_fill_(groups != groups[own][:, None], -torch.inf).scatter_(1, own[:, None], -torch.inf)
        pick = context.rng.uniform("filled", batch.row_ids, length)[chosen]
        drawn = sample(scores, self.top_k, self.temperature, pick)
        ids = own_ids.clone()
        ids[chosen] = torch.where(scores.isfinite().any(1), drawn, own)  # a group of one token keeps it
        return masked_lm.vocabulary.keep_canonical(ids, batch)

    def _load(self) -> MaskedLanguageModel:
        self.check()
        return MaskedLanguageModel.load(ModelSource(self.model))
