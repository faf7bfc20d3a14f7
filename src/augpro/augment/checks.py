"""Checks of parameters; each error is one sentence that names the argument and its value."""

from collections.abc import Sequence


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise ``ValueError`` naming the argument unless it is a number with low <= value <= high."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and low <= value <= high):
        raise ValueError(f"{name} must be a number between {low:g} and {high:g}, not {value!r}")


def check_whole(name: str, value: int, low: int, high: int) -> None:
    """Raise ``ValueError`` naming the argument unless it is a whole number with low <= value <= high."""
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number between {low:g} and {high:g}, not {value!r}")


def check_flag(name: str, value: bool) -> None:
    """Raise ``ValueError`` naming the argument unless it is true or false."""
    if value is not True and value is not False:
        raise ValueError(f"{name} must be true or false, not {value!r}")


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise ``ValueError`` naming the argument unless it is one of the choices."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
