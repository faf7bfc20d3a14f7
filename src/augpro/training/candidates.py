"""Candidates: the latest augmented texts of each row, with the teacher's logits.

The student trains on one candidate per row and epoch. The teacher labels each candidate once; one that was not chosen
in this epoch may be chosen in a later one, because the student changes.
"""

import json
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from augpro.files.checksums import read_tensors, write_tensors
from augpro.tokens import TokenBatch, TokenTable


@dataclass(frozen=True)
class Candidates:
    """N candidates of B rows.

    Attributes:
        rows: the texts, [N, T]; ``row_ids`` are those of their original rows.
        logits: the teacher's, float32 [N, C].
        owners: index of each candidate's row among the B requested rows, int64 [N], ascending.
    """

    rows: TokenBatch
    logits: Tensor
    owners: Tensor

    def take(self, chosen: Tensor) -> "Candidates":
        """The candidates with these indices, int64 [M], ascending."""
        return Candidates(self.rows.take(chosen), self.logits[chosen], self.owners[chosen])


@dataclass(frozen=True)
class Candidate:
    """One augmented text of a row. T tokens, C classes.

    Attributes:
        tokens: ids, segments and types, int32 [3, T].
        logits: the teacher's, float32 [C].
        texts: what it was tokenized from, see :class:`~augpro.tokens.TokenBatch`; empty if unknown.
    """

    tokens: np.ndarray
    logits: Tensor
    texts: tuple[str, ...]


@dataclass
class CandidateStore:
    """Keeps the latest candidates of every row, on the CPU.

    Attributes:
        size: number of candidates kept per row; a new one replaces the oldest.
    """

    size: int
    _texts: dict[int, deque[Candidate]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._texts = defaultdict(lambda: deque(maxlen=self.size))

    def add(self, rows: TokenBatch, logits: Tensor) -> None:
        """Add one candidate of each row; ``logits`` are the teacher's, [B, C]."""
        types = torch.zeros_like(rows.ids) if rows.type_ids is None else rows.type_ids
        flat = torch.stack([rows.ids, rows.segments, types], dim=1).to("cpu", torch.int32).numpy()
        lengths = rows.mask.sum(1).tolist()
        texts = rows.texts or [()] * len(flat)
        for row, tokens, length, row_logits, text in zip(
            rows.row_ids.tolist(), flat, lengths, logits.float().cpu(), texts, strict=True
        ):
            self._texts[row].append(Candidate(tokens[:, :length].copy(), row_logits.clone(), text))

    def missing(self, row_ids: Tensor) -> Tensor:
        """1 for each row without a candidate, else 0, int64 [B], on the rows' device."""
        return torch.tensor([int(row not in self._texts) for row in row_ids.tolist()], device=row_ids.device)

    def of(self, row_ids: Tensor, table: TokenTable) -> Candidates:
        """The candidates of some rows, oldest first within a row.

        Args:
            row_ids: the rows, int64 [B]; each has at least one candidate.
            table: the training rows; the candidates are padded in the same way.
        """
        of_rows = [self._texts[row] for row in row_ids.tolist()]
        candidates = [candidate for candidates in of_rows for candidate in candidates]
        offsets = np.cumsum([0, *(candidate.tokens.shape[1] for candidate in candidates)], dtype=np.int64)
        flat = np.concatenate([candidate.tokens for candidate in candidates], axis=1)
        batch = TokenTable(flat, offsets, table.pad_id, table.has_types).batch(range(len(candidates)))
        if all(candidate.texts for candidate in candidates):
            batch = replace(batch, texts=tuple(candidate.texts for candidate in candidates))
        counts = torch.tensor([len(candidates) for candidates in of_rows], device=row_ids.device)
        owners = torch.repeat_interleave(counts)
        rows = replace(batch.to(row_ids.device), row_ids=row_ids[owners])
        logits = torch.stack([candidate.logits for candidate in candidates]).to(row_ids.device)
        return Candidates(rows, logits, owners)

    def save(self, path: Path) -> None:
        """Write all candidates to a safetensors file; writes nothing if there are none."""
        if self._texts:
            write_tensors(path, dict(self._parts()))

    def load(self, path: Path) -> None:
        """Replace the candidates by those of :meth:`save`; by none if there is no file."""
        self._texts.clear()
        if path.exists():
            stored = read_tensors(path)
            tokens = np.split(stored["tokens"].numpy(), np.cumsum(stored["lengths"].numpy())[:-1], axis=1)
            texts = map(tuple, json.loads(stored["texts"].numpy().tobytes()))
            for row, *text in zip(stored["rows"].tolist(), tokens, stored["logits"], texts, strict=True):
                self._texts[row].append(Candidate(*text))

    def _parts(self) -> Iterator[tuple[str, Tensor]]:
        rows = [(row, candidate) for row, candidates in self._texts.items() for candidate in candidates]
        candidates = [candidate for _, candidate in rows]
        yield "rows", torch.tensor([row for row, _ in rows])
        yield "lengths", torch.tensor([candidate.tokens.shape[1] for candidate in candidates])
        yield "tokens", torch.from_numpy(np.concatenate([each.tokens for each in candidates], axis=1))
        yield "logits", torch.stack([candidate.logits for candidate in candidates])
        texts = json.dumps([candidate.texts for candidate in candidates]).encode()
        yield "texts", torch.frombuffer(bytearray(texts), dtype=torch.uint8)
