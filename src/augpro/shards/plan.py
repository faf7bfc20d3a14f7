"""The plan of ``augpro augment``: options, data and models, checked before any weights are loaded."""

from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any

from augpro.augment import Augmenter, augmenter
from augpro.augment.partners import BLOCK_ROWS
from augpro.data.loading import Split, TaskData
from augpro.data.stream import TrainRows, open_train_rows
from augpro.errors import InputError
from augpro.files.durable import fingerprint
from augpro.models.compatibility import Role, check_models
from augpro.models.source import ModelSource, tokenizer_fingerprint
from augpro.plugins import check_installed
from augpro.results.content import method_content, model_content, models_among
from augpro.results.environment import library_versions
from augpro.shards.manifest import Configuration, Labels
from augpro.shards.options import AugmentConfig, WorkOptions
from augpro.tasks import DEFAULT_METRIC, Task
from augpro.teachers.alignment import align_labels, class_names, spec_for
from augpro.teachers.store import check_store

_CLASS_RULES = ("same-class", "other-class")


@dataclass(frozen=True)
class AugmentPlan:
    """What ``augpro augment`` will do.

    Attributes:
        config: the options.
        rows: the train split of the data.
        student: gives tokenizer and word embeddings.
        teacher: labels the rows, or None.
        method: the augmentation method.
        labels: the teacher's task, or None.
        configuration: what decides the content of the shards.
        notes: what the user should know.
    """

    config: AugmentConfig
    rows: TrainRows
    student: ModelSource
    teacher: ModelSource | None
    method: Augmenter
    labels: Labels | None
    configuration: Configuration
    notes: tuple[str, ...]

    @property
    def shard_rows(self) -> int:
        """Training rows of a shard, a multiple of 256."""
        return self.configuration.shard_rows

    def describe(self, rows: int) -> dict[str, Any]:
        """The plan for people to read, for this number of training rows."""
        copies = self.config.copies
        return {
            "rows": f"{rows:,} of {self.rows.source}",
            "columns": ", ".join(self.configuration.columns),
            "student": f"{self.student.name} (tokenizer and word embeddings)",
            "teacher": self.teacher.name if self.teacher else "none: augpro label adds the labels",
            "augmentation": self.method.parameters,
            "files": f"{len(shard_starts(rows, self.shard_rows))} of {self.shard_rows:,} training rows each",
            "rows to write": f"{rows * (copies + 1):,}: each row and {copies} augmented versions of it",
        }


