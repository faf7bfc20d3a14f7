"""Makes or completes a set of shards: the story of ``augpro augment``."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm.auto import tqdm

from augpro.errors import InputError
from augpro.files.durable import remove_leftovers
from augpro.results.output import check_folder, claim_folder, folder_lock
from augpro.shards.label import LabellingJob, located
from augpro.shards.make import Job, ShardSpec, make_shard
from augpro.shards.manifest import MANIFEST, Manifest, is_intact
from augpro.shards.options import WorkOptions
from augpro.shards.plan import AugmentPlan, check_row_count, shard_starts
from augpro.shards.ray_engine import made_by_ray
from augpro.shards.rows import ROWS, count_rows, remove_rows, rows_are_whole, store_rows
from augpro.shards.workers import Task, Watch, Work, made

log = logging.getLogger(__name__)
_LOCK = ".lock"


def planned_rows(plan: AugmentPlan) -> int:
    """Number of training rows; reads all of the data and checks the folder, and changes nothing.

    Raises:
        InputError: if a row has no text, or the folder holds something else.
    """
    check_augment_folder(plan)
    rows = count_rows(plan.rows, plan.config.data_spec())
    check_row_count(plan, rows)
    return rows


def check_augment_folder(plan: AugmentPlan) -> Manifest | None:
    """The manifest of the set that is in the folder, if there is one; changes nothing.

    Raises:
        InputError: if the folder holds something else, or a set of another configuration.
    """
    folder = plan.config.out
    check_folder(folder)
    if not (folder / MANIFEST).exists():
        others = [path.name for path in folder.iterdir() if not _is_ours(path)] if folder.is_dir() else []
        if others:
            raise InputError(f"{folder}: is not empty and holds no augmented rows; give another --out.")
        return None
    manifest = Manifest.load(folder)
    changed = manifest.configuration.changed(plan.configuration)
    if changed:
        raise InputError(
            f"{folder}: holds rows that were made with another configuration ({', '.join(changed)} changed); restore "
            "it or give another --out."
        )
    return manifest


def run_augment(plan: AugmentPlan) -> Manifest:
    """Make all shards that are missing or damaged, and check the others.

    The same plan gives the same files, however many processes make them and however often it was stopped.

    Returns:
        The manifest of the complete set, which is in the folder too.

    Raises:
        InputError: if data, folder or models do not fit.
    """
    folder = plan.config.out
    check_augment_folder(plan)
    claim_folder(folder)
    with folder_lock(folder):
        manifest = check_augment_folder(plan)
        remove_leftovers(folder)
        manifest = _without_damaged(folder, manifest) if manifest else _new_set(plan)
        tasks = _missing(plan, manifest)
        if tasks and not rows_are_whole(folder):
            remove_rows(folder)
            store_rows(plan.rows, plan.config.data_spec(), folder)
        with progress(
            manifest.expected_rows, "augmenting", sum(shard.rows for shard in manifest.shards)
        ) as watch:
            manifest = complete(manifest, folder, tasks, make_shard, plan.config, watch)
        remove_rows(folder)
    return manifest


def complete(
    manifest: Manifest, folder: Path, tasks: Sequence[Task], work: Work, options: WorkOptions, watch: Watch
) -> Manifest:
    """Do the tasks, and write the manifest after each of them."""
    engine = made_by_ray if options.engine == "ray" and tasks else made
    for record in engine(tasks, work, options.workers, watch):
        manifest = manifest.with_shard(record)
        manifest.save(folder)
    return manifest


@contextmanager
def progress(rows: int, what: str, done: int = 0) -> Iterator[Watch]:
    """A progress bar over rows, with rows per second."""
    with tqdm(total=rows, initial=done, desc=what, unit=" rows", unit_scale=True) as bar:

        def watch(more: int) -> None:
            bar.update(more)

        yield watch


def _is_ours(path: Path) -> bool:
    """Whether a stopped run has left it before there was a manifest."""
    return path.name in (_LOCK, ROWS) or path.name.startswith((f".{ROWS}.", f".{MANIFEST}."))


def _new_set(plan: AugmentPlan) -> Manifest:
    """Store the training rows and write the manifest of a set without shards."""
    folder = plan.config.out
    remove_rows(folder)
    rows = store_rows(plan.rows, plan.config.data_spec(), folder)
    check_row_count(plan, rows)
    manifest = Manifest(
        configuration=plan.configuration,
        student=plan.student.name,
        source=plan.rows.source,
        training_rows=rows,
        shard_count=len(shard_starts(rows, plan.shard_rows)),
        labels=plan.labels,
    )
    manifest.save(folder)
    return manifest


def _without_damaged(folder: Path, manifest: Manifest) -> Manifest:
    """The manifest without the shards that are missing or damaged."""
    intact = []
    for record in manifest.shards:
        if is_intact(folder, record):
            intact.append(record)
        else:
            log.warning("note: %s does not match its checksum, so it is made again", folder / record.name)
    return manifest.model_copy(update={"shards": tuple(intact)})


def _missing(plan: AugmentPlan, manifest: Manifest) -> list[ShardSpec]:
    """The shards that are to be made."""
    config, rows = plan.config, manifest.training_rows
    folder = config.out.absolute()  # for processes with another working folder
    labelling = None
    if plan.teacher and plan.labels:
        labelling = LabellingJob.of(plan.teacher, plan.labels, config.max_tokens, config.label_store)
    job = Job(
        folder, folder / ROWS, located(plan.student), plan.method, config.augment, config.copies, config.seed,
        config.max_tokens, labelling,
    )  # fmt: skip
    starts = shard_starts(rows, plan.shard_rows)
    specs = [
        ShardSpec(job, f"train-{number:05d}-of-{len(starts):05d}.parquet", first, end)
        for number, (first, end) in enumerate(zip(starts, [*starts[1:], rows], strict=True))
    ]
    there = {record.name for record in manifest.shards}
    return [spec for spec in specs if spec.name not in there]


def summary(manifest: Manifest) -> list[str]:
    """What a complete set holds, in sentences."""
    made_rows = sum(shard.rows for shard in manifest.shards)
    each = f"{manifest.training_rows:,} training rows, each with {manifest.configuration.copies} augmented versions"
    lines = [f"{made_rows:,} rows in {manifest.shard_count} files: {each}"]
    lines += [f"{count:,} rows are missing: {reason}" for reason, count in sorted(manifest.missing.items())]
    shares = manifest.counts.shares()
    if shares:
        lines.append(f"{shares['changed']:.1%} of what may be replaced was replaced")
    lines.append(
        f"labels by {manifest.labels.teacher}" if manifest.labelled and manifest.labels
        else "no labels yet: augpro label adds them"
    )  # fmt: skip
    return lines
