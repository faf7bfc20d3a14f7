"""A teacher whose model is not there any more: a label store still has its labels and its configuration.

That is enough to distil again on texts that it has labelled. Whatever needs the model itself is refused: a label that
is missing, its hidden states, its tokenizer for a student that is cut from it, and rows that are not text.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerBase

from augpro.config import DistillConfig
from augpro.data.loading import Split
from augpro.errors import InputError
from augpro.models.source import ModelSource, tokenizer_fingerprint
from augpro.teachers.labels import TeacherRecord
from augpro.teachers.store import LabelStore, check_store, store_path
from augpro.teachers.teacher import LabelCounts, RowsToLabel, Teacher, precision_of


@dataclass(frozen=True)
class AbsentTeacher(ModelSource):
    """A model that is not there, as a label store describes it.

    Attributes:
        store: the label store.
        records: the model in each precision that it has labelled in.
    """

    store: Path = field(kw_only=True)
    records: tuple[TeacherRecord, ...] = field(kw_only=True)

    def load_config(self) -> Any:
        """The configuration in the store."""
        values = json.loads(self.records[0].config)
        config = AutoConfig.for_model(values.pop("model_type"))
        loaded = type(config).from_dict(values)
        loaded.name_or_path = self.name
        return loaded

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """Refused; so is everything that loads weights."""
        self.refuse("the tokenizer of the teacher")

    def load_classifier(self, config: Any = None) -> PreTrainedModel:
        """Refused."""
        self.refuse("the weights of the teacher")

    def load_trained_classifier(self) -> PreTrainedModel:
        """Refused."""
        self.refuse("the weights of the teacher")

    def refuse(self, needs: str) -> NoReturn:
        """Raise the ``InputError`` of a run that needs more than labels."""
        raise InputError(
            f"{self.name}: no such model folder, and {store_path(self.store)} has only its labels, but this run "
            f"needs {needs}; give the folder of the teacher."
        )


def teacher_source(config: DistillConfig) -> ModelSource | None:
    """The teacher of a run, if it has one: the model, or what the label store knows of one that is not there.

    Raises:
        InputError: if the label store cannot be used, or the teacher is neither there nor in it.
    """
    if config.teacher is None:
        return None
    source = ModelSource(config.teacher, config.trust_remote_code)
    if config.label_store is None:
        return source
    check_store(config.label_store)
    if not store_path(config.label_store).is_file():
        return source
    try:
        source.load_config()
    except InputError as error:
        store = LabelStore(config.label_store)
        if records := _records(store, source, config.max_tokens):
            return AbsentTeacher(config.teacher, store=config.label_store, records=records)
        alike = [known.name for known in store.teachers() if Path(known.name).name == Path(source.name).name]
        if not alike:
            raise
        raise InputError(
            f"{source.name}: there is no such model, and {store.path} has labels of {alike[-1]}; give that as "
            "--teacher if it is the same model, or the folder of the teacher."
        ) from error
    return source


def _records(store: LabelStore, source: ModelSource, max_tokens: int | None) -> tuple[TeacherRecord, ...]:
    """The model that was used last under the teacher's name, with the run's limit, in every precision.

    A folder has its whole path as its name. A relative one is of the hub, or of a folder that an earlier version did
    not tell from others: it is none that can only be a folder, and :func:`store_notes` tells it of any other.

    Raises:
        InputError: if it has labels with other limits only.
    """
    name, place = source.name, Path(source.name).absolute()
    named = [
        record
        for record in store.teachers()
        if Path(record.name) == place or (record.name == name and not source.must_be_local)
    ]
    last = [
        record
        for record in named
        if (record.model, record.tokenizer) == (named[-1].model, named[-1].tokenizer)
    ]
    fitting = [
        record for record in last if record.tokens == min(record.longest, max_tokens or record.longest)
    ]
    if last and not fitting:
        limits = ", ".join(sorted({str(record.tokens) for record in last}, key=int))
        raise InputError(
            f"{name}: no such model folder, and the labels in {store.path} are of texts of at most {limits} tokens; "
            "give that as --max-tokens, or the folder of the teacher."
        )
    return tuple(fitting)


def store_notes(config: DistillConfig, teacher: ModelSource, splits: Iterable[Split]) -> list[str]:
    """Notes on the label store of a run.

    Args:
        config: of the run.
        teacher: of the run.
        splits: texts that the run needs labels of.

    Raises:
        InputError: if the teacher is not there, and the store lacks one of these labels.
    """
    notes = check_store(config.label_store) if config.label_store else []
    if isinstance(teacher, AbsentTeacher):
        stored = StoredTeacher(teacher)
        for split in splits:
            stored.label(split.texts, split.pairs)
        by_name = ", which has it by this name alone: make sure that it is the same model"
        known = "" if Path(teacher.records[0].name).is_absolute() else by_name
        notes.append(
            f"{teacher.name} is not there; its labels are read from {store_path(teacher.store)}{known}"
        )
    return notes


class _NoModel:
    """In the place of the model: using it is refused."""

    def __init__(self, source: AbsentTeacher) -> None:
        self._source = source

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self._source.refuse("the model of the teacher")

    def __call__(self, *_args: Any, **_options: Any) -> Any:
        self._source.refuse("the model of the teacher")


class StoredTeacher(Teacher):
    """A teacher that answers from a label store alone.

    Args:
        source: the teacher as the store describes it.
        device: of the run; it decides whether mixed precision is in force.
    """

    def __init__(self, source: AbsentTeacher, device: torch.device | None = None) -> None:
        self.source, self._device = source, device or torch.device("cpu")
        self.store = LabelStore(source.store)
        self.counts = LabelCounts()
        self.model: Any = _NoModel(source)
        self.limit = source.records[0].tokens

    @property
    def device(self) -> torch.device:
        """The run's."""
        return self._device

    @property
    def outputs(self) -> int:
        """Logits of a row."""
        return self.source.records[0].classes

    @property
    def record(self) -> TeacherRecord:
        """The teacher in the precision that is in force."""
        precision = precision_of(torch.float32, self.device)
        for record in self.source.records:
            if record.precision == precision:
                return record
        self.source.refuse(f"labels in {precision}")

    def reads_ids_of(self, tokenizer: PreTrainedTokenizerBase) -> bool:
        """Whether the teacher had the same tokenizer."""
        return tokenizer_fingerprint(tokenizer) == self.source.records[0].tokenizer

    def _computed(self, rows: RowsToLabel, block: Sequence[int], what: str) -> Tensor:
        (text, _), *_ = rows.texts(block[:1])
        self.source.refuse(f"{len(block)} labels that are not in it, first that of {text[:60]!r}")
