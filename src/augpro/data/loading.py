"""Loads external data into checked splits and a ``Task``.

The result of :func:`load_data` has non-empty texts and known labels, and the splits made here do not overlap, so no
other module has to check this again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from augpro.data.columns import Columns, check_second_texts, choose_columns, read_texts
from augpro.data.division import divided_rows
from augpro.data.labels import Label, LabelHints, LabelSet, decode_labels
from augpro.data.same_text import row_keys
from augpro.data.sources import Source, open_source
from augpro.data.spec import DataSpec, check_spec
from augpro.data.split_notes import contradictions, overlaps, unseen_labels
from augpro.errors import InputError
from augpro.tasks import DEFAULT_METRIC, Task, UnprovenLabels

__all__ = ["DataSpec", "Label", "Split", "TaskData", "load_data"]


@dataclass(frozen=True)
class Split:
    """Rows of a task: texts, the second texts of a pair task, and labels.

    ``source`` is the file or data set that the rows come from.
    """

    texts: list[str]
    pairs: list[str] | None
    labels: list[Label]
    source: str

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, rows: Sequence[int]) -> "Split":
        """Return the rows with these indices, in this order."""
        pairs = None if self.pairs is None else [self.pairs[row] for row in rows]
        chosen = Split(
            [self.texts[row] for row in rows], pairs, [self.labels[row] for row in rows], self.source
        )
        if "keys" in vars(self):  # computing a million keys takes ten seconds
            vars(chosen)["keys"] = [self.keys[row] for row in rows]
        return chosen

    def without_labels(self) -> "Split":
        """Return the same rows with no label on any of them."""
        return replace(self, labels=[None] * len(self))

    @cached_property
    def keys(self) -> list[int]:
        """A key for each row, equal for equal texts; see :func:`augpro.data.same_text.row_keys`."""
        return row_keys(self.texts, self.pairs)

    @property
    def labelled(self) -> bool:
        """Whether any row has a label."""
        return any(label is not None for label in self.labels)


@dataclass(frozen=True)
class TaskData:
    """A task with its splits (some of train, validation, test, holdout), and notes for the user.

    ``unproven`` is set while the labels are not matched to a model's classes (:mod:`augpro.teachers.alignment`).
    """

    task: Task
    splits: dict[str, Split]
    notes: list[str]
    unproven: UnprovenLabels | None = None


def load_data(spec: DataSpec, source: Source | None = None) -> TaskData:
    """Load, check and split the data that ``spec`` names.

    Args:
        spec: A CSV, TSV, JSON Lines, JSON or Parquet file, a folder of split files, ``helpdesk``,
            ``glue/sst2`` and so on, or the name of a data set on the Hugging Face hub; and how to read it.
        source: data that is already in memory; ``spec`` then only names it. See
            :func:`augpro.data.held.held_source`.

    Raises:
        InputError: If the source, a column, a row or an option is wrong; the message says where, and how to fix it.
    """
    check_spec(spec)
    source = source or open_source(spec.source)
    notes = [*source.notes, *(note for table in source.tables.values() for note in table.notes)]
    glue = fitting_glue(spec, source)
    if glue:
        columns = Columns(glue.text_column, glue.pair_column, glue.label_column)
    else:
        columns, guessed = choose_columns(
            source.tables, spec.text_column, spec.pair_column, spec.label_column
        )
        notes += guessed
    # Not for GLUE tasks, which are pairs by their definition.
    optional = columns.pair is not None and not (spec.pair_column or glue)
    texts = read_texts(list(source.tables.values()), columns.text, columns.pair, optional)
    check_second_texts(list(source.tables.values()), columns, spec.classes)
    decoded = decode_labels(source.tables, columns.label, LabelHints(spec.problem_type, glue, spec.classes))
    if spec.make_validation and decoded.problem_type == "single_label" and "train" in source.tables:
        _check_classes(source.tables["train"].source, columns.label, decoded)
    splits = {
        name: Split(*own_texts, decoded.labels[name], table.source)
        for (name, table), own_texts in zip(source.tables.items(), texts, strict=True)
    }
    metric = DEFAULT_METRIC[decoded.problem_type]
    own = (columns.text, columns.pair, columns.label)
    task = glue or Task(source.name, decoded.problem_type, metric, decoded.names, *own)
    notes += decoded.notes
    splits = _divide(spec, splits, notes)
    for name, split in splits.items():
        notes += contradictions(name, split.texts, split.keys, split.labels, decoded.problem_type)
    if spec.make_validation and decoded.problem_type != "regression":
        notes += unseen_labels({name: split.labels for name, split in splits.items()}, decoded.names)
    return TaskData(task, splits, notes)


def _check_classes(source: str, column: str | None, decoded: LabelSet) -> None:
    """Raise ``InputError`` if all labelled training rows have one class."""
    there = {label for label in decoded.labels["train"] if isinstance(label, int)}
    if len(there) == 1:
        (only,) = there
        why = "".join(f" ({note})" for note in decoded.notes)  # such as rows whose label counted as none
        raise InputError(
            f"{source}, column {column!r}: all labelled rows have one label ({decoded.names[only]!r}){why}; "
            "add rows with another one, or name the column by --label-column"
        )


def fitting_glue(spec: DataSpec, source: Source) -> Task | None:
    """Return the GLUE task of the source's name if the columns and the user's options agree with it."""
    task = source.glue
    if task is None or spec.problem_type not in (None, task.problem_type):
        return None
    said = (spec.text_column, spec.pair_column, spec.label_column)
    own = (task.text_column, task.pair_column, task.label_column)
    if any(said_one not in (None, own_one) for said_one, own_one in zip(said, own, strict=True)):
        return None
    for table in source.tables.values():
        names = table.class_names.get(task.label_column or "", task.label_names)
        if not {task.text_column, task.pair_column or task.text_column} <= table.columns.keys():
            return None
        if names != task.label_names:  # the file has another order of classes, which takes precedence
            return None
    return task


def _divide(spec: DataSpec, splits: dict[str, Split], notes: list[str]) -> dict[str, Split]:
    """Take validation, holdout and train rows from the train split.

    See :func:`divided_rows`.
    """
    lone = splits.keys() == {"train"}
    if "train" not in splits and not (spec.holdout_rows or spec.train_rows):
        return splits
    if "train" not in splits:
        raise InputError(
            f"{spec.source}: there is no train split to take rows from; add a train file to the folder"
        )
    train = splits["train"]
    parts = divided_rows(spec, train.keys, train.source, lone)
    if "validation" in parts:
        size = len(parts["validation"])
        notes.append(f"took {size} of the train rows as the validation split, as there is none")
    notes += overlaps({name: split.keys for name, split in splits.items()})
    divided = splits | {name: train.select(rows) for name, rows in parts.items()}
    return {name: divided[name] for name in ("train", "validation", "test", "holdout") if name in divided}
