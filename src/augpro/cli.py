"""The command line: options come from :mod:`augpro.config`, work is done elsewhere, heavy imports wait."""

import inspect
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich.console import Console

from augpro.config import (
    CompareConfig,
    DistillConfig,
    EvaluateConfig,
    FinetuneConfig,
    build,
)
from augpro.errors import InputError
from augpro.terminal import forgive_output, sentence, visible
from augpro.values import at_home, parse_mapping, read_yaml


class _Commands(typer.core.TyperGroup):
    """All commands; whatever they print, printing does not fail."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run one of them."""
        forgive_output()
        return super().main(*arguments, **options)


app = typer.Typer(
    cls=_Commands,
    help="Turn a large text classifier into a small, fast one from few task examples.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
# Mappings are given one `key=value` at a time, so their options are named in the singular.
_SINGULAR: dict[str, str] = {"augment_options": "augment_option", "trainer_options": "trainer_option"}


def _command(
    name: str, kind: type[BaseModel], example: str, extra: dict[str, Any] | None = None
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
    pairs = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise InputError(f"--{option.replace('_', '-')} {item!r}: write it as key=value.")
        pairs[key] = value
    return pairs


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


_DRY_RUN = {
    "dry_run": Annotated[bool, typer.Option("--dry-run", help="Check everything and print the plan.")]
}


def _train(config: FinetuneConfig | DistillConfig, dry_run: bool) -> None:
    from augpro.display import quiet_libraries, show_plan, show_result
    from augpro.output import check_output
    from augpro.plan import make_plan

    quiet_libraries()
    check_output(config)
    plan = make_plan(config)
    console = Console()
    if dry_run:
        show_plan(console, plan, plan.config)
        return
    from augpro.pipeline import run_plan

    show_result(console, run_plan(plan), config.out)


@_command(
    "finetune", FinetuneConfig, "augpro finetune --data helpdesk --model minilm --out runs/teacher", _DRY_RUN
)
def finetune(config: FinetuneConfig, dry_run: bool) -> None:
    """Train a teacher: a sequence classifier on gold labels."""
    _train(config, dry_run)


@_command(
    "distill",
    DistillConfig,
    "augpro distill --data helpdesk --teacher runs/teacher --student-layers 0,5 --out runs/student",
    _DRY_RUN,
)
def distill(config: DistillConfig, dry_run: bool) -> None:
    """Train a student on a teacher's output, with augmented text that the teacher labels."""
    _train(config, dry_run)


@_command(
    "evaluate", EvaluateConfig, "augpro evaluate --data helpdesk --model runs/student --teacher runs/teacher"
)
def evaluate(config: EvaluateConfig) -> None:
    """Score a classifier on a data set, and its agreement with a teacher."""
    from augpro.display import quiet_libraries, show_note, show_scores
    from augpro.scoring import evaluate_model

    quiet_libraries()
    console = Console()
    show_scores(console, evaluate_model(config, lambda note: show_note(console, note)), config.model)


_COMPARE = _DRY_RUN | {
    "table_only": Annotated[
        bool, typer.Option("--table-only", help="Run nothing; print the table of what is there.")
    ]
}


@_command(
    "compare", CompareConfig, "augpro compare --data helpdesk --teacher runs/teacher --student-layers 0,5 "
    "--methods none,random,augpro-mix --seeds 0,1,2 --sizes 250 --jobs 2 --out runs/compare", _COMPARE,
)  # fmt: skip
def compare(config: CompareConfig, dry_run: bool, table_only: bool) -> None:
    """Train a student with several methods, seeds and training sizes, and test their differences.

    Killed and started again, it runs only the cells that are missing. Exit code 1: a cell failed.
    """
    from augpro.compare import plan_compare, run_compare
    from augpro.display import quiet_libraries

    quiet_libraries()
    if dry_run:
        plan_compare(config, Console())
    elif run_compare(config, Console(), table_only):
        raise typer.Exit(1)


@app.command()
def report(
    results: Annotated[
        list[Path],
        typer.Option(help="Folder of augpro compare, or of one augpro distill run; may be given again."),
    ],
    out: Annotated[Path, typer.Option(help="The HTML file; one that is there is replaced.")] = Path(
        "report.html"
    ),
) -> None:
    """Write one self-contained HTML file about some results: pictures, tables, augmented texts.

    It opens without a server and loads nothing from anywhere. Needs `pip install 'augpro[report]'`.

    Example:
    `augpro report --results runs/compare --out report.html`
    """
    from augpro.display import quiet_libraries
    from augpro.report import write_report

    quiet_libraries()
    with friendly_errors():
        out = at_home(out)
        write_report([at_home(folder) for folder in results], out)
    Console().print(f"open {visible(str(out))} in a browser", markup=False, highlight=False)


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for the models and results.")] = Path("augpro-quickstart"),
    seed: Annotated[int, typer.Option(help="Decides everything random.", min=0)] = 0,
    fast: Annotated[
        bool, typer.Option("--fast", help="A smoke test in under 90 s; its figures mean little.")
    ] = False,
) -> None:
    """Distil a helpdesk classifier, three ways, and compare the students.

    Nothing but the installed package is needed: data and model come with it.

    Example:
    `augpro quickstart --out my-first-student`
    """
    from augpro.display import quiet_libraries
    from augpro.quickstart import run_quickstart

    quiet_libraries()
    with friendly_errors():
        run_quickstart(at_home(out), seed, fast, Console())


if __name__ == "__main__":
    app()
