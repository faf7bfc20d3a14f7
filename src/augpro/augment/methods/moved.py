"""Token positions moved in embedding space, and the projection of each kind of move."""

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
        where: the moved positions, bool [B, T], a subset of the chosen ones.
        own: the tokens there, int64 [N].
        groups: their token groups, int64 [N].
        projection: the projection onto tokens.
    """

    where: Tensor
    own: Tensor
    groups: Tensor
    projection: Projection

    @property
    @abstractmethod
    def vectors(self) -> Tensor:
        """The moved embeddings, float32 [N, D]."""

    @abstractmethod
    def nearest(self, exclude_parents: bool, k: int) -> Tensor:
        """The k nearest tokens, best first, int64 [N, k]; -1 if there are fewer."""


@dataclass
class Interpolation(Moved):
    """Positions interpolated with another token.

    Attributes:
        other: the other token, int64 [N].
        weight: weight of the own token, float32 [N].
        partner_ids: the partner row's token at each position, int64 [B, T], -1 if there is none.
    """

    other: Tensor
    weight: Tensor
    partner_ids: Tensor | None = None

    @property
    def vectors(self) -> Tensor:
        """The convex combination."""
        return mixed(self.projection.table, self.own, self.other, self.weight)

    def nearest(self, exclude_parents: bool, k: int) -> Tensor:
        """The nearest tokens; the parents are both tokens."""
        pair = self.own, self.other
        return self.projection.nearest_mix(*pair, self.weight, self.groups, exclude_parents, k)


@dataclass
class Step(Moved):
    """Positions moved in a direction.

    Attributes:
        directions: unit vectors, or zero, float32 [N, D].
        steps: step lengths, float32 [N].
        rays: the same lines, if they were used to compute the steps.
    """

    directions: Tensor
    steps: Tensor
    rays: Rays | None = None
    partner_ids: ClassVar[None] = None

    @property
    def vectors(self) -> Tensor:
        """The end points of the steps."""
        start: Tensor = self.projection.table[self.own].float()
        return start + self.steps[:, None] * self.directions

    def nearest(self, exclude_parents: bool, k: int) -> Tensor:
        """The nearest tokens; the parent is the own token."""
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
        """The embedding table that tokens are moved and projected in."""

    @property
    def partner(self) -> Partner:
        """The rule for the partner row, for this move or a crossover before it."""

    @property
    def repeat_partner(self) -> bool:
        """Whether a shorter partner is repeated."""

    @property
    def teacher_shares(self) -> Literal["text", "tokens", "width"]:
        """What the teacher must have in common with the student."""

    def move(
        self, batch: TokenBatch, chosen: Tensor, context: AugmentContext, projection: Projection
    ) -> Interpolation | Step:
        """Move the ``chosen`` positions, bool [B, T]; omit those that cannot be moved."""
