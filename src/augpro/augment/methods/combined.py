"""Base class of methods that combine other methods, and the syntax of their parts."""

import re
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from augpro.augment.base import Augmenter
from augpro.values import key_values, parse_mapping

# Separator of parts, outside brackets; and a part: a name, perhaps with options.
_PLUS, _PART = re.compile(r"\+(?![^()]*\))"), re.compile(r"([a-z][a-z0-9_-]*)(?:\((.*)\))?")


@dataclass(frozen=True)
class Part:
    """One of the combined methods.

    Attributes:
        name: its key in the table of methods.
        method: the method with its options.
    """

    name: str
    method: Augmenter


class Combined(Augmenter):
    """A method that combines others and needs whatever one of them needs."""

    @property
    @abstractmethod
    def methods(self) -> tuple[Augmenter, ...]:
        """The combined methods."""

    @property
    def needs_student(self) -> bool:  # type: ignore[override]
        """Whether one of them uses the current student."""
        return any(method.needs_student for method in self.methods)

    @property
    def mixes_rows(self) -> bool:  # type: ignore[override]
        """Whether one of them needs partner rows."""
        return any(method.mixes_rows for method in self.methods)

    @property
    def partner_rules(self) -> set[str]:
        """The partner rules of all of them."""
        return set().union(*(method.partner_rules for method in self.methods))

    @property
    def needs_all_rows(self) -> bool:
        """Whether one of them depends on all training rows."""
        return any(method.needs_all_rows for method in self.methods)

    @property
    def teacher_shares(self) -> Literal["text", "tokens", "width"]:  # type: ignore[override]
        """The strictest requirement that one of them has for the teacher."""
        shared = {method.teacher_shares for method in self.methods}
        return "width" if "width" in shared else "tokens" if "tokens" in shared else "text"

    @property
    def excludes(self) -> tuple[str, ...]:  # type: ignore[override]
        """Options that one of them cannot be combined with."""
        return tuple(sorted({option for method in self.methods for option in method.excludes}))

    def check(self) -> None:
        """Check that the external resources of every method are available.

        Raises:
            augpro.errors.InputError: names the fix.
        """
        for method in self.methods:
            method.check()


def read_parts(of: Any) -> list[tuple[str, dict[str, Any]]]:
    """Name and options of each method, from text or a list.

    Raises:
        ValueError: if a part cannot be read.

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
    if isinstance(part, str) and (match := _PART.fullmatch(part)):
        with suppress(ValueError):
            return match[1], parse_mapping(key_values(filter(str.strip, (match[2] or "").split(";"))))
    if isinstance(part, dict) and isinstance(part.get("name"), str) and part.keys() <= {"name", "options"}:
        options = part.get("options", {})
        if isinstance(options, dict):
            return part["name"], options
    raise _unreadable(part)


def _unreadable(part: Any) -> ValueError:
    return ValueError(
        f"of must name methods, as in augpro-mix+knn(top_k=5;metric=l2) or a list of names, not {part!r}"
    )


def check_parts(of: Any) -> None:
    """Refuse methods that are no named parts, and fewer than two.

    Raises:
        TypeError: naming the first that is no part.
        ValueError: if there are fewer than two.
    """
    other = next((part for part in of if not isinstance(part, Part)), None)
    if other is not None:
        raise TypeError(f"of must hold parts such as Part('knn', augmenter('knn')), and {other!r} is none")
    if len(of) < 2:
        raise ValueError(f"of must name at least 2 methods, not {[part.name for part in of]!r}")


def parts_as_json(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Name and options of each part, in the form of :func:`read_parts`."""
    return [{"name": part.name, "options": part.method.parameters} for part in parts]
