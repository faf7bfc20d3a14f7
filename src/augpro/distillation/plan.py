"""The plan of a run: its configuration, checked against the data and the models before any weights are loaded."""

from dataclasses import dataclass, replace
from typing import Any

from augpro.augment import Augmenter
from augpro.config import DataOptions, DistillConfig, FinetuneConfig, TrainOptions
from augpro.data.loading import DataSpec, Split, TaskData, load_data
from augpro.distillation.defaults import default_layers, resolve_defaults, resolve_dropout
from augpro.distillation.given import NOTHING, Given
from augpro.distillation.matching import plan_matching
from augpro.distillation.method import check_shared, chosen_method, chosen_objective
from augpro.distillation.pool import open_pool
from augpro.distillation.stored import StoredPlan, open_stored
from augpro.errors import InputError
from augpro.evaluation.notes import label_notes
from augpro.losses import Objective
from augpro.models.compatibility import Role, check_models
from augpro.models.source import ModelSource
from augpro.results.provenance import seen_rows
from augpro.tasks import Task
from augpro.teachers.absent import AbsentTeacher, store_notes, teacher_source
from augpro.teachers.alignment import align_labels, spec_for
from augpro.training.options import check_trainer_options
from augpro.training.representation import Matching
from augpro.training.steps import step_notes
from augpro.training.validation import validation_split, with_metric

SEARCH_TEXTS = 8  # different training texts that a layer search needs; two of them are held out


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        config: the options, with all defaults resolved.
        data: checked splits, with the teacher's classes.
        eval_split: the split that is scored, in addition to the holdout.
        student: the model that the student starts from.
        student_layers: layers of it to keep; all if empty, unless ``searched_layers`` is above 0.
        teacher: the teacher, or None to train on gold labels.
        augmenter: the augmentation method, or None.
        objective: weights of the loss.
        method: name in the results: "finetune", "none" (plain distillation) or the augmenter's.
        matching: which hidden states and pooled vectors of the teacher the student matches, or None.
        pool: texts without labels; the teacher labels ``config.label_budget`` of them. Afterwards only these.
        stored: augmented rows on disk that the run trains on, or None.
    """

    config: FinetuneConfig | DistillConfig
    data: TaskData
    eval_split: str
    student: ModelSource
    student_layers: tuple[int, ...]
    teacher: ModelSource | None
    augmenter: Augmenter | None
    objective: Objective
    method: str
    matching: Matching | None = None
    pool: Split | None = None
    stored: StoredPlan | None = None

    @property
    def task(self) -> Task:
        """The task."""
        return self.data.task

    @property
    def method_parameters(self) -> dict[str, Any]:
        """Parameters of the method that makes, or has made, the augmented texts; empty without one."""
        if self.stored:
            return self.stored.rows.manifest.configuration.parameters
        return self.augmenter.parameters if self.augmenter else {}

    @property
    def searched_layers(self) -> int:
        """Number of layers that a search chooses; 0 without a search."""
        return self.config.searched_layers if isinstance(self.config, DistillConfig) else 0

    @property
    def label_check(self) -> str:
        """How labels will be matched to the teacher's classes; empty if their names match."""
        unproven = self.data.unproven
        if unproven is None:
            return ""
        return (
            "before the training, the teacher's answers to labelled rows will match the labels "
            f"({', '.join(self.task.label_names[:10])}) to its classes ({', '.join(unproven.classes[:10])})"
        )

    def with_layers(self, layers: tuple[int, ...]) -> "Plan":
        """The plan once a search has found the layers."""
        assert isinstance(self.config, DistillConfig)
        assert self.teacher is not None
        matching = plan_matching(self.config, self.student, layers, self.teacher)
        return replace(self, student_layers=layers, matching=matching)

    @property
    def validation_split(self) -> str | None:
        """The split for evaluation during training, if there is one."""
        return validation_split(self.config.trainer_options, self.data.splits, self.eval_split)

    def scored_splits(self) -> dict[str, Split]:
        """Splits to score, by their names in the result."""
        names = {"evaluation": self.eval_split, "holdout": "holdout"}
        return {name: self.data.splits[split] for name, split in names.items() if split in self.data.splits}

    def describe(self) -> dict[str, Any]:
        """The resolved plan for people to read."""
        config = self.config
        epochs, rate = config.epochs, config.learning_rate
        dropout = "" if config.dropout is None else f", dropout {config.dropout:g}"
        return {
            "task": self.task.name,
            "problem type": self.task.problem_type,
            "labels": self.label_check or ", ".join(self.task.label_names) or "a score",
            "rows": ", ".join(f"{name} {len(split)}" for name, split in self.data.splits.items()),
            "evaluated on": ", ".join(self.scored_splits()) + f" ({self.eval_split} split)",
            "teacher": self.teacher.name if self.teacher else "none",
            "student": self.student.name
            + (f", layers {', '.join(map(str, self.student_layers))}" if self.student_layers else "")
            + (f", {self.searched_layers} layers chosen by a search" if self.searched_layers else "")
            + (" (cut from the teacher, with its head)" if self.student == self.teacher else ""),
            "training": f"{epochs:g} epochs, {config.batch_size} rows per step, learning rate {rate:g}{dropout}",
            **self._describe_validation(),
            "augmentation": self.method_parameters or "none",
            **({"representations": self.matching.describe()} if self.matching else {}),
            **(self.stored.describe() if self.stored else {}),
            **self._describe_pool(),
        }

    def _describe_validation(self) -> dict[str, str]:
        if self.validation_split is None:
            return {}
        metric = self.config.trainer_options["metric_for_best_model"]
        return {"evaluated during training on": f"{self.validation_split} split, checkpoints by {metric}"}

    def _describe_pool(self) -> dict[str, str]:
        if self.pool is None or not isinstance(self.config, DistillConfig):
            return {}
        by = f", chosen by {self.config.label_by}" if self.config.label_by else ""
        said = f"the teacher labels {self.config.label_budget} of {len(self.pool)} texts{by}"
        return {"unlabelled texts": f"{self.pool.source}: {said}"}


