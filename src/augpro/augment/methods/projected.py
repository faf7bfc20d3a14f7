"""AugPro: a perturbation in embedding space, projected back onto real tokens."""

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
from augpro.projection.candidates import Metric
from augpro.tokens import TokenBatch


@dataclass(frozen=True)
class Projected(DrawnReplacement):
    """Move some tokens of every row, then replace each by the nearest token of its candidate group.

    What comes out is text, so any teacher can label it (AugPro, Wang et al. 2023, arXiv 2210.11768).
    Cost: look-ups for a mix; for a step one matrix product of the moved positions with the embedding table.

    Attributes:
        perturbation: how tokens are moved: :class:`~augpro.augment.methods.perturb.Mix`, ``FGSM``, ``Noise`` or
            ``KNN``.
        replace_fraction: share of a row's tokens that are moved, drawn token by token, in [0, 1].
        exclude_parents: whether the tokens that a vector was made from are barred, so that every moved
            position becomes a new token. With the parents in, a mix at weight 0.5 is a crossover.
        metric: "cosine", "l2" or "dot".
        top_k: the token is drawn from this many nearest, 1 to 1,000.

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
        """Whether the perturbation follows the current student."""
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
        """Every parameter by name, those of the perturbation among them, as JSON."""
        return _parameters(self)

    def replace(self, batch: TokenBatch, chosen: Tensor, context: AugmentContext) -> Replaced:
        """Move the chosen positions and project them."""
        projection = context.space.projection(self.metric, self.perturbation.space, context.training.teacher)
        moved = self.perturbation.move(batch, chosen, context, projection)
        nearest = moved.nearest(self.exclude_parents, self.top_k)
        found = (nearest >= 0).sum(1)
        draw = context.rng.uniform("pick", batch.row_ids, batch.ids.shape[1])[moved.where]
        picked = (draw * found).long().clamp(max=self.top_k - 1)
        token = nearest.gather(1, picked[:, None])[:, 0]
        # A group so small that nothing is left keeps its token.
        return Replaced(moved.where, torch.where(found > 0, token, moved.own), moved.partner_ids)


def _parameters(method: "Projected | AugPro") -> dict[str, Any]:
    own = asdict(method)
    return {**own.pop("perturbation"), **own}


class _FromPartner(Crossover):
    """A crossover whose draws are not those by which a method after it chooses its tokens."""

    def choose(self, batch: TokenBatch, editable: Tensor, context: AugmentContext) -> Tensor:
        """Positions that take the partner's token."""
        if self.unit != "token":
            return super().choose(batch, editable, context)
        draw = context.rng.uniform("partner token", batch.row_ids, batch.ids.shape[1])
        return editable & (draw < self.replace_fraction)


@dataclass(frozen=True)
class AugPro(Chain):
    """Tokens of a partner row first, where a share of them is asked for; then a projection of others.

    Attributes:
        perturbation: of the projection, and so are the next four: see :class:`Projected`.
        replace_fraction: share of a row's tokens that are moved, in [0, 1]; some of the partner's among them.
        exclude_parents: whether the tokens that a vector was made from are barred.
        metric: "cosine", "l2" or "dot".
        top_k: the token is drawn from this many nearest, 1 to 1,000.
        partner_fraction: share of a row's tokens that come from a partner row before anything is moved, in
            [0, 1]: where a mix would be projected with its parents in.
        partner_unit: what comes from it: "token", "span", "two-spans" or "clause", as the unit of
            :class:`~augpro.augment.methods.replace.Crossover`; no other than "token" where nothing comes.

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
                f"partner_unit={self.partner_unit!r} has no effect while partner_fraction is 0; give that too"
            )
        _ = self.methods  # which check the other values

    @property
    def methods(self) -> tuple[TokenReplacement, ...]:
        """A crossover with the partner of the perturbation, and the projection."""
        move, values = (
            self.perturbation,
            (self.replace_fraction, self.exclude_parents, self.metric, self.top_k),
        )
        projected = Projected(move, *values)
        if not self.partner_fraction:
            return (projected,)
        share = self.partner_fraction, self.partner_unit
        return _FromPartner(*share, move.partner, move.repeat_partner), projected

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter by name, as JSON; ``augmenter(name, **parameters)`` rebuilds the object."""
        return _parameters(self)
