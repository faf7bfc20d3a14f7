"""What a run leaves behind: the contract between running and reporting.

``result.json`` has the headline figures as flat keys, so that a table is one ``pandas.read_json`` away,
and everything needed to judge or repeat them under them. docs/reference/result.md lists the keys.
"""

import math
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from augpro.errors import InputError
from augpro.files.checksums import DamagedError, read_sealed, write_sealed
from augpro.results.output import RESULT
from augpro.tasks import AGREEMENT_NAMES, DISTANCE_NAMES, ProblemType

# JSON has no word for nan: it is written as null.
Number = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
# Plain distillation had another name in earlier versions.
Method = Annotated[str, BeforeValidator(lambda value: "none" if value == "kd" else value)]
Fact = str | int | float | None


class Stored(BaseModel):
    """Something that is kept as JSON; keys that a later version has written are left out."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, use_attribute_docstrings=True
    )


class Scores(Stored):
    """How a model did on one set of rows."""

    rows: int
    """Rows that it was run on."""
    metrics: dict[str, Number]
    """Metrics by name, the primary one first; empty where no row has a gold label."""
    interval: tuple[Number, Number] | None = None
    """95 % interval of the primary metric, two nulls where there is none, as of a single row."""
    agreement: float | None = None
    """With the teacher, as `agreement_name` says; null without a teacher."""
    agreement_name: str | None = None
    """What `agreement` is: share of equal decisions (of each label for several), or Pearson correlation of scores."""
    distance_to_teacher: float | None = Field(
        None, validation_alias=AliasChoices("distance_to_teacher", "kl_to_teacher")
    )
    """Mean over rows of what `distance_name` says; null without a teacher."""
    distance_name: str | None = None
    """What `distance_to_teacher` is: KL(teacher || student) in nats (mean over labels for several), or squared error
    of scores."""

    @property
    def metric(self) -> float | None:
        """The primary metric."""
        return next(iter(self.metrics.values()), None)


class RowsHash(Stored):
    """Hashes of the texts and of the labels of some rows, in order; scores are comparable only if both are equal."""

    texts: str
    """Hash of the texts."""
    labels: str
    """Hash of the labels, by name."""


class Sample(Stored):
    """One row before and after, with what the teacher says of both."""

    original: str
    """The row's text; both of a pair with a bar between them."""
    augmented: str
    """What was made of it."""
    original_label: str
    """The teacher's decision on the original, with its probability."""
    augmented_label: str
    """The teacher's decision on the augmented text, likewise."""


class LayerTrial(Stored):
    """A student of some layers, trained for a few steps."""

    layers: tuple[int, ...]
    """Layers that it kept of the model that it was cut from."""
    steps: int
    """How long it was trained."""
    distance: float = Field(validation_alias=AliasChoices("distance", "kl"))
    """Distance to the teacher on training rows that were held back, as `distance_to_teacher`."""
    seconds: float
    """What training and scoring it took."""


class LayerSearch(Stored):
    """How the layers of a student were chosen, see `--student-layers auto:N`."""

    layers: tuple[int, ...]
    """Layers that were chosen."""
    held_rows: int
    """Training rows that were held back to compare the students."""
    seconds: float
    """What all trials took, also where they were read from a store."""
    trials: list[LayerTrial]
    """Trials in the order in which they were made."""

    def describe(self) -> str:
        """What was found, in one sentence."""
        longest = max(trial.steps for trial in self.trials)
        last = {trial.layers: trial.distance for trial in self.trials if trial.steps == longest}
        nearest = ", ".join(
            f"{' '.join(map(str, keep))} ({distance:.3f})"
            for keep, distance in sorted(last.items(), key=lambda x: x[1])
        )
        choices = len({trial.layers for trial in self.trials})
        named = ", ".join(map(str, self.layers))
        return (
            f"layers {named} were chosen among {choices} choices in {self.seconds:.0f} s, by the distance to the "
            f"teacher on {self.held_rows} training rows held back: {nearest} after {longest} steps"
        )


