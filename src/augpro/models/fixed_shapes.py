"""Logits of rows that do not depend on the other rows of their batch, bit for bit.

Matrix products and attention round differently for tensors of another shape. So every batch has the shape that
belongs to the length of its rows, and a batch with too few rows is filled with one of its rows. A row then has the
same logits alone, in any order and in any part of a data set, on one machine and number of threads. Mixtures of
experts are the exception: they compute with as many rows as each expert gets.

If memory runs out for a batch, its halves have other shapes. Then, and for later batches of as many rows, logits are
equal within float rounding only, as a warning says.

Attention without a padded position takes another path than attention with a mask, so a batch either has padding in
every row or in none.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from augpro.models.memory import RowsAtOnce
from augpro.models.padding import reads_padding
from augpro.models.reading import run_logits
from augpro.tokens import TokenTable, padded

# Tokens per batch. On a CPU core larger batches are hardly faster, and the few texts of a training step would be
# filled up to many more.
_TOKENS_ON_CPU, _TOKENS_ON_GPU = 96, 1024
_STEP = 8  # lengths are multiples of this up to 64, then of an eighth to a quarter of the length


def shape_length(length: int, limit: int) -> int:
    """Length to which a row of ``length`` tokens is padded: by at least one position, unless it has ``limit``.

    >>> [shape_length(length, 128) for length in (0, 7, 8, 63, 64, 100, 127, 128)]
    [8, 8, 16, 64, 80, 112, 128, 128]
    """
    step = max(_STEP, (1 << max(1, length).bit_length() - 1) // 4)
    return max(length, min((length // step + 1) * step, limit))


def logits_in_fixed_shapes(
    model: PreTrainedModel,
    table: TokenTable,
    limit: int,
    what: str = "predicting",
    memory: RowsAtOnce | None = None,
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Logits of every row, a batch at a time, shorter rows first.

    Args:
        model: a sequence classifier in evaluation mode.
        table: rows in the model's tokens.
        limit: maximum number of tokens of a row that the model is given.
        what: name of the progress bar, which is shown after two seconds.
        memory: halves the batches if memory runs out; that of the model's earlier calls.

    Yields:
        Row numbers, int64 [B], and their logits, float32 [B, C] on the CPU.
    """
    tokens = _TOKENS_ON_CPU if model.device.type == "cpu" else _TOKENS_ON_GPU
    batches = list(_batches(table, limit, tokens, reads_padding(model.config)))
    memory = memory or RowsAtOnce(what)
    for rows, length, size in tqdm(batches, desc=what, delay=2, leave=False):
        filled = np.concatenate([rows, np.repeat(rows[:1], size - len(rows))])
        batch = padded(table.batch(filled), length, table.pad_id)
        with torch.inference_mode():
            logits = memory.joined(size, lambda part: run_logits(model, batch.some(part)).float().cpu())  # noqa: B023
        yield rows, logits[: len(rows)].clone()  # outside of inference mode, so that it may enter a graph


def _batches(
    table: TokenTable, limit: int, tokens: int, unpadded: bool
) -> Iterator[tuple[np.ndarray, int, int]]:
    """Rows of each batch, the length that they are padded to, and the number of rows of the whole batch."""
    lengths = table.lengths
    groups: dict[tuple[int, bool], list[int]] = {}
    for row, length in enumerate(lengths.tolist()):
        shape = max(1, length) if unpadded else shape_length(length, limit)
        groups.setdefault((shape, shape == length), []).append(row)
    for (shape, _), rows in sorted(groups.items()):
        size = max(1, tokens // shape)
        for start in range(0, len(rows), size):
            yield np.array(rows[start : start + size], dtype=np.int64), shape, size
