"""AugPro: a perturbation in embedding space, projected back onto tokens."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from augpro.augment.base import AugmentContext
from augpro.augment.checks import check_choice, check_flag, check_range, check_whole
from augpro.augment.methods.compose import Chain
from augpro.augment.methods.moved import Perturbation
from augpro.augment.methods.replace import Crossover, DrawnReplacement, Replaced, TokenReplacement
from augpro.augment.runs import Unit
from augpro.projection.allowed import Metric
from augpro.tokens import TokenBatch


@dataclass(frozen=True)
class Projected(DrawnReplacement):
    """Move some tokens of every row in embedding space, then replace each by the nearest token of its group.

    The result is text, so any teacher can label it (AugPro, Wang et al. 2023, arXiv 2210.11768).
    Cost: look-ups for a mix; for a step one matrix product of the moved positions with the embedding table.

    Attributes:
        perturbation: moves the tokens: :class:`~augpro.augment.methods.perturb.Mix`, ``FGSM``, ``Noise`` or
            ``KNN``.
        replace_fraction: share of a row's tokens that are moved, drawn independently, in [0, 1].
        exclude_parents: whether the tokens that a vector was computed from are excluded, so that every moved
            position becomes a new token. If they are allowed, a mix with weight 0.5 is a crossover.
        metric: "cosine", "l2" or "dot".
        top_k: the token is drawn from this many nearest tokens, 1 to 1,000.

    Raises:
        ValueError: if a value is out of range.
    """

    perturbation: Perturbation
    replace_fraction: float = 0.6
    exclude_parents: bool = True
    metric: Metric = "cosine"
    top_k: int = 1

    def __post_init__(self) -> None:
        check_range("replace_fraction", self.replace_fraction, 0.0, 1.0)
        check_flag("exclude_parents", self.exclude_parents)
        check_whole("top_k", self.top_k, 1, 1000)
        check_choice("metric", self.metric, get_args(Metric))

    @property
    def needs_student(self) -> bool:  # type: ignore[override]
        """Whether the perturbation uses the current student."""
        return self.perturbation.needs_student

    @property
    def mixes_rows(self) -> bool:  # type: ignore[override]
        """Whether it needs partner rows."""
        return self.perturbation.mixes_rows

    @property
    def teacher_shares(self) -> Literal["text", "tokens", "width"]:  # type: ignore[override]
        """What the perturbation needs of the teacher."""
        return self.perturbation.teacher_shares

    @property
    def partner_rules(self) -> set[str]:
        """The rule of the perturbation, if it needs partner rows."""
        return {self.perturbation.partner} if self.mixes_rows else set()

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter by name, including those of the perturbation, as JSON."""
        return _parameters(self)

    def replace(self, batch: TokenBatch, chosen: Tensor, context: AugmentContext) -> Replaced:
        """Move the chosen positions and project them."""
        projection = context.space.projection(self.metric, self.perturbation.space, context.training.teacher)
        moved = self.perturbation.move(batch, chosen, context, projection)
        nearest = moved.nearest(self.exclude_parents, self.top_k)
        count = (nearest >= 0).sum(1)
        draw = context.rng.uniform("pick", batch.row_ids, batch.ids.shape[1])[moved.where]
        picked = (draw * count).long().clamp(max=self.top_k - 1)
        token = nearest.gather(1, picked[:, None])[:, 0]
        # Without any allowed token (in a very small group) the own token stays.
        return Replaced(moved.where, torch.where(count > 0, token, moved.own), moved.partner_ids)


def _parameters(method: "Projected | AugPro") -> dict[str, Any]:
    own = asdict(method)
    return {**own.pop("perturbation"), **own}


class _FromPartner(Crossover):
    """A crossover whose random numbers are independent of those of the projection after it."""

    def choose(self, batch: TokenBatch, editable: Tensor, context: AugmentContext) -> Tensor:
        """Positions that take the partner's token."""
        if self.unit != "token":
            return super().choose(batch, editable, context)
        draw = context.rng.uniform("partner token", batch.row_ids, batch.ids.shape[1])
        return editable & (draw < self.replace_fraction)


@dataclass(frozen=True)
class AugPro(Chain):
    """A projection, optionally after a crossover with a partner row.

    Attributes:
        perturbation: moves the tokens before the projection; see :class:`Projected` for this and the next four.
        replace_fraction: share of a row's tokens that are moved, in [0, 1]; these may include tokens of the partner.
        exclude_parents: whether the tokens that a vector was computed from are excluded.
        metric: "cosine", "l2" or "dot".
        top_k: the token is drawn from this many nearest tokens, 1 to 1,000.
        partner_fraction: share of a row's tokens that are replaced by a partner row's before the perturbation, in
            [0, 1]. It has the effect of a mix that is projected with its parents allowed.
        partner_unit: unit of these replacements: "token", "span", "two-spans" or "clause", as in
            :class:`~augpro.augment.methods.replace.Crossover`; needs a ``partner_fraction`` unless "token".

    Raises:
        ValueError: if a value is out of range.
    """

    perturbation: Perturbation
    replace_fraction: float = 0.6
    exclude_parents: bool = True
    metric: Metric = "cosine"
    top_k: int = 1
    partner_fraction: float = 0.0
    partner_unit: Unit = "token"

    def __post_init__(self) -> None:
        check_range("partner_fraction", self.partner_fraction, 0.0, 1.0)
        check_choice("partner_unit", self.partner_unit, get_args(Unit))
        if self.partner_unit != "token" and not self.partner_fraction:
            raise ValueError(
                f"partner_unit={self.partner_unit!r} has no effect while partner_fraction is 0; set both"
            )
        _ = self.methods  # checks the other values

    @property
    def methods(self) -> tuple[TokenReplacement, ...]:
        """A crossover with the perturbation's partner, if there is one, and the projection."""
        move = self.perturbation
        projected = Projected(move, self.replace_fraction, self.exclude_parents, self.metric, self.top_k)
        if not self.partner_fraction:
            return (projected,)
        share = self.partner_fraction, self.partner_unit
        return _FromPartner(*share, move.partner, move.repeat_partner), projected

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter by name, as JSON; ``augmenter(name, **parameters)`` rebuilds the object."""
        return _parameters(self)
