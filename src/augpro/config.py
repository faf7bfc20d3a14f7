"""Every option of every command, once: names, types, defaults, help.

The command line, YAML files and the Python API all build these objects; an unknown key is an error, and
all errors are told at once, before anything is loaded.
"""

import re
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from augpro.data.loading import DataSpec
from augpro.errors import InputError
from augpro.models.named import MODEL_CHOICES
from augpro.tasks import LabelBy, LayerMap, ProblemType
from augpro.values import at_home, parse_mapping

EvalSplit = Literal["auto", "validation", "test"]
Options = Annotated[dict[str, Any], BeforeValidator(parse_mapping)]  # by name, of something else
_AUTO = re.compile(r"auto:[1-9]\d*")


def _at_home(value: Any) -> Any:
    if isinstance(value, Path):
        return at_home(value)
    return at_home(value) if isinstance(value, str) else value


# A path, the name of a model or data set that may be one, and options of methods that may hold some.
PathOption = Annotated[Path, BeforeValidator(_at_home)]
OptionalPath = Annotated[Path | None, BeforeValidator(_at_home)]
NameOption = Annotated[str, BeforeValidator(_at_home)]
OptionalName = Annotated[str | None, BeforeValidator(_at_home)]


class TaskOptions(BaseModel):
    """Which task, which columns."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: NameOption = Field(description="CSV, TSV, JSONL or Parquet file, folder of split files, 'helpdesk', "
                                  "'glue/sst2' or a Hugging Face data set name.")  # fmt: skip
    text_column: str | None = Field(None, description="Column with the text; guessed if not given.")
    pair_column: str | None = Field(None, description="Column with the second text of a pair.")
    label_column: str | None = Field(None, description="Column with the label; rows may lack one.")
    problem_type: ProblemType | None = Field(None, description="Guessed from the labels if not given.")
    holdout_rows: int = Field(0, ge=0, description="Training rows held out as an additional evaluation set.")
    eval_split: EvalSplit = Field("auto", description="auto: validation where it has labels, else test.")
    max_tokens: int | None = Field(None, ge=8, description="Cut texts here; default is the model's limit.")
    allow_unknown_tokens: bool = Field(
        False, description="Go on where a tokenizer does not know most of the text."
    )
    split_seed: int = Field(0, ge=0, description="Decides which rows are set aside, for all seeds alike.")
    trust_remote_code: bool = Field(False, description="Run code that comes with a model from the hub.")

    def data_spec(self) -> DataSpec:
        """The part that reading data needs."""
        shared = set(type(self).model_fields) & {field.name for field in fields(DataSpec)}
        return DataSpec(self.data, **{name: getattr(self, name) for name in shared})


class DataOptions(TaskOptions):
    """Which rows."""

    train_rows: float | None = Field(
        None, gt=0, description="Train on this many rows, or below 1 this share."
    )
    seed: int = Field(0, ge=0, description="Decides training rows, order, new weights and every draw.")


class LearnOptions(BaseModel):
    """How long and how fast to train."""

    epochs: float = Field(3.0, gt=0, description="Passes over the training rows.")
    batch_size: int = Field(32, ge=1, description="Original rows in a step.")
    learning_rate: float = Field(1e-4, gt=0, description="Peak; falls linearly to 0.")
    freeze_embeddings: bool = Field(False, description="Keep the word embeddings as they are.")
    trainer_options: Options = Field(
        default_factory=dict,
        description="Field of transformers.TrainingArguments, e.g. bf16=true or eval_strategy=epoch.",
    )


class TrainOptions(LearnOptions, DataOptions):
    """One training run, and where its result goes."""

    out: PathOption = Field(description="Folder for the model, result.json and samples.md.")
    resume: bool = Field(False, description="Go on from the last checkpoint in --out.")


class FinetuneConfig(TrainOptions):
    """Train a classifier on gold labels: a teacher."""

    model: NameOption = Field("minilm", description=f"Model {MODEL_CHOICES}.")
    learning_rate: float = Field(5e-5, gt=0, description="Peak; falls linearly to 0.")


class LabelOptions(BaseModel):
    """How the labels of the data are matched to the classes of a model."""

    label_order: tuple[str, ...] | None = Field(
        None,
        description="Labels of the data in the order of the model's classes, e.g. negative,neutral,positive; by "
        "default matched by name, else by the model's answers to labelled rows.",
    )

    @field_validator("label_order", mode="before")
    @classmethod
    def _split_order(cls, value: Any) -> Any:
        items = split_list(value)
        return [str(item) for item in items] if isinstance(items, list) else items


class StudentOptions(LearnOptions):
    """Who learns from whom, and by which loss."""

    teacher: NameOption = Field(description="Folder or hub name of a sequence classifier.")
    student: OptionalName = Field(
        None,
        description=f"Model {MODEL_CHOICES}; without it the student is cut from the teacher.",
    )
    student_layers: str | tuple[int, ...] = Field(
        (),
        description="Layers to keep, e.g. 0,5, or auto:2 to search for the best two. Default all of a --student, "
        "three of the teacher's.",
    )
    label_weight: float = Field(0.0, ge=0, description="Weight of the gold labels (alpha).")
    teacher_weight: float = Field(1.0, ge=0, description="Weight of the teacher on original rows (beta).")
    augmented_weight: float = Field(1.0, ge=0, description="Weight of the teacher on augmented rows (gamma).")
    temperature: float = Field(
        1.0, gt=0, description="Softens teacher and student; the loss is scaled by its square."
    )
    kd_loss: str = Field(
        "kl", description="kl: of the softened outputs; mse: of the logits; or a loss of another package."
    )
    hidden_weight: float = Field(0.0, ge=0, description="Weight of the teacher's hidden states.")
    relation_weight: float = Field(
        0.0, ge=0, description="Weight of the cosines between the teacher's hidden states of a text."
    )
    pooled_weight: float = Field(
        0.0, ge=0, description="Weight of the vector that the teacher's last linear layer reads."
    )
    layer_map: LayerMap = Field(
        "uniform",
        description="Hidden states of which layers: uniform (each student layer with the one it was cut from, or "
        "evenly spread over the teacher's) or last.",
    )
    candidates: int | None = Field(
        None, ge=1, le=100,
        description="Texts kept of each row; the student is trained on that on which it and the teacher differ most. "
        "Default 3, and 1 without text.",
    )  # fmt: skip
    new_candidates: float | None = Field(
        None, gt=0, le=100,
        description="Texts made of each row and labelled by the teacher in an epoch; each replaces the oldest one. "
        "Default 1; 0.5 is one in every second epoch.",
    )  # fmt: skip
    unlabelled: OptionalPath = Field(
        None, description="File of texts without labels; those that the teacher labels are training rows."
    )
    label_budget: int | None = Field(
        None, ge=1, description="Texts of --unlabelled that the teacher labels; default all."
    )
    label_by: LabelBy | None = Field(
        None,
        description="How these are chosen: at random (default), by coverage of the texts, or by uncertainty of the "
        "student or bald, after a short training.",
    )
    learning_rate: float | None = Field(  # type: ignore[assignment]
        None,
        gt=0,
        description="Peak; falls linearly to 0. Default for up to 3 layers 2e-4 if cut from the teacher, else 5e-4; "
        "for more 1e-4.",
    )
    freeze_embeddings: bool = Field(True, description="Keep the word embeddings as they are.")

    @field_validator("student_layers", mode="before")
    @classmethod
    def _split_layers(cls, value: Any) -> Any:
        if isinstance(value, str) and _AUTO.fullmatch(value.strip()):
            return value.strip()
        try:
            return tuple(int(layer) for layer in split_list(value))
        except (TypeError, ValueError) as error:
            raise ValueError("write the numbers of layers, such as 0,5, or auto:2") from error

    @property
    def searched_layers(self) -> int:
        """How many layers a search chooses, N of ``auto:N``; 0 where they are named or left open."""
        return int(self.student_layers.removeprefix("auto:")) if isinstance(self.student_layers, str) else 0


class DistillConfig(StudentOptions, LabelOptions, TrainOptions):
    """Train a student on a teacher's output."""

    epochs: float | None = Field(  # type: ignore[assignment]
        None,
        gt=0,
        description="Passes over the training rows. Default 25 for up to 1,000 rows, then 25,000 rows in all, "
        "at least 3.",
    )
    augment: str = Field(
        "augpro-mix", description="none, or a method: augpro-mix, random, mixup, ... (docs/methods)."
    )
    augment_options: Options = Field(
        default_factory=dict, description="Option of the method, e.g. replace_fraction=0.3."
    )
    label_store: OptionalPath = Field(
        None, description="Folder that keeps the teacher's logits of whole splits for other runs."
    )


