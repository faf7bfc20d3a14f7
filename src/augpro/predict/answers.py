"""Logits as columns of answers."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augpro.errors import InputError
from augpro.tasks import ProblemType

CALIBRATION = "calibration.json"
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
        if self.problem == "multi_label":
            small = np.exp(-np.abs(scaled))
            several: NDArray[np.float64] = np.where(scaled >= 0, 1.0, small) / (1.0 + small)
            return several
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        single: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
        return single

    def _labels(self, logits: NDArray[np.float32]) -> list[object]:
        if self.problem == "multi_label":
            return [[self.labels[place] for place in np.flatnonzero(row > 0)] for row in logits]
        return [self.labels[place] for place in logits.argmax(axis=1)]


def read_calibration(folder: Path) -> dict[str, Any]:
    """Temperature and threshold in a model's folder, as arguments of :class:`Decisions`; empty without a calibration.

    Raises:
        InputError: if its file cannot be read.
    """
    path = folder / CALIBRATION
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        temperature, threshold = float(found["temperature"]), found["threshold"]
        if not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(f"temperature {temperature} is not above 0")
        return {
            "temperature": temperature, "threshold": None if threshold is None else float(threshold),
            "calibrated": True,
        }  # fmt: skip
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path}: cannot be read ({' '.join(str(error).split())}); write it again: augpro calibrate."
        ) from error
