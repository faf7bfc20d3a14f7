"""One shard, made from its specification alone: on this machine, in another process or on another machine.

Nothing of a shard depends on other shards, on the number of processes or on what ran before: random numbers are
keyed by the row id and the number of the augmented version, partners come from blocks of 256 rows that lie in one
shard, and one thread computes, because sums depend on how threads divide them.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from augpro.augment import AugmentContext, Augmenter, EmbeddingSpace, ReplacementCounts, Store
from augpro.files.checksums import file_sha256
from augpro.files.durable import replacement
from augpro.models.reading import fastest_device
from augpro.models.source import ModelSource
from augpro.row_random import RowRandom
from augpro.shards.label import Labeller, LabellingJob, labeller, one_thread
from augpro.shards.manifest import ShardRecord
from augpro.shards.rows import StoredRows
from augpro.shards.table import ShardRows, shard_writer
from augpro.tokens import TokenBatch, TokenTable, padded, tokenize
from augpro.vocabulary import Vocabulary

EMPTY = "the augmented text is empty"
_BATCH = 128  # rows that are augmented at once
Watch = Callable[[int], None]  # is told how many more rows are done


@dataclass(frozen=True)
class Job:
    """What all shards of a set have in common.

    Attributes:
        folder: of the shards.
        rows: folder of the stored training rows.
        student: gives tokenizer and word embeddings.
        method: the augmentation method.
        name: of the method.
        copies: augmented versions of each row.
        seed: of the random numbers.
        max_tokens: longer texts are cut; None for the tokenizer's limit.
        labelling: the teacher, or None.
    """

    folder: Path
    rows: Path
    student: ModelSource
    method: Augmenter
    name: str
    copies: int
    seed: int
    max_tokens: int | None
    labelling: LabellingJob | None


@dataclass(frozen=True)
class ShardSpec:
    """A shard to make.

    Attributes:
        job: of the set.
        name: of the file.
        first_row: row id of its first row, a multiple of 256.
        end_row: row id after its last row.
    """

    job: Job
    name: str
    first_row: int
    end_row: int

    @property
    def rows(self) -> int:
        """Rows that the file has if none is missing."""
        return (self.end_row - self.first_row) * (self.job.copies + 1)


def make_shard(spec: ShardSpec, watch: Watch | None = None) -> ShardRecord:
    """Write a shard, whole or not at all.

    Args:
        spec: of the shard.
        watch: is told how many more rows are done.

    Returns:
        Its record for the manifest.

    Raises:
        InputError: if the teacher's logits are not finite.
    """
    job = spec.job
    path = job.folder / spec.name
    with one_thread():
        maker = _Maker(spec)
        with replacement(path) as temporary:
            with shard_writer(temporary, maker.facts()) as writer:
                for rows in maker.copies():
                    table = rows.table()
                    writer.write(maker.labeller.label(table) if maker.labeller else table)
                    if watch:
                        watch(len(table))
            record = ShardRecord(
                name=spec.name,
                first_row=spec.first_row,
                end_row=spec.end_row,
                rows=writer.rows,
                sha256=file_sha256(temporary),
                size=temporary.stat().st_size,
                missing=dict(maker.missing),
                editable=maker.counts.editable,
                changed=maker.counts.changed,
                partner=maker.counts.partner,
                teacher=maker.labeller.key if maker.labeller else None,
            )
    return record


_space: tuple[ModelSource, EmbeddingSpace] | None = None  # of the last shard of this process


def _embedding_space(student: ModelSource) -> EmbeddingSpace:
    """The student's tokenizer and word embeddings; loaded once in a process."""
    global _space
    if _space is None or _space[0] != student:
        weight: Tensor = student.load_classifier().get_input_embeddings().get_parameter("weight")
        table = weight.to(fastest_device())
        _space = student, EmbeddingSpace(table, Vocabulary(student.load_tokenizer(), len(table)))
    return _space[1]


