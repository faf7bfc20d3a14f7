"""``samples.jsonl``: augmented texts of a run beside their originals, a row a line."""

import json
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator

from augpro.errors import InputError
from augpro.files.checksums import unsealed
from augpro.results.output import SAMPLES
from augpro.results.result import Stored


class AugmentedText(Stored):
    """One row before and after, with the teacher's answers."""

    original: str
    """The row's text; both of a pair with a bar between them."""
    augmented: str
    """What was made of it."""
    before: list[float] = Field(min_length=1)
    """The teacher's probabilities of every class for the original, or its score."""
    after: list[float]
    """The same for the augmented text."""
    row: int | None = None
    """Number of the training row, from 0."""

    @model_validator(mode="after")
    def _same_classes(self) -> Self:
        if len(self.before) != len(self.after):
            raise ValueError("as many probabilities before as after")
        return self


def read_texts(path: Path) -> list[AugmentedText]:
    """The lines of a file of augmented texts.

    Raises:
        InputError: if a line is damaged.
    """
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line:
            continue
        try:
            found.append(AugmentedText.model_validate(unsealed(json.loads(line), path)))
        except (ValueError, ValidationError) as error:
            raise InputError(
                f"{path}, row {number}: is damaged, or not a line of {SAMPLES}; remove it or run the cell again."
            ) from error
    return found
