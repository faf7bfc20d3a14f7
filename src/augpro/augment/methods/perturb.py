"""Perturbations of token embeddings, before the projection.

The maths is in pure functions (:func:`augpro.projection.neighbours.mix`, :func:`move_along`, :func:`step_for_rate`);
the classes draw their arguments.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import torch
from scipy import special
from torch import Tensor

from augpro.augment.base import AugmentContext
from augpro.augment.checks import check_choice, check_flag, check_range
from augpro.augment.gradient import embedding_gradient, require_student
from augpro.augment.methods.moved import Interpolation, Step
from augpro.augment.partners import Partner, aligned_ids
from augpro.augment.spaces import Space
from augpro.projection import Projection
from augpro.tokens import TokenBatch, TokenTable
from augpro.vocabulary import BANNED


def move_along(start: Tensor, direction: Tensor, step: Tensor | float) -> Tensor:
    """``start + step * direction / ||direction||`` over the last dimension; a zero direction changes nothing.

    With the loss gradient as direction this is FGSM with an L2 step (Miyato et al. 2017, arXiv
    1605.07725); with normal random numbers it is a step in a uniformly random direction.
    """
    return start + step * torch.nn.functional.normalize(direction, dim=-1, eps=1e-30)


@dataclass(frozen=True)
class KNN:
    """k-NN replacement: no perturbation, so the projection returns the token's nearest neighbours.

    TinyBERT replaces words by neighbours in embedding space (Jiao et al. 2020, arXiv 1909.10351), with GloVe vectors
    and a masked language model instead of the student's embeddings.

    Attributes:
        space: embeddings for the neighbours: "student"; "centred", the student's minus their mean and first principal
            components; "weighted", the student's as static embeddings are made, with less weight for frequent tokens;
            or "teacher", which must have the student's tokenizer.

    Raises:
        ValueError: if the space is unknown.
    """

    needs_student: ClassVar[bool] = False
    mixes_rows: ClassVar[bool] = False
    partner: ClassVar[Partner] = "random"
    repeat_partner: ClassVar[bool] = True

    space: Space = "student"

    def __post_init__(self) -> None:
        check_choice("space", self.space, get_args(Space))

    @property
    def teacher_shares(self) -> Literal["text", "tokens"]:
        """What the teacher must have in common with the student."""
        return "tokens" if self.space == "teacher" else "text"

    def move(
        self, batch: TokenBatch, chosen: Tensor, context: AugmentContext, projection: Projection
    ) -> Interpolation:
        """An interpolation of each chosen token with itself."""
        own = batch.ids[chosen]
        weight = torch.ones(len(own), device=own.device)
        return Interpolation(chosen, own, context.space.groups[own], projection, own, weight)


@dataclass(frozen=True)
class Mix:
    """AugPro-Mix: interpolates the token with the token at the same position of a partner row.

    Attributes:
        weight: weight of the row's own token, lambda in [0, 1].
        beta: if given, lambda is drawn for each row from Beta(beta, beta) instead.
        partner: "random": any row of a fixed block of 256 training rows. "same-class" or "other-class": a row of the
            block for which the teacher predicts the same or another class, or a random one if there is none. "near":
            one of the 10 most similar rows.
        repeat_partner: whether a shorter partner is repeated, so that every token can be mixed; else tokens beyond
            its end are not changed.
        space: the embeddings that are mixed, as in :class:`KNN`.

    Raises:
        ValueError: if a value is out of range.
    """

    needs_student: ClassVar[bool] = False
    mixes_rows: ClassVar[bool] = True

    weight: float = 0.5
    beta: float | None = None
    partner: Partner = "random"
    repeat_partner: bool = True
    space: Space = "student"

    def __post_init__(self) -> None:
        check_mixing(self.weight, self.beta, self.partner)
        check_flag("repeat_partner", self.repeat_partner)
        check_choice("space", self.space, get_args(Space))

    @property
    def teacher_shares(self) -> Literal["text", "tokens"]:
        """What the teacher must have in common with the student."""
        return "tokens" if self.space == "teacher" else "text"

    def move(
        self, batch: TokenBatch, chosen: Tensor, context: AugmentContext, projection: Projection
    ) -> Interpolation:
        """Mix the chosen positions where the partner has an ordinary token."""
        training = context.rows("augpro-mix")
        key = "augpro-mix", projection.metric, self.space
        context.load(key, lambda: self._prepare(training, context, projection))
        partners = context.partners("augpro-mix", batch, self.partner)
        partner_ids = aligned_ids(batch, partners, self.repeat_partner)
        groups = context.space.groups
        where = chosen & (partner_ids >= 0) & (groups[partner_ids.clamp_min(0)] != BANNED)
        weight = row_weights(self.weight, self.beta, batch, context)[:, None].expand_as(where)[where]
        own, other = batch.ids[where], partner_ids[where]
        return Interpolation(where, own, groups[own], projection, other, weight, partner_ids)

    @staticmethod
    def _prepare(training: TokenTable, context: AugmentContext, projection: Projection) -> None:
        """Build neighbour lists of every token that can be a parent."""
        groups = context.space.groups
        tokens = torch.from_numpy(np.unique(training.flat[0])).to(groups.device, torch.int64)
        projection.prepare(tokens[groups[tokens] != BANNED])


def check_mixing(weight: float, beta: float | None, partner: str) -> None:
    """Raise ``ValueError`` naming the argument unless the three are in range."""
    check_range("weight", weight, 0.0, 1.0)
    if beta is not None:
        check_range("beta", beta, 1e-3, 1e3)
    check_choice("partner", partner, get_args(Partner))


def row_weights(weight: float, beta: float | None, batch: TokenBatch, context: AugmentContext) -> Tensor:
    """Lambda of every row, float32 [B]: ``weight``, or drawn from Beta(beta, beta) if ``beta`` is given."""
    if beta is None:
        return torch.full((len(batch.ids),), weight, device=batch.ids.device)
    uniform = context.rng.uniform("weight", batch.row_ids)[:, 0]
    drawn = special.betaincinv(beta, beta, uniform.cpu().double().numpy())
    return torch.as_tensor(drawn, dtype=torch.float32, device=batch.ids.device)


@dataclass(frozen=True)
class _Stepped(ABC):
    """A step of a given length, or of the length that flips a given share of the row's chosen tokens.

    The length is computed for every row separately, so a row's text does not depend on its batch.

    Attributes:
        step: length in the units of the embedding table, in [0, 1e6].
        target_rate: share of a row's chosen tokens that flip: after the step another token is nearest. In [0, 1];
            used if ``step`` is not given.

    Raises:
        ValueError: if a value is out of range.
    """

    mixes_rows: ClassVar[bool] = False
    partner: ClassVar[Partner] = "random"
    repeat_partner: ClassVar[bool] = True
    space: ClassVar[Space] = "student"  # the gradient is with respect to the student's embeddings
    teacher_shares: ClassVar[Literal["text", "width"]] = "text"

    step: float | None = None
    target_rate: float = 0.3

    def __post_init__(self) -> None:
        check_range("target_rate", self.target_rate, 0.0, 1.0)
        if self.step is not None:
            check_range("step", self.step, 0.0, 1e6)

    def move(
        self, batch: TokenBatch, chosen: Tensor, context: AugmentContext, projection: Projection
    ) -> Step:
        """Move the chosen positions along their directions."""
        own = batch.ids[chosen]
        groups = context.space.groups[own]
        unit = torch.nn.functional.normalize(
            self._directions(batch, context)[chosen].float(), dim=1, eps=1e-30
        )
        if self.step is not None:
            steps = torch.full((len(own),), self.step, device=own.device)
            return Step(chosen, own, groups, projection, unit, steps)
        rays = projection.rays(own, unit, groups)
        rounding = context.rng.uniform("rate", batch.row_ids)[:, 0]
        steps = step_for_rate(rays.flips(), chosen, self.target_rate, rounding)
        return Step(chosen, own, groups, projection, unit, steps[:, None].expand_as(chosen)[chosen], rays)

    @abstractmethod
    def _directions(self, batch: TokenBatch, context: AugmentContext) -> Tensor:
        """Direction of every position, [B, T, D], of any length."""


def step_for_rate(flips: Tensor, chosen: Tensor, rate: float, rounding: Tensor) -> Tensor:
    """Step length for each row that flips the share ``rate`` of its chosen tokens.

    Args:
        flips: smallest step that flips each chosen token, [N]; inf if no step does.
        chosen: bool [B, T] with N true values.
        rate: share in [0, 1].
        rounding: uniform random numbers [B]; rate * tokens is rounded up with the probability of its fraction, so
            that the share is right on average in short rows too.

    Returns:
        [B].
    """
    ordered = torch.full(chosen.shape, torch.inf, device=flips.device)
    ordered[chosen] = flips
    ordered = torch.nn.functional.pad(ordered.sort(dim=1).values, (1, 1), value=0.0)
    ordered[:, -1] = torch.inf
    wanted = (chosen.sum(1) * rate + rounding).floor().long()
    wanted = torch.minimum(wanted, ordered[:, 1:].isfinite().sum(1))
    last = ordered.gather(1, wanted[:, None])[:, 0]
    following = ordered.gather(1, wanted[:, None] + 1)[:, 0]
    # Halfway between the last token to flip and the next one, but at most 10 % beyond the former.
    return torch.where(wanted > 0, torch.minimum((last + following) / 2, 1.1 * last), 0.0)


Through = Literal["student", "both"]


@dataclass(frozen=True)
class FGSM(_Stepped):
    """AugPro-FGSM: one step along the gradient of the student's distillation loss.

    Attributes:
        through: "student": the teacher's logits of the original text are fixed targets, as in the paper. "both": the
            gradient goes through both models with the same offset, so that the step increases their actual
            disagreement. It needs a teacher with the student's tokenizer and width, and a forward and backward pass
            of it.
    """

    needs_student: ClassVar[bool] = True

    through: Through = "student"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("through", self.through, get_args(Through))

    @property
    def teacher_shares(self) -> Literal["text", "width"]:  # type: ignore[override]
        """What the teacher must have in common with the student."""
        return "width" if self.through == "both" else "text"

    def _directions(self, batch: TokenBatch, context: AugmentContext) -> Tensor:
        student, row_loss = require_student("augpro-fgsm", context)
        target = context.training.teacher if self.through == "both" else context.targets("augpro-fgsm", batch)
        if target is None:
            raise ValueError(
                "through='both' needs the teacher's gradient: pass the teacher as TrainingState.teacher"
            )
        # Shared by all candidates: their random numbers only choose which tokens are moved.
        return context.share(
            ("augpro-fgsm", self.through), batch, lambda: embedding_gradient(student, batch, row_loss, target)
        )


@dataclass(frozen=True)
class Noise(_Stepped):
    """The control for FGSM: a step of the same length in a random direction."""

    needs_student: ClassVar[bool] = False

    def _directions(self, batch: TokenBatch, context: AugmentContext) -> Tensor:
        rows, positions = batch.ids.shape
        width = context.space.table.shape[1]
        return context.rng.normal("noise", batch.row_ids, positions * width).view(rows, positions, width)
