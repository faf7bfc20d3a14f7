"""Several methods at once: the augmented texts of a row are of different kinds."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any, ClassVar, Literal

import torch

from augpro.augment.base import AugmentContext, Augmenter
from augpro.tokens import TokenBatch, join
from augpro.values import parse_value

# Between parts, but not inside brackets; a part is a name, perhaps with options.
_PLUS, _PART = re.compile(r"\+(?![^()]*\))"), re.compile(r"([a-z-]+)(?:\((.*)\))?")


@dataclass(frozen=True)
class Part:
    """One of the methods.

    Attributes:
        name: its key in the table of methods.
        method: the method with its options.
    """

    name: str
    method: Augmenter


@dataclass(frozen=True)
class Several(Augmenter):
    """The methods take turns at the texts of a row, so that the choice among the last of them is one of kinds.

    Copy c of row r is made by method (r + c) mod n. Where the last n texts of a row are kept they are one of each
    method, and any batch has some of each.
    Cost: that of the methods, each for its share of the texts.

    Attributes:
        of: the n methods, at least 2, all of which make text. On the command line: ``augpro-mix+knn(top_k=5)``,
            options in brackets and separated by semicolons; in Python and YAML also a list of names and of
            ``{"name": ..., "options": {...}}``.

    Raises:
        ValueError: if there are fewer than two methods, or one makes no text or is of this kind itself.
    """

    takes_turns: ClassVar[bool] = True

    of: tuple[Part, ...]

    def __post_init__(self) -> None:
        if len(self.of) < 2:
            raise ValueError(f"of must name at least 2 methods, not {[part.name for part in self.of]!r}")
        for part in self.of:
            if not part.method.makes_text:
                raise ValueError(f"of must name methods that make text, and {part.name!r} makes none")
            if part.method.takes_turns:
                raise ValueError(
                    f"of must name methods that are no list of methods, and {part.name!r} is one"
                )

    @property
    def needs_student(self) -> bool:  # type: ignore[override]
        """Whether one of them follows the current student."""
        return any(part.method.needs_student for part in self.of)

    @property
    def mixes_rows(self) -> bool:  # type: ignore[override]
        """Whether one of them needs partner rows."""
        return any(part.method.mixes_rows for part in self.of)

    @property
    def partner_rules(self) -> set[str]:
        """The rules of all of them."""
        return set().union(*(part.method.partner_rules for part in self.of))

    @property
    def teacher_shares(self) -> Literal["text", "tokens", "width"]:  # type: ignore[override]
        """The most that one of them needs of the teacher."""
        shared = {part.method.teacher_shares for part in self.of}
        return "width" if "width" in shared else "tokens" if "tokens" in shared else "text"

    @property
    def excludes(self) -> tuple[str, ...]:  # type: ignore[override]
        """What any of them cannot be combined with."""
        return tuple(sorted({option for part in self.of for option in part.method.excludes}))

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter by name, as JSON; ``augmenter(name, **parameters)`` rebuilds the object."""
        return {"of": [{"name": part.name, "options": part.method.parameters} for part in self.of]}

    def check(self) -> None:
        """Make sure that every method has what it needs from outside.

        Raises:
            augpro.errors.InputError: naming the fix.
        """
        for part in self.of:
            part.method.check()

    def __call__(self, batch: TokenBatch, context: AugmentContext) -> TokenBatch:
        """Augment every row once, each by its method; padded to the longest."""
        turn = (batch.row_ids + context.draws.copy) % len(self.of)
        made: list[TokenBatch] = []
        order: list[torch.Tensor] = []
        for number, part in enumerate(self.of):
            rows = torch.nonzero(turn == number)[:, 0]
            if len(rows):
                logits = context.target_logits
                own = replace(context, target_logits=None if logits is None else logits[rows])
                texts = part.method(batch.take(rows), own)
                assert isinstance(texts, TokenBatch)  # it makes text
                made.append(texts)
                order.append(rows)
        pad_id = context.rows("several").pad_id
        return reduce(partial(join, pad_id=pad_id), made).take(torch.cat(order).argsort())


def read_parts(of: Any) -> list[tuple[str, dict[str, Any]]]:
    """Name and options of each method, from any of the ways to write them.

    Raises:
        ValueError: if one of them cannot be read.

    >>> read_parts("augpro-mix(partner=near;weight=0.6)+knn")
    [('augpro-mix', {'partner': 'near', 'weight': 0.6}), ('knn', {})]
    >>> read_parts(["knn", {"name": "knn", "options": {"top_k": 5}}])
    [('knn', {}), ('knn', {'top_k': 5})]
    """
    if isinstance(of, str):
        of = [part.strip() for part in _PLUS.split(of)]
    if not isinstance(of, Sequence):
        raise _unreadable(of)
    return [_read_part(part) for part in of]


def _read_part(part: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(part, str) and (found := _PART.fullmatch(part)):
        pairs = [item.partition("=") for item in (found[2] or "").split(";") if item.strip()]
        if all(equals for _, equals, _ in pairs):
            return found[1], {
                key.strip().replace("-", "_"): parse_value(value.strip()) for key, _, value in pairs
            }
    if isinstance(part, dict) and isinstance(part.get("name"), str) and part.keys() <= {"name", "options"}:
        options = part.get("options", {})
        if isinstance(options, dict):
            return part["name"], options
    raise _unreadable(part)


def _unreadable(part: Any) -> ValueError:
    return ValueError(
        f"of must name methods, as in augpro-mix+knn(top_k=5;metric=l2) or a list of names, and {part!r} is none"
    )
