"""What is read says whether it is what was written: JSON objects and tensors hold a checksum, folders a file of them.

A folder of files of other libraries has a file of checksums. Files of earlier versions, which have none, are read as
they are.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, TypeVar

from augpro.files.durable import fingerprint, make_folder, plain_json, replacement, write_json, write_text

CHECKSUM, SUMS = "checksum", "checksums.json"
T = TypeVar("T")


class DamagedError(ValueError):
    """A file is not what was written; the message names it."""


def read_once(read: Callable[[Path], T]) -> Callable[[Path], T]:
    """A function of a file's content that reads it once in a process, unless its size or time of change differs."""

    @lru_cache(maxsize=256)
    def of_version(path: Path, _size: int, _changed: int) -> T:
        return read(path)

    @wraps(read)
    def of_file(path: Path) -> T:
        found = path.stat()
        return of_version(path.absolute(), found.st_size, found.st_mtime_ns)

    return of_file


@read_once
def file_sha256(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@read_once
def file_content(path: Path) -> bytes:
    """BLAKE2b of a file, 64 bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


@read_once
def _file_sum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """A JSON object with a checksum of its content, as plain values."""
    content = plain_json(content)
    return content | {CHECKSUM: _checksum(content)}


def unsealed(content: Any, place: Path | str) -> Any:
    """The object that was given to :func:`sealed`; anything without a checksum as it is.

    Raises:
        DamagedError: if the content is another; it names the place.
    """
    if not isinstance(content, dict) or CHECKSUM not in content:
        return content
    content = dict(content)
    if content.pop(CHECKSUM) != _checksum(content):
        raise DamagedError(f"{place}: does not match its checksum")
    return content


def _checksum(content: dict[str, Any]) -> str:
    return fingerprint([json.dumps(plain_json(content), sort_keys=True).encode()])


def write_sealed(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object with its checksum, whole or not at all, durably."""
    write_json(path, sealed(content))


def read_sealed(path: Path) -> Any:
    """What :func:`write_sealed` has written; JSON without a checksum as it is.

    Raises:
        OSError: if it cannot be read.
        DamagedError: if it is not what was written.
        ValueError: if it is not JSON.
    """
    return unsealed(json.loads(path.read_text(encoding="utf-8")), path)


def write_json_lines(path: Path, rows: Iterable[Any]) -> None:
    """Write JSON objects, one a line and each with its checksum, whole or not at all, durably."""
    write_text(path, "".join(json.dumps(sealed(row), ensure_ascii=False) + "\n" for row in rows))


def write_tensors(path: Path, tensors: dict[str, Any]) -> None:
    """Write a safetensors file with a checksum, whole or not at all, durably, making its folder."""
    from safetensors.torch import save_file

    make_folder(path.parent)
    with replacement(path) as temporary:
        save_file(tensors, temporary, {CHECKSUM: _tensors_sum(tensors)})


def read_tensors(path: Path) -> dict[str, Any]:
    """The tensors of a safetensors file.

    Raises:
        OSError: if it cannot be read.
        DamagedError: if it is not what :func:`write_tensors` has written.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            known = (file.metadata() or {}).get(CHECKSUM)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
    except SafetensorError as error:
        raise DamagedError(f"{path}: cannot be read ({error})") from error
    if known is not None and known != _tensors_sum(tensors):
        raise DamagedError(f"{path}: does not match its checksum")
    return tensors


def _tensors_sum(tensors: dict[str, Any]) -> str:
    import torch

    parts = []
    for name, tensor in sorted(tensors.items()):
        content = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        parts += [f"{name} {tensor.dtype} {list(tensor.shape)}".encode(), content.numpy()]
    return fingerprint(parts)


def write_sums(folder: Path, without: Iterable[str] = ()) -> None:
    """Write a file with the checksum of every other file of a folder, but for hidden ones and those ``without``."""
    left_out = {SUMS, *without}
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name not in left_out]
    sums = {path.name: _file_sum(path) for path in files if not path.name.startswith(".")}
    write_sealed(folder / SUMS, sums)


def check_sums(folder: Path, complete: bool = False) -> None:
    """Compare the files of a folder with their checksums, if it has a file of them.

    Files are read once in a process, unless they change. Those that are missing are an error only if ``complete``.

    Raises:
        DamagedError: names the first file that is another.
    """
    path = folder / SUMS
    if not path.is_file():
        return
    try:
        sums = read_sealed(path)
        wrong = [
            name for name, known in sums.items()
            if ((folder / name).is_file() or complete) and _file_sum(folder / name) != known
        ]  # fmt: skip
    except (OSError, ValueError, AttributeError) as error:
        raise DamagedError(f"{path}: cannot be read ({error})") from error
    if wrong:
        raise DamagedError(f"{folder / wrong[0]}: does not match its checksum in {SUMS}")
