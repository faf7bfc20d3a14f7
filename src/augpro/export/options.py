"""Options of ``augpro export``."""

from pydantic import Field, model_validator

from augpro.config import NameOption, OptionalName, OptionalPath, PathOption
from augpro.values import Values


class ExportConfig(Values):
    """Write a trained classifier as ONNX, to run without PyTorch."""

    model: NameOption = Field(description="The classifier: folder or hub name, such as the --out of distill.")
    out: PathOption = Field(
        description="New folder for model.onnx, tokenizer.json, augpro.json and export.md."
    )
    data: OptionalName = Field(
        None,
        description="Data set whose evaluation rows are answered by the exported model and by PyTorch, to compare "
        "the answers.",
    )
    text_column: str | None = Field(None, description="Column with the text. Default: found by its name.")
    pair_column: str | None = Field(None, description="Column with the second text of a pair.")
    max_tokens: int | None = Field(
        None, ge=8, description="Cut longer texts. Default: as in training, or the model's limit."
    )
    int8: bool = Field(
        False, description="Keep the weights of matrix products and embeddings as 8-bit integers."
    )
    trim_vocabulary: bool = Field(
        False,
        description="Keep only the tokens of --texts or of the training texts of --data, and all letters.",
    )
    max_megabytes: float | None = Field(
        None,
        gt=0,
        description="With --int8: round the embeddings of tokens that --texts or the training texts of --data seldom "
        "have more coarsely, and compress the files, until they take no more than this (1 MB is 1,000,000 bytes).",
    )
    texts: OptionalPath = Field(
        None,
        description="File of texts for --trim-vocabulary and --max-megabytes: a table, or .txt with a text a line.",
    )
    teacher: OptionalName = Field(None, description="Also measure the size and speed of this classifier.")
    timing: bool = Field(True, description="Measure latency, throughput and cold start.")
    trust_remote_code: bool = Field(False, description="Allow running code that comes with a model.")

    @property
    def counts_tokens(self) -> bool:
        """Whether it matters which tokens texts have."""
        return self.trim_vocabulary or self.max_megabytes is not None

    @model_validator(mode="after")
    def _fits(self) -> "ExportConfig":
        counted = "--trim-vocabulary" if self.trim_vocabulary else "--max-megabytes"
        if self.max_megabytes is not None and not self.int8:
            raise ValueError("--max-megabytes is for 8-bit weights; add --int8")
        if self.texts is not None and not self.counts_tokens:
            raise ValueError(
                "--texts is for --trim-vocabulary and --max-megabytes; add one of them, or leave --texts out"
            )
        if self.counts_tokens and self.texts is None and self.data is None:
            raise ValueError(f"{counted} needs texts whose tokens are counted: give --texts or --data")
        if self.teacher is not None and not self.timing:
            raise ValueError("--teacher is only measured; leave --no-timing out")
        return self
