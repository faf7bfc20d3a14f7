"""Token methods one after the other: what comes out of one is what the next one reads."""

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
    """Replaces tokens in several steps; subclasses say in which.

    Only the text that comes out last is spelled and counted. A link that asks for the teacher's answer to its rows
    gets the one to the text as it is then, so that ``TrainingState.label`` is called for every link that does.
    """

    @property
    @abstractmethod
    def methods(self) -> tuple[TokenReplacement, ...]:
        """The links, first to last."""

    def contexts(self, context: AugmentContext) -> Iterator[AugmentContext]:
        """What each link may look at; their random numbers must be independent of each other."""
        while True:
            yield context

    def replaced(self, batch: TokenBatch, context: AugmentContext) -> Replaced:
        """The new tokens after the last link."""
        now, where, partner_ids = batch, torch.zeros_like(batch.mask, dtype=torch.bool), None
        for link, own in zip(self.methods, self.contexts(context), strict=False):
            if now is not batch and link.needs_student:
                own = own.with_targets(None)  # they are of a text that is no more
            new = link.replaced(now, own)
            now, where = batch.with_ids(new.within(now.ids)), where | new.where
            partner_ids = new.partner_ids if partner_ids is None else partner_ids
        return Replaced(where, now.ids[where], partner_ids)


@dataclass(frozen=True)
class Compose(Chain):
    """Token methods one after the other, such as a partner's tokens first and a projection then.

    Each link draws for itself; the last one as it would alone. Links that need a partner row meet the same one if
    they look for it by the same rule.
    Cost: that of the links.

    Attributes:
        of: the links, at least 2, all of which replace tokens. On the command line:
            ``crossover(replace_fraction=0.5)+knn``, options in brackets and separated by semicolons; in Python and
            YAML also a list of names and of ``{"name": ..., "options": {...}}``.

    Raises:
        ValueError: if there are fewer than two, or one of them does not replace tokens.
    """

    of: tuple[Part, ...]

    def __post_init__(self) -> None:
        check_parts(self.of)
        if len(self.of) < 2:
            raise ValueError(f"of must name at least 2 methods, not {[part.name for part in self.of]!r}")
        others = [part.name for part in self.of if not isinstance(part.method, TokenReplacement)]
        if others:
            raise ValueError(f"of must name methods that replace tokens, and {others[0]!r} does not")

    @property
    def methods(self) -> tuple[TokenReplacement, ...]:
        """The links, first to last."""
        return tuple(part.method for part in self.of if isinstance(part.method, TokenReplacement))

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter by name, as JSON; ``augmenter(name, **parameters)`` rebuilds the object."""
        return {"of": parts_as_json(self.of)}

    def contexts(self, context: AugmentContext) -> Iterator[AugmentContext]:
        """The same for each link, with random numbers of its own."""
        for after in reversed(range(len(self.of))):
            scope = context.rng.scope + (f"{after} links before the last: " if after else "")
            yield replace(context, rng=context.rng.within(scope))
