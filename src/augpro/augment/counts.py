"""Counts of what an augmentation has replaced."""

from collections import Counter
from dataclasses import dataclass

from torch import Tensor

from augpro.tokens import TokenBatch


@dataclass
class ReplacementCounts:
    """Counts of replaced tokens or words and their sources, summed over the batches of a run.

    Token methods count positions. Text methods count words, because they may move them.

    Attributes:
        editable: positions that may be replaced, or words of the originals.
        changed: positions with another token, or original words that are missing.
        partner: changed positions with the partner row's token.
        rows: augmented rows.
    """

    editable: int = 0
    changed: int = 0
    partner: int = 0
    rows: int = 0

    def add(self, batch: TokenBatch, ids: Tensor, editable: Tensor, partner_ids: Tensor | None) -> None:
        """Count one batch before (``batch``) and after (``ids``)."""
        changed = ids != batch.ids
        self.rows += len(ids)
        self.editable += int(editable.sum())
        self.changed += int(changed.sum())
        if partner_ids is not None:
            self.partner += int((changed & (ids == partner_ids)).sum())

    def add_text(self, before: str, after: str) -> None:
        """Count the words of one text before and after."""
        words = Counter(before.split())
        self.editable += words.total()
        self.changed += (words - Counter(after.split())).total()

    def shares(self) -> dict[str, float]:
        """Shares of the editable positions or words: changed, original, partner and new; empty if none."""
        if not self.editable:
            return {}
        return {
            "changed": self.changed / self.editable,
            "original": 1 - self.changed / self.editable,
            "partner": self.partner / self.editable,
            "new": (self.changed - self.partner) / self.editable,
        }
