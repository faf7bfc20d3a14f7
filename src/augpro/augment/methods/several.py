"""Several methods in turn, so that the candidates of a row are of different kinds."""

from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, ClassVar

import torch

from augpro.augment.base import AugmentContext, Augmenter
from augpro.augment.methods.combined import Combined, Part, check_parts, parts_as_json
from augpro.tokens import TokenBatch, join


@dataclass(frozen=True)
class Several(Combined):
    """The methods take turns to augment a row, so that its candidates come from different methods.

    Replica c of row r is made by method (r + c) mod n. With n candidates per row there is one of each method, and
    every batch has rows of each method.
    Cost: that of the methods, each for its share of the texts.

    Attributes:
        of: the n methods, at least 2; all must make text. On the command line: ``augpro-mix+knn(top_k=5)``, with
            options in brackets, separated by semicolons; in Python and YAML also a list of names and of
            ``{"name": ..., "options": {...}}``.

    Raises:
        ValueError: if there are fewer than two methods, or one makes no text or is a list of methods itself.
    """

    takes_turns: ClassVar[bool] = True

    of: tuple[Part, ...]

    def __post_init__(self) -> None:
        check_parts(self.of)
        for part in self.of:
            if not part.method.makes_text:
                raise ValueError(f"of must name methods that make text, and {part.name!r} makes none")
            if part.method.takes_turns:
                raise ValueError(f"of must name single methods, and {part.name!r} is a list of methods")

    @property
    def methods(self) -> tuple[Augmenter, ...]:
        """The methods that take turns."""
        return tuple(part.method for part in self.of)

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter by name, as JSON; ``augmenter(name, **parameters)`` rebuilds the object."""
        return {"of": parts_as_json(self.of)}

    def __call__(self, batch: TokenBatch, context: AugmentContext) -> TokenBatch:
        """Augment every row once by its method; the rows are padded to the longest."""
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
