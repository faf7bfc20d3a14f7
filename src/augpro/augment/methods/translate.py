"""Back-translation: translate a text into another language and back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedTokenizerBase

from augpro.augment.base import AugmentContext
from augpro.augment.checks import check_range, check_whole
from augpro.augment.methods.text import TextAugmenter, check_text, in_full, sample
from augpro.errors import InputError
from augpro.models.source import ModelSource
from augpro.plugins import check_installed
from augpro.tokens import max_length


class RowSampler(LogitsProcessor):
    """Samples every row's next token with the row's own random numbers and masks all others.

    ``generate`` uses the global random generator, so a row's text would depend on the other rows of its batch.
    Passed as ``logits_processor``, this one runs after those of the model's generation config (forced and suppressed
    tokens, no repeated n-grams), and greedy search then takes the only remaining token.

    Args:
        draws: uniform in [0, 1), [B, steps]; column t is used in step t.
        top_k: number of highest scores to sample from.
        temperature: of the sampling.
    """

    def __init__(self, draws: Tensor, top_k: int, temperature: float) -> None:
        self.draws = draws
        self.top_k = top_k
        self.temperature = temperature
        self.step = 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V] with 0 at the sampled token and -inf elsewhere."""
        draw = self.draws[:, min(self.step, self.draws.shape[1] - 1)]
        self.step += 1
        token = sample(scores, self.top_k, self.temperature, draw)
        return torch.full_like(scores, -torch.inf).scatter(1, token[:, None], 0.0)


