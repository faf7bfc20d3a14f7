"""A finished cell of a comparison: its run's result, and the condition under which it was made.

``results.jsonl`` has a line for each: the keys of ``result.json`` without texts and options, and those of
:class:`CellResult`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field, JsonValue

from augpro.files.durable import plain_json
from augpro.results.result import RunResult, Stored

_NOT_AMONG_FIGURES = {"samples", "config"}  # texts of the data, and places on a disk


@dataclass(frozen=True)
class Cell:
    """One run of a grid.

    Attributes:
        method: as the user wrote it, such as "augpro-mix:replace_fraction=0.3" or "none:epochs=20".
        size: training rows, or None for all.
        seed: of the run.
        epochs: passes over the training rows.
    """

    method: str
    size: float | None
    seed: int
    epochs: float


@dataclass(frozen=True)
class FinishedCell(Cell):
    """A cell, and the hash that its files are named by."""

    key: str

    @classmethod
    def of(cls, cell: Cell, key: str) -> Self:
        """A cell that was run."""
        return cls(**asdict(cell), key=key)


class ModelNames(Stored):
    """Which models a run was made with; of a local folder its last part alone."""

    teacher: str | None = None
    """Name of the teacher."""
    student: str | None = None
    """Name of the model that the student is, or is cut from."""
    student_layers: tuple[int, ...] | str | None = None
    """Layers that the student keeps, empty for all; `auto:N` where a search chose them."""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """The models that a run's options name; a student without a name is cut from the teacher."""
        teacher, student = (options.get(role) or options.get("teacher") for role in ("teacher", "student"))
        return cls(
            teacher=_public(teacher), student=_public(student), student_layers=options.get("student_layers")
        )


def _public(name: str | None) -> str | None:
    """A model's name for others: where a local folder is on a disk is nobody's business."""
    return Path(name).resolve().name if name and Path(name).is_dir() else name


class CellResult(RunResult):
    """One line of ``results.jsonl``."""

    cell: FinishedCell
    """Which cell of the grid it is: `method` as the user wrote it, `size` (training rows that were asked for, null
    for all), `seed`, `epochs`, and `key`, the hash that its files are named by."""
    augmenter: dict[str, JsonValue] | None = None
    """Parameters of the augmentation method; null for none."""
    models: ModelNames = ModelNames()
    """Names of the models."""
    settings: dict[str, JsonValue] | None = None
    """Options that all methods of the comparison share; null in lines that were written before they were kept."""
    inputs: dict[str, str] = Field(default_factory=dict)
    """Hashes of the training data, the unlabelled texts, the teacher, the student and augpro's source."""

    @classmethod
    def of(
        cls,
        result: RunResult,
        cell: FinishedCell,
        settings: dict[str, JsonValue] | None = None,
        inputs: Mapping[str, str] | None = None,
    ) -> Self:
        """The result of a run as that of a cell."""
        kept = {name: getattr(result, name) for name in result.model_fields_set - _NOT_AMONG_FIGURES}
        own = {
            "cell": cell,
            "models": ModelNames.of(result.config),
            "augmenter": result.config.get("augmenter"),
        }
        return cls.model_validate({**kept, **own, "settings": settings, "inputs": inputs or {}})

    def line(self) -> dict[str, Any]:
        """As the plain JSON values of a line, the cell first."""
        values = self.model_dump(mode="json", exclude=_NOT_AMONG_FIGURES)
        return {"cell": values.pop("cell"), **plain_json(values)}
