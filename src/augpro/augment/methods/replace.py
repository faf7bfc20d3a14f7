"""Base classes of methods that replace tokens, and the ones that need no embedding space.

:class:`Random` and :class:`Crossover` are controls: a method in embedding space is useful only if it is better than
these at the same replacement rate.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from augpro.augment.base import AugmentContext, Augmenter
from augpro.augment.checks import check_choice, check_flag, check_range
from augpro.augment.partners import Partner, aligned_ids
from augpro.augment.runs import Unit, clause_numbers, clauses, spans
from augpro.tokens import TokenBatch
from augpro.vocabulary import BANNED


@dataclass
class Replaced:
    """New tokens for some positions. N = ``where.sum()``.

    Attributes:
        where: the positions, bool [B, T].
        ids: their new tokens, int64 [N].
        partner_ids: the partner row's token at each position, int64 [B, T], -1 if there is none.
    """

    where: Tensor
    ids: Tensor
    partner_ids: Tensor | None = None

    def within(self, ids: Tensor) -> Tensor:
        """A copy of ``ids`` with the new tokens inserted, int64 [B, T]."""
        changed = ids.clone()
        changed[self.where] = self.ids
        return changed


class TokenReplacement(Augmenter):
    """Replaces tokens of every row; subclasses define which and by what.

    Special tokens and padding stay. A changed word that the tokenizer would split differently is restored.
    """

    def __call__(self, batch: TokenBatch, context: AugmentContext) -> TokenBatch:
        """Augment every row once; the shape stays as it is."""
        vocabulary = context.space.vocabulary
        new = self.replaced(batch, context)
        ids = vocabulary.keep_canonical(new.within(batch.ids), batch)
        context.counts.add(batch, ids, vocabulary.editable(batch), new.partner_ids)
        return batch.with_ids(ids)

    @abstractmethod
    def replaced(self, batch: TokenBatch, context: AugmentContext) -> Replaced:
        """The new tokens of every row."""


class DrawnReplacement(TokenReplacement):
    """Replaces a random share of every row's tokens; subclasses define by what."""

    replace_fraction: float

    def replaced(self, batch: TokenBatch, context: AugmentContext) -> Replaced:
        """New tokens for the drawn positions."""
        return self.replace(
            batch, self.choose(batch, context.space.vocabulary.editable(batch), context), context
        )

    def choose(self, batch: TokenBatch, editable: Tensor, context: AugmentContext) -> Tensor:
        """Positions to replace, bool [B, T]: each editable one with probability ``replace_fraction``."""
        draw = context.rng.uniform("replace", batch.row_ids, batch.ids.shape[1])
        return editable & (draw < self.replace_fraction)

    @abstractmethod
    def replace(self, batch: TokenBatch, chosen: Tensor, context: AugmentContext) -> Replaced:
        """New tokens for the chosen positions, as far as they can be replaced."""


Distribution = Literal["uniform", "unigram"]


@dataclass(frozen=True)
class Random(DrawnReplacement):
    """The control for every method: a token is replaced by a random other token of its group.

    Cost: one binary search per replaced token.

    Attributes:
        replace_fraction: share of a row's tokens that are replaced, drawn independently, in [0, 1].
        distribution: "uniform" over the allowed tokens, or "unigram": by their frequency in the training rows.

    Raises:
        ValueError: if a value is out of range.
    """

    replace_fraction: float = 0.3
    distribution: Distribution = "uniform"

    def __post_init__(self) -> None:
        check_range("replace_fraction", self.replace_fraction, 0.0, 1.0)
        check_choice("distribution", self.distribution, get_args(Distribution))

    @property
    def needs_all_rows(self) -> bool:
        """Whether it counts the tokens of all training rows."""
        return self.distribution == "unigram"

    def replace(self, batch: TokenBatch, chosen: Tensor, context: AugmentContext) -> Replaced:
        """Draw from the token's group, excluding the token itself."""
        weights = context.load(("random", self.distribution), lambda: self._weights(context))
        own = batch.ids[chosen]
        draw = context.rng.uniform("token", batch.row_ids, batch.ids.shape[1])[chosen].double()
        new = own.clone()
        for group, cumulative in weights.items():
            rows = torch.nonzero(context.space.groups[own] == group)[:, 0]
            new[rows] = draw_other(cumulative.to(own.device), own[rows], draw[rows])
        return Replaced(chosen, new)

    def _weights(self, context: AugmentContext) -> dict[int, Tensor]:
        """Cumulative weight of every token within each group, float64 [V]."""
        groups = context.space.groups
        weight = torch.ones(len(groups), dtype=torch.float64, device=groups.device)
        if self.distribution == "unigram":
            ids = torch.from_numpy(context.rows("random").flat[0].astype("int64"))
            weight = torch.bincount(ids, minlength=len(groups)).to(weight)
        return {
            group: (weight * (groups == group)).cumsum(0) for group in groups.unique().tolist() if group >= 0
        }