class _Maker:
    """Makes the rows of a shard, one augmented version after the other."""

    def __init__(self, spec: ShardSpec) -> None:
        self.spec, self.job = spec, spec.job
        self.space = _embedding_space(self.job.student)
        self.labeller: Labeller | None = labeller(self.job.labelling) if self.job.labelling else None
        texts, pairs = StoredRows(self.job.rows).texts(spec.first_row, spec.end_row)
        table = tokenize(self.space.vocabulary.tokenizer, texts, pairs, self.job.max_tokens)
        self.table: TokenTable = replace(table, first_row=spec.first_row)
        self.counts, self.missing = ReplacementCounts(), Counter[str]()
        # Not kept for the next shard: what a method loads may depend on the rows.
        self.store = Store()

    def facts(self) -> dict[str, object]:
        """What the file says about its rows."""
        return {
            "method": self.job.name,
            "parameters": self.job.method.parameters,
            "copies": self.job.copies,
            "seed": self.job.seed,
            "rows": [self.spec.first_row, self.spec.end_row],
        }

    def copies(self) -> Iterator[ShardRows]:
        """The originals, and then each augmented version of all rows."""
        row_ids = torch.arange(self.spec.first_row, self.spec.end_row)
        pairs = None if self.table.pairs is None else list(self.table.pairs)
        originals = ShardRows(
            row_ids,
            0,
            list(self.table.texts),
            pairs,
            self.table.batch(row_ids),
            np.zeros(len(row_ids), np.float32),
        )
        yield originals
        classes = None
        if self.labeller and self.labeller.problem_type == "single_label":
            classes = self.labeller.logits(originals.texts, originals.pairs).argmax(1)
        for copy in range(1, self.job.copies + 1):
            yield self._copy(copy, row_ids, classes)

    def _copy(self, copy: int, row_ids: Tensor, classes: Tensor | None) -> ShardRows:
        context = AugmentContext(
            RowRandom(self.job.seed, copy - 1),
            self.space,
            self.table,
            classes,
            store=self.store,
            counts=self.counts,
        )
        texts: list[str] = []
        pairs: list[str] = []
        tokens: list[TokenBatch] = []
        changed: list[float] = []
        for part in row_ids.split(_BATCH):
            before = self.table.batch(part).to(self.space.table.device)
            with torch.no_grad():
                after = self.job.method(before, context)
            if not isinstance(after, TokenBatch):
                raise TypeError(f"{self.job.name} must return a TokenBatch, not a {type(after).__name__}")
            first, second = self.space.vocabulary.decode(after)
            texts += first
            pairs += second or ([""] * len(first) if self.table.pairs is not None else [])
            tokens.append(after.to("cpu"))
            changed += _lost(before.to("cpu"), tokens[-1])
        columns = [texts, pairs] if self.table.pairs is not None else [texts]
        kept = torch.tensor([all(text.strip() for text in row) for row in zip(*columns, strict=True)])
        if not kept.all():
            self.missing[EMPTY] += int((~kept).sum())
        return self._rows(copy, kept.nonzero()[:, 0], columns, tokens, changed)

    def _rows(
        self,
        copy: int,
        kept: Tensor,
        columns: list[list[str]],
        tokens: list[TokenBatch],
        changed: list[float],
    ) -> ShardRows:
        """The kept rows."""
        whole = self.spec.first_row + kept
        first, *second = ([column[row] for row in kept.tolist()] for column in columns)
        batch = _stacked(tokens, self.table.pad_id).take(kept)
        shares = np.array(changed, np.float32)[kept.numpy()]
        return ShardRows(whole, copy, first, second[0] if second else None, batch, shares)


def _stacked(batches: list[TokenBatch], pad_id: int) -> TokenBatch:
    """The rows of all batches in one."""
    length = max(batch.ids.shape[1] for batch in batches)
    longer = [padded(replace(batch, texts=None), length, pad_id).tensors() for batch in batches]
    return replace(
        batches[0], texts=None, **{name: torch.cat([one[name] for one in longer]) for name in longer[0]}
    )


def _lost(before: TokenBatch, after: TokenBatch) -> list[float]:
    """Share of the tokens of each row that its augmented version does not have, in [0, 1]."""
    shares = []
    for old, new in zip(_tokens(before), _tokens(after), strict=True):
        shares.append((old - new).total() / max(1, old.total()))
    return shares


def _tokens(batch: TokenBatch) -> list[Counter[int]]:
    kept = batch.segments >= 0
    ids = batch.ids[kept].split(kept.sum(1).tolist())
    return [Counter(row.tolist()) for row in ids]
