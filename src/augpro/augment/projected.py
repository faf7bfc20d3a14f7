"""AugPro: a perturbation in embedding space, projected back onto real tokens."""

from dataclasses import asdict, dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from augpro.augment.base import AugmentContext
from augpro.augment.checks import check_choice, check_flag, check_range, check_whole
from augpro.augment.moved import Perturbation
from augpro.augment.replace import Replaced, TokenReplacement
from augpro.projection.candidates import Metric
from augpro.tokens import TokenBatch


@dataclass(frozen=True)
class Projected(TokenReplacement):
    """Move some tokens of every row, then replace each by the nearest token of its candidate group.

    What comes out is text, so any teacher can label it (AugPro, Wang et al. 2023, arXiv 2210.11768).
    Cost: look-ups for a mix; for a step one matrix product of the moved positions with the embedding table.

    Attributes:
        perturbation: how tokens are moved: :class:`~augpro.augment.perturb.Mix`, ``FGSM``, ``Noise`` or
            ``Stay``.
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
        """Whether the perturbation needs partner rows."""
        return self.perturbation.mixes_rows

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter by name, as JSON; ``augmenter(name, **parameters)`` rebuilds the object."""
        own = asdict(self)
        return {**own.pop("perturbation"), **own}

    def replace(self, batch: TokenBatch, chosen: Tensor, context: AugmentContext) -> Replaced:
        """Move the chosen positions and project them."""
        moved = self.perturbation.move(batch, chosen, context, context.space.projection(self.metric))
        nearest = moved.nearest(self.exclude_parents, self.top_k)
        found = (nearest >= 0).sum(1)
        draw = context.draws.uniform("pick", batch.row_ids, batch.ids.shape[1])[moved.where]
        picked = (draw * found).long().clamp(max=self.top_k - 1)
        token = nearest.gather(1, picked[:, None])[:, 0]
        # A group so small that nothing is left keeps its token.
        return Replaced(moved.where, torch.where(found > 0, token, moved.own), moved.partner_ids)
