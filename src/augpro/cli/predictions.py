"""``augpro predict``: its plan and its result on the terminal."""

from rich.console import Console

from augpro.cli.display import show_note, show_settings
from augpro.predict.options import PredictConfig
from augpro.results.terminal import quiet_libraries, shown


def predict(config: PredictConfig, dry_run: bool) -> None:
    """Answer all rows, or show the plan."""
    from augpro.predict.predicting import make_predict_plan, run_predict

    quiet_libraries()
    console = Console()
    plan = make_predict_plan(config)
    if dry_run:
        found = {"text_column": plan.text, "pair_column": plan.pair, "added_columns": ", ".join(plan.added)}
        show_settings(console, config.model_dump(mode="json") | found, plan.notes)
        return
    for note in plan.notes:
        show_note(console, note)
    done = run_predict(plan)
    sure = "" if done.confident is None else f", {done.confident:.1%} of them confident"
    console.print(
        f"{done.rows} rows answered in {done.seconds:.1f} s{sure}; they are in {shown(str(config.out))}",
        highlight=False,
    )
