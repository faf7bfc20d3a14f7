"""Logits as columns of answers."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from augpro.tasks import ProblemType

Columns = dict[str, list[object]]


@dataclass(frozen=True)
class Decisions:
    """What the logits of a model mean.

    Attributes:
        labels: names of the classes.
        problem: single label, several, or a score.
        temperature: logits are divided by it.
        threshold: least probability of a confident answer; None if no answer is.
        calibrated: whether there is a calibration.
    """

    labels: tuple[str, ...]
    problem: ProblemType
    temperature: float = 1.0
    threshold: float | None = None
    calibrated: bool = False

    def names(self, distribution: bool) -> list[str]:
        """Names of the columns of answers."""
        if self.problem == "regression":
            return ["label"]
        confident = ["confident"] if self.calibrated else []
        return ["label", "probability", *confident, *(f"p_{label}" for label in self.labels if distribution)]

    def columns(self, logits: NDArray[np.float32], distribution: bool) -> Columns:
        """The answers of rows with these logits, [N, C]."""
        if self.problem == "regression":
            return {"label": logits[:, 0].astype(np.float64).tolist()}
        chances = self._probabilities(logits)
        most = chances.max(axis=1)
        found: Columns = {"label": self._labels(logits), "probability": most.tolist()}
        if self.calibrated:
            limit = math.inf if self.threshold is None else self.threshold
            found["confident"] = (most >= limit).tolist()
        if distribution:
            found |= {f"p_{label}": chances[:, place].tolist() for place, label in enumerate(self.labels)}
        return found

    def _probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        scaled = logits.astype(np.float64) / self.temperature
        found: NDArray[np.float64] = (
            expit(scaled) if self.problem == "multi_label" else softmax(scaled, axis=1)
        )
        return found

    def _labels(self, logits: NDArray[np.float32]) -> list[object]:
        if self.problem == "multi_label":
            return [[self.labels[place] for place in np.flatnonzero(row > 0)] for row in logits]
        return [self.labels[place] for place in logits.argmax(axis=1)]