def make_plan(config: FinetuneConfig | DistillConfig, given: Given = NOTHING) -> Plan:
    """Check the configuration against data and models; reads files, loads no weights.

    Args:
        config: of the run.
        given: objects that replace names in it.

    Raises:
        InputError: one sentence that names the problem and the fix.
    """
    layers: tuple[int, ...] = ()
    teacher, augmenter, matching, pool, method, stored = None, None, None, None, "finetune", None
    if isinstance(config, FinetuneConfig):
        data = _rows_to_train_on(config.data_spec(), given)
        student = _source(config, config.model)
        objective = Objective(data.task.problem_type, 1.0, 0.0, 0.0)
        if not data.splits["train"].labelled:
            raise InputError(
                f"{data.splits['train'].source}: no row has a label, so there is nothing to fine-tune on; "
                "name the column with --label-column."
            )
    else:
        teacher = given.teacher or teacher_source(config)
        stored = open_stored(config)
        classes: Any = stored.teacher_config if stored else teacher and teacher.load_config()
        spec = spec_for(config.data_spec(), classes)
        data = load_data(spec, given.data) if stored else _rows_to_train_on(spec, given)
        student, layers = _student(config, teacher, given.student)
        data = align_labels(data, classes, config.teacher or classes.name_or_path, config.label_order or ())
        if stored:
            config, data = stored.resolve(config), stored.with_rows(data, student, teacher)
        augmenter = chosen_method(config, data, given.augmenter)
        objective = chosen_objective(config, data.task, given.loss)
        matching = plan_matching(config, student, layers, teacher) if teacher else None
        plain = "none" if config.teacher_weight or matching else "finetune"
        method = stored.method if stored else config.augment if augmenter else plain
    start, rows = student.load_config(), len(data.splits["train"])
    if isinstance(config, DistillConfig):
        depth = config.searched_layers or len(layers) or getattr(start, "num_hidden_layers", 12)
        config, pool = open_pool(resolve_dropout(config, augmenter, depth), data, start)
        more = config.label_budget or 0
        cut = student == teacher or (stored is not None and stored.labelled_by(student))
        config = resolve_defaults(config, augmenter, depth, rows + more, cut)
        # The warm-up before a choice by the student has only the rows of the data.
        rows += 0 if config.label_by in ("uncertainty", "bald") else more
    _check_rows(config, data, rows)
    if augmenter and teacher:
        check_shared(augmenter, config.augment, student, teacher)  # type: ignore[union-attr]
    scored = choose_eval_split(config, data)
    plan = Plan(
        config, data, scored, student, layers, teacher, augmenter, objective, method, matching, pool, stored
    )
    plan = _with_trainer_options(plan)
    trained = len(data.splits["train"]) + (getattr(config, "label_budget", None) or 0)
    data.notes.extend([*label_notes(data.task, plan.scored_splits()), *step_notes(plan.config, trained)])
    data.notes.extend(_check_models(plan))
    if teacher and isinstance(config, DistillConfig):
        asked = plan.scored_splits() if stored else {"train": data.splits["train"], **plan.scored_splits()}
        data.notes.extend(store_notes(config, teacher, asked.values()))
        data.notes.extend(seen_rows(teacher.name, "teacher", plan.scored_splits()))
    if student != teacher:
        data.notes.extend(seen_rows(student.name, "model to start from", plan.scored_splits()))
    return plan