def make_augment_plan(config: AugmentConfig) -> AugmentPlan:
    """Check the options against data and models; reads files, loads no weights.

    Raises:
        InputError: one sentence that names the problem and the fix.
    """
    if config.engine == "ray":
        check_installed("--engine ray", ("ray",), "ray")
    if config.label_store and not config.teacher:
        raise InputError(
            "--label-store: no use without --teacher, as nothing is labelled; give both or neither."
        )
    kept = check_kept_labels(config)
    method = _method(config)
    student = ModelSource(config.student, config.trust_remote_code)
    teacher = ModelSource(config.teacher, config.trust_remote_code) if config.teacher else None
    spec = config.data_spec()
    if teacher:
        spec = spec_for(spec, teacher.load_config())
    rows = open_train_rows(spec)
    first = Split(*next(rows.parts()), [], rows.source)
    first = replace(first, labels=[None] * len(first))
    labels = _labels(config, teacher, first) if teacher else None
    _check_partners(config, method, labels)
    roles = [Role("student", student, finished=False)]
    if teacher and teacher != student:
        roles.append(Role("teacher", teacher, finished=True))
    notes = check_models(roles, [first], config.max_tokens, config.allow_unknown_tokens)
    shard_rows = -(-config.shard_rows // BLOCK_ROWS) * BLOCK_ROWS
    configuration = Configuration(
        data=rows.fingerprint(),
        columns=tuple(name for name in (rows.columns.text, rows.columns.pair) if name),
        student=model_content(student).decode(),
        tokenizer=tokenizer_fingerprint(student.load_tokenizer()),
        method=config.augment,
        parameters=method.parameters,
        method_content=fingerprint(
            [*method_content(method), *map(model_content, models_among(config.augment_options))]
        ),
        shard_rows=shard_rows,
        teacher=labels.content if labels else None,
        versions=library_versions() | {"pyarrow": metadata.version("pyarrow")},
        **{
            name: getattr(config, name)
            for name in ("holdout_rows", "split_seed", "train_rows", "seed", "copies")
        },
        max_tokens=config.max_tokens,
        problem_type=config.problem_type,
    )
    return AugmentPlan(
        config, rows, student, teacher, method, labels, configuration, (*rows.notes, *notes, *kept)
    )


def check_kept_labels(config: WorkOptions) -> list[str]:
    """Check the label store, and return notes about it.

    Raises:
        InputError: if it cannot be used.
    """
    if config.label_store is None:
        return []
    if config.engine == "ray":
        raise InputError(
            "--label-store: is a file of one machine, and --engine ray may work on several; leave one of the two out."
        )
    return check_store(config.label_store)


def teacher_labels(teacher: ModelSource, task: Task) -> Labels:
    """What a teacher's labels are; reads its files, loads no weights."""
    return Labels(
        teacher=teacher.name,
        content=model_content(teacher).decode(),
        problem_type=task.problem_type,
        label_names=() if task.problem_type == "regression" else class_names(teacher.load_config()),
    )


def shard_starts(rows: int, shard_rows: int) -> list[int]:
    """Row id of the first row of each shard.

    The last shard also has the rows that would be less than a block of 256, because they are part of the last block.
    So every shard starts and ends with a block, and has the partners of all its rows.
    """
    return list(range(0, max(1, rows - BLOCK_ROWS + 1), shard_rows))


def _labels(config: AugmentConfig, teacher: ModelSource, rows: Split) -> Labels:
    problem = config.problem_type or "single_label"
    data = TaskData(Task(rows.source, problem, DEFAULT_METRIC[problem]), {"train": rows}, [])
    return teacher_labels(teacher, align_labels(data, teacher.load_config(), teacher.name).task)


def _method(config: AugmentConfig) -> Augmenter:
    """The method, checked as far as that needs no data."""
    if config.augment == "none":
        raise InputError("--augment none: there is nothing to write; name a method that makes text.")
    try:
        method = augmenter(config.augment, **config.augment_options)
        method.check()
    except InputError:
        raise
    except (ValueError, TypeError) as error:
        raise InputError(f"--augment {config.augment}: {error}; see docs/methods.") from error
    instead = "use it in augpro distill, or name a method such as augpro-mix, knn or random"
    why = ""
    if not method.makes_text:
        why = "it makes no text, so there is nothing to write"
    elif method.needs_student:
        why = "it follows the student during the training, and here no student is trained"
    elif method.needs_all_rows:
        why = "it depends on all training rows (partner=near, distribution=unigram), and a file has only some of them"
    elif method.teacher_shares != "text":
        why = "it uses the teacher's embeddings or gradient, and only the student's embeddings are loaded"
    if why:
        raise InputError(f"--augment {config.augment}: {why}; {instead}.")
    return method


def _check_partners(config: AugmentConfig, method: Augmenter, labels: Labels | None) -> None:
    """Refuse rules that need the teacher's classes if there are none."""
    rules = sorted(method.partner_rules.intersection(_CLASS_RULES))
    if rules and labels is None:
        raise InputError(
            f"--augment {config.augment}: partner={rules[0]} needs the teacher's classes of the rows; "
            "give --teacher, or partner=random."
        )
    if rules and labels and labels.problem_type != "single_label":
        raise InputError(
            f"--augment {config.augment}: partner={rules[0]} needs one class a row, which a {labels.problem_type} "
            "task does not have; use partner=random."
        )


def check_row_count(plan: AugmentPlan, rows: int) -> None:
    """Refuse a method that mixes rows if there is only one."""
    if plan.method.mixes_rows and rows < 2:
        raise InputError(
            f"--augment {plan.config.augment}: mixing needs at least 2 training rows, and {plan.rows.source} has "
            f"{rows}; add rows."
        )
