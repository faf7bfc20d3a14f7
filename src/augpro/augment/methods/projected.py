"""AugPro: a perturbation in embedding space, projected back onto real tokens."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from augpro.augment.base import AugmentContext
from augpro.augment.checks import check_choice, check_flag, check_range, check_whole
from augpro.augment.methods.moved import Perturbation
from augpro.augment.methods.perturb import FGSM, Mix
from augpro.augment.methods.replace import Crossover, Replaced, TokenReplacement
from augpro.augment.runs import Unit
from augpro.projection.candidates import Metric
from augpro.tokens import TokenBatch


@dataclass(frozen=True)
class Projected(TokenReplacement):
    """Move some tokens of every row, then replace each by the nearest token of its candidate group.

    What comes out is text, so any teacher can label it (AugPro, Wang et al. 2023, arXiv 2210.11768).
    Cost: look-ups for a mix; for a step one matrix product of the moved positions with the embedding table.

    Attributes:
        perturbation: how tokens are moved: :class:`~augpro.augment.methods.perturb.Mix`, ``FGSM``, ``Noise`` or
            ``Stay``.
        replace_fraction: share of a row's tokens that are moved, drawn token by token, in [0, 1].
        exclude_parents: whether the tokens that a vector was made from are barred, so that every moved
            position becomes a new token. With the parents in, a mix at weight 0.5 is a crossover.
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
        check_range("replace_fraction", self.replace_fraction, 0.0, 1.0)
        check_range("partner_fraction", self.partner_fraction, 0.0, 1.0)
        check_flag("exclude_parents", self.exclude_parents)
        check_whole("top_k", self.top_k, 1, 1000)
        check_choice("metric", self.metric, get_args(Metric))
        check_choice("partner_unit", self.partner_unit, get_args(Unit))
        if self.partner_unit != "token" and not self.partner_fraction:
            raise ValueError(
                f"partner_unit={self.partner_unit!r} has no effect while partner_fraction is 0; give that too"
            )

    @property
    def needs_student(self) -> bool:  # type: ignore[override]
        """Whether the perturbation follows the current student."""
        return self.perturbation.needs_student

    @property
    def mixes_rows(self) -> bool:  # type: ignore[override]
        """Whether it needs partner rows."""
        return self.perturbation.mixes_rows or self.partner_fraction > 0

    @property
    def teacher_shares(self) -> Literal["text", "tokens", "width"]:  # type: ignore[override]
        """What the perturbation needs of the teacher."""
        return self.perturbation.teacher_shares

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter by name, as JSON; ``augmenter(name, **parameters)`` rebuilds the object."""
        own = asdict(self)
        return {**own.pop("perturbation"), **own}

    def replace(self, batch: TokenBatch, chosen: Tensor, context: AugmentContext) -> Replaced:
        """Move the chosen positions and project them."""
        if not self.partner_fraction:
            return self._projected(batch, chosen, context)
        wanted = self._wanted(batch, context)
        copied = self._crossover.replace(batch, wanted, context)
        ids = batch.ids.clone()
        ids[copied.where] = copied.ids
        crossed = batch.with_ids(ids)
        if isinstance(self.perturbation, FGSM) and self.perturbation.through == "student":
            if context.label is None:
                raise ValueError(
                    "partner_fraction changes the text: pass the teacher as AugmentContext.label"
                )
            context = replace(context, target_logits=context.label(crossed))
        new = self._projected(crossed, chosen, context)
        ids[new.where] = new.ids
        where = copied.where | new.where
        return Replaced(where, ids[where], copied.partner_ids)

    def _wanted(self, batch: TokenBatch, context: AugmentContext) -> Tensor:
        """Positions that shall have the partner's token, bool [B, T]; drawn apart from those that are moved."""
        editable = context.space.vocabulary.editable(batch)
        if self.partner_unit != "token":
            return self._crossover.choose(batch, editable, context)
        draw = context.draws.uniform("partner token", batch.row_ids, batch.ids.shape[1])
        return editable & (draw < self.partner_fraction)

    @property
    def _crossover(self) -> Crossover:
        """Whose tokens come: those of the perturbation's own partner, if it has one."""
        move, share = self.perturbation, (self.partner_fraction, self.partner_unit)
        if isinstance(move, Mix):
            return Crossover(*share, move.partner, move.repeat_partner)
        return Crossover(*share)

    def _projected(self, batch: TokenBatch, chosen: Tensor, context: AugmentContext) -> Replaced:
        projection = context.space.projection(self.metric, self.perturbation.space, context.teacher)
        moved = self.perturbation.move(batch, chosen, context, projection)
        nearest = moved.nearest(self.exclude_parents, self.top_k)
        found = (nearest >= 0).sum(1)
        draw = context.draws.uniform("pick", batch.row_ids, batch.ids.shape[1])[moved.where]
        picked = (draw * found).long().clamp(max=self.top_k - 1)
        token = nearest.gather(1, picked[:, None])[:, 0]
        # A group so small that nothing is left keeps its token.
        return Replaced(moved.where, torch.where(found > 0, token, moved.own), moved.partner_ids)
