"""Every option of every command: its name, type, default and help text.

The command line, YAML files and the Python API all build these objects. An unknown option is an error. All errors
are reported together, before anything is loaded.
"""

import re
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from augpro.data.loading import DataSpec
from augpro.models.named import MODEL_CHOICES
from augpro.tasks import LabelBy, LayerMap, ProblemType
from augpro.values import Values, at_home, parse_mapping, split_list
from augpro.values import build as build  # noqa: PLC0414 - it checks options and makes one of these objects

EvalSplit = Literal["auto", "validation", "test"]
Options = Annotated[dict[str, Any], BeforeValidator(parse_mapping)]  # by name, of something else
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]  # numpy takes no larger one
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


class RowOptions(Values):
    """The data set, its columns, and the rows that are held out."""

    data: NameOption = Field(description="CSV, TSV, JSONL or Parquet file, folder with a file for each split, "
                                  "'helpdesk', 'glue/sst2' or a Hugging Face data set name.")  # fmt: skip
    text_column: str | None = Field(None, description="Column with the text. Default: found by its name.")
    pair_column: str | None = Field(None, description="Column with the second text of a pair.")
    label_column: str | None = Field(None, description="Column with the label; rows may have no label.")
    problem_type: ProblemType | None = Field(None, description="Default: found from the labels.")
    holdout_rows: int = Field(0, ge=0, description="Training rows held out as an additional evaluation set.")
    max_tokens: int | None = Field(None, ge=8, description="Cut longer texts. Default: the model's limit.")
    allow_unknown_tokens: bool = Field(
        False, description="Continue even if a tokenizer does not know most of the text."
    )
    split_seed: Seed = Field(0, description="Seed that selects the validation and holdout rows.")
    trust_remote_code: bool = Field(False, description="Allow running code that comes with a model.")

    def data_spec(self) -> DataSpec:
        """The options that :func:`augpro.load_data` needs."""
        shared = set(type(self).model_fields) & {field.name for field in fields(DataSpec)}
        return DataSpec(self.data, **{name: getattr(self, name) for name in shared})


class TaskOptions(RowOptions):
    """The data set and how it is split."""

    eval_split: EvalSplit = Field("auto", description="auto: validation if it has labels, else test.")


class SampleOptions(Values):
    """The training rows."""

    train_rows: float | None = Field(
        None, gt=0, description="Number of training rows, or their share if below 1. Default: all rows."
    )
    seed: Seed = Field(0, description="Seed of training rows, their order, new weights and random draws.")


class DataOptions(SampleOptions, TaskOptions):
    """Data and training rows."""


class LearnOptions(Values):
    """Length and speed of training."""

    epochs: float = Field(3.0, gt=0, description="Number of passes over the training rows.")
    batch_size: int = Field(32, ge=1, le=2**20, description="Original rows in each training step.")
    learning_rate: float = Field(1e-4, gt=0, description="Peak learning rate; it decreases linearly to 0.")
    freeze_embeddings: bool = Field(False, description="Do not train the word embeddings.")
    dropout: float | None = Field(
        None, ge=0, lt=1, description="Dropout rate in training. Default: that of the model; 0 for a student of up "
        "to 3 layers, or with augmented rows.",
    )  # fmt: skip
    trainer_options: Options = Field(
        default_factory=dict,
        description="An option of transformers.TrainingArguments, e.g. bf16=true or eval_strategy=epoch.",
    )


class TrainOptions(LearnOptions, DataOptions):
    """One training run and its output folder."""

    out: PathOption = Field(description="Folder for the model, result.json and samples.md.")
    resume: bool = Field(False, description="Continue from the last checkpoint in --out.")


class FinetuneConfig(TrainOptions):
    """Train a classifier on gold labels, for example a teacher."""

    model: NameOption = Field("minilm", description=f"Model: {MODEL_CHOICES}.")
    learning_rate: float = Field(5e-5, gt=0, description="Peak learning rate; it decreases linearly to 0.")


class LabelOptions(Values):
    """How labels in the data are matched to the classes of a model."""

    label_order: tuple[str, ...] | None = Field(
        None,
        description="Labels of the data in the order of the model's classes, e.g. negative,neutral,positive. "
        "Default: matched by name, or else by the model's answers to labelled rows.",
    )

    @field_validator("label_order", mode="before")
    @classmethod
    def _split_order(cls, value: Any) -> Any:
        items = split_list(value)
        return [str(item) for item in items] if isinstance(items, list) else items


