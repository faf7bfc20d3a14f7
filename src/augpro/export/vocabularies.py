"""Which tokens each kind of tokenizer needs besides those in use, and its definition without the others.

For each kind: a text whose tokens are all kept is split as before.

- WordPiece takes the longest token that fits. The longest of all is kept, so it is the longest of the kept ones.
- BPE merges the pair that is first in its list. All merges within a kept token are kept, in the same order, so at
  each step the same pair is the first.
- Unigram takes the split with the largest sum of scores. This split is kept, and there are fewer others. The
  smallest score decides what an unknown character costs, so its token is kept.

All single characters are kept, so other texts can still be written, in shorter pieces.
"""

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from augpro.errors import InputError

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
Definition = dict[str, Any]  # content of a tokenizer.json


def tokens_of(definition: Definition, name: str) -> dict[str, int]:
    """The id of every token, added ones too.

    Raises:
        InputError: if this kind of tokenizer cannot be trimmed.
    """
    model = definition["model"]
    kind = model.get("type")
    parts = [model.get(key) for key in ("continuing_subword_prefix", "end_of_word_suffix")]
    if kind not in _KINDS or (kind == "BPE" and (any(parts) or model.get("dropout"))):
        raise InputError(
            f"{name}: the tokens of a tokenizer of this kind ({kind}) cannot be left out or put in another order; "
            "leave --trim-vocabulary and --max-megabytes out."
        )
    if kind == "Unigram":
        found = {piece: place for place, (piece, _) in enumerate(model["vocab"])}
    else:
        found = dict(model["vocab"])
    return found | {token["content"]: token["id"] for token in definition["added_tokens"]}


def closure(definition: Definition, used: set[str]) -> set[str]:
    """The tokens in use, with all that they need and all single characters."""
    added = {token["content"] for token in definition["added_tokens"]}
    return used | added | set(_KINDS[definition["model"]["type"]][0](definition["model"], used))


def without(definition: Definition, ids: dict[str, int]) -> Definition:
    """The definition of a tokenizer with these tokens and their new ids alone."""
    model = definition["model"]
    added = [token | {"id": ids[token["content"]]} for token in definition["added_tokens"]]
    return definition | {
        "model": model | _KINDS[model["type"]][1](model, ids),
        "added_tokens": sorted(added, key=lambda token: int(token["id"])),
        "post_processor": _processor(definition.get("post_processor"), ids),
    }


def _wordpiece_needs(model: Definition, used: set[str]) -> Iterator[str]:
    prefix = model["continuing_subword_prefix"]
    yield model["unk_token"]
    for token in model["vocab"]:
        if len(token.removeprefix(prefix)) == 1 or len(token) == 1:
            yield token


def _wordpiece(model: Definition, ids: dict[str, int]) -> Definition:
    return {"vocab": _by_id({token: ids[token] for token in model["vocab"] if token in ids})}


def _bpe_needs(model: Definition, used: set[str]) -> Iterator[str]:
    ranks = {pair: place for place, pair in enumerate(_pairs(model))}
    if model.get("unk_token"):
        yield model["unk_token"]
    for token in model["vocab"]:
        if len(token) == 1 or _BYTE.fullmatch(token):
            yield token
    for token in used & model["vocab"].keys():
        parts = list(token)
        while len(parts) > 1:
            known = [(ranks[pair], place) for place, pair in enumerate(pairwise(parts)) if pair in ranks]
            if not known:
                break  # no merges lead to it: it is taken whole, or added
            _, place = min(known)
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
            yield parts[place]


def _bpe(model: Definition, ids: dict[str, int]) -> Definition:
    known = {token: ids[token] for token in model["vocab"] if token in ids}
    merges = [list(pair) for pair in _pairs(model) if {*pair, "".join(pair)} <= known.keys()]
    return {"vocab": _by_id(known), "merges": merges}


def _pairs(model: Definition) -> list[tuple[str, str]]:
    """The merges; earlier versions wrote both parts as one text."""
    pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    return [(first, second) for first, second in pairs]


def _unigram_needs(model: Definition, used: set[str]) -> Iterator[str]:
    yield min(model["vocab"], key=lambda entry: float(entry[1]))[0]
    if model["unk_id"] is not None:
        yield model["vocab"][model["unk_id"]][0]
    for piece, _ in model["vocab"]:
        if len(piece) == 1 or _BYTE.fullmatch(piece):
            yield piece


def _unigram(model: Definition, ids: dict[str, int]) -> Definition:
    kept = sorted((entry for entry in model["vocab"] if entry[0] in ids), key=lambda entry: ids[entry[0]])
    unknown = None if model["unk_id"] is None else ids[model["vocab"][model["unk_id"]][0]]
    return {"vocab": kept, "unk_id": unknown}


def _by_id(ids: dict[str, int]) -> dict[str, int]:
    return dict(sorted(ids.items(), key=lambda entry: entry[1]))


def _processor(part: Any, ids: dict[str, int]) -> Any:
    """What adds special tokens, with their new ids."""
    if not isinstance(part, dict):
        return part
    if part["type"] == "Sequence":
        return part | {"processors": [_processor(each, ids) for each in part["processors"]]}
    if part["type"] == "TemplateProcessing":
        named = {
            key: value | {"ids": [ids[token] for token in value["tokens"]]}
            for key, value in part["special_tokens"].items()
        }
        return part | {"special_tokens": named}
    return part | {key: [part[key][0], ids[part[key][0]]] for key in ("sep", "cls") if key in part}


_Needs = Callable[[Definition, set[str]], Iterator[str]]
_Write = Callable[[Definition, dict[str, int]], Definition]
_KINDS: dict[str, tuple[_Needs, _Write]] = {
    "WordPiece": (_wordpiece_needs, _wordpiece),
    "BPE": (_bpe_needs, _bpe),
    "Unigram": (_unigram_needs, _unigram),
}
