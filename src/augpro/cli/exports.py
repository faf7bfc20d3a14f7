"""``augpro export``: its plan and its tables on the terminal."""

from rich.console import Console

from augpro.cli.display import show_note, show_settings, show_table
from augpro.export.options import ExportConfig
from augpro.results.terminal import quiet_libraries, shown


def export(config: ExportConfig, dry_run: bool) -> None:
    """Export, or show the plan."""
    from augpro.export.plan import make_export_plan

    quiet_libraries()
    console = Console()
    plan = make_export_plan(config)
    if dry_run:
        settings = {
            "classes": len(plan.labels), "problem_type": plan.problem, "reads_pairs": plan.pair,
            "compared_rows": None if plan.rows is None else len(plan.rows),
        }  # fmt: skip
        show_settings(
            console, settings | config.model_dump(mode="json") | {"max_tokens": plan.limit}, plan.notes
        )
        return
    from augpro.export.exporting import run_export
    from augpro.export.folder import export_tables

    result = run_export(plan)
    for note in result.notes:
        show_note(console, note)
    for table in export_tables(result, config):
        show_table(console, table)
    console.print(f"the exported model is in {shown(str(config.out))}", highlight=False)
