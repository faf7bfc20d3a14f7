"""A classifier on ONNX Runtime: texts in, logits or answers out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Self, SupportsIndex

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from augpro_runtime.errors import FolderError, TextError
from augpro_runtime.folder import MODEL, TOKENIZER, Calibration, Manifest, read_folder
from augpro_runtime.texts import TextReader, check_texts, is_whole

Logits = NDArray[np.float32]
_MOST_THREADS = 1024  # ONNX Runtime starts as many as it is told to


@dataclass(frozen=True)
class Prediction:
    """The answer for one text.

    Attributes:
        label: the class; the classes above 0.5 if there can be several; the score of a regression.
        probability: the largest of ``probabilities``; nan for a regression.
        probabilities: of each class, in the order of :attr:`Classifier.labels`; empty for a regression.
        confident: whether ``probability`` reaches the threshold of the calibration; None without one.
    """

    label: str | tuple[str, ...] | float
    probability: float
    probabilities: tuple[float, ...]
    confident: bool | None


class Classifier:
    """A classifier that ``augpro export`` has written; make one with :meth:`load`.

    Attributes:
        manifest: what its ``augpro.json`` says.
    """

    def __init__(self, manifest: Manifest, reader: TextReader, session: onnxruntime.InferenceSession) -> None:
        self.manifest, self._reader, self._session = manifest, reader, session
        self._decision = manifest.decision

    @classmethod
    def load(cls, folder: str | Path, threads: int | None = None) -> Self:
        """Check an exported folder and load it.

        Args:
            folder: what ``augpro export --out`` has written.
            threads: that work on a batch; all cores if None.

        Raises:
            FolderError: if it is missing, foreign or damaged, or cannot be run here.
            TextError: if ``threads`` is not a whole number from 1 to 1024.
        """
        if threads is not None and not is_whole(threads, _MOST_THREADS):
            raise TextError(
                f"threads={threads!r}: give a whole number from 1 to {_MOST_THREADS}, or None for all cores."
            )
        manifest, contents = read_folder(folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.inter_op_num_threads = 1
        # Threads that wait for work sleep: spinning, a server of single texts takes several times the processor time.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(
                contents[MODEL], options, providers=["CPUExecutionProvider"]
            )
            reader = TextReader(contents[TOKENIZER].decode(), manifest, parallel=threads != 1)
        except (
            Exception
        ) as error:  # of libraries with no common base, and whose files have the right checksums
            reason = " ".join(str(error).split())
            raise FolderError(
                f"{folder}: cannot be run with onnxruntime {onnxruntime.__version__} ({reason}); export it again "
                "with this version installed."
            ) from error
        return cls(manifest, reader, session)

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """A session cannot be copied.

        Raises:
            FolderError: always.
        """
        raise FolderError(
            "a classifier cannot be copied or pickled; pass on the name of its folder, and load it there by "
            "Classifier.load."
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self.manifest.labels

    @property
    def calibration(self) -> Calibration | None:
        """Temperature and threshold; None without a calibration."""
        return self._decision

    def logits(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, batch_size: int = 32
    ) -> Logits:
        """Logits of texts or text pairs, in their order, [N, C].

        Args:
            texts: may be empty, and so may each of them.
            pairs: second texts.
            batch_size: texts in one run of the model; texts of about the same length share one.

        Raises:
            TextError: if something is not a text, or pairs are missing, too many or not expected.
            FolderError: if the model's answer is not a number.
        """
        if not is_whole(batch_size):
            raise TextError(f"batch_size={batch_size!r}: give a whole number of at least 1.")
        first = check_texts(texts, "texts")
        second = self._check_pairs(len(first), pairs)
        ids, types = self._reader.read(first, second)
        result = np.empty((len(ids), len(self.labels)), dtype=np.float32)
        for rows in self._batches([len(row) for row in ids], batch_size):
            result[rows] = self._run([ids[row] for row in rows], [types[row] for row in rows])
        if not np.isfinite(result).all():
            number = int(np.flatnonzero(~np.isfinite(result).all(axis=1))[0])
            raise FolderError(f"the logits of texts[{number}] are not numbers; export the model again.")
        return result

    def token_ids(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[NDArray[np.int64]]:
        """The token ids that the model reads for each text or text pair; errors as :meth:`logits`."""
        first = check_texts(texts, "texts")
        return self._reader.read(first, self._check_pairs(len(first), pairs))[0]

    def predict(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, batch_size: int = 32
    ) -> list[Prediction]:
        """The answer for each text or text pair, in their order; see :meth:`logits`."""
        return self.answers(self.logits(texts, pairs, batch_size))

    def answers(self, logits: Logits) -> list[Prediction]:
        """What logits, [N, C], mean."""
        if self.manifest.problem_type == "regression":
            return [Prediction(float(row[0]), math.nan, (), None) for row in logits]
        chances = self.probabilities(logits)
        best, rows = chances.max(axis=1, initial=0.0), chances.tolist()
        threshold = None if self._decision is None else self._decision.threshold
        found = []
        for number, (row, most) in enumerate(zip(rows, best.tolist(), strict=True)):
            confident = None if self._decision is None else threshold is not None and most >= threshold
            found.append(Prediction(self._label(row, logits[number]), most, tuple(row), confident))
        return found

    def probabilities(self, logits: Logits) -> NDArray[np.float64]:
        """Probability of each class, [N, C], after the calibration's temperature; not for regressions."""
        scaled = logits.astype(np.float64) / (1.0 if self._decision is None else self._decision.temperature)
        if self.manifest.problem_type == "multi_label":
            exponent = np.exp(-np.abs(scaled))
            several: NDArray[np.float64] = np.where(scaled >= 0, 1.0, exponent) / (1.0 + exponent)
            return several
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True, initial=-math.inf))
        single: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
        return single

    def _label(self, row: list[float], logits: Logits) -> str | tuple[str, ...]:
        if self.manifest.problem_type == "multi_label":
            return tuple(name for name, chance in zip(self.labels, row, strict=True) if chance > 0.5)
        return self.labels[int(logits.argmax())]

    def _check_pairs(self, count: int, pairs: Sequence[str] | None) -> list[str] | None:
        if pairs is None:
            if self.manifest.pair:
                raise TextError("this model reads text pairs; give their second texts as pairs.")
            return None
        if self.manifest.pair is False:
            raise TextError("this model reads single texts; leave pairs out.")
        second = check_texts(pairs, "pairs")
        if len(second) != count:
            raise TextError(
                f"there are {count} texts and {len(second)} pairs; give one second text for each."
            )
        return second

    def _batches(self, lengths: list[int], size: int) -> list[NDArray[np.int64]]:
        """Rows in order of length, in batches."""
        counts = np.array(lengths, dtype=np.int64)
        order = np.argsort(counts, kind="stable")
        groups = [order]
        if self.manifest.same_length:
            groups = np.split(order, np.flatnonzero(np.diff(counts[order])) + 1)
        return [rows[start : start + size] for rows in groups for start in range(0, len(rows), size)]

    def _run(self, ids: list[NDArray[np.int64]], types: list[NDArray[np.int64]]) -> Logits:
        """Logits of one batch, [B, C]."""
        shape = (len(ids), max(1, *map(len, ids)))
        inputs = {
            "input_ids": np.full(shape, self.manifest.pad_id, dtype=np.int64),
            "attention_mask": np.zeros(shape, dtype=np.int64),
            "token_type_ids": np.zeros(shape, dtype=np.int64),
        }
        for number, (row, kinds) in enumerate(zip(ids, types, strict=True)):
            inputs["input_ids"][number, : len(row)] = row
            inputs["attention_mask"][number, : len(row)] = 1
            inputs["token_type_ids"][number, : len(row)] = kinds
        fed = {name: inputs[name] for name in self.manifest.inputs}
        logits: Logits = self._session.run(["logits"], fed)[0]
        return logits
