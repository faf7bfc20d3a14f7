"""The call shapes of augmentation, and what an augmenter may look at.

An augmenter is parameters only: it pickles, prints as JSON, and two with equal parameters are equal.
Everything heavy (embedding table, vocabulary, training rows, student) comes in with the context.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from augpro.draws import Draws
from augpro.projection import Metric, Projection
from augpro.tokens import TokenBatch, TokenTable
from augpro.vocabulary import Vocabulary


class EmbeddingSpace:
    """The embedding table that tokens are moved in, with its vocabulary and exact projections.

    The table is the student's word embeddings as they are when the space is made, before training: the
    geometry of the pretrained model, fixed, so that the same seed gives the same text in every epoch
    and after a restart, and nothing is rebuilt while the student changes.

    Args:
        table: word embeddings E, float [V, D].
        vocabulary: candidate groups of the same V tokens.
    """

    def __init__(self, table: Tensor, vocabulary: Vocabulary) -> None:
        self.table = table.detach().float().clone()
        self.vocabulary = vocabulary
        self.groups = vocabulary.groups.to(table.device)
        self._projections: dict[Metric, Projection] = {}

    def projection(self, metric: Metric) -> Projection:
        """The projection for a metric, built when it is first asked for."""
        if metric not in self._projections:
            self._projections[metric] = Projection(self.table, self.groups, metric)
        return self._projections[metric]


@dataclass
class ReplacementCounts:
    """How many tokens were replaced, and by what, summed over every batch of a run.

    Attributes:
        editable: positions that may be replaced.
        changed: positions that hold another token now.
        partner: changed positions that hold the partner row's token.
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

    def shares(self) -> dict[str, float]:
        """Shares of the editable positions: original kept, partner's token, new token."""
        whole = max(1, self.editable)
        return {
            "changed": self.changed / whole,
            "original": 1 - self.changed / whole,
            "partner": self.partner / whole,
            "new": (self.changed - self.partner) / whole,
        }


@dataclass
class AugmentContext:
    """What an augmenter may look at beside the batch.

    Attributes:
        draws: the random numbers of this copy.
        space: embedding table, vocabulary and projections.
        table: all training rows, where partners come from.
        classes: the teacher's class of every row of ``table``, int64 [rows], or None for a regression.
        student: the model as it is now, for methods that follow its gradient.
        target_logits: the teacher's logits of the batch's rows, [B, C].
        row_loss: the student's distillation loss, (student logits, teacher logits) -> [B].
        counts: filled by the augmenter.
    """

    draws: Draws
    space: EmbeddingSpace
    table: TokenTable | None = None
    classes: Tensor | None = None
    student: Any = None
    target_logits: Tensor | None = None
    row_loss: Callable[[Tensor, Tensor], Tensor] | None = None
    counts: ReplacementCounts = field(default_factory=ReplacementCounts)


class TokenAugmenter(Protocol):
    """Token rows in, token rows of the same shape out."""

    @property
    def needs_student(self) -> bool:
        """Whether it follows the current student, and so can only run inside training."""

    @property
    def mixes_rows(self) -> bool:
        """Whether it needs partner rows."""

    def __call__(self, batch: TokenBatch, context: AugmentContext) -> TokenBatch:
        """Augment every row once."""


@dataclass
class Moved:
    """Token positions moved in embedding space, before projection. N = ``where.sum()``.

    Attributes:
        where: positions that were moved, bool [B, T], a part of those that were asked for.
        vectors: where they are now, float [N, D].
        partner_ids: the partner row's token at each position, int64 [B, T], -1 where there is none.
    """

    where: Tensor
    vectors: Tensor
    partner_ids: Tensor | None = None

    def parents(self, batch: TokenBatch) -> Tensor:
        """The tokens each vector was made from, int64 [N, 1 or 2]."""
        own = batch.ids[self.where]
        if self.partner_ids is None:
            return own[:, None]
        return torch.stack([own, self.partner_ids[self.where]], dim=1)


class Perturbation(Protocol):
    """Moves chosen tokens in embedding space."""

    needs_student: ClassVar[bool]
    mixes_rows: ClassVar[bool]

    def move(
        self, batch: TokenBatch, chosen: Tensor, context: AugmentContext, projection: Projection
    ) -> Moved:
        """Move the ``chosen`` positions, bool [B, T]; those that cannot be moved are left out."""
