"""The texts that were last made of each row, with the teacher's answers: what to train on is chosen from them.

An answer is paid for once. A text that was not hard enough to be trained on today may be so tomorrow, for the student
as it is then.
"""

import json
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


@dataclass(frozen=True)
class Candidate:
    """One text of a row. T tokens, C classes.

    Attributes:
        tokens: ids, segments and types, int32 [3, T].
        logits: the teacher's, float32 [C].
        texts: what it was tokenized from, see :class:`~augpro.tokens.TokenBatch`; empty where that is not known.
    """

    tokens: np.ndarray
    logits: Tensor
    texts: tuple[str, ...]


@dataclass
class CandidateStore:
    """Keeps the last few texts of every row, on the CPU.

    Attributes:
        size: texts kept of a row; the oldest goes when another one comes.
    """

    size: int
    _texts: dict[int, deque[Candidate]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._texts = defaultdict(lambda: deque(maxlen=self.size))

    def add(self, rows: TokenBatch, logits: Tensor) -> None:
        """Keep one more text of each row; ``logits`` are the teacher's, [B, C]."""
        types = torch.zeros_like(rows.ids) if rows.type_ids is None else rows.type_ids
        flat = torch.stack([rows.ids, rows.segments, types], dim=1).to("cpu", torch.int32).numpy()
        lengths = rows.mask.sum(1).tolist()
        texts = rows.texts or [()] * len(flat)
        for row, tokens, length, answer, text in zip(
            rows.row_ids.tolist(), flat, lengths, logits.float().cpu(), texts, strict=True
        ):
            self._texts[row].append(Candidate(tokens[:, :length].copy(), answer.clone(), text))

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
        offsets = np.cumsum([0, *(text.tokens.shape[1] for text in texts)], dtype=np.int64)
        flat = np.concatenate([text.tokens for text in texts], axis=1)
        made = TokenTable(flat, offsets, table.pad_id, table.has_types).batch(range(len(texts)))
        if all(text.texts for text in texts):
            made = replace(made, texts=tuple(text.texts for text in texts))
        counts = torch.tensor([len(texts) for texts in found], device=row_ids.device)
        owners = torch.repeat_interleave(counts)
        rows = replace(made.to(row_ids.device), row_ids=row_ids[owners])
        logits = torch.stack([text.logits for text in texts]).to(row_ids.device)
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
            tokens = np.split(stored["tokens"].numpy(), np.cumsum(stored["lengths"].numpy())[:-1], axis=1)
            texts = map(tuple, json.loads(stored["texts"].numpy().tobytes()))
            for row, *text in zip(stored["rows"].tolist(), tokens, stored["logits"], texts, strict=True):
                self._texts[row].append(Candidate(*text))

    def _parts(self) -> Iterator[tuple[str, Tensor]]:
        rows = [(row, text) for row, texts in self._texts.items() for text in texts]
        every = [text for _, text in rows]
        yield "rows", torch.tensor([row for row, _ in rows])
        yield "lengths", torch.tensor([text.tokens.shape[1] for text in every])
        yield "tokens", torch.from_numpy(np.concatenate([text.tokens for text in every], axis=1))
        yield "logits", torch.stack([text.logits for text in every])
        texts = json.dumps([text.texts for text in every]).encode()
        yield "texts", torch.frombuffer(bytearray(texts), dtype=torch.uint8)
