"""Which rows of a train split are trained on, and which are set aside to evaluate on.

Rows are sorted by a hash of their text and ``split_seed``. Validation rows come from the start of that order and
holdout rows from its end, so neither depends on the size of the other or on the order of the file; rows with the same
text stay together. A smaller train split is the beginning of a larger one. Train rows are always shuffled, because a
file may be sorted by class.

A row takes some 30 bytes here, however long its text is.
"""

import random
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

from augpro.data.same_text import key_of
from augpro.data.spec import DataSpec
from augpro.errors import InputError

_VALIDATION_SHARE = 10  # one row in ten
_VALIDATION_MOST = 2000


def divided_rows(spec: DataSpec, keys: Any, source: str, lone: bool) -> dict[str, Sequence[int]]:
    """Row numbers of the train split, in the order of training, and of the splits that are made from it.

    Args:
        spec: number of rows and seeds.
        keys: a list or array of the keys of all rows, equal for equal texts (:func:`augpro.data.same_text.row_keys`).
        source: of the rows, for messages.
        lone: whether there is no other split, so that a validation split is made.

    Returns:
        Rows of "train", and of "validation" and "holdout" if they are made.

    Raises:
        InputError: if there are too few rows, or too few different texts.
    """
    import numpy as np

    rows = len(keys)
    if lone and spec.make_validation and rows < 2:
        raise InputError(f"{source}: one row cannot be divided into train and validation; add rows")
    # A lone file gives the same holdout whether or not a validation split is made.
    size = min(max(rows // _VALIDATION_SHARE, 1), _VALIDATION_MOST) if lone else 0
    most = max(rows - size - 1, 0)
    if spec.holdout_rows > most:
        raise InputError(
            f"{source}: {spec.holdout_rows} holdout rows cannot be taken from {rows} train rows; "
            f"take at most {most}"
        )
    parts: dict[str, Sequence[int]] = {}
    rest = np.arange(rows)
    if spec.holdout_rows or (lone and spec.make_validation):
        texts = _Texts(keys, spec.split_seed)
        if lone and spec.make_validation:
            parts["validation"] = texts.take(texts.order, size)
        if spec.holdout_rows:
            parts["holdout"] = texts.take(texts.order[::-1], spec.holdout_rows)
        taken = np.concatenate([np.asarray(part, dtype=np.int64) for part in parts.values()])
        if len(taken) >= rows or len(np.unique(taken)) < len(taken):
            raise InputError(
                f"{source}: its {rows} rows have only {len(texts.order)} different texts, too few to set "
                f"aside {' and '.join(parts)} rows; add rows with other texts, or a validation file"
            )
        rest = np.delete(rest, taken)
    order = array("q", rest.astype(np.int64).tobytes())
    random.Random(spec.seed).shuffle(order)
    parts["train"] = order[: _train_size(spec.train_rows, len(order), source)]
    return parts


class _Texts:
    """The different texts of some rows: ``order`` holds their numbers, by a hash of the text and a seed."""

    def __init__(self, keys: Any, seed: int) -> None:
        import numpy as np

        texts, text_of_row, self.counts = np.unique(
            np.asarray(keys, dtype=np.int64), return_inverse=True, return_counts=True
        )
        hashes = (key_of(int(key).to_bytes(8, "little", signed=True), seed) for key in texts)
        self.order = np.fromiter(hashes, np.int64, len(texts)).argsort(kind="stable")
        self.rows = text_of_row.argsort(kind="stable")  # text by text
        self.starts = np.cumsum(self.counts) - self.counts

    def take(self, order: Iterable[int], wanted: int) -> Sequence[int]:
        """Rows of whole texts, in this order, up to ``wanted`` rows; texts that would exceed it are skipped.

        If the sum is not reached exactly, the skipped text with the fewest rows is added.
        """
        rows = array("q")
        skipped: tuple[int, int] | None = None  # its rows, its number
        for text in map(int, order):
            count = int(self.counts[text])
            if len(rows) + count <= wanted:
                rows.extend(self._rows(text))
            elif skipped is None or count < skipped[0]:
                skipped = count, text
            if len(rows) == wanted:
                return rows
        if skipped is not None:
            rows.extend(self._rows(skipped[1]))
        return rows

    def _rows(self, text: int) -> list[int]:
        rows: list[int] = self.rows[self.starts[text] :][: self.counts[text]].tolist()
        return rows


def _train_size(wanted: float | None, available: int, source: str) -> int:
    if wanted is None:
        return available
    if wanted < 1:
        return max(1, round(wanted * available))
    if wanted > available:
        raise InputError(
            f"{source}: {wanted:.0f} train rows are asked for and {available} available; pass at most that"
        )
    return int(wanted)
