"""A classifier with fewer tokens, or in another order: rows of its embeddings and entries of its tokenizer."""

import copy
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from augpro.data.spec import DataSpec
from augpro.data.stream import Texts, open_train_rows, text_lines
from augpro.errors import InputError
from augpro.export.vocabularies import Definition, closure, tokens_of, without
from augpro.tokens import encode

_BLOCK = 2048  # texts tokenized at once
_SAMPLE = 500  # of them are read with both tokenizers
_IDS = ("pad", "eos", "bos", "sep", "cls", "mask", "decoder_start")  # tokens that a configuration names


@dataclass(frozen=True)
class TokenUse:
    """How often texts use each token.

    Attributes:
        counts: of each token id, int64 [tokens].
        sample: some of the texts.
    """

    counts: NDArray[np.int64]
    sample: Texts


@dataclass(frozen=True)
class Trimmed:
    """A classifier with the tokens that are kept.

    Attributes:
        model: with the kept rows of the embeddings.
        definition: content of its ``tokenizer.json``.
        old_ids: the former id of each token, int64 [kept].
        tokens: number of tokens before.
    """

    model: PreTrainedModel
    definition: Definition
    old_ids: NDArray[np.int64]
    tokens: int

    @property
    def new_ids(self) -> NDArray[np.int64]:
        """The new id of each former token, -1 for those that are left out."""
        found = np.full(max(self.tokens, int(self.old_ids.max()) + 1), -1, dtype=np.int64)
        found[self.old_ids] = np.arange(len(self.old_ids))
        return found


def text_parts(path: Path, text: str | None, pair: str | None) -> Iterator[Texts]:
    """The texts of a file, some at a time: a table, or a text a line, of which blank ones are left out.

    Raises:
        InputError: if it cannot be read, is no text, or holds none.
    """
    if path.suffix.lower() != ".txt":
        yield from open_train_rows(DataSpec(str(path), text, pair)).parts()
        return
    empty = True
    try:
        for lines in text_lines(path, _BLOCK):
            empty = False
            yield lines, None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a file of texts.") from error
    if empty:
        raise InputError(f"{path}: holds no text; write a text a line into it.")


def in_blocks(texts: Sequence[str], pairs: Sequence[str] | None) -> Iterator[Texts]:
    """Texts that are in memory, some at a time."""
    for start in range(0, len(texts), _BLOCK):
        end = start + _BLOCK
        yield list(texts[start:end]), None if pairs is None else list(pairs[start:end])


def count_tokens(
    tokenizer: PreTrainedTokenizerBase, parts: Iterable[Texts], limit: int, name: str
) -> TokenUse:
    """Count the tokens of texts, each cut to ``limit`` tokens; ``name`` is the model's, for messages.

    Raises:
        InputError: if there are no texts.
    """
    counts = np.zeros(max(tokenizer.get_vocab().values()) + 1, dtype=np.int64)  # ids may have gaps
    sample: Texts | None = None
    for texts, pairs in parts:
        columns = [texts] if pairs is None else [texts, pairs]
        encodings, _ = encode(tokenizer, columns, [limit] * len(texts))
        for encoding in encodings:
            np.add.at(counts, encoding.ids, 1)
        sample = sample or (texts[:_SAMPLE], pairs and pairs[:_SAMPLE])
    if sample is None:
        raise InputError(f"{name}: there are no texts to take tokens from; give others by --texts.")
    return TokenUse(counts, sample)


def trim(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    definition: Definition,
    use: TokenUse,
    name: str,
    every: bool = False,
) -> Trimmed:
    """Keep the tokens of texts and all that :mod:`augpro.export.vocabularies` names; the model is copied.

    Args:
        model: a classifier.
        tokenizer: its tokenizer.
        definition: content of its ``tokenizer.json``.
        use: of its tokens; those that are used most get the first ids.
        name: of the model, for messages.
        every: keep all tokens, and only put them in this order.

    Raises:
        InputError: if this tokenizer or model cannot be trimmed.
    """
    ids = tokens_of(definition, name)
    names = {place: token for token, place in ids.items()}
    used = set(names.values()) if every else {names[int(place)] for place in np.flatnonzero(use.counts)}
    kept = {ids[token] for token in closure(definition, used) if token in ids}
    config = model.config.get_text_config()
    fixed = {place for key in _IDS if isinstance(place := getattr(config, f"{key}_token_id", None), int)}
    order = _order(sorted(kept, key=lambda place: (-use.counts[place], place)), fixed)
    new_of = {int(place): number for number, place in enumerate(order)}
    new = without(definition, {names[place]: number for place, number in new_of.items()})
    found = Trimmed(_cut(model, order), new, order, len(ids))
    for key in _IDS:
        place = getattr(config, f"{key}_token_id", None)
        if isinstance(place, int) and place in new_of:
            setattr(found.model.config.get_text_config(), f"{key}_token_id", new_of[place])
    _check(found, tokenizer, use.sample, name)
    return found


def _order(kept: list[int], fixed: set[int]) -> NDArray[np.int64]:
    """The kept ids in their new order, in which tokens that the model knows by their id keep it where they can.

    A model may count positions from the id of its padding token, or look for an end token.
    """
    held = {place for place in fixed if place < len(kept) and place in set(kept)}
    others = iter(place for place in kept if place not in held)
    return np.array(
        [number if number in held else next(others) for number in range(len(kept))], dtype=np.int64
    )


def _cut(model: PreTrainedModel, order: NDArray[np.int64]) -> PreTrainedModel:
    """A copy of the model with these rows of the word embeddings, wherever they are used."""
    model = copy.deepcopy(model)
    whole, kept = model.get_input_embeddings().get_parameter("weight"), order.tolist()
    rows = torch.nn.Parameter(whole.detach()[torch.from_numpy(order)].clone(), requires_grad=False)
    for part in model.modules():
        if getattr(part, "weight", None) is whole:
            part.weight = rows
            if isinstance(part, torch.nn.Embedding):
                part.num_embeddings = len(order)
                part.padding_idx = kept.index(part.padding_idx) if part.padding_idx in kept else None
    model.config.get_text_config().vocab_size = len(order)
    return model


def _check(found: Trimmed, tokenizer: PreTrainedTokenizerBase, sample: Texts, name: str) -> None:
    """Raise ``InputError`` unless the texts whose tokens are kept are split as before."""
    reader = Tokenizer.from_str(json.dumps(found.definition))
    reader.encode_special_tokens = True
    reader.no_truncation()
    columns = [column for column in sample if column is not None]
    before, _ = encode(tokenizer, columns, [10**9] * len(columns[0]))
    new = found.new_ids
    rows: list[Any] = list(columns[0]) if len(columns) == 1 else list(zip(*columns, strict=True))
    for old, now in zip(before, reader.encode_batch(rows), strict=True):
        mapped = new[old.ids]
        if (mapped >= 0).all() and mapped.tolist() != now.ids:
            raise InputError(
                f"{name}: its tokenizer splits texts otherwise with its tokens in another order; leave "
                "--trim-vocabulary and --max-megabytes out."
            )
