"""Everything about an export that can be wrong is found here, before weights are loaded."""

from dataclasses import dataclass
from pathlib import Path

from augpro.calibration.record import CalibrationRecord
from augpro.data.loading import DataSpec, Split, load_data
from augpro.errors import InputError
from augpro.export.options import ExportConfig
from augpro.export.trimming import text_parts
from augpro.files.durable import is_leftover
from augpro.models.compatibility import check_model
from augpro.models.named import model_location
from augpro.models.padding import reads_padding
from augpro.models.source import ModelSource
from augpro.plugins import check_installed
from augpro.results.output import check_folder
from augpro.results.provenance import recorded_pairs
from augpro.tasks import ProblemType
from augpro.teachers.alignment import class_names, problem_of, spec_for
from augpro.tokens import max_length

_NEEDS = ("onnx", "onnxscript", "onnxruntime", "augpro_runtime")


@dataclass(frozen=True)
class ExportPlan:
    """What an export does.

    Attributes:
        config: the options.
        source: the classifier.
        labels: its classes; one name for a score.
        problem: what its logits mean.
        limit: maximum number of tokens of a text.
        pair: whether it reads pairs; None if that is not known.
        same_length: whether its answers depend on padding.
        calibration: of the model, or None.
        rows: to compare answers on, or None.
        train: texts whose tokens are counted, or None.
        notes: for the user.
    """

    config: ExportConfig
    source: ModelSource
    labels: tuple[str, ...]
    problem: ProblemType
    limit: int
    pair: bool | None
    same_length: bool
    calibration: CalibrationRecord | None
    rows: Split | None
    train: Split | None
    notes: tuple[str, ...]


def make_export_plan(config: ExportConfig) -> ExportPlan:
    """Check the options, the model and the data; loads no weights.

    Raises:
        InputError: naming the fix.
    """
    check_installed("augpro export", _NEEDS, "export")
    check_folder(config.out)
    if config.out.is_dir() and any(not is_leftover(entry) for entry in config.out.iterdir()):
        raise InputError(f"{config.out}: exists and is not an empty folder; give another --out.")
    if config.texts is not None and not config.texts.is_file():
        raise InputError(f"{config.texts}: no such file; give a file of texts as --texts.")
    if config.texts is not None:
        next(text_parts(config.texts, config.text_column, config.pair_column))
    source = ModelSource(config.model, config.trust_remote_code)
    model, tokenizer = source.load_config(), check_model(source, finished=True)
    if config.teacher:
        check_model(ModelSource(config.teacher, config.trust_remote_code), finished=True)
    problem, rows, train = problem_of(model), None, None
    notes: list[str] = []
    if config.data is not None:
        columns = (config.text_column, config.pair_column)
        spec = DataSpec(config.data, *columns, problem_type=problem, make_validation=False)
        data = load_data(spec_for(spec, model))
        notes += data.notes
        rows = data.splits[next(name for name in ("validation", "test", "train") if name in data.splits)]
        if config.counts_tokens and config.texts is None:
            if "train" not in data.splits:
                raise InputError(f"{config.data}: there is no train split to take tokens from; give --texts.")
            train = data.splits["train"]
    folder = Path(model_location(config.model))
    return ExportPlan(
        config, source, class_names(model), problem,
        max_length(tokenizer, config.max_tokens), _pair(folder, rows),
        reads_padding(model), CalibrationRecord.load(folder), rows, train, tuple(notes),
    )  # fmt: skip


def _pair(folder: Path, rows: Split | None) -> bool | None:
    """Whether a model reads pairs, as its rows are, or as those were that it was trained on; None if not known."""
    return recorded_pairs(folder) if rows is None else rows.pairs is not None
