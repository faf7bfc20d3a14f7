"""A teacher's logits and labels for the rows of a shard: while it is made, or later."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from augpro.files.checksums import file_sha256
from augpro.files.durable import beside, replacement
from augpro.models.reading import fastest_device
from augpro.models.source import ModelSource
from augpro.row_random import global_random_kept
from augpro.shards.manifest import Labels, ShardRecord
from augpro.shards.table import PAIR, TEXT, facts_of, read_groups, shard_writer, with_labels, without_labels
from augpro.tasks import ProblemType
from augpro.teachers.teacher import Teacher


@dataclass(frozen=True)
class LabellingJob:
    """The teacher of a set of shards.

    Attributes:
        teacher: the model.
        labels: its task and classes.
        max_tokens: longer texts are cut; None for the tokenizer's limit.
        store: label store, by its whole path; None keeps no labels.
    """

    teacher: ModelSource
    labels: Labels
    max_tokens: int | None
    store: Path | None

    @classmethod
    def of(cls, teacher: ModelSource, labels: Labels, max_tokens: int | None, store: Path | None) -> Self:
        """The job for a process with another working folder."""
        return cls(located(teacher), labels, max_tokens, store and store.absolute())


def located(source: ModelSource) -> ModelSource:
    """The model by its whole path if it is in a folder, for a process with another working folder."""
    path = Path(source.name)
    return replace(source, name=str(path.absolute())) if path.is_dir() else source


@dataclass(frozen=True)
class LabelSpec:
    """A shard to label.

    Attributes:
        job: the teacher.
        folder: of the shards.
        record: of the shard, without labels.
    """

    job: LabellingJob
    folder: Path
    record: ShardRecord

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.record.name

    @property
    def rows(self) -> int:
        """Rows of the file."""
        return self.record.rows


class Labeller:
    """Labels rows with a teacher.

    Args:
        job: the teacher.
    """

    def __init__(self, job: LabellingJob) -> None:
        model, tokenizer = job.teacher.load_trained_classifier(), job.teacher.load_tokenizer()
        self.teacher = Teacher(model, tokenizer, job.max_tokens, fastest_device(), job.store)
        self.labels = job.labels
        self._known: tuple[Any, Tensor] | None = None

    @property
    def key(self) -> str:
        """Hash of the teacher's configuration and weights."""
        return self.teacher._key.decode()

    @property
    def problem_type(self) -> ProblemType:
        """Of the teacher's task."""
        return self.labels.problem_type

    def logits(self, texts: Sequence[str], pairs: Sequence[str] | None) -> Tensor:
        """The teacher's logits, [N, C]; those of the last texts are kept."""
        key = list(texts), None if pairs is None else list(pairs)
        if self._known is None or self._known[0] != key:
            self._known = key, self.teacher.label(*key)
        return self._known[1]

    def label(self, table: Any) -> Any:
        """A row group, as a ``pyarrow.Table``, with logits and labels."""
        texts = table.column(TEXT).to_pylist()
        pairs = table.column(PAIR).to_pylist() if PAIR in table.column_names else None
        if not texts:
            return with_labels(table, torch.zeros(0, self.labels.outputs), self.labels)
        return with_labels(table, self.logits(texts, pairs), self.labels)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread, without changing the random state of the process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with global_random_kept():
            yield
    finally:
        torch.set_num_threads(threads)


_labeller: tuple[LabellingJob, Labeller] | None = None  # of the last shard of this process


def labeller(job: LabellingJob) -> Labeller:
    """The teacher of a job; loaded once in a process."""
    global _labeller
    if _labeller is None or _labeller[0] != job:
        _labeller = job, Labeller(job)
    return _labeller[1]


def label_shard(spec: LabelSpec, watch: Callable[[int], None] | None = None) -> ShardRecord:
    """Replace a shard by one with the teacher's logits and labels, whole or not at all.

    Args:
        spec: of the shard.
        watch: is told how many more rows are done.

    Returns:
        Its new record for the manifest.

    Raises:
        InputError: if the teacher's logits are not finite.
    """
    path = spec.folder / spec.record.name
    with one_thread(), replacement(path) as temporary:
        teacher = labeller(spec.job)
        with shard_writer(temporary, facts_of(path)) as writer:
            for table in read_groups(path):
                writer.write(teacher.label(table))
                if watch:
                    watch(len(table))
        made = {"sha256": file_sha256(temporary), "size": temporary.stat().st_size, "teacher": teacher.key}
        return spec.record.model_copy(update=made)


def is_unlabelled_shard(path: Path, record: ShardRecord) -> bool:
    """Whether a file has the rows of an unlabelled shard, and labels beside them.

    So it is if the labelling was killed after the file was replaced and before the manifest was.
    """
    try:
        with beside(path) as bare:
            with shard_writer(bare, facts_of(path)) as writer:
                for table in read_groups(path):
                    writer.write(without_labels(table))
            return file_sha256(bare) == record.sha256
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
    ):  # damaged; errors of pyarrow are of the first two kinds
        return False