class BaselineConfig(DistillConfig):
    """Fit a baseline on a teacher's output, as a cell of a comparison.

    The options of training say only which comparison it belongs to; the baseline itself has its own.
    """

    baseline: str = Field(description="A name of augpro.baselines.BASELINES.")
    baseline_options: Options = Field(default_factory=dict, description="Options of the baseline.")
    augment: str = "none"


class CompareConfig(StudentOptions, LabelOptions, TaskOptions):
    """Train a student with each of several methods, seeds and training sizes, and compare them."""

    epochs: float = Field(10.0, gt=0, description="Passes over the training rows.")
    methods: tuple[str, ...] = Field(
        ("none", "augpro-mix", "random"),
        description="Methods, e.g. none,random,augpro-mix:replace_fraction=0.15, and baselines, e.g. tfidf; "
        "fine-tune and none are added.",
    )
    seeds: tuple[int, ...] = Field((0, 1, 2), description="One run a method, size and seed, e.g. 0,1,2.")
    sizes: tuple[float, ...] = Field((), description="Training rows, e.g. 100,1000; default all.")
    reference: str = Field("none", description="Method that the others are tested against.")
    equal_seconds: str | None = Field(
        None, description="Also train every method for as many seconds as this one takes."
    )
    jobs: int = Field(1, ge=1, description="Runs side by side; they share the cores.")
    budget: float | None = Field(None, gt=0, description="Minutes; what would not fit is left out and named.")
    keep_models: bool = Field(False, description="Keep the students' weights, not their figures alone.")
    out: PathOption = Field(description="Folder for results.jsonl, predictions and table.md.")

    @field_validator("methods", "seeds", "sizes", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return split_list(value)

    @field_validator("methods", "seeds", "sizes")
    @classmethod
    def _once(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(value)) < len(value):
            raise ValueError("an entry is there twice; name each once")
        return value


def split_list(value: Any) -> Any:
    """The items of ``a,b,c``; anything but text stays as it is."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class EvaluateConfig(LabelOptions, DataOptions):
    """Score a model, beside its teacher where one is given."""

    model: NameOption = Field(description=f"Model {MODEL_CHOICES}.")
    teacher: OptionalName = Field(None, description="Report agreement with this classifier too.")
    out: OptionalPath = Field(None, description="Write the scores as JSON to this file.")


C = TypeVar("C", bound=BaseModel)


def build(kind: type[C], options: dict[str, Any], source: str = "options") -> C:
    """Check options and make the configuration object.

    Raises:
        InputError: one sentence that tells every wrong option at once.
    """
    try:
        return kind(**options)
    except ValidationError as error:
        raise InputError(
            f"{source}: " + "; ".join(_tell(item, kind) for item in error.errors()) + "."
        ) from error


def _tell(item: Any, kind: type[BaseModel]) -> str:
    name = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"unknown option {name!r} (known: {', '.join(kind.model_fields)})"
    if item["type"] == "missing":
        return f"--{name.replace('_', '-')} is missing"
    option = f"--{name.replace('_', '-')}"
    if item["input"] is None:
        return f"{option} has no value (in YAML, ~ alone is none); write one, or leave the option out"
    told = item["msg"].removeprefix("Value error, ")
    return f"{option} {item['input']!r}: {told[0].lower()}{told[1:]}"
