"""What to load: a data set, its columns, and how its rows are divided."""

from dataclasses import dataclass

from augpro.data.readers import listed
from augpro.errors import InputError
from augpro.tasks import ProblemType


@dataclass(frozen=True)
class DataSpec:
    """What to load, and how to read and split it.

    ``train_rows`` is a number of rows if it is whole, and a share of them if it is between 0 and 1. ``holdout_rows``
    are taken from the train split, perhaps a few more to keep rows with the same text together. ``split_seed`` and
    the texts determine the holdout and validation rows; ``seed`` determines which other rows are trained on, and
    their order. So runs with several seeds, and their teacher, share one holdout. ``make_validation``: whether a
    tenth of the train split becomes the validation split if there is no other split. ``classes`` are the class names
    of a model, as a hint for reading labels: see :class:`augpro.data.labels.LabelHints`.
    """

    source: str
    text_column: str | None = None
    pair_column: str | None = None
    label_column: str | None = None
    problem_type: ProblemType | None = None
    train_rows: float | None = None
    holdout_rows: int = 0
    seed: int = 0
    split_seed: int = 0
    make_validation: bool = True
    classes: tuple[str, ...] = ()


def check_spec(spec: DataSpec) -> None:
    """Raise ``InputError`` for numbers of rows and names of columns that cannot be right."""
    rows = spec.train_rows
    if rows is not None and not (0 < rows < 1 or (rows >= 1 and rows == rows // 1)):
        raise InputError(
            f"train rows: {rows} is neither a whole number from 1 nor a share between 0 and 1; pass one"
        )
    if spec.holdout_rows < 0:
        raise InputError(f"holdout rows: {spec.holdout_rows} is below 0; pass 0 or a number of rows")
    said = [name for name in (spec.text_column, spec.pair_column, spec.label_column) if name is not None]
    if len(set(said)) < len(said):
        raise InputError(f"columns: {listed(said)} name one column twice; name another for each")
