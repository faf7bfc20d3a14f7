"""The command line: options come from :mod:`augpro.config`, work is done elsewhere, heavy imports wait."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from augpro.cli.options import command, friendly_errors
from augpro.config import CompareConfig, DistillConfig, EvaluateConfig, FinetuneConfig
from augpro.results.terminal import forgive_output, quiet_libraries, visible
from augpro.values import at_home


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


_DRY_RUN = {
    "dry_run": Annotated[bool, typer.Option("--dry-run", help="Check everything and print the plan.")]
}


def _train(config: FinetuneConfig | DistillConfig, dry_run: bool) -> None:
    from augpro.cli.display import show_plan, show_result
    from augpro.distillation.plan import make_plan
    from augpro.results.output import check_output

    quiet_libraries()
    check_output(config)
    plan = make_plan(config)
    console = Console()
    if dry_run:
        show_plan(console, plan, plan.config)
        return
    from augpro.distillation.pipeline import run_plan

    show_result(console, run_plan(plan).result, config.out)


@command(
    app,
    "finetune",
    FinetuneConfig,
    "augpro finetune --data helpdesk --model minilm --out runs/teacher",
    _DRY_RUN,
)
def finetune(config: FinetuneConfig, dry_run: bool) -> None:
    """Train a teacher: a sequence classifier on gold labels."""
    _train(config, dry_run)


@command(
    app,
    "distill",
    DistillConfig,
    "augpro distill --data helpdesk --teacher runs/teacher --student-layers 0,5 --out runs/student",
    _DRY_RUN,
)
def distill(config: DistillConfig, dry_run: bool) -> None:
    """Train a student on a teacher's output, with augmented text that the teacher labels."""
    _train(config, dry_run)


@command(
    app,
    "evaluate",
    EvaluateConfig,
    "augpro evaluate --data helpdesk --model runs/student --teacher runs/teacher",
)
def evaluate(config: EvaluateConfig) -> None:
    """Score a classifier on a data set, and its agreement with a teacher."""
    from augpro.cli.display import show_note, show_scores
    from augpro.distillation.scoring import evaluate_model

    quiet_libraries()
    console = Console()
    show_scores(console, evaluate_model(config, lambda note: show_note(console, note)), config.model)


_COMPARE = _DRY_RUN | {
    "table_only": Annotated[
        bool, typer.Option("--table-only", help="Run nothing; print the table of what is there.")
    ]
}


@command(
    app,
    "compare", CompareConfig, "augpro compare --data helpdesk --teacher runs/teacher --student-layers 0,5 "
    "--methods none,random,augpro-mix --seeds 0,1,2 --sizes 250 --jobs 2 --out runs/compare", _COMPARE,
)  # fmt: skip
def compare(config: CompareConfig, dry_run: bool, table_only: bool) -> None:
    """Train a student with several methods, seeds and training sizes, and test their differences.

    Killed and started again, it runs only the cells that are missing. Exit code 1: a cell failed.
    """
    from augpro.compare.runner import plan_compare, run_compare

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
    from augpro.report.page import write_report

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
    from augpro.cli.quickstart import run_quickstart

    quiet_libraries()
    with friendly_errors():
        run_quickstart(at_home(out), seed, fast, Console())