@dataclass
class Translator:
    """A translation model and its tokenizer.

    Attributes:
        model: in evaluation mode.
        tokenizer: its own; it may be a slow one.
        positions: maximum number of tokens of encoder and decoder, or None for no limit.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    positions: int | None

    @classmethod
    def load(cls, source: ModelSource) -> "Translator":
        """Load a model.

        Raises:
            InputError: if it is missing, not an encoder-decoder, or has no end token.
        """
        model, tokenizer = source.load_seq2seq()
        if model.generation_config.eos_token_id is None:
            raise InputError(
                f"{source.name}: its generation_config.json has no eos_token_id; add the end token's id."
            )
        model.generation_config.max_length = None  # replaced by max_tokens; both together cause a warning
        return cls(model, tokenizer, getattr(model.config, "max_position_embeddings", None))

    def text(self, ids: list[int]) -> str:
        """The text before the first end token; "" if there is none."""
        end = self.model.generation_config.eos_token_id
        ends = end if isinstance(end, list) else [end]
        for place, token in enumerate(ids):
            if token in ends:
                return str(self.tokenizer.decode(ids[:place], skip_special_tokens=True))
        return ""


@dataclass(frozen=True)
class BackTranslation(TextAugmenter):
    """Translates a text into another language and back, both times by sampling.

    Works with any two encoder-decoder models, one per direction, whose tokenizers add the tokens that the model
    needs. A text that is too long for a model, or whose translation does not end within ``max_tokens``, stays
    unchanged; nothing is truncated. The two texts of a pair are translated separately.
    Cost: two generations per text, by far the highest of all methods. Opus-mt needs
    ``pip install '.[translation]'``.

    Attributes:
        forward_model: folder or hub name of the model into the other language.
        backward_model: folder or hub name of the model back.
        temperature: of the sampling, in [0.001, 1000]; above 1 flattens, below 1 sharpens.
        top_k: a token is drawn from this many tokens of highest probability, 1 to 1,000; 1 is greedy search.
        max_tokens: maximum number of tokens of a translation, including the end token, 1 to 4,096.
        batch_size: texts per batch, 1 to 4,096; does not change the result.

    Raises:
        ValueError: if a value is out of range.

    Source: Sennrich et al. 2016 (arXiv 1511.06709); as augmentation for classification Xie et al. 2020
    (UDA, arXiv 1904.12848), whose code samples at 0.8; sampling from the 10 best is one of the settings of
    Edunov et al. 2018 (arXiv 1808.09381); 512 is opus-mt's own limit.
    """

    name: ClassVar[str] = "back-translation"

    forward_model: str = "Helsinki-NLP/opus-mt-en-de"
    backward_model: str = "Helsinki-NLP/opus-mt-de-en"
    temperature: float = 0.8
    top_k: int = 10
    max_tokens: int = 512
    batch_size: int = 32

    def __post_init__(self) -> None:
        check_text("forward_model", self.forward_model)
        check_text("backward_model", self.backward_model)
        check_range("temperature", self.temperature, 1e-3, 1e3)
        check_whole("top_k", self.top_k, 1, 1000)
        check_whole("max_tokens", self.max_tokens, 1, 4096)
        check_whole("batch_size", self.batch_size, 1, 4096)

    def check(self) -> None:
        """Check that both models are available; reads no weights.

        Raises:
            InputError: names the fix.
        """
        for name in (self.forward_model, self.backward_model):
            config = ModelSource(name).load_config()
            if not config.is_encoder_decoder:
                raise InputError(
                    f"{name}: {config.model_type} is not an encoder-decoder; name a translation model."
                )
            if config.model_type == "marian":
                check_installed(f"the tokenizer of {name}", ("sentencepiece",), "translation")

    def rewrite(self, columns: list[list[str]], row_ids: Tensor, context: AugmentContext) -> list[list[str]]:
        """Translate every column there and back."""
        names = (self.forward_model, self.backward_model)
        forward, backward = (self._translator(name, context, row_ids.device) for name in names)
        rewritten = []
        for column, texts in enumerate(columns):
            middle = self.translate(texts, forward, row_ids, f"there{column}", context)
            rewritten.append(self.translate(middle, backward, row_ids, f"back{column}", context))
        return rewritten

    def _translator(self, name: str, context: AugmentContext, device: torch.device) -> Translator:
        translator = context.load((self.name, name), lambda: Translator.load(ModelSource(name)))
        translator.model.to(device)
        return translator

    def translate(
        self,
        texts: Sequence[str],
        translator: Translator,
        row_ids: Tensor,
        name: str,
        context: AugmentContext,
    ) -> list[str]:
        """Translate texts; those of similar length share a batch.

        Args:
            texts: B texts.
            translator: the model.
            row_ids: keys of the random numbers, int64 [B], on the model's device.
            name: name of the random numbers.
            context: the random numbers.

        Returns:
            B translations; "" for a text that is blank or too long, or whose translation does not end.
        """
        tokenizer, model = translator.tokenizer, translator.model
        steps = min(self.max_tokens + 1, translator.positions or self.max_tokens + 1)
        limit = max_length(tokenizer, translator.positions)
        encoded = tokenizer(list(texts), truncation=False, verbose=False, split_special_tokens=True)[
            "input_ids"
        ]
        rows = [row for row, text in enumerate(texts) if text.strip() and len(encoded[row]) <= limit]
        rows.sort(key=lambda row: len(encoded[row]))
        translated = [""] * len(texts)
        for start in range(0, len(rows), self.batch_size):
            part = rows[start : start + self.batch_size]
            inputs = tokenizer.pad({"input_ids": [encoded[row] for row in part]}, return_tensors="pt")
            draws = context.rng.uniform(name, row_ids[part], steps)
            with in_full(row_ids.device):
                written = model.generate(
                    **inputs.to(row_ids.device),
                    logits_processor=LogitsProcessorList([RowSampler(draws, self.top_k, self.temperature)]),
                    do_sample=False,
                    num_beams=1,
                    num_return_sequences=1,
                    return_dict_in_generate=False,
                    max_new_tokens=steps,
                )
            # The first token is the decoder's start token; the last one may be a forced end token.
            for row, ids in zip(part, written[:, 1:steps].tolist(), strict=True):
                translated[row] = translator.text(ids)
        return translated
