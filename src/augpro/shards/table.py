"""A shard as a Parquet file: its columns, and writing and reading it, always with the same bytes.

The file has one row group for each augmented version: first the originals (copy 0), then copy 1 of every row, and so
on. Columns:

- ``row_id`` int64, ``copy`` int32: the training row, and the number of its augmented version;
- ``text``, and ``text_pair`` if rows are pairs;
- ``input_ids`` int32, ``segments`` int8, ``token_type_ids`` int8: lists with one entry per token of the student
  (see :class:`augpro.tokens.TokenBatch`);
- ``changed`` float32: share of the original's tokens that the text has lost, in [0, 1];
- with labels ``logits``, a list of float32, and ``label``: the name of the class with the highest logit, the names of
  the classes whose logit is above 0 (multi-label), or the score.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from augpro.shards.manifest import Labels
from augpro.tokens import TokenBatch

TEXT, PAIR = "text", "text_pair"
_LABELS = ("logits", "label")
_KEY = b"augpro"
# Everything that decides the bytes beside the rows themselves. The file holds no date.
_WRITER: dict[str, Any] = {
    "compression": "zstd", "compression_level": 3, "version": "2.6", "data_page_version": "1.0",
    "use_dictionary": ["copy", "segments.list.element", "token_type_ids.list.element", "label", "label.list.element"],
    "write_statistics": ["row_id", "copy"], "store_schema": True,
}  # fmt: skip


@dataclass(frozen=True)
class ShardRows:
    """Rows of one row group.

    Attributes:
        row_ids: training rows, int64 [N].
        copy: number of the augmented version; 0 for the originals.
        texts: of the rows.
        pairs: second texts, or None.
        batch: their tokens on the CPU, [N, T].
        changed: share of the original's tokens that are lost, float32 [N].
    """

    row_ids: Tensor
    copy: int
    texts: Sequence[str]
    pairs: Sequence[str] | None
    batch: TokenBatch
    changed: np.ndarray

    def table(self) -> pa.Table:
        """As a table without labels."""
        batch = self.batch
        types = torch.zeros_like(batch.ids) if batch.type_ids is None else batch.type_ids
        lists = {"input_ids": (batch.ids, pa.int32()), "segments": (batch.segments, pa.int8()),
                 "token_type_ids": (types, pa.int8())}  # fmt: skip
        ends = torch.nn.functional.pad(batch.mask.sum(1).cumsum(0), (1, 0)).numpy()
        columns = {
            "row_id": pa.array(self.row_ids.numpy(), pa.int64()),
            "copy": pa.array(np.full(len(self.texts), self.copy), pa.int32()),
            TEXT: pa.array(self.texts, pa.string()),
            **({} if self.pairs is None else {PAIR: pa.array(self.pairs, pa.string())}),
            **{
                name: _lists(values[batch.mask > 0].numpy(), ends, kind)
                for name, (values, kind) in lists.items()
            },
            "changed": pa.array(self.changed, pa.float32()),
        }
        return pa.table(columns)


def _lists(values: np.ndarray, ends: np.ndarray, kind: Any) -> Any:
    kinds = pa.list_(pa.field("element", kind))
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(values, kind), type=kinds)


def with_labels(table: pa.Table, logits: Tensor, labels: Labels) -> pa.Table:
    """The rows with a teacher's logits and labels.

    Args:
        table: N rows, with or without labels.
        logits: [N, C].
        labels: the teacher's task and classes.
    """
    table = without_labels(table)
    values = logits.float().numpy()
    ends = np.arange(len(values) + 1) * values.shape[1]
    table = table.append_column("logits", _lists(values.reshape(-1), ends, pa.float32()))
    if labels.problem_type == "regression":
        label = pa.array(values[:, 0], pa.float32())
    elif labels.problem_type == "multi_label":
        names = [[labels.label_names[place] for place in np.flatnonzero(row > 0)] for row in values]
        label = pa.array(names, pa.list_(pa.field("element", pa.string())))
    else:
        label = pa.array([labels.label_names[place] for place in values.argmax(1)], pa.string())
    return table.append_column("label", label)


def without_labels(table: pa.Table) -> pa.Table:
    """The rows without the columns of :func:`with_labels`."""
    return table.drop_columns([name for name in _LABELS if name in table.column_names])


class ShardWriter:
    """Writes the row groups of a shard to a file.

    Args:
        path: of the file.
        facts: what the file says about how its rows were made, as JSON.
    """

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self.path, self.metadata = path, {_KEY: json.dumps(facts, sort_keys=True).encode()}
        self.rows = 0
        self._writer: pq.ParquetWriter | None = None

    def write(self, table: pa.Table) -> None:
        """Add one row group; an empty one is not written."""
        table = table.replace_schema_metadata(self.metadata)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.path, table.schema, **_WRITER)
        if len(table):
            self._writer.write_table(table.combine_chunks(), row_group_size=len(table))
        self.rows += len(table)

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()


@contextmanager
def shard_writer(path: Path, facts: dict[str, Any]) -> Iterator[ShardWriter]:
    """A writer, closed at the end."""
    writer = ShardWriter(path, facts)
    try:
        yield writer
    finally:
        writer.close()


ORIGINALS, AUGMENTED, FIRST = slice(1), slice(1, None), slice(1, 2)  # row groups


def read_groups(
    path: Path, columns: Iterable[str] | None = None, groups: slice = slice(None)
) -> Iterator[pa.Table]:
    """Row groups of a shard, each as a table of those of these columns that there are; all if None."""
    names = None if columns is None else list(columns)
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups)[groups]:
            yield file.read_row_group(group, columns=names)


def facts_of(path: Path) -> dict[str, Any]:
    """What a shard says about how its rows were made."""
    facts: dict[str, Any] = json.loads(pq.read_schema(path).metadata[_KEY])
    return facts


def list_values(table: pa.Table, column: str) -> tuple[np.ndarray, np.ndarray]:
    """The values of a column of lists one after the other, and the length of each list."""
    array = table.column(column).combine_chunks()
    return array.flatten().to_numpy(zero_copy_only=False), array.value_lengths().to_numpy(
        zero_copy_only=False
    )
