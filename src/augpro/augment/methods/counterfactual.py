"""Texts near a row to which the teacher gives another answer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from augpro.augment.base import AugmentContext
from augpro.augment.checks import check_range, check_whole
from augpro.augment.gradient import embedding_gradient
from augpro.augment.methods.replace import DrawnReplacement, Replaced
from augpro.tasks import ProblemType
from augpro.tokens import TokenBatch


@dataclass(frozen=True)
class Counterfactual(DrawnReplacement):
    """Changes tokens along the teacher's gradient, as few as needed, until the teacher's answer is another one.

    Some tokens of a row are drawn. Each would become the first other token that is nearest on the ray from its
    embedding away from the teacher's answer, in the teacher's embeddings. They are changed in the order of what the
    gradient expects of them: first a few of those that raise the loss, and twice as many in every further step. A row
    that has not flipped after the last step has all of them changed, and is a usable text as well: the teacher labels
    every text. For a regression, there is nothing to flip: all are changed, to raise or to lower the score at random.

    Needs a teacher with the student's tokenizer.
    Cost: a forward and backward pass of the teacher for each batch, shared by its candidates; for each candidate up
    to ``steps`` - 1 forward passes, of the rows that have not flipped, and a matrix product of the drawn positions
    with the teacher's embeddings.

    Attributes:
        replace_fraction: largest share of a row's tokens that are changed: those that may be are drawn independently,
            in [0, 1].
        steps: how often tokens are added, 1 to 10; with 1 all are changed at once and the teacher is not asked.

    Raises:
        ValueError: if a value is out of range.

    Source: first-order choice of the tokens as in Ebrahimi et al. 2018, "HotFlip: White-Box Adversarial Examples for
    Text Classification" (arXiv 1712.06751); texts beside the decision boundary as training data in Kaushik et al.
    2020, "Learning the Difference that Makes a Difference with Counterfactually-Augmented Data" (arXiv 1909.12434),
    written by people there.
    """

    teacher_shares: ClassVar[Literal["text", "tokens", "width"]] = "tokens"

    replace_fraction: float = 0.5
    steps: int = 3

    def __post_init__(self) -> None:
        check_range("replace_fraction", self.replace_fraction, 0.0, 1.0)
        check_whole("steps", self.steps, 1, 10)

    def replace(self, batch: TokenBatch, chosen: Tensor, context: AugmentContext) -> Replaced:
        """Change the chosen positions that are expected to lead away from the teacher's answer, or some of them."""
        teacher, problem = context.training.teacher, context.training.problem_type
        if teacher is None:
            raise ValueError(
                "counterfactual needs the teacher's gradient, so it runs only during training (TrainingState.teacher)"
            )
        targets = context.targets("counterfactual", batch)
        gradient = context.share(
            "counterfactual", batch, lambda: embedding_gradient(teacher, batch, _away_from(problem), targets)
        )
        if problem == "regression":
            up = context.rng.uniform("direction", batch.row_ids)[:, :, None] < 0.5
            gradient = torch.where(up, gradient, -gradient)
        tokens, gain = _first_tokens(batch, chosen, gradient[chosen].float(), context, teacher)
        rank = gain.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        count = (gain > 0).sum(1)
        if problem != "regression":
            count = self._fewest(batch, tokens, rank, count, targets, context)
        where = rank < count[:, None]
        return Replaced(where, tokens[where])

    def _fewest(
        self,
        batch: TokenBatch,
        tokens: Tensor,
        rank: Tensor,
        most: Tensor,
        targets: Tensor,
        context: AugmentContext,
    ) -> Tensor:
        """How many tokens of each row are changed, [B]: the first number tried that flips it, or ``most``."""
        problem, keep_canonical = context.training.problem_type, context.space.vocabulary.keep_canonical
        count, tried, asked = most.clone(), torch.zeros_like(most), context.with_targets(None)
        flipped = torch.zeros_like(most, dtype=torch.bool)
        for more in range(self.steps - 1, 0, -1):
            number = (most + 2**more - 1) // 2**more
            rows = torch.nonzero(~flipped & (tried < number) & (number < most))[:, 0]
            tried = number
            if not len(rows):
                continue
            part, changed = batch.take(rows), rank[rows] < number[rows, None]
            text = part.with_ids(keep_canonical(torch.where(changed, tokens[rows], part.ids), part))
            other = _differs(asked.targets("counterfactual", text), targets[rows], problem)
            flipped[rows[other]] = True
            count[rows[other]] = number[rows[other]]
        return count


def _first_tokens(
    batch: TokenBatch, chosen: Tensor, gradient: Tensor, context: AugmentContext, teacher: Any
) -> tuple[Tensor, Tensor]:
    """The first token on the ray of each chosen position, and its gain by the gradient.

    Args:
        batch: rows, [B, T].
        chosen: bool [B, T] with N true values.
        gradient: of the loss with respect to the teacher's embeddings there, float32 [N, D].
        context: of the call.
        teacher: the model.

    Returns:
        Tokens, int64 [B, T], and gains, float32 [B, T]: -inf where there is no token.
    """
    own = batch.ids[chosen]
    projection = context.space.projection("cosine", "teacher", teacher)
    rays = projection.rays(own, F.normalize(gradient, dim=1, eps=1e-30), context.space.groups[own])
    flips = rays.flips()
    reached = flips.isfinite()
    # At that step both tokens are equally near, so the own one is excluded.
    new = rays.nearest(torch.where(reached, flips, 0.0), exclude_start=True)[:, 0]
    reached &= new >= 0
    new = torch.where(reached, new, own)
    expected = ((projection.table[new] - projection.table[own]).float() * gradient).sum(1)
    tokens, gain = batch.ids.clone(), torch.full(chosen.shape, -torch.inf, device=own.device)
    tokens[chosen] = new
    gain[chosen] = torch.where(reached, expected, -torch.inf)
    return tokens, gain


def _away_from(problem: ProblemType) -> Callable[[Tensor, Tensor], Tensor]:
    """A loss, (logits, the teacher's logits [B, C]) -> [B], that grows away from the teacher's answer."""

    def log_odds(logits: Tensor, targets: Tensor) -> Tensor:
        """Of another class; it has the direction of the cross-entropy, but does not vanish where that is near 0."""
        answer = targets.argmax(1, keepdim=True)
        return logits.scatter(1, answer, -torch.inf).logsumexp(1) - logits.gather(1, answer)[:, 0]

    def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
        answers = (targets > 0).to(logits.dtype)
        return F.binary_cross_entropy_with_logits(logits, answers, reduction="none").sum(1)

    def score(logits: Tensor, targets: Tensor) -> Tensor:
        return logits[:, 0]

    return {"single_label": log_odds, "multi_label": cross_entropy, "regression": score}[problem]


def _differs(logits: Tensor, targets: Tensor, problem: ProblemType) -> Tensor:
    """Whether the answers are others: the class, or one of the labels; bool [B]."""
    if problem == "multi_label":
        return ((logits > 0) != (targets > 0)).any(1)
    return logits.argmax(1) != targets.argmax(1)
