"""What a run leaves behind: the contract between running and reporting.

``result.json`` has the headline figures as flat keys, so that a table is one ``pandas.read_json`` away,
and everything needed to judge or repeat them under them.
"""

import os
import platform
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any

from augpro.files import plain_json


@dataclass
class Scores:
    """How a model did on one set of rows.

    Attributes:
        rows: rows it was run on.
        metrics: by name, the primary one first; empty where no row has a gold label.
        interval: 95 % interval of the primary metric.
        agreement: with the teacher, see :func:`augpro.evaluation.metrics.score`.
        kl_to_teacher: distance to the teacher, likewise.
    """

    rows: int
    metrics: dict[str, float] = field(default_factory=dict)
    interval: tuple[float, float] | None = None
    agreement: float | None = None
    kl_to_teacher: float | None = None

    @property
    def metric(self) -> float | None:
        """The primary metric."""
        return next(iter(self.metrics.values()), None)


@dataclass(frozen=True)
class RowsHash:
    """Hashes of the texts and of the labels of some rows, in order; scores are comparable only if both are equal."""

    texts: str
    labels: str


@dataclass(frozen=True)
class Sample:
    """One row before and after, with what the teacher says of both."""

    original: str
    augmented: str
    original_label: str
    augmented_label: str


@dataclass(frozen=True)
class LayerTrial:
    """A student of some layers, trained for a few steps.

    Attributes:
        layers: those that it kept of the model that it was cut from.
        steps: how long it was trained.
        kl: its distance to the teacher on training rows that were held back, as ``Scores.kl_to_teacher``.
        seconds: what training and scoring it took.
    """

    layers: tuple[int, ...]
    steps: int
    kl: float
    seconds: float


@dataclass(frozen=True)
class LayerSearch:
    """How the layers of a student were chosen: see :mod:`augpro.distillation.layer_search`.

    Attributes:
        layers: those that were chosen.
        held_rows: training rows that were held back to compare the students.
        seconds: what all trials took, also where they were read from a store.
        trials: in the order in which they were made.
    """

    layers: tuple[int, ...]
    held_rows: int
    seconds: float
    trials: list[LayerTrial]

    def describe(self) -> str:
        """What was found, in one sentence."""
        longest = max(trial.steps for trial in self.trials)
        last = {trial.layers: trial.kl for trial in self.trials if trial.steps == longest}
        nearest = ", ".join(
            f"{' '.join(map(str, keep))} ({kl:.3f})" for keep, kl in sorted(last.items(), key=lambda x: x[1])
        )
        choices = len({trial.layers for trial in self.trials})
        named = ", ".join(map(str, self.layers))
        return (
            f"layers {named} were chosen among {choices} choices in {self.seconds:.0f} s, by the distance to the "
            f"teacher on {self.held_rows} training rows held back: {nearest} after {longest} steps"
        )


@dataclass
class RunResult:
    """One training run, scored.

    The flat keys are those of the evaluation split; ``holdout`` has the same for the rows that were set
    aside with ``--holdout-rows``. ``seconds`` is the wall time of the whole run; ``label_seconds`` what the
    teacher's labels of the training rows take, also where they were read from a store. ``train_rows`` are those
    of the data; beside them the student was trained on ``pool_labels`` texts of ``--unlabelled``, which are all that
    the teacher labelled.
    """

    task: str
    method: str
    seed: int
    train_rows: int
    epochs: float
    metric_name: str
    metric: float | None
    teacher_metric: float | None
    agreement: float | None
    kl_to_teacher: float | None
    eval_rows: int
    seconds: float
    problem_type: str = "single_label"
    label_names: list[str] = field(default_factory=list)
    evaluation: Scores | None = None
    holdout: Scores | None = None
    teacher: dict[str, Scores] = field(default_factory=dict)
    scored_rows: dict[str, RowsHash] = field(default_factory=dict)
    phase_seconds: dict[str, float] = field(default_factory=dict)
    label_seconds: float = 0.0
    pool_labels: int = 0
    texts_per_second: dict[str, float] = field(default_factory=dict)
    peak_memory_mib: dict[str, float] = field(default_factory=dict)
    replacement: dict[str, float] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)
    layer_search: LayerSearch | None = None
    notes: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; nan becomes null."""
        return {key: plain_json(value) for key, value in asdict(self).items()}


def library_versions() -> dict[str, str]:
    """Versions of Python and the libraries that decide the numbers."""
    names = ("augpro", "torch", "transformers", "tokenizers", "accelerate", "numpy", "scikit-learn")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "source tree"
    return found


def machine_facts() -> dict[str, Any]:
    """What the seconds were measured on; no host name, no paths."""
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "gpu": gpu,
    }
