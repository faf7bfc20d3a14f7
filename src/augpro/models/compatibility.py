"""Checks that a model, its tokenizer and its weights fit together and that the tokenizer can read the texts.

No check loads weights.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from augpro.data.loading import Split
from augpro.errors import InputError
from augpro.models.named import model_location
from augpro.models.padding import padded_at_start, reads_padding
from augpro.models.source import ModelSource, same_tokenizer
from augpro.models.weights import check_shapes, newer_weights, stored_shapes
from augpro.tokens import max_length, only_special, tokenize

_SMALLEST_SHARE = 0.5  # minimum share of embeddings with a token; padded vocabularies have over 0.9
_SAMPLE = 2000  # rows tokenized for the check
_NOTED, _REFUSED = 0.01, 0.5  # shares of unknown tokens, and of rows without a known token
_LAST_TOKEN = frozenset(
    {"t5gemma", "t5gemma2"}
)  # encoder-decoders that classify at the last token, not at an end token


@dataclass(frozen=True)
class Role:
    """A model and its role in a run.

    Attributes:
        title: such as "teacher", for messages.
        source: the model.
        finished: whether its classification head must fit; else a head that does not fit is replaced.
        trained: whether the run trains it.
    """

    title: str
    source: ModelSource
    finished: bool
    trained: bool = False


def check_models(
    roles: Sequence[Role], splits: Iterable[Split], max_tokens: int | None, allow: bool
) -> list[str]:
    """Check that models fit their tokenizers and weights, and that the tokenizers can read the texts.

    Args:
        roles: the models of a run.
        splits: all texts of the run; up to 2,000 rows are tokenized.
        max_tokens: the texts are truncated here.
        allow: whether to allow a tokenizer that does not know most of the text.

    Returns:
        Notes for the user.

    Raises:
        InputError: names the fix.
    """
    sample = _sample(list(splits))
    notes: list[str] = []
    tokenizers: list[tuple[str, PreTrainedTokenizerBase]] = []
    for role in roles:
        tokenizer = check_model(role.source, role.finished)
        notes += [*_padding_notes(role), *_weights_notes(role.source.name)]
        same = [place for place, (_, known) in enumerate(tokenizers) if _reads_as(known, tokenizer)]
        if same:
            title, known = tokenizers[same[0]]
            tokenizers[same[0]] = f"{title}, and {role.source.name}, the {role.title}", known
        else:
            tokenizers.append((f"{role.source.name}, the {role.title}", tokenizer))
    for title, tokenizer in tokenizers:
        notes += _read(sample, tokenizer, max_tokens, title, allow)
    return notes


def check_model(source: ModelSource, finished: bool) -> PreTrainedTokenizerBase:
    """Check that a model's tokenizer and weights belong to it.

    Args:
        source: the model.
        finished: whether its classification head must fit.

    Returns:
        Its tokenizer.

    Raises:
        InputError: names the fix.
    """
    config, tokenizer = source.load_config(), source.load_tokenizer()
    size = getattr(config.get_text_config(), "vocab_size", None)
    if size:
        _check_size(source.name, tokenizer, size)
    if config.is_encoder_decoder and config.model_type not in _LAST_TOKEN:
        _check_end(source.name, tokenizer, config)
    folder = Path(model_location(source.name))
    if folder.is_dir():
        shapes = stored_shapes(folder, source.name)
        check_shapes(config, shapes, source.name, finished, source.trust_remote_code)
    return tokenizer


def _weights_notes(name: str) -> list[str]:
    folder = Path(model_location(name))
    newer = newer_weights(folder) if folder.is_dir() else None
    return [f"{name}: {newer}"] if newer else []


def _reads_as(one: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> bool:
    return max_length(one) == max_length(other) and same_tokenizer(one, other)


def _check_size(name: str, tokenizer: PreTrainedTokenizerBase, size: int) -> None:
    if len(tokenizer) < _SMALLEST_SHARE * size:
        raise InputError(
            f"{name}: its tokenizer has {len(tokenizer)} tokens, its config.json {size}; save the model's own "
            "tokenizer beside it with tokenizer.save_pretrained."
        )
    used = {*tokenizer.get_vocab().values()} - {*only_special(tokenizer)} | {*tokenizer("")["input_ids"]}
    if max(used) >= size:
        raise InputError(
            f"{name}: token {tokenizer.convert_ids_to_tokens(max(used))!r} of its tokenizer has id {max(used)}, and "
            f"the model has embeddings for {size} tokens; call model.resize_token_embeddings({max(used) + 1}) and "
            "train it again."
        )


def _check_end(name: str, tokenizer: PreTrainedTokenizerBase, config: Any) -> None:
    if config.eos_token_id not in tokenizer("")["input_ids"]:
        raise InputError(
            f"{name}: a {config.model_type} model classifies at its end token (eos_token_id {config.eos_token_id}), "
            "which its tokenizer does not add to a text; save the model with its own tokenizer."
        )


def _padding_notes(role: Role) -> list[str]:
    config = role.source.load_config()
    if role.trained and padded_at_start(config):
        raise InputError(
            f"{role.source.name}: a {config.model_type} model must be padded at the start, and augpro pads at the "
            "end; give another model to train."
        )
    if role.trained and reads_padding(config):
        return [
            f"{role.source.name}: the output of a {config.model_type} model depends on padding; "
            + "rows are scored without padding, but trained with it"
        ]
    return []


# --- texts ---


@dataclass(frozen=True)
class _Sample:
    """A sample of rows, and its description."""

    texts: list[str]
    pairs: list[str] | None
    which: str


def _sample(splits: list[Split]) -> _Sample:
    """Up to 2,000 evenly spaced rows of all splits."""
    texts = list(chain.from_iterable(split.texts for split in splits))
    step = max(1, -(-len(texts) // _SAMPLE))
    which = f"all {len(texts)} rows" if step == 1 else f"{len(texts[::step])} of {len(texts)} rows"
    if any(split.pairs is None for split in splits):
        return _Sample(texts[::step], None, which)
    pairs = list(chain.from_iterable(split.pairs or () for split in splits))
    return _Sample(texts[::step], pairs[::step], which)


def _read(
    sample: _Sample, tokenizer: PreTrainedTokenizerBase, limit: int | None, title: str, allow: bool
) -> list[str]:
    """Notes on unknown tokens, truncated rows and special tokens of a sample.

    Raises:
        InputError: if most of the text is unknown to the tokenizer, unless that is allowed.
    """
    table = tokenize(tokenizer, sample.texts, sample.pairs, limit)
    unknown = -1 if tokenizer.unk_token_id is None else tokenizer.unk_token_id
    of_text, rows = table.flat[1] >= 0, np.repeat(np.arange(len(table)), table.lengths)
    known = of_text & (table.flat[0] != unknown)
    texts = [
        " ".join(parts)
        for parts in zip(*(c for c in (sample.texts, sample.pairs) if c is not None), strict=True)
    ]
    without = np.bincount(rows[known], minlength=len(table)) == 0
    empty = sum(bool(none and text.strip()) for none, text in zip(without, texts, strict=True))
    counted = sample.which.removeprefix("all ")
    notes = []
    for share, what in (
        (
            float((~known[of_text]).mean()) if of_text.any() else 0.0,
            "of the tokens of {} are unknown to its tokenizer",
        ),
        (empty / max(1, len(texts)), "of {} have no token that its tokenizer knows"),
    ):
        message = f"{title}: {share:.1%} {what.format(sample.which)}"
        if share > _REFUSED and not allow:
            raise InputError(
                f"{message}; give the tokenizer that the model was trained with, or set --allow-unknown-tokens to "
                "continue."
            )
        if share > _NOTED:
            notes.append(message)
    if table.truncated:
        lost = "first" if tokenizer.truncation_side == "left" else "last"
        notes.append(
            f"{title}: {table.truncated} of {counted} have more than {table.limit} tokens, and their {lost} words "
            "are not read"
        )
    names = map(re.escape, tokenizer.convert_ids_to_tokens(only_special(tokenizer)))
    typed = [match[0] for match in map(re.compile("|".join(names) or "(?!)").search, texts) if match]
    if typed:
        notes.append(
            f"{title}: {len(typed)} of {counted} contain the name of a special token, such "
            f"as {typed[0]!r}, which is read as ordinary text"
        )
    return notes
