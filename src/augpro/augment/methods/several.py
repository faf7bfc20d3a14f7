"""Several methods at once: the augmented texts of a row are of different kinds."""

from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, ClassVar

import torch

from augpro.augment.base import AugmentContext, Augmenter
from augpro.augment.methods.combined import Combined, Part, check_parts, parts_as_json
from augpro.tokens import TokenBatch, join


@dataclass(frozen=True)
class Several(Combined):
    """The methods take turns at the texts of a row, so that the choice among the last of them is one of kinds.

    Copy c of row r is made by method (r + c) mod n. Where the last n texts of a row are kept they are one of each
    method, and any batch has some of each.
    Cost: that of the methods, each for its share of the texts.

    Attributes:
        of: the n methods, at least 2, all of which make text. On the command line: ``augpro-mix+knn(top_k=5)``,
            options in brackets and separated by semicolons; in Python and YAML also a list of names and of
            ``{"name": ..., "options": {...}}``.

    Raises:
        ValueError: if there are fewer than two methods, or one makes no text or is of this kind itself.
    """

    takes_turns: ClassVar[bool] = True

    of: tuple[Part, ...]

    def __post_init__(self) -> None:
        check_parts(self.of)
        if len(self.of) < 2:
            raise ValueError(f"of must name at least 2 methods, not {[part.name for part in self.of]!r}")
        for part in self.of:
            if not part.method.makes_text:
                raise ValueError(f"of must name methods that make text, and {part.name!r} makes none")
            if part.method.takes_turns:
                raise ValueError(
                    f"of must name methods that are no list of methods, and {part.name!r} is one"
                )

    @property
    def methods(self) -> tuple[Augmenter, ...]:
        """The methods that take turns."""
        return tuple(part.method for part in self.of)

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter by name, as JSON; ``augmenter(name, **parameters)`` rebuilds the object."""
        return {"of": parts_as_json(self.of)}

    def __call__(self, batch: TokenBatch, context: AugmentContext) -> TokenBatch:
        """Augment every row once, each by its method; padded to the longest."""
        turn = (batch.row_ids + context.rng.replica) % len(self.of)
        made: list[TokenBatch] = []
        order: list[torch.Tensor] = []
        for number, part in enumerate(self.of):
            rows = torch.nonzero(turn == number)[:, 0]
            if len(rows):
                logits = context.training.target_logits
                own = context.with_targets(None if logits is None else logits[rows])
                texts = part.method(batch.take(rows), own)
                assert isinstance(texts, TokenBatch)  # it makes text
                made.append(texts)
                order.append(rows)
        pad_id = context.rows("several").pad_id
        return reduce(partial(join, pad_id=pad_id), made).take(torch.cat(order).argsort())
