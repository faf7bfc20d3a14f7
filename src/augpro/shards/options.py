"""Options of ``augpro augment`` and ``augpro label``."""

from typing import Literal

from pydantic import Field

from augpro.config import (
    LabelStoreOptions,
    NameOption,
    OptionalName,
    Options,
    PathOption,
    RowOptions,
    SampleOptions,
)
from augpro.models.named import MODEL_CHOICES
from augpro.tasks import ProblemType


class WorkOptions(LabelStoreOptions):
    """How the work is shared, and labels are kept."""

    workers: int = Field(
        1,
        ge=1,
        description="Number of processes; each makes whole files and loads the models, on one CPU core.",
    )
    engine: Literal["local", "ray"] = Field(
        "local",
        description="local: processes of this machine. ray: tasks of the Ray cluster at RAY_ADDRESS, whose machines "
        "see the same folders (pip install '.[ray]').",
    )


class AugmentConfig(WorkOptions, SampleOptions, RowOptions):
    """Write augmented versions of the training rows to Parquet files."""

    student: NameOption = Field(
        description=f"Its tokenizer and word embeddings are used. Model: {MODEL_CHOICES}."
    )
    augment: str = Field(
        "augpro-mix", description="Method that makes text: augpro-mix, random, ... (docs/methods)."
    )
    augment_options: Options = Field(
        default_factory=dict, description="An option of the augmentation method, e.g. replace_fraction=0.3."
    )
    copies: int = Field(12, ge=1, le=1000, description="Augmented versions of each row.")
    teacher: OptionalName = Field(
        None,
        description="Also write the logits and labels of this classifier. Default: augpro label adds them.",
    )
    shard_rows: int = Field(
        10_240, ge=1, le=1_000_000, description="Training rows in each file, rounded up to a multiple of 256."
    )
    out: PathOption = Field(
        description="Folder for the files. The same command completes a set that was stopped, and checks one that is "
        "complete."
    )


class LabelConfig(WorkOptions):
    """Add a teacher's logits and labels to augmented rows that have none."""

    augmented: PathOption = Field(description="Folder that augpro augment has written.")
    teacher: NameOption = Field(description="The teacher: folder or hub name of a sequence classifier.")
    problem_type: ProblemType | None = Field(None, description="Default: found from the teacher.")
    trust_remote_code: bool = Field(False, description="Allow running code that comes with a model.")
