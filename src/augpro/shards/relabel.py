"""Labels a set of shards that has no labels, or completes one: the story of ``augpro label``."""

from dataclasses import dataclass
from pathlib import Path

from augpro.data.loading import Split, TaskData
from augpro.errors import InputError
from augpro.files.durable import remove_leftovers
from augpro.models.compatibility import Role, check_models
from augpro.models.source import ModelSource
from augpro.plugins import check_installed
from augpro.results.output import check_folder, folder_lock
from augpro.shards.label import LabellingJob, LabelSpec, is_unlabelled_shard, label_shard
from augpro.shards.manifest import AGAIN, Labels, Manifest, ShardRecord, is_intact
from augpro.shards.options import LabelConfig
from augpro.shards.plan import check_kept_labels, teacher_labels
from augpro.shards.rows import remove_rows
from augpro.shards.run import complete, progress
from augpro.shards.table import ORIGINALS, PAIR, TEXT, read_groups
from augpro.tasks import DEFAULT_METRIC, Task
from augpro.teachers.alignment import align_labels


@dataclass(frozen=True)
class LabelPlan:
    """What ``augpro label`` will do.

    Attributes:
        config: the options.
        manifest: of the set.
        teacher: the teacher.
        labels: its task and classes.
        notes: what the user should know.
    """

    config: LabelConfig
    manifest: Manifest
    teacher: ModelSource
    labels: Labels
    notes: tuple[str, ...]

    def describe(self) -> dict[str, str]:
        """The plan for people to read."""
        done = sum(shard.rows for shard in self.manifest.shards if shard.teacher)
        rows = sum(shard.rows for shard in self.manifest.shards)
        return {
            "rows to label": f"{rows - done:,} of {rows:,}, in {self.manifest.shard_count} files",
            "teacher": self.teacher.name,
            "labels": ", ".join(self.labels.label_names) or "a score",
        }


def make_label_plan(config: LabelConfig) -> LabelPlan:
    """Check the folder and the teacher; loads no weights.

    Raises:
        InputError: one sentence that names the problem and the fix.
    """
    folder = config.augmented
    check_folder(folder, "--augmented")
    if config.engine == "ray":
        check_installed("--engine ray", ("ray",), "ray")
    manifest = whole_set(folder)
    teacher = ModelSource(config.teacher, config.trust_remote_code)
    texts = _first_rows(folder, manifest)
    known = manifest.labels
    problem = config.problem_type or "single_label"
    task = Task(str(folder), problem, DEFAULT_METRIC[problem])
    aligned = align_labels(TaskData(task, {"train": texts}, []), teacher.load_config(), teacher.name)
    labels = teacher_labels(teacher, aligned.task)
    _check_teacher(folder, known, labels)
    limit = manifest.configuration.max_tokens
    notes = check_models([Role("teacher", teacher, finished=True)], [texts], limit, allow=True)
    kept = check_kept_labels(config)
    return LabelPlan(config, manifest, teacher, known or labels, (*notes, *kept))


def whole_set(folder: Path) -> Manifest:
    """The manifest of a complete set.

    Raises:
        InputError: if there is no set, or shards of it were not made yet.
    """
    manifest = Manifest.load(folder)
    if not manifest.complete:
        raise InputError(
            f"{folder}: only {len(manifest.shards)} of {manifest.shard_count} files were made; {AGAIN}."
        )
    return manifest


def _check_teacher(folder: Path, known: Labels | None, labels: Labels) -> None:
    if known and known.content != labels.content:
        raise InputError(
            f"{folder}: these rows have labels of another teacher, {known.teacher}; give that one as "
            "--teacher, or write the rows to another folder by augpro augment."
        )


def run_label(plan: LabelPlan) -> Manifest:
    """Label all shards that have no labels, and check the others.

    Returns:
        The manifest of the labelled set, which is in the folder too.

    Raises:
        InputError: if a shard is damaged, or another run is at work in the folder.
    """
    folder = plan.config.augmented
    with folder_lock(folder):
        remove_leftovers(folder)
        manifest = whole_set(folder)
        remove_rows(folder)  # where augpro augment was killed at its very end
        _check_teacher(folder, manifest.labels, plan.labels)  # another run may have ended since the plan
        job = LabellingJob.of(
            plan.teacher, plan.labels, manifest.configuration.max_tokens, plan.config.label_store
        )
        manifest = manifest.model_copy(update={"labels": plan.labels})
        for record in manifest.shards:
            _check_shard(folder, record)
        tasks = [
            LabelSpec(job, folder.absolute(), record) for record in manifest.shards if record.teacher is None
        ]
        rows = sum(record.rows for record in manifest.shards)
        with progress(rows, "labelling", rows - sum(task.rows for task in tasks)) as watch:
            return complete(manifest, folder, tasks, label_shard, plan.config, watch)


def _check_shard(folder: Path, record: ShardRecord) -> None:
    """Raise ``InputError`` for a damaged shard; one that was labelled when the run was killed is labelled again."""
    if is_intact(folder, record):
        return
    path = folder / record.name
    if record.teacher is None and is_unlabelled_shard(path, record):
        return
    raise damaged(path)


def damaged(path: Path) -> InputError:
    """The error for a shard that does not match its checksum."""
    what = "does not match its checksum" if path.exists() else "is missing"
    return InputError(f"{path}: this file {what}; {AGAIN}, which makes it anew.")


def _first_rows(folder: Path, manifest: Manifest) -> Split:
    """The originals of the first shard."""
    path = folder / manifest.shards[0].name
    try:
        table = next(read_groups(path, (TEXT, PAIR), ORIGINALS))
    except (OSError, ValueError, StopIteration) as error:
        raise damaged(path) from error
    texts = table.column(TEXT).to_pylist()
    pairs = table.column(PAIR).to_pylist() if PAIR in table.column_names else None
    return Split(texts, pairs, [None] * len(texts), str(path))