class RunResult(Stored):
    """One training run, scored. The flat figures are those of the evaluation split.

    It is not frozen: a run puts it together, and its notes are about what it then holds.
    """

    model_config = ConfigDict(frozen=False)

    task: str
    """Name of the task, as `glue/sst2`, or of the file."""
    method: Method
    """Augmentation method, `none` for plain distillation, `finetune`, or name of a baseline."""
    seed: int
    """Seed of the run."""
    train_rows: int
    """Training rows of the data; `pool_labels` texts come on top."""
    epochs: float
    """Passes over the training rows; 0 for a baseline."""
    metric_name: str
    """Name of the task's primary metric."""
    metric: float | None = None
    """The primary metric on the evaluation rows; null where no row has a gold label."""
    teacher_metric: float | None = None
    """The teacher's, on the same rows."""
    agreement: float | None = None
    """Agreement with the teacher on the evaluation rows, as `agreement_name` says; null without a teacher."""
    agreement_name: str | None = None
    """What `agreement` is, see `Scores`."""
    distance_to_teacher: float | None = Field(
        None, validation_alias=AliasChoices("distance_to_teacher", "kl_to_teacher")
    )
    """Distance to the teacher on the evaluation rows, as `distance_name` says; null without a teacher."""
    distance_name: str | None = None
    """What `distance_to_teacher` is, see `Scores`."""
    eval_rows: int
    """Evaluation rows."""
    seconds: float
    """Wall time of the whole run."""
    problem_type: ProblemType
    """Classes, several labels a row, or a score."""
    label_names: list[str] = Field(default_factory=list)
    """Names of the classes, in the order of the model's outputs; empty for scores."""
    pairs: bool | None = None
    """Whether the rows are pairs of texts; null in a result of an earlier version."""
    evaluation: Scores
    """Scores on the evaluation rows."""
    holdout: Scores | None = None
    """Scores on the rows that were set aside with `--holdout-rows`; null without them."""
    teacher: dict[str, Scores] = Field(default_factory=dict)
    """The teacher's scores, by `evaluation` and `holdout`; empty without a teacher."""
    scored_rows: dict[str, RowsHash] = Field(default_factory=dict)
    """Hashes of the rows that were scored, by `evaluation` and `holdout`."""
    phase_seconds: dict[str, float] = Field(default_factory=dict)
    """Seconds of each phase. In `teacher`, a label of an augmented text that was read from a label store counts with
    the time that it took when it was computed."""
    label_seconds: float = 0.0
    """What the teacher's labels of the training rows take, also where they were read from a store."""
    teacher_labels: dict[str, int] = Field(default_factory=dict)
    """Rows that the teacher was `asked` for; of different ones, how many labels were `read` from the label store and
    how many were `computed`. Of a resumed run, since it was resumed."""
    pool_labels: int = 0
    """Texts of `--unlabelled` that the student was trained on; they are all that the teacher labelled of them."""
    texts_per_second: dict[str, float] = Field(default_factory=dict)
    """Texts a second of the phases `augment`, `teacher` and `student`."""
    peak_memory_mib: dict[str, float] = Field(default_factory=dict)
    """Peak memory of the process (on a GPU, of its memory) while each phase was on, in MiB."""
    replacement: dict[str, Number] = Field(default_factory=dict)
    """Measures of the augmented text, shares but for `checked_texts` (a count) and entropies (nats)."""
    parameters: dict[str, int] = Field(default_factory=dict)
    """Number of weights of the `student`, or of the `baseline`."""
    layer_search: LayerSearch | None = None
    """How the student's layers were found; null where none were searched for."""
    notes: list[str] = Field(default_factory=list)
    """What the user was told of data and models."""
    samples: list[Sample] = Field(default_factory=list)
    """The first augmented texts; empty for methods that make none."""
    config: dict[str, JsonValue] = Field(default_factory=dict)
    """Options of the run, and the parameters of its augmentation method under `augmenter`."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of Python and of the libraries that decide the numbers."""
    machine: dict[str, Fact] = Field(default_factory=dict)
    """What the seconds were measured on; no host name, no paths."""

    @model_validator(mode="before")
    @classmethod
    def _name_figures(cls, data: Any) -> Any:
        """Earlier versions did not say what agreement and distance are, which follows from the problem type."""
        problem = data.get("problem_type") if isinstance(data, dict) else None
        if problem not in DISTANCE_NAMES:
            return data
        names = {"agreement_name": AGREEMENT_NAMES[problem], "distance_name": DISTANCE_NAMES[problem]}

        def named(scores: Any) -> Any:
            known = isinstance(scores, dict) and scores.get("agreement") is not None
            return names | scores if known else scores

        parts = {part: named(data[part]) for part in ("evaluation", "holdout") if part in data}
        return named(data) | parts

    @property
    def splits(self) -> dict[str, Scores]:
        """Scores by the name of their rows, "evaluation" and perhaps "holdout"."""
        return {"evaluation": self.evaluation} | ({"holdout": self.holdout} if self.holdout else {})

    @property
    def distance_label(self) -> str:
        """What tables and pictures call the distance to the teacher."""
        return f"{'squared error' if self.problem_type == 'regression' else 'KL'} to the teacher"

    @property
    def agreement_label(self) -> str:
        """What tables call the agreement with the teacher."""
        return "correlation" if self.problem_type == "regression" else "agreement"

    @classmethod
    def load(cls, place: Path | str) -> Self:
        """Read a result.

        Args:
            place: folder of a run, or its ``result.json``.

        Raises:
            InputError: if there is none, or it is damaged.
        """
        path = Path(place)
        path = path / RESULT if path.is_dir() else path
        try:
            found = read_sealed(path)
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror}); give the folder of a finished run."
            ) from error
        except ValueError as error:
            what = (
                "does not match its checksum" if isinstance(error, DamagedError) else f"is no JSON ({error})"
            )
            raise InputError(f"{path}: {what}; run augpro distill again.") from error
        return checked(cls, found, str(path), "give the folder of a finished augpro distill run")

    def save(self, folder: Path | str) -> None:
        """Write ``result.json`` to the folder of a run, whole or not at all; nan becomes null."""
        write_sealed(Path(folder) / RESULT, self.model_dump(mode="json"))


Kind = TypeVar("Kind", bound=Stored)


def checked(kind: type[Kind], found: Any, place: str, fix: str) -> Kind:
    """What JSON says, as an object.

    Args:
        kind: its class.
        found: the JSON value.
        place: of it, for the message.
        fix: what to do if something is missing.

    Raises:
        InputError: naming what is missing or of the wrong kind.
    """
    try:
        return kind.model_validate(found if isinstance(found, dict) else {})
    except ValidationError as error:
        names = dict.fromkeys(".".join(map(str, one["loc"][:2])) for one in error.errors())
        raise InputError(f"{place}: {', '.join(names)} missing or of the wrong kind; {fix}.") from error
