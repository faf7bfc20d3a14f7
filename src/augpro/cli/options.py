"""One option on the command line for each field of a configuration, and how wrong input ends."""

import inspect
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from augpro.config import build
from augpro.errors import InputError
from augpro.results.terminal import sentence
from augpro.values import key_values, parse_mapping, read_yaml

# Mappings are given one `key=value` at a time, so their options are named in the singular.
_SINGULAR: dict[str, str] = {"augment_options": "augment_option", "trainer_options": "trainer_option"}


def command(
    app: typer.Typer, name: str, kind: type[BaseModel], example: str, extra: dict[str, Any] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function of (checked options, **extra options) as a command with one option a field."""

    def register(work: Callable[..., None]) -> Callable[..., None]:
        def call(**given: Any) -> None:
            values = {key: given.pop(key) for key in (extra or {})}
            with friendly_errors():
                work(_options(kind, given), **values)

        hints = {
            "config": Annotated[Path | None, typer.Option(help="YAML file with options; flags override it.")]
        }
        hints |= {_SINGULAR.get(key, key): _hint(key, field) for key, field in kind.model_fields.items()}
        hints |= extra or {}
        call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=_unset(hint), annotation=hint)
                for key, hint in hints.items()
            ]
        )
        call.__annotations__ = hints
        doc = inspect.getdoc(work) or ""
        app.command(name, help=f"{doc}\n\nExample:\n\n`{example}`")(call)
        return work

    return register


def _unset(hint: Any) -> Any:
    return False if get_args(hint)[0] is bool else None


def _hint(key: str, field: FieldInfo) -> Any:
    """The option's type for Typer. Values stay text: pydantic checks them, for files and flags alike."""
    default = "" if field.is_required() or field.get_default(call_default_factory=True) in (None, {}, ()) else (
        f" [default: {field.default}]"
    )  # fmt: skip
    shown = f"{field.description}{' [required]' if field.is_required() else default}"
    if key in _SINGULAR:
        return Annotated[list[str] | None, typer.Option(help=shown, metavar="KEY=VALUE")]
    if field.annotation is bool:
        return Annotated[bool | None, typer.Option(help=shown)]
    return Annotated[str | None, typer.Option(help=shown, metavar=_metavar(field.annotation))]


def _metavar(annotation: Any) -> str:
    kinds = [kind for kind in get_args(annotation) if kind is not type(None)] or [annotation]
    if get_origin(annotation) not in (Union, types.UnionType, None):
        return "|".join(map(str, kinds)) if isinstance(kinds[0], str) else "LIST"
    if get_origin(kinds[0]) is tuple:
        return "LIST"
    choices = get_args(kinds[0])
    if choices:
        return "|".join(map(str, choices))
    return {int: "INTEGER", float: "NUMBER", Path: "PATH"}.get(kinds[0], "TEXT")


def _options(kind: type[BaseModel], given: dict[str, Any]) -> BaseModel:
    """Merge the YAML file and the flags that were given, and check them."""
    path = given.pop("config")
    found = read_yaml(path) if path else {}
    known = kind.model_fields
    # None is the default, where there is one.
    options = {
        key: value
        for key, value in found.items()
        if value is not None or key not in known or known[key].is_required()
    }
    plural = {short: key for key, short in _SINGULAR.items()}
    for key, value in given.items():
        if value is None or value == []:
            continue
        if key in plural:
            before = parse_mapping(options.get(plural[key]))
            if not isinstance(before, dict):
                raise InputError(f"{path}: {plural[key]} must hold 'key: value' lines.")
            options[plural[key]] = before | parse_mapping(_key_values(key, value))
        else:
            options[key] = value
    return build(kind, options, str(path) if path else "options")


def _key_values(option: str, items: list[str]) -> dict[str, str]:
    try:
        return key_values(items)
    except ValueError as error:
        raise InputError(f"--{option.replace('_', '-')} {str(error)!r}: write it as key=value.") from error


class friendly_errors:
    """Wrong input ends in one sentence on standard error and exit code 2; a bug keeps its traceback."""

    def __enter__(self) -> None:
        """Nothing to set up."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        """Turn an input error into an exit."""
        if isinstance(error, InputError):
            print(f"augpro: {sentence(error)}", file=sys.stderr)
            raise typer.Exit(2) from None
