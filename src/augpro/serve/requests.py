"""What a client sends to ``/predict``, checked; pure functions of bytes.

Two forms are known. ``{"inputs": ...}`` is that of Text Embeddings Inference
(https://github.com/huggingface/text-embeddings-inference, router/src/http/types.rs): one text, one pair ``[text,
text]``, or a list of lists of one or two texts; ``truncate`` and ``raw_scores`` are options. Where the model reads
single texts only, a list of texts is a list of single texts, which would be one pair there. ``{"texts": [...],
"pairs": [...]}`` is the plain form.
"""

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from augpro.serve.options import Limits

_FIELDS = {"inputs": {"inputs", "truncate", "raw_scores"}, "texts": {"texts", "pairs"}}
_FORMS = 'send {"inputs": ...} or {"texts": [...]}'


class RequestError(Exception):
    """A call that is refused.

    Attributes:
        status: of the answer.
        kind: short name for metrics and for the answer.
    """

    def __init__(self, status: HTTPStatus, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


@dataclass(frozen=True)
class Call:
    """A checked call.

    Attributes:
        texts: to answer.
        pairs: their second texts, or None.
        plain: whether it has the plain form.
        single: whether the answer is that of one text, not a list of them.
        truncate: whether a text that is too long is cut.
        raw_scores: whether logits are asked for instead of probabilities.
    """

    texts: list[str]
    pairs: list[str] | None
    plain: bool
    single: bool = False
    truncate: bool = True
    raw_scores: bool = False


def read_call(body: bytes, limits: Limits, pair: bool | None) -> Call:
    """Check a body.

    Args:
        body: what was sent.
        limits: what is allowed.
        pair: whether the model reads pairs; None if it reads both.

    Raises:
        RequestError: with the first thing that is wrong.
    """
    content = _json(body)
    if not isinstance(content, dict):
        raise _invalid(f"the body is {_kind(content)}, not an object; {_FORMS}")
    form = next((name for name in _FIELDS if name in content), None)
    if form is None:
        raise _invalid(f"neither inputs nor texts is there; {_FORMS}")
    unknown = sorted(set(content) - _FIELDS[form])
    if unknown:
        known = ", ".join(sorted(_FIELDS[form]))
        raise _invalid(f"unknown field {unknown[0][:60]!r}; known beside {form}: {known}")
    call = _plain(content) if form == "texts" else _inputs(content, pair)
    _check(call, limits, pair)
    return call


def _json(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        where = f"byte {error.start + 1} of the body is not UTF-8; send JSON in UTF-8"
        raise RequestError(HTTPStatus.BAD_REQUEST, "encoding", where) from error
    except (ValueError, RecursionError) as error:
        why = str(error) if isinstance(error, json.JSONDecodeError) else "it cannot be read"
        raise RequestError(
            HTTPStatus.BAD_REQUEST, "json", f"the body is not JSON ({why}); {_FORMS}"
        ) from error


def _plain(content: dict[str, Any]) -> Call:
    texts, pairs = content["texts"], content.get("pairs")
    for name, found in (("texts", texts), ("pairs", pairs)):
        if not isinstance(found, list) and (found is not None or name == "texts"):
            raise _invalid(f"{name} is {_kind(found)}; give a list of strings")
    if pairs is not None and len(pairs) != len(texts):
        raise _invalid(f"there are {len(texts)} texts and {len(pairs)} pairs; give one second text for each")
    return Call(texts, pairs, plain=True)


def _inputs(content: dict[str, Any], pair: bool | None) -> Call:
    inputs = content["inputs"]
    options = {name: content[name] for name in ("truncate", "raw_scores") if content.get(name) is not None}
    for name, value in options.items():
        if not isinstance(value, bool):
            raise _invalid(f"{name} is {_kind(value)}; give true or false")
    if isinstance(inputs, str):
        return Call([inputs], None, plain=False, single=True, **options)
    if not isinstance(inputs, list):
        raise _invalid(f"inputs is {_kind(inputs)}; give a string, or a list of strings or of pairs")
    if not inputs or not all(isinstance(row, type(inputs[0])) for row in inputs):
        raise _invalid("inputs is empty or holds different things; give strings alone, or lists alone")
    if not isinstance(inputs[0], list):
        if pair is False:
            return Call(inputs, None, plain=False, **options)
        if len(inputs) > 2:
            raise _invalid(
                'a list of more than two texts is no pair; give a list of lists, as [["a", "b"], ...]'
            )
        return Call(inputs[:1], inputs[1:] or None, plain=False, single=True, **options)
    sizes = {len(row) for row in inputs}
    if sizes == {1}:
        return Call([row[0] for row in inputs], None, plain=False, **options)
    if sizes == {2}:
        return Call([row[0] for row in inputs], [row[1] for row in inputs], plain=False, **options)
    raise _invalid("each of inputs must hold one text, or each must hold the two of a pair")


def _check(call: Call, limits: Limits, pair: bool | None) -> None:
    if len(call.texts) > limits.texts:
        raise RequestError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too many texts",
            f"{len(call.texts)} texts, and a call may hold {limits.texts}; send them in several calls",
        )  # fmt: skip
    for name, rows in (("text", call.texts), ("pair", call.pairs or [])):
        for number, text in enumerate(rows):
            _check_text(text, f"{name} {number}", limits)
    if pair is True and call.pairs is None and call.texts:
        raise _invalid("this model reads text pairs; give a second text for each")
    if pair is False and call.pairs is not None:
        raise _invalid("this model reads single texts; leave the second texts out")


def _check_text(text: object, name: str, limits: Limits) -> None:
    if not isinstance(text, str):
        raise _invalid(f"{name} is {_kind(text)}, not a string")
    if len(text) > limits.characters:
        raise RequestError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "text too long",
            f"{name} has {len(text)} characters, and a text may have {limits.characters}; cut it",
        )  # fmt: skip
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise RequestError(
                HTTPStatus.UNPROCESSABLE_ENTITY, "encoding",
                f"{name} has half of a surrogate pair as its character {error.start + 1}; remove it",
            ) from error  # fmt: skip


def _invalid(message: str) -> RequestError:
    return RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, "validation", message)


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
