"""What answers: an exported folder by augpro-runtime, any other model by PyTorch."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augpro.calibration.record import CalibrationRecord
from augpro.errors import InputError
from augpro.models.named import model_location
from augpro.plugins import check_installed
from augpro.predict.answers import Decisions
from augpro.predict.options import PredictConfig
from augpro.tasks import ProblemType

Logits = Callable[[list[str], list[str] | None], NDArray[np.float32]]


@dataclass(frozen=True)
class Model:
    """A classifier.

    Attributes:
        decisions: what its logits mean.
        pair: whether it reads pairs; None if that is not known.
        load: loads it, and returns what gives the logits of texts, [N, C].
    """

    decisions: Decisions
    pair: bool | None
    load: Callable[[], Logits]


def find_model(config: PredictConfig) -> Model:
    """Look at the model; loads no weights unless it is exported.

    Raises:
        InputError: if it is missing or damaged.
    """
    folder = Path(model_location(config.model))
    return _exported(config, folder) if (folder / "augpro.json").is_file() else _pytorch(config, folder)


def _exported(config: PredictConfig, folder: Path) -> Model:
    check_installed("an exported --model", ("onnxruntime", "augpro_runtime"), "export")
    from augpro_runtime import Classifier, FolderError, TextError

    if config.max_tokens is not None:
        raise InputError("--max-tokens: an exported model has its own; give it to augpro export.")
    try:
        classifier = Classifier.load(folder)
    except FolderError as error:
        raise InputError(str(error)) from error
    manifest = classifier.manifest

    def logits(texts: list[str], pairs: list[str] | None) -> NDArray[np.float32]:
        try:
            return classifier.logits(texts, pairs, config.batch_size)
        except (FolderError, TextError) as error:
            raise InputError(str(error)) from error

    decisions = _decisions(manifest.labels, manifest.problem_type, classifier.calibration)
    return Model(decisions, manifest.pair, lambda: logits)


def _pytorch(config: PredictConfig, folder: Path) -> Model:
    from augpro.models.compatibility import check_model
    from augpro.models.source import ModelSource
    from augpro.results.provenance import recorded_pairs
    from augpro.teachers.alignment import class_names, problem_of

    source = ModelSource(config.model, config.trust_remote_code)
    tokenizer, said = check_model(source, finished=True), source.load_config()

    def load() -> Logits:
        from augpro.models.finite import check_logits
        from augpro.models.reading import fastest_device, predict_logits
        from augpro.tokens import tokenize

        model = source.load_trained_classifier().to(fastest_device()).eval()  # type: ignore[arg-type]

        def logits(texts: list[str], pairs: list[str] | None) -> NDArray[np.float32]:
            found = predict_logits(
                model, tokenize(tokenizer, texts, pairs, config.max_tokens), config.batch_size
            )
            check_logits(found, texts, config.model, model)
            return np.asarray(found.numpy(), dtype=np.float32)

        return logits

    decisions = _decisions(class_names(said), problem_of(said), CalibrationRecord.load(folder))
    return Model(decisions, recorded_pairs(folder), load)


def _decisions(labels: tuple[str, ...], problem: ProblemType, calibration: Any) -> Decisions:
    """What logits mean, with a record of augpro, a calibration of augpro-runtime, or None."""
    if calibration is None:
        return Decisions(labels, problem)
    return Decisions(labels, problem, calibration.temperature, calibration.threshold, calibrated=True)
