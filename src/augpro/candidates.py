"""The texts that were last made of each row, with the teacher's answers: what to train on is chosen from them.

An answer is paid for once. A text that was not hard enough to be trained on today may be so tomorrow, for the student
as it is then.
"""

from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from augpro.files import write_tensors
from augpro.tokens import TokenBatch, TokenTable


@dataclass(frozen=True)
class Candidates:
    """Texts of several rows. N texts of B rows.

    Attributes:
        rows: the texts, [N, T]; ``row_ids`` are those of the rows that they were made of.
        logits: the teacher's, float32 [N, C].
        owners: place of each text's row among the B rows that were asked for, int64 [N], ascending.
    """

    rows: TokenBatch
    logits: Tensor
    owners: Tensor


@dataclass
class CandidateStore:
    """Keeps the last few texts of every row, on the CPU.

    Attributes:
        size: texts kept of a row; the oldest goes when another one comes.
    """

    size: int
    _texts: dict[int, deque[tuple[np.ndarray, Tensor]]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._texts = defaultdict(lambda: deque(maxlen=self.size))

    def add(self, rows: TokenBatch, logits: Tensor) -> None:
        """Keep one more text of each row; ``logits`` are the teacher's, [B, C]."""
        types = torch.zeros_like(rows.ids) if rows.type_ids is None else rows.type_ids
        flat = torch.stack([rows.ids, rows.segments, types], dim=1).to("cpu", torch.int32).numpy()
        lengths = rows.mask.sum(1).tolist()
        for row, tokens, length, answer in zip(
            rows.row_ids.tolist(), flat, lengths, logits.float().cpu(), strict=True
        ):
            self._texts[row].append((tokens[:, :length].copy(), answer.clone()))

    def missing(self, row_ids: Tensor) -> Tensor:
        """1 for each row that has no text yet, 0 for others, int64 [B], on the rows' device."""
        return torch.tensor([int(row not in self._texts) for row in row_ids.tolist()], device=row_ids.device)

    def of(self, row_ids: Tensor, table: TokenTable) -> Candidates:
        """The texts of some rows, oldest first within a row.

        Args:
            row_ids: the rows, int64 [B]; each has one text at least.
            table: the training rows, which are padded alike.
        """
        found = [self._texts[row] for row in row_ids.tolist()]
        texts = [text for texts in found for text in texts]
        offsets = np.cumsum([0, *(tokens.shape[1] for tokens, _ in texts)], dtype=np.int64)
        flat = np.concatenate([tokens for tokens, _ in texts], axis=1)
        made = TokenTable(flat, offsets, table.pad_id, table.has_types).batch(range(len(texts)))
        counts = torch.tensor([len(texts) for texts in found], device=row_ids.device)
        owners = torch.repeat_interleave(counts)
        rows = replace(made.to(row_ids.device), row_ids=row_ids[owners])
        logits = torch.stack([answer for _, answer in texts]).to(row_ids.device)
        return Candidates(rows, logits, owners)

    def save(self, path: Path) -> None:
        """Write all texts and answers to a safetensors file."""
        if self._texts:
            write_tensors(path, dict(self._parts()))

    def load(self, path: Path) -> None:
        """Take up what :meth:`save` wrote, where it wrote a file."""
        self._texts.clear()
        if path.exists():
            stored = load_file(path)
            texts = stored["tokens"].numpy(), np.cumsum(stored["lengths"].numpy())[:-1]
            for row, tokens, answer in zip(
                stored["rows"].tolist(), np.split(*texts, axis=1), stored["logits"], strict=True
            ):
                self._texts[row].append((tokens, answer))

    def _parts(self) -> Iterator[tuple[str, Tensor]]:
        every = [(row, *text) for row, texts in self._texts.items() for text in texts]
        yield "rows", torch.tensor([row for row, _, _ in every])
        yield "lengths", torch.tensor([tokens.shape[1] for _, tokens, _ in every])
        yield "tokens", torch.from_numpy(np.concatenate([tokens for _, tokens, _ in every], axis=1))
        yield "logits", torch.stack([answer for _, _, answer in every])
