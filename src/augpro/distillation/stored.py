"""Distillation from stored rows: what ``--augmented`` changes in the plan of a run."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig

from augpro.config import DistillConfig
from augpro.data.loading import Split, TaskData
from augpro.data.split_notes import overlaps
from augpro.errors import InputError
from augpro.models.source import ModelSource, tokenizer_fingerprint
from augpro.results.content import model_content
from augpro.shards.read import ShardSet, open_set
from augpro.tasks import HF_PROBLEM_TYPE
from augpro.teachers.alignment import class_names

_MOST_ALIKE = 0.5  # share of evaluation rows that may be training rows too
_CANDIDATES = 3
# Options for rows, texts and labels that are made in the training, and their values without effect.
_NO_USE: dict[str, Any] = {
    "augment_options": {}, "new_candidates": None, "label_weight": 0.0, "hidden_weight": 0.0, "relation_weight": 0.0,
    "pooled_weight": 0.0, "unlabelled": None, "label_budget": None, "label_by": None, "train_rows": None,
}  # fmt: skip


@dataclass(frozen=True)
class StoredPlan:
    """A set of stored rows that a run trains on.

    Attributes:
        rows: the set.
    """

    rows: ShardSet

    @property
    def method(self) -> str:
        """Name of the method that made the texts."""
        return self.rows.manifest.configuration.method

    def labelled_by(self, model: ModelSource) -> bool:
        """Whether a model is the teacher whose labels the rows have, wherever it lies."""
        return model_content(model).decode() == self.rows.labels.content

    @property
    def teacher_config(self) -> Any:
        """The part of the teacher's configuration that says what its labels are."""
        labels = self.rows.labels
        names = dict(enumerate(labels.label_names)) or {0: "score"}
        config = PretrainedConfig.from_dict(
            {"problem_type": HF_PROBLEM_TYPE[labels.problem_type], "id2label": names}
        )
        config.name_or_path = labels.teacher
        return config

    def resolve(self, config: DistillConfig) -> DistillConfig:
        """The options with those that the set decides.

        Raises:
            InputError: if the set has fewer versions of each row than are to be compared, or other lengths.
        """
        made = self.rows.manifest.configuration
        if (config.candidates or 1) > made.copies:
            raise InputError(
                f"--candidates {config.candidates}: {self.rows.folder} has {made.copies} augmented versions of each "
                "row; give at most that."
            )
        if config.max_tokens not in (None, made.max_tokens):
            raise InputError(
                f"--max-tokens {config.max_tokens}: the texts of {self.rows.folder} were cut at "
                f"{made.max_tokens or 'the limit of the tokenizer'}; leave --max-tokens out."
            )
        decided = {"augment": "none", "max_tokens": made.max_tokens}
        decided["candidates"] = config.candidates or min(_CANDIDATES, made.copies)
        return config.model_copy(update=decided)

    def _check_models(self, student: ModelSource, teacher: ModelSource | None) -> None:
        """Refuse a student with another tokenizer, and a teacher with other classes."""
        manifest, labels = self.rows.manifest, self.rows.labels
        if tokenizer_fingerprint(student.load_tokenizer()) != manifest.configuration.tokenizer:
            raise InputError(
                f"{student.name}: has another tokenizer than {manifest.student}, for which {self.rows.folder} was "
                "made; give a student with that tokenizer, or run augpro augment with this one."
            )
        if teacher is not None and labels.label_names:
            classes = class_names(teacher.load_config())
            if classes != labels.label_names:
                raise InputError(
                    f"{teacher.name}: its classes ({', '.join(classes[:10])}) are not those of the teacher that "
                    f"labelled {self.rows.folder} ({', '.join(labels.label_names[:10])}); leave --teacher out."
                )

    def with_rows(self, data: TaskData, student: ModelSource, teacher: ModelSource | None) -> TaskData:
        """The data with the stored rows as its train split.

        Args:
            data: its other splits are evaluated on.
            student: the model to start from.
            teacher: a model whose agreement with the student is measured, or None.

        Raises:
            InputError: if a model does not fit the stored rows, evaluation rows are among them, or labels cannot be
                matched to the classes.
        """
        folder = self.rows.folder
        self._check_models(student, teacher)
        if data.unproven is not None and teacher is None:
            raise InputError(
                f"{next(iter(data.splits.values())).source}: the labels ({', '.join(data.task.label_names[:10])}) do "
                f"not have the names of the classes of {folder} ({', '.join(data.unproven.classes[:10])}); give the "
                "labels in the order of the classes by --label-order, or --teacher."
            )
        train = self.rows.originals
        scored = {name: split for name, split in data.splits.items() if name != "train"}
        known = set(train.keys)
        there = data.splits.get("train")
        for name, split in scored.items():
            _check_columns(self.rows.folder, train, name, split)
            again = sum(key in known for key in split.keys)
            made_here = (
                there is not None and split.source == there.source
            )  # taken from the train split of the data
            if made_here and again > _MOST_ALIKE * len(split):
                raise InputError(
                    f"{folder}: {again} of {len(split)} rows of the {name} split are among its training rows; give "
                    "the --data, --holdout-rows and --split-seed of augpro augment."
                )
        notes = self._about(teacher)
        notes += overlaps({"train": train.keys, **{name: split.keys for name, split in scored.items()}})
        new = [note for note in notes if note not in data.notes]
        return replace(data, splits={"train": train, **scored}, notes=[*data.notes, *new])

    def _about(self, teacher: ModelSource | None) -> list[str]:
        """A note if the agreement is measured with another teacher than the one that is learned from."""
        labels = self.rows.labels
        if teacher is None or self.labelled_by(teacher):
            return []
        note = f"the rows of {self.rows.folder} have labels of {labels.teacher}, and {teacher.name} is another model"
        return [f"{note}; the agreement is measured with the latter"]

    def describe(self) -> dict[str, Any]:
        """The set for people to read."""
        made = self.rows.manifest.configuration
        return {
            "training rows": f"{self.rows.folder}: {self.rows.manifest.training_rows:,}, each with {made.copies} "
            f"augmented versions ({self.method}), labelled by {self.rows.labels.teacher}"
        }


