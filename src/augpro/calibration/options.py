"""Options of ``augpro calibrate``."""

from pydantic import Field

from augpro.config import EvaluateConfig, LabelOptions, LabelStoreOptions, NameOption, TaskOptions


class CalibrateConfig(LabelOptions, TaskOptions, LabelStoreOptions):
    """Find the confidence above which a student agrees with its teacher."""

    model: NameOption = Field(description="Folder of the student; calibration.json is written there.")
    teacher: NameOption = Field(description="Its teacher: folder or hub name of a sequence classifier.")
    agree: float = Field(
        0.97, gt=0, lt=1, description="Share of confident answers that are to agree with the teacher's."
    )
    confidence: float = Field(
        0.95, ge=0.5, lt=1, description="Probability, over the choice of the texts, that they agree so often."
    )

    def scored(self) -> EvaluateConfig:
        """The options that both models are run with."""
        return EvaluateConfig(**self.model_dump(include=set(EvaluateConfig.model_fields)))
