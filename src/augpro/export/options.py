"""Options of ``augpro export``."""

from pydantic import BaseModel, ConfigDict, Field, model_validator

from augpro.config import NameOption, OptionalName, OptionalPath, PathOption


class ExportConfig(BaseModel):
    """Write a trained classifier as ONNX, to run without PyTorch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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
    texts: OptionalPath = Field(
        None,
        description="File of texts for --trim-vocabulary: a table, or .txt with a text a line.",
    )
    teacher: OptionalName = Field(None, description="Also measure the size and speed of this classifier.")
    timing: bool = Field(True, description="Measure latency, throughput and cold start.")
    trust_remote_code: bool = Field(False, description="Allow running code that comes with a model.")

    @model_validator(mode="after")
    def _fits(self) -> "ExportConfig":
        if self.texts is not None and not self.trim_vocabulary:
            raise ValueError("--texts is for --trim-vocabulary; add it, or leave --texts out")
        if self.trim_vocabulary and self.texts is None and self.data is None:
            raise ValueError(
                "--trim-vocabulary needs the texts whose tokens are kept: give --texts or --data"
            )
        if self.teacher is not None and not self.timing:
            raise ValueError("--teacher is only measured; leave --no-timing out")
        return self