class StudentOptions(LearnOptions):
    """Teacher, student and loss."""

    teacher: NameOption = Field(description="The teacher: folder or hub name of a sequence classifier.")
    student: OptionalName = Field(None, description=f"Model: {MODEL_CHOICES}. Default: cut from the teacher.")
    student_layers: str | tuple[int, ...] = Field(
        (),
        description="Layers to keep, e.g. 0,5, or auto:2 to search for the best two. Default: all layers of "
        "--student; of the teacher three of up to six, or the first half of more.",
    )
    label_weight: float = Field(0.0, ge=0, description="Weight of the loss on gold labels (alpha).")
    teacher_weight: float = Field(1.0, ge=0, description="Weight of the distillation loss (beta).")
    augmented_weight: float = Field(1.0, ge=0, description="Weight of the loss on augmented rows (gamma).")
    temperature: float = Field(1.0, gt=0, description="Softmax temperature of teacher and student.")
    kd_loss: str = Field(
        "kl", description="kl: KL divergence; mse: squared error of logits; or a registered loss."
    )
    hidden_weight: float = Field(0.0, ge=0, description="Weight of the teacher's hidden states.")
    relation_weight: float = Field(0.0, ge=0, description="Weight of the cosines between hidden states.")
    pooled_weight: float = Field(0.0, ge=0, description="Weight of the last linear layer's input.")
    layer_map: LayerMap = Field(
        "uniform",
        description="Layers whose hidden states are compared. uniform: each student layer with the teacher layer it "
        "was cut from, or with evenly spaced ones; last: only the last layers.",
    )
    candidates: int | None = Field(
        None, ge=1, le=100,
        description="Augmented versions kept of each row. The student trains on the one with the largest "
        "disagreement between teacher and student. Default: 3 (1 for methods that make no text).",
    )  # fmt: skip
    new_candidates: float | None = Field(
        None, gt=0, le=100,
        description="New augmented versions made of each row in an epoch, which the teacher labels. Each replaces "
        "the oldest one. Default: 1; 0.5 means one in every second epoch.",
    )  # fmt: skip
    similarity_quantile: float | None = Field(
        None, ge=0, lt=1,
        description="Share of the versions of each row that are not chosen, those least similar to it. Default: 0; "
        "0.34 leaves out one of three.",
    )  # fmt: skip
    unlabelled: OptionalPath = Field(
        None, description="File of texts without labels, which the teacher labels as training rows."
    )
    label_budget: int | None = Field(
        None, ge=1, description="Number of --unlabelled texts that the teacher labels. Default: all."
    )
    label_by: LabelBy | None = Field(
        None,
        description="How to choose --unlabelled texts: random (default), coverage (texts unlike the others), or "
        "uncertainty or bald of a student after a short training.",
    )
    learning_rate: float | None = Field(  # type: ignore[assignment]
        None, gt=0, description="Peak learning rate; it decreases linearly to 0. Default for up to 3 layers 2e-4 if "
        "cut from the teacher, else 5e-4; for more 1e-4.",
    )  # fmt: skip
    freeze_embeddings: bool = Field(True, description="Do not train the word embeddings.")

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
        """Number of layers that a search chooses, N of ``auto:N``; 0 if there is no search."""
        return int(self.student_layers.removeprefix("auto:")) if isinstance(self.student_layers, str) else 0


class StoredOptions(Values):
    """Rows that were augmented and labelled before."""

    augmented: OptionalPath = Field(
        None,
        description="Folder of augpro augment: train on its rows and labels, without a teacher. --data then gives "
        "the evaluation rows, and --candidates the number of versions of a row that are compared in an epoch.",
    )


class LabelStoreOptions(Values):
    """Labels that are kept."""

    label_store: OptionalPath = Field(
        None,
        description="SQLite file that keeps every label of the teacher, for this and other runs; in a folder it is "
        "called labels.sqlite.",
    )


class DistillConfig(StudentOptions, LabelOptions, TrainOptions, StoredOptions, LabelStoreOptions):
    """Train a student on the output of a teacher."""

    teacher: OptionalName = Field(  # type: ignore[assignment]
        None,
        validate_default=True,
        description="The teacher: folder or hub name of a sequence classifier. Required, but not with --augmented.",
    )
    epochs: float | None = Field(  # type: ignore[assignment]
        None,
        gt=0,
        description="Number of passes over the training rows. Default: 25 for up to 1,000 rows; for more rows as "
        "many as make 25,000 rows in total, but at least 3.",
    )
    augment: str = Field("augpro-mix", description="Method: none, augpro-mix, random, ... (docs/methods).")
    augment_options: Options = Field(
        default_factory=dict, description="An option of the augmentation method, e.g. replace_fraction=0.3."
    )

    @field_validator("teacher")
    @classmethod
    def _required_without_stored_rows(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("augmented") is None:
            raise PydanticCustomError("missing", "Field required")
        return value


class BaselineConfig(DistillConfig):
    """Fit a baseline on a teacher's output, as one run of a comparison.

    The training options only identify the comparison that the run belongs to; the baseline has options of its own.
    """

    baseline: str = Field(description="Name of a baseline, see augpro.baselines.BASELINES.")
    baseline_options: Options = Field(default_factory=dict, description="Options of the baseline.")
    augment: str = "none"


class CompareConfig(StudentOptions, LabelOptions, TaskOptions):
    """Train a student with each of several methods, seeds and training sizes, and compare them."""

    epochs: float = Field(10.0, gt=0, description="Number of passes over the training rows.")
    methods: tuple[str, ...] = Field(
        ("none", "augpro-mix", "random"),
        description="Methods, e.g. none,random,augpro-mix:replace_fraction=0.15, and baselines, e.g. tfidf. "
        "fine-tune and none are always added.",
    )
    seeds: tuple[Seed, ...] = Field((0, 1, 2), description="Seeds of the runs, e.g. 0,1,2.")
    sizes: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (), description="Training rows, e.g. 100,1000. Default: all."
    )
    reference: str = Field("none", description="Method that the others are tested against.")
    equal_seconds: str | None = Field(
        None, description="Also train every method for as many seconds as this method takes."
    )
    jobs: int = Field(1, ge=1, description="Number of runs at the same time; they share the CPU cores.")
    budget: float | None = Field(None, gt=0, description="Minutes; runs that do not fit are left out.")
    keep_models: bool = Field(False, description="Keep the weights of the students, not only their results.")
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


class EvaluateConfig(LabelOptions, DataOptions):
    """Score a model, and compare it with a teacher if one is given."""

    model: NameOption = Field(description=f"Model: {MODEL_CHOICES}.")
    teacher: OptionalName = Field(None, description="Also report the agreement with this classifier.")
    out: OptionalPath = Field(None, description="Also write the scores to this JSON file.")
