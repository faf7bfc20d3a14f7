"""The padding token of a model and its tokenizer, and the maximum length by the model's positions.

Rows are padded at their end. A classifier may use its padding id to read a row (a decoder classifies at the last
token before the padding, RoBERTa counts positions from it), so tokenizer and configuration must name the same token.
"""

from typing import Any

import torch
from transformers import AutoModel, PreTrainedTokenizerBase

from augpro.errors import InputError
from augpro.models.weights import without_weights
from augpro.tokens import NO_LIMIT

# Models whose output depends on padding: convolutions, pooling and transforms over all positions, attention over
# landmarks or hashes, classification at the last position or (T5Gemma) the position after the row.
_READ_PADDING = frozenset(
    {"convbert", "fnet", "mobilebert", "nystromformer", "t5gemma", "t5gemma2", "xlnet", "yoso"}
)
_POSITIONS = ("max_position_embeddings", "max_seq_len")
_limits: dict[str, list[int]] = {}  # cache by configuration


def reads_padding(config: Any) -> bool:
    """Whether a model's output depends on padding, so that only rows of one length may share a batch."""
    return config.model_type in _READ_PADDING


def is_token(config: Any, token: int | None) -> bool:
    """Whether a token id is below the vocabulary size of a configuration."""
    return token is not None and 0 <= token < getattr(config, "vocab_size", NO_LIMIT)


def padded_at_start(config: Any) -> bool:
    """Whether a model classifies at the last position, so that rows must be padded at the start."""
    return getattr(config, "summary_type", None) == "last"


def agree_on_padding(config: Any, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Set one padding token in both, in place: the model's, else the tokenizer's, else an unused special token.

    Args:
        config: a model's.
        tokenizer: its tokenizer.
        name: of the model, for messages.

    Raises:
        InputError: if there is no such token.
    """
    text = config.get_text_config()
    padding: int | None = getattr(text, "pad_token_id", None)
    if padding is None or not is_token(text, padding):
        padding = _own_padding(text, tokenizer, name)
        text.pad_token_id = config.pad_token_id = padding
    if padding == tokenizer.pad_token_id:
        pass
    elif _can_pad(tokenizer, padding):
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(padding)
    else:
        token = tokenizer.convert_ids_to_tokens(padding)
        what = "no token" if token is None else f"the token {token!r}"
        own = (
            "no token"
            if tokenizer.pad_token is None
            else f"{tokenizer.pad_token!r} ({tokenizer.pad_token_id})"
        )
        raise InputError(
            f"{name}: pad_token_id {padding} of its config.json is {what} of its tokenizer, which pads with {own}; "
            "write the id of a special token there."
        )
    tokenizer.padding_side = "left" if padded_at_start(config) else "right"


def _can_pad(tokenizer: PreTrainedTokenizerBase, token: int) -> bool:
    """Whether the tokenizer has a token that never occurs in a text."""
    if token >= len(tokenizer):
        return False
    if token in tokenizer.all_special_ids:
        return True
    text = tokenizer.backend_tokenizer.decode([token], skip_special_tokens=False)
    return token not in tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def _own_padding(config: Any, tokenizer: PreTrainedTokenizerBase, name: str) -> int:
    """The tokenizer's padding token, or a special token that it adds to no row."""
    if is_token(config, tokenizer.pad_token_id):
        return int(tokenizer.pad_token_id)
    added = {token for columns in ([[""]], [[""], [""]]) for token in tokenizer(*columns)["input_ids"][0]}
    for token in (tokenizer.eos_token_id, *tokenizer.all_special_ids):
        if is_token(config, token) and token not in added:
            return int(token)
    raise InputError(
        f"{name}: neither its config.json nor its tokenizer has a padding token; write the id of a special token "
        "that is in no text into config.json, as pad_token_id."
    )


def limit_to_positions(config: Any, tokenizer: PreTrainedTokenizerBase, trusted: bool) -> None:
    """Lower the tokenizer's limit to the number of positions of the model.

    Args:
        config: the model's.
        tokenizer: its tokenizer, changed in place.
        trusted: whether code that comes with the model may run.
    """
    limits = [int(tokenizer.model_max_length), *_said(config.get_text_config()), *_embedded(config, trusted)]
    if min(limits) < NO_LIMIT:
        tokenizer.model_max_length = min(limits)


def _said(config: Any) -> list[int]:
    limits = []
    for name in _POSITIONS:
        try:
            value = getattr(config, name, None)
        except NotImplementedError:  # XLNet has no limit
            continue
        if isinstance(value, int) and value > 0:
            limits.append(value)
    return limits


def _embedded(config: Any, trusted: bool) -> list[int]:
    """Usable rows of position embeddings that start after a padding id, as in RoBERTa."""
    key = f"{trusted} {config.to_json_string()}"
    if key not in _limits:  # a run loads a tokenizer several times, and building a model is slow
        model = without_weights(AutoModel, config, trusted)
        _limits[key] = [
            part.num_embeddings - part.padding_idx - 1
            for name, part in (model.named_modules() if model else ())
            if isinstance(part, torch.nn.Embedding) and "position" in name and part.padding_idx is not None
        ]
    return _limits[key]
