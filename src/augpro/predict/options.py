"""Options of ``augpro predict``."""

from pydantic import Field

from augpro.config import NameOption, PathOption
from augpro.values import Values


class PredictConfig(Values):
    """Classify every row of a file."""

    model: NameOption = Field(
        description="The classifier: folder of augpro export, or a model folder or hub name."
    )
    data: PathOption = Field(description="CSV, TSV, JSONL or Parquet file; it is read some rows at a time.")
    out: PathOption = Field(
        description="File to write: .csv, .tsv, .jsonl or .parquet; an existing one is replaced."
    )
    text_column: str | None = Field(None, description="Column with the text. Default: found by its name.")
    pair_column: str | None = Field(None, description="Column with the second text of a pair.")
    distribution: bool = Field(False, description="Also write the probability of each class, as p_CLASS.")
    batch_size: int = Field(32, ge=1, description="Texts in one run of the model.")
    max_tokens: int | None = Field(None, ge=8, description="Cut longer texts. Default: the model's limit.")
    trust_remote_code: bool = Field(False, description="Allow running code that comes with a model.")
