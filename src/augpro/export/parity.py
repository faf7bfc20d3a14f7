"""How the exported model's answers differ from PyTorch's, on the rows of a data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from augpro.export.graph import difference
from augpro.tasks import ProblemType

if TYPE_CHECKING:
    from augpro_runtime import Classifier

_PART = 1024  # rows between two steps of the progress bar


@dataclass(frozen=True)
class Parity:
    """A comparison of logits.

    Attributes:
        rows: that were compared.
        largest: difference of two logits.
        mean: difference of two logits.
        agreement: share of rows with the same decision (of each label, for several); None for scores.
        retokenized: rows whose tokens are others, as some of theirs were left out.
        retokenized_agreement: as ``agreement``, among these rows; None without any.
    """

    rows: int
    largest: float
    mean: float
    agreement: float | None
    retokenized: int = 0
    retokenized_agreement: float | None = None


def compare(
    found: NDArray[np.float32],
    expected: NDArray[np.float32],
    problem: ProblemType,
    changed: NDArray[np.bool_],
) -> Parity:
    """Compare logits, [N, C]; ``changed`` says which rows have other tokens, [N]."""
    same = _same(found, expected, problem)
    others = None if same is None or not changed.any() else float(same[changed].mean())
    return Parity(
        len(found), difference(found, expected), float(np.abs(found - expected).mean()),
        None if same is None else float(same.mean()), int(changed.sum()), others,
    )  # fmt: skip


def _same(
    found: NDArray[np.float32], expected: NDArray[np.float32], problem: ProblemType
) -> NDArray[np.float64] | None:
    """The share of equal decisions of each row, [N]."""
    if problem == "regression":
        return None
    if problem == "multi_label":
        return np.asarray(((found > 0) == (expected > 0)).mean(axis=1))
    return np.asarray(found.argmax(axis=1) == expected.argmax(axis=1), dtype=np.float64)


def runtime_logits(
    folder: Path, texts: Sequence[str], pairs: Sequence[str] | None
) -> tuple[NDArray[np.float32], "Classifier"]:
    """Logits of an exported folder, [N, C], by the library that runs it later."""
    from augpro_runtime import Classifier

    classifier, parts = Classifier.load(folder), []
    for start in tqdm(range(0, len(texts), _PART), desc="exported model", delay=2, leave=False):
        end = start + _PART
        parts.append(classifier.logits(texts[start:end], None if pairs is None else pairs[start:end]))
    return np.concatenate(parts), classifier