def _check_columns(folder: Path, train: Split, name: str, scored: Split) -> None:
    if (train.pairs is None) != (scored.pairs is None):
        kinds = [("single texts" if split.pairs is None else "pairs of texts") for split in (train, scored)]
        raise InputError(
            f"{folder}: its rows are {kinds[0]}, and those of the {name} split are {kinds[1]}; give the --data and "
            "the columns of augpro augment."
        )


def open_stored(config: DistillConfig) -> StoredPlan | None:
    """The set that a run trains on, or None; every file of it is checked.

    Raises:
        InputError: if options need rows, texts or labels that are made in the training, or the set cannot be used.
    """
    if config.augmented is None:
        return None
    given = [
        f"--{name.replace('_', '-')}" for name, value in _NO_USE.items() if getattr(config, name) != value
    ]
    if "augment" in config.model_fields_set and config.augment != "none":
        given.insert(0, "--augment")
    if config.searched_layers:
        given.append(f"--student-layers {config.student_layers}")
    if given:
        raise InputError(
            f"{', '.join(given)}: no use with --augmented, whose rows, texts and labels were made before the "
            "training; leave one or the other out."
        )
    if config.label_store and not config.teacher:
        raise InputError(
            "--label-store: no use without --teacher, as nothing is labelled; give both or neither."
        )
    stored = open_set(config.augmented)
    if config.teacher is None and config.student is None:
        raise InputError(
            "--student is missing: without --teacher there is no model to cut it from; give one with the tokenizer "
            f"of {stored.manifest.student}."
        )
    return StoredPlan(stored)
