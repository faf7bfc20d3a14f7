"""Sequential composition of token methods: each reads the output of the one before it."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from augpro.augment.base import AugmentContext
from augpro.augment.methods.combined import Combined, Part, check_parts, parts_as_json
from augpro.augment.methods.replace import Replaced, TokenReplacement
from augpro.tokens import TokenBatch


class Chain(Combined, TokenReplacement):
    """Replaces tokens in several steps; subclasses define the steps.

    Only the final text is checked for its spelling and counted. A step that needs the teacher's logits gets those of
    the text at that step, so ``TrainingState.label`` is called once for every such step after the first.
    """

    @property
    @abstractmethod
    def methods(self) -> tuple[TokenReplacement, ...]:
        """The steps, first to last."""

    def contexts(self, context: AugmentContext) -> Iterator[AugmentContext]:
        """The context of each step; the steps need independent random numbers."""
        while True:
            yield context

    def replaced(self, batch: TokenBatch, context: AugmentContext) -> Replaced:
        """The new tokens after the last step."""
        current, where, partner_ids = batch, torch.zeros_like(batch.mask, dtype=torch.bool), None
        for step, step_context in zip(self.methods, self.contexts(context), strict=False):
            if current is not batch:
                step_context = step_context.with_targets(None)  # the targets are of the earlier text
            new = step.replaced(current, step_context)
            current, where = batch.with_ids(new.within(current.ids)), where | new.where
            partner_ids = new.partner_ids if partner_ids is None else partner_ids
        return Replaced(where, current.ids[where], partner_ids)


@dataclass(frozen=True)
class Compose(Chain):
    """Token methods applied in sequence, for example a crossover followed by a projection.

    The steps have independent random numbers; the last one uses the same as it would alone. Steps with the same
    partner rule use the same partner row.
    Cost: that of the steps.

    Attributes:
        of: the steps, at least 2; all must replace tokens. On the command line:
            ``crossover(replace_fraction=0.5)+knn``, with options in brackets, separated by semicolons; in Python and
            YAML also a list of names and of ``{"name": ..., "options": {...}}``.

    Raises:
        ValueError: if there are fewer than two, or one of them does not replace tokens.
    """

    of: tuple[Part, ...]

    def __post_init__(self) -> None:
        check_parts(self.of)
        others = [part.name for part in self.of if not isinstance(part.method, TokenReplacement)]
        if others:
            raise ValueError(f"of must name methods that replace tokens, and {others[0]!r} does not")

    @property
    def methods(self) -> tuple[TokenReplacement, ...]:
        """The steps, first to last."""
        return tuple(part.method for part in self.of if isinstance(part.method, TokenReplacement))

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter by name, as JSON; ``augmenter(name, **parameters)`` rebuilds the object."""
        return {"of": parts_as_json(self.of)}

    def contexts(self, context: AugmentContext) -> Iterator[AugmentContext]:
        """The same context for each step, with independent random numbers."""
        for after in reversed(range(len(self.of))):
            scope = context.rng.scope + (f"{after} links before the last: " if after else "")
            yield replace(context, rng=context.rng.within(scope))
