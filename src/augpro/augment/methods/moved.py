"""Token positions that were moved in embedding space, and how each kind of move is projected."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from torch import Tensor

from augpro.augment.base import AugmentContext
from augpro.augment.partners import Partner
from augpro.augment.spaces import Space
from augpro.projection import Projection
from augpro.projection.neighbours import mixed
from augpro.projection.rays import Rays
from augpro.tokens import TokenBatch


@dataclass
class Moved(ABC):
    """Moved positions. N = ``where.sum()``.

    Attributes:
        where: positions that were moved, bool [B, T], a part of those that were asked for.
        own: the tokens there, int64 [N].
        groups: their candidate groups, int64 [N].
        projection: what they are projected with.
    """

    where: Tensor
    own: Tensor
    groups: Tensor
    projection: Projection

    @property
    @abstractmethod
    def vectors(self) -> Tensor:
        """Where the positions are now, float32 [N, D]."""

    @abstractmethod
    def nearest(self, exclude_parents: bool, k: int) -> Tensor:
        """Their k nearest tokens, best first, int64 [N, k]; -1 where there are fewer."""


@dataclass
class Interpolation(Moved):
    """Moved towards another token.

    Attributes:
        other: that token, int64 [N].
        weight: share of the own one, float32 [N].
        partner_ids: the partner row's token at each position, int64 [B, T], -1 where there is none.
    """

    other: Tensor
    weight: Tensor
    partner_ids: Tensor | None = None

    @property
    def vectors(self) -> Tensor:
        """The convex combination."""
        return mixed(self.projection.table, self.own, self.other, self.weight)

    def nearest(self, exclude_parents: bool, k: int) -> Tensor:
        """The parents are both tokens."""
        pair = self.own, self.other
        return self.projection.nearest_mix(*pair, self.weight, self.groups, exclude_parents, k)


@dataclass
class Step(Moved):
    """Moved in a direction.

    Attributes:
        directions: unit vectors, or zero, float32 [N, D].
        steps: how far, float32 [N].
        rays: the same lines, where they were asked for the steps.
    """

    directions: Tensor
    steps: Tensor
    rays: Rays | None = None
    partner_ids: ClassVar[None] = None

    @property
    def vectors(self) -> Tensor:
        """The points on the lines."""
        start: Tensor = self.projection.table[self.own].float()
        return start + self.steps[:, None] * self.directions

    def nearest(self, exclude_parents: bool, k: int) -> Tensor:
        """The parent is the own token."""
        if self.rays is not None:
            return self.rays.nearest(self.steps, exclude_parents, k)
        excluded = self.own[:, None] if exclude_parents else None
        return self.projection.nearest(self.vectors, self.groups, excluded, k)


class Perturbation(Protocol):
    """Moves chosen tokens in embedding space."""

    needs_student: ClassVar[bool]
    mixes_rows: ClassVar[bool]

    @property
    def space(self) -> Space:
        """The table that tokens are moved and projected in."""

    @property
    def partner(self) -> Partner:
        """By which rule a partner row is found, for this move or a crossover before it."""

    @property
    def repeat_partner(self) -> bool:
        """Whether a shorter partner is read again from its start."""

    @property
    def teacher_shares(self) -> Literal["text", "tokens", "width"]:
        """What the teacher must have in common with the student."""

    def move(
        self, batch: TokenBatch, chosen: Tensor, context: AugmentContext, projection: Projection
    ) -> Interpolation | Step:
        """Move the ``chosen`` positions, bool [B, T]; those that cannot be moved are left out."""
