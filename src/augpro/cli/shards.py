"""``augpro augment`` and ``augpro label``: plans and results on the terminal."""

from pathlib import Path

from rich.console import Console

from augpro.cli.display import show_note, show_settings, shown_log
from augpro.results.terminal import quiet_libraries, shown
from augpro.shards.manifest import Manifest
from augpro.shards.options import AugmentConfig, LabelConfig


def augment(config: AugmentConfig, dry_run: bool) -> None:
    """Write the augmented rows, or show the plan."""
    from augpro.shards.plan import make_augment_plan
    from augpro.shards.run import planned_rows, run_augment

    quiet_libraries()
    console = Console()
    plan = make_augment_plan(config)
    if dry_run:
        show_settings(console, plan.describe(planned_rows(plan)), plan.notes)
        return
    with shown_log(console):
        manifest = run_augment(plan)
    _show_set(console, manifest, plan.notes, config.out)


def label(config: LabelConfig, dry_run: bool) -> None:
    """Label the rows, or show the plan."""
    from augpro.shards.relabel import make_label_plan, run_label

    quiet_libraries()
    console = Console()
    plan = make_label_plan(config)
    if dry_run:
        show_settings(console, plan.describe(), plan.notes)
        return
    with shown_log(console):
        manifest = run_label(plan)
    _show_set(console, manifest, plan.notes, config.augmented)


def _show_set(console: Console, manifest: Manifest, notes: tuple[str, ...], folder: Path) -> None:
    from augpro.shards.run import summary

    for note in notes:
        show_note(console, note)
    for line in summary(manifest):
        console.print(shown(line), highlight=False)
    console.print(f"the files are in {shown(str(folder))}", highlight=False)