def _rows_to_train_on(spec: DataSpec, given: Given) -> TaskData:
    data = load_data(spec, given.data)
    if "train" not in data.splits:
        raise InputError(
            f"{spec.source}: there is no train split (there are {', '.join(data.splits)}); add one to train on."
        )
    return data


def _with_trainer_options(plan: Plan) -> Plan:
    """The plan with checked options for the Trainer, including the metric of its evaluation."""
    options = check_trainer_options(plan.config, plan.augmenter)
    name = validation_split(options, plan.data.splits, plan.eval_split)
    if name is not None:
        options = with_metric(options, plan.task, plan.data.splits[name], plan.teacher is not None)
    return replace(plan, config=plan.config.model_copy(update={"trainer_options": options}))


def _student(
    config: DistillConfig, teacher: ModelSource | None, given: ModelSource | None
) -> tuple[ModelSource, tuple[int, ...]]:
    """The model that the student starts from, and the layers it keeps.

    By default all layers of ``--student``, or some of the teacher's. Empty if a search will choose them.
    """
    start = given or (_source(config, config.student) if config.student is not None else teacher)
    assert start is not None  # one of the two is there, see open_stored
    depth = getattr(start.load_config().get_text_config(), "num_hidden_layers", 0)
    if isinstance(config.student_layers, str):
        if config.searched_layers >= depth:
            raise InputError(
                f"--student-layers {config.student_layers}: {start.name} has {depth} layers; search for fewer."
            )
        return start, ()
    if config.student is not None or config.student_layers:
        return start, config.student_layers
    if depth < 4:
        raise InputError(
            f"{start.name}: a teacher of {depth} layers is not cut by default; give the layers that the student "
            "keeps by --student-layers, or another model by --student."
        )
    return start, default_layers(depth)


def _source(config: TrainOptions, name: str) -> ModelSource:
    return ModelSource(name, config.trust_remote_code)


def _check_models(plan: Plan) -> list[str]:
    """Notes on the models; raises ``InputError`` if a model does not fit its tokenizer or cannot read the texts."""
    start = "model" if isinstance(plan.config, FinetuneConfig) else "student"
    roles = [Role(start, plan.student, finished=plan.student == plan.teacher, trained=True)]
    if plan.teacher and plan.teacher != plan.student and not isinstance(plan.teacher, AbsentTeacher):
        roles.append(Role("teacher", plan.teacher, finished=True))
    splits = [plan.data.splits["train"], *plan.scored_splits().values(), *([plan.pool] if plan.pool else [])]
    return check_models(roles, splits, plan.config.max_tokens, plan.config.allow_unknown_tokens)


def _check_rows(config: TrainOptions, data: TaskData, rows: int) -> None:
    train = data.splits["train"]
    if rows < config.batch_size:
        raise InputError(
            f"{train.source}: {rows} training rows are fewer than one batch of {config.batch_size}; "
            f"give more rows or --batch-size {max(1, rows // 2)}."
        )
    searched = isinstance(config, DistillConfig) and config.searched_layers
    if searched and len(set(train.keys)) < SEARCH_TEXTS:
        raise InputError(
            f"{train.source}: a layer search needs {SEARCH_TEXTS} different training texts, and there are "
            f"{len(set(train.keys))}; give more rows, or the layers by --student-layers."
        )


def choose_eval_split(config: DataOptions, data: TaskData) -> str:
    """The split to score: the requested one, or the first of validation and test that has labels.

    Raises:
        InputError: if there is none.
    """
    wanted = ("validation", "test") if config.eval_split == "auto" else (config.eval_split,)
    present = [name for name in wanted if name in data.splits]
    if not present:
        raise InputError(
            f"{config.data}: there is no {' or '.join(wanted)} split (there are {', '.join(data.splits)}); "
            "add the file or choose another --eval-split."
        )
    # A test split without labels, such as GLUE's, still shows the agreement with the teacher.
    return next((name for name in present if data.splits[name].labelled), present[0])
