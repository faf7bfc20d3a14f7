"""A complete, labelled set of shards, checked and read for a training."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from augpro.data.loading import Split
from augpro.errors import InputError
from augpro.files.durable import writing
from augpro.shards.manifest import Labels, Manifest, is_intact
from augpro.shards.relabel import damaged, whole_set
from augpro.shards.table import AUGMENTED, FIRST, ORIGINALS, PAIR, TEXT, list_values, read_groups
from augpro.tokens import TokenTable

_LISTS = ("input_ids", "segments", "token_type_ids")


@dataclass(frozen=True)
class ShardSet:
    """A set whose every shard has labels and matches its checksum.

    Attributes:
        folder: of the set.
        manifest: of the set.
        labels: the teacher's task.
    """

    folder: Path
    manifest: Manifest
    labels: Labels

    @cached_property
    def originals(self) -> Split:
        """The training rows, without gold labels."""
        texts: list[str] = []
        pairs: list[str] = []
        for table in self._groups((TEXT, PAIR), ORIGINALS):
            texts += table.column(TEXT).to_pylist()
            pairs += table.column(PAIR).to_pylist() if PAIR in table.column_names else []
        return Split(texts, pairs or None, [None] * len(texts), str(self.folder))

    def original_logits(self) -> Tensor:
        """The teacher's logits of the training rows, float32 [rows, C]."""
        return torch.cat([self._logits(table) for table in self._groups(("logits",), ORIGINALS)])

    def first_versions(self, rows: int) -> "Versions":
        """The first augmented version of each of the first training rows that has one, for people to read."""
        found = Versions([], [], [], [], [])
        for table in self._groups(("row_id", "copy", TEXT, PAIR, "input_ids", "logits"), FIRST):
            if table.column("copy")[0].as_py() != 1:
                continue
            part = table.slice(0, rows - len(found.row_ids))
            found.row_ids.extend(part.column("row_id").to_pylist())
            found.texts.extend(part.column(TEXT).to_pylist())
            found.pairs.extend(part.column(PAIR).to_pylist() if PAIR in part.column_names else [])
            found.tokens.extend(part.column("input_ids").to_pylist())
            found.logits.append(self._logits(part))
            if len(found.row_ids) >= rows:
                break
        return found

    def versions(self, pad_id: int, has_types: bool, folder: Path) -> "StoredVersions":
        """All augmented versions; a row that has none is its own.

        Their tokens are in a file of the folder that ends with the process.

        Args:
            pad_id: the tokenizer's padding id.
            has_types: whether the model uses token type ids.
            folder: with room for 12 bytes per token.
        """
        row_ids: list[np.ndarray] = []
        lengths: list[np.ndarray] = []
        logits: list[Tensor] = []
        with writing(folder), tempfile.TemporaryFile(dir=folder) as file:
            for table in self._at_least_one(("row_id", "logits", *_LISTS)):
                values, own_lengths = zip(*(list_values(table, name) for name in _LISTS), strict=True)
                file.write(np.stack(values, axis=1).astype(np.int32).tobytes())
                row_ids.append(table.column("row_id").to_numpy())
                lengths.append(own_lengths[0])
                logits.append(self._logits(table))
            file.flush()
            offsets = np.concatenate([[0], *lengths]).cumsum(dtype=np.int64)
            tokens = np.memmap(file, np.int32, "r", shape=(int(offsets[-1]), len(_LISTS)))
        rows = np.concatenate(row_ids)
        order = rows.argsort(kind="stable")  # the versions of a row are in order already
        starts = np.searchsorted(rows[order], np.arange(self.manifest.training_rows + 1))
        return StoredVersions(
            TokenTable(tokens.T, offsets, pad_id, has_types), torch.cat(logits), order, starts
        )

    def _at_least_one(self, columns: tuple[str, ...]) -> Iterator[Any]:
        """Tables of the augmented versions, and of the originals of rows that have none."""
        there = np.zeros(self.manifest.training_rows, dtype=bool)
        for table in self._groups(columns, AUGMENTED):
            there[table.column("row_id").to_numpy()] = True
            yield table
        if not there.all():
            for table in self._groups(columns, ORIGINALS):
                yield table.take(np.flatnonzero(~there[table.column("row_id").to_numpy()]))

    def _groups(self, columns: tuple[str, ...], groups: slice) -> Iterator[Any]:
        """These row groups of all shards, as tables of these columns."""
        for record in self.manifest.shards:
            yield from read_groups(self.folder / record.name, columns, groups)

    def _logits(self, table: Any) -> Tensor:
        values, _ = list_values(table, "logits")
        return torch.from_numpy(values.astype(np.float32).reshape(len(table), self.labels.outputs).copy())


@dataclass(frozen=True)
class Versions:
    """Some augmented versions.

    Attributes:
        row_ids: their training rows.
        texts: of the versions.
        pairs: second texts; empty if there are none.
        tokens: the student's tokens.
        logits: the teacher's, in parts.
    """

    row_ids: list[int]
    texts: list[str]
    pairs: list[str]
    tokens: list[list[int]]
    logits: list[Tensor]


@dataclass(frozen=True)
class StoredVersions:
    """All augmented versions of R training rows, N in total.

    Attributes:
        table: their tokens, in the order of the files.
        logits: the teacher's, float32 [N, C].
        order: numbers of the versions, row by row, int64 [N].
        starts: place in ``order`` of the first version of each row, int64 [R + 1].
    """

    table: TokenTable
    logits: Tensor
    order: np.ndarray
    starts: np.ndarray

    def counts(self, row_ids: np.ndarray) -> np.ndarray:
        """Number of versions of each row, int64 [B]."""
        counts: np.ndarray = self.starts[row_ids + 1] - self.starts[row_ids]
        return counts


def open_set(folder: Path) -> ShardSet:
    """Open a set of shards for a training; every file is read once.

    Raises:
        InputError: if it is not complete, has no labels, or a file is damaged.
    """
    manifest = whole_set(folder)
    for record in manifest.shards:
        if not is_intact(folder, record):
            raise damaged(folder / record.name)
    if manifest.labels is None or not manifest.labelled:
        raise InputError(f"{folder}: these rows have no labels; run augpro label --augmented {folder}.")
    return ShardSet(folder, manifest, manifest.labels)
