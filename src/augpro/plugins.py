"""Named things of which other packages may bring more: methods of augmentation and losses.

An installed package brings them by an entry point, a running program by ``register``. Nothing of another package
is imported before its name is asked for.
"""

import importlib.util
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

from augpro.errors import InputError

T = TypeVar("T")
_NAME = re.compile(
    r"[a-z][a-z0-9_-]*"
)  # may stand in --methods, where commas, colons and brackets have a meaning


def check_installed(what: str, modules: Iterable[str], extra: str) -> None:
    """Raise ``InputError`` with the command that installs what is missing, for an option or a command."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        runtime = "./runtime " if "augpro_runtime" in missing else ""
        raise InputError(
            f"{what}: needs {', '.join(missing)}; run in a copy of the repository: "
            f"pip install {runtime}'.[{extra}]'."
        )


class Registry(Mapping[str, T]):
    """Our own entries, those that were registered, and those of installed packages, by name.

    Args:
        group: of the entry points, such as ``augpro.augmenters``.
        own: our entries, which no other one replaces.
        reserved: names with a meaning of their own, which no entry may have.
        adapt: makes an entry of what an entry point or a user gives; raises ``TypeError`` if it is none.
    """

    def __init__(
        self, group: str, own: Mapping[str, T], adapt: Callable[[Any], T], reserved: Iterable[str] = ()
    ) -> None:
        self.group, self._entries, self._adapt, self._own = group, dict(own), adapt, frozenset(own)
        self._reserved = frozenset(reserved)

    def register(self, name: str, value: Any) -> None:
        """Add an entry for this process.

        Raises:
            ValueError: if the name is taken or cannot be written in an option.
            TypeError: if the value is no such thing.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r}: a name has small letters, digits, - and _, and begins with a letter")
        if name in self or name in self._reserved:
            raise ValueError(f"{name!r} is taken; register it under another name")
        self._entries[name] = self._adapt(value)

    def __getitem__(self, name: str) -> T:
        """The entry of a name.

        Raises:
            KeyError: if there is none.
            InputError: if the package that brings it cannot be loaded, or brings something else; or if two packages
                bring one of that name.
        """
        if name not in self._entries:
            self._entries[name] = self._load(*self._installed()[name])
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        """Every name, ours first."""
        yield from dict.fromkeys([*self._entries, *self._installed()])

    def __len__(self) -> int:
        """How many there are."""
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        """Whether there is an entry of that name; loads nothing."""
        return name in self._entries or name in self._installed()

    def source(self, name: str) -> bytes:
        """The source file of an entry that is not ours, which says what a result was made with; empty for ours."""
        if name in self._own:
            return b""
        entry = self[name]
        file = inspect.getsourcefile(inspect.getmodule(getattr(entry, "kind", entry)) or type(entry))
        return Path(file).read_bytes() if file and Path(file).is_file() else b""

    def _installed(self) -> dict[str, list[EntryPoint]]:
        """What packages bring, by name."""
        found: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=self.group):
            if _NAME.fullmatch(point.name) and point.name not in self._own | self._reserved:
                found.setdefault(point.name, []).append(point)
        return found

    def _load(self, point: EntryPoint, *others: EntryPoint) -> T:
        package, *more = (each.dist.name if each.dist else each.value for each in (point, *others))
        if more:
            raise InputError(
                f"{point.name} is brought by several packages ({', '.join([package, *more])}); uninstall all but one."
            )
        try:
            return self._adapt(point.load())
        except Exception as error:  # of code that is not ours
            raise InputError(
                f"{point.name}, which the package {package} brings, cannot be used "
                f"({type(error).__name__}: {error}); repair or uninstall that package."
            ) from error
