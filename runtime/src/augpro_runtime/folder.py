"""An exported folder: its files, what ``augpro.json`` says about them, and the checks before anything is run.

``augpro.json`` is written last and names the SHA-256 of the files that are loaded, and of its own content, so a
folder that was copied in part or changed is refused.
"""

import dataclasses
import hashlib
import json
import math
import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from augpro_runtime.errors import FolderError

FORMAT = 1
MANIFEST, MODEL, TOKENIZER = "augpro.json", "model.onnx", "tokenizer.json"
PACKED = ".gz"  # end of the name of a file that is kept compressed
_MOST_BYTES = 2**31 - 1  # of a file; ONNX models have no more
ProblemType = Literal["single_label", "multi_label", "regression"]
_KINDS = ("single_label", "multi_label", "regression")
_CHECKSUM = "checksum"
_AGAIN = "export or copy the folder again"


@dataclass(frozen=True)
class Calibration:
    """When an answer is confident.

    Attributes:
        temperature: logits are divided by it before the softmax; above 0.
        threshold: least largest probability, after the temperature, of a confident answer; None if no answer is.
    """

    temperature: float
    threshold: float | None

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature {self.temperature!r} is not above 0")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold {self.threshold!r} is not in [0, 1]")


@dataclass(frozen=True)
class Manifest:
    """What ``augpro.json`` says.

    Attributes:
        labels: names of the classes in the order of the logits; one name for a score.
        problem_type: what the logits mean.
        pair: whether it reads text pairs; None if both are allowed.
        max_tokens: longer texts are cut to so many tokens, special tokens included.
        pad_id: token that fills shorter rows.
        special_ids: tokens that are never part of a text.
        unknown_id: token that takes their place in a text; None if there is none.
        same_length: whether only texts of one length may share a batch, as padding would change the answer.
        inputs: of the model, in the order of ``model.onnx``.
        calibration: as ``augpro calibrate`` wrote it; None without one.
        files: SHA-256 of each file that is loaded; a name that ends with .gz is that of a compressed file.
        versions: of the libraries that wrote the folder.
        exported_from: name of the model's folder.
        format: number of this layout.
    """

    labels: tuple[str, ...]
    problem_type: ProblemType
    pair: bool | None
    max_tokens: int
    pad_id: int
    special_ids: tuple[int, ...]
    unknown_id: int | None
    same_length: bool
    inputs: tuple[str, ...]
    calibration: dict[str, Any] | None = None
    files: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    exported_from: str = ""
    format: int = FORMAT

    @property
    def decision(self) -> Calibration | None:
        """The two numbers of the calibration that an answer needs."""
        found = self.calibration
        if found is None:
            return None
        threshold = found.get("threshold")
        return Calibration(float(found["temperature"]), None if threshold is None else float(threshold))

    def to_json(self) -> str:
        """The content of ``augpro.json``."""
        content = dataclasses.asdict(self)
        return json.dumps(content | {_CHECKSUM: _checksum(content)}, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what :meth:`to_json` has written.

        Raises:
            ValueError: if it is something else; the message is part of a sentence.
        """
        content = json.loads(text)
        if not isinstance(content, dict) or "format" not in content:
            raise ValueError("it has no format number")
        if content["format"] != FORMAT:
            raise ValueError(
                f"it has format {content['format']!r}, this version of augpro-runtime reads {FORMAT}"
            )
        told = content.pop(_CHECKSUM, None)
        if told != _checksum(content):
            raise ValueError("its content is not what was written")
        names = {field.name for field in dataclasses.fields(cls)}
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in content.items()
            if key in names
        }
        found = cls(**values)
        if found.problem_type not in _KINDS or not found.labels:
            raise ValueError("its labels or its problem type are missing")
        _ = found.decision  # whose numbers are checked
        return found


def _checksum(content: dict[str, Any]) -> str:
    plain = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(plain.encode()).hexdigest()


def is_exported(folder: Path | str) -> bool:
    """Whether a folder is one of ``augpro export``, damaged or not."""
    return (Path(folder) / MANIFEST).is_file()


def read_folder(folder: Path | str) -> tuple[Manifest, dict[str, bytes]]:
    """What an exported folder says, and the content of its files, whose checksums are right.

    Raises:
        FolderError: if it is missing, something else, or damaged.
    """
    if not isinstance(folder, str | os.PathLike) or not isinstance(os.fspath(folder), str):
        raise FolderError(
            f"the folder is {type(folder).__name__}; give its path as a string or a pathlib.Path."
        )
    path = Path(folder)
    try:
        there = is_exported(path)
    except OSError as error:  # such as a name that is too long
        raise FolderError(f"{path}: cannot be read ({_reason(error)}); give another path.") from error
    if not there:
        raise FolderError(
            f"{path}: no exported model here (there is no {MANIFEST}); make one: "
            "augpro export --model STUDENT --out FOLDER."
        )
    try:
        manifest = Manifest.from_json((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FolderError(f"{path / MANIFEST}: cannot be used ({_reason(error)}); {_AGAIN}.") from error
    return manifest, {name: read_file(path, manifest, name) for name in (MODEL, TOKENIZER)}


def read_file(folder: Path, manifest: Manifest, name: str) -> bytes:
    """The content of a file of an exported folder, compressed there or not.

    Raises:
        FolderError: if it is missing or damaged.
    """
    packed = name + PACKED in manifest.files
    file = folder / (name + PACKED if packed else name)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise FolderError(f"{file}: cannot be read ({_reason(error)}); {_AGAIN}.") from error
    if hashlib.sha256(content).hexdigest() != manifest.files.get(file.name):
        raise FolderError(f"{file}: not the file that was exported (its SHA-256 differs); {_AGAIN}.")
    return _unpacked(content, file) if packed else content


def _unpacked(content: bytes, file: Path) -> bytes:
    reader = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        found = reader.decompress(content, _MOST_BYTES)
    except zlib.error as error:
        raise FolderError(f"{file}: no gzip file ({error}); export the model again.") from error
    if not reader.eof:
        raise FolderError(
            f"{file}: holds more than {_MOST_BYTES / 1e9:.1f} GB, or ends too early; export the model again."
        )
    return found


def _reason(error: Exception) -> str:
    told = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(told.split())