def draw_other(cumulative: Tensor, own: Tensor, draw: Tensor) -> Tensor:
    """Draw tokens from a distribution that excludes each row's own token.

    Args:
        cumulative: cumulative weight of every token, float64 [V].
        own: the excluded token, int64 [N].
        draw: uniform in [0, 1), float64 [N].

    Returns:
        int64 [N]; the own token if no other token has any weight.
    """
    end = cumulative[own]
    weight = end - torch.where(own > 0, cumulative[(own - 1).clamp_min(0)], 0.0)
    point = draw * (cumulative[-1] - weight)
    point = torch.where(point >= end - weight, point + weight, point)
    drawn = torch.searchsorted(cumulative, point, right=True).clamp_max(len(cumulative) - 1)
    return torch.where(cumulative[-1] > weight, drawn, own)


@dataclass(frozen=True)
class Crossover(DrawnReplacement):
    """The control for AugPro-Mix: copies tokens of a partner row at the same positions, without embeddings.

    Cost: only the copy.

    Attributes:
        replace_fraction: share of a row's tokens that come from the partner, in [0, 1].
        unit: "token": independent tokens; "span": one span of tokens; "two-spans": two spans; "clause": text between
            two punctuation marks of the partner, or one span if it has none.
        partner: as in :class:`~augpro.augment.methods.perturb.Mix`.
        repeat_partner: whether a shorter partner is repeated.

    Raises:
        ValueError: if a value is out of range.
    """

    mixes_rows: ClassVar[bool] = True

    replace_fraction: float = 0.5
    unit: Unit = "token"
    partner: Partner = "random"
    repeat_partner: bool = True

    def __post_init__(self) -> None:
        check_range("replace_fraction", self.replace_fraction, 0.0, 1.0)
        check_choice("unit", self.unit, get_args(Unit))
        check_choice("partner", self.partner, get_args(Partner))
        check_flag("repeat_partner", self.repeat_partner)

    def choose(self, batch: TokenBatch, editable: Tensor, context: AugmentContext) -> Tensor:
        """Positions to replace: single tokens or spans, with the same share on average."""
        if self.unit == "token":
            return super().choose(batch, editable, context)
        if self.unit != "clause":
            number = 2 if self.unit == "two-spans" else 1
            return spans(editable, self.replace_fraction, batch.row_ids, context.rng, number)
        partner_ids = self._partner_ids(batch, context)
        marks = context.space.vocabulary.marks.to(batch.ids.device)[partner_ids.clamp_min(0)]
        numbers = clause_numbers(marks & (partner_ids >= 0), batch.segments)
        return clauses(editable, numbers, self.replace_fraction, batch.row_ids, context.rng)

    def replace(self, batch: TokenBatch, chosen: Tensor, context: AugmentContext) -> Replaced:
        """Copy the partner's ordinary tokens of the same group (a word start for a word start)."""
        groups = context.space.groups
        partner_ids = self._partner_ids(batch, context)
        partner_groups = torch.where(partner_ids >= 0, groups[partner_ids.clamp_min(0)], BANNED)
        where = chosen & (partner_groups == groups[batch.ids])
        return Replaced(where, partner_ids[where], partner_ids)

    def _partner_ids(self, batch: TokenBatch, context: AugmentContext) -> Tensor:
        """The partner's token at each position, int64 [B, T], -1 if there is none."""
        partners = context.partners("crossover", batch, self.partner)
        return aligned_ids(batch, partners, self.repeat_partner)
