"""Files that are whole or not there, and on the disk before anything else can name them; and hashes of content.

Every file of a run is written to a temporary one in the same folder, brought onto the disk, and only then given
its name. After a kill or a power cut either the old file or the new one is there, and a line of ``results.jsonl``
never names a file that is not.

What is read again says itself whether it is what was written: JSON and tensors hold a checksum, and a folder of files
of other libraries has a file of checksums. Files of earlier versions, which have none, are read as they are.
"""

import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from augpro.errors import DiskError

CHECKSUM, SUMS = "checksum", "checksums.json"


class DamagedError(ValueError):
    """A file is not what was written; the message names it."""


_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
# What libraries that are not written in Python say of the same.
_SAID = ("(os error ", "PytorchStreamWriter failed writing", " requested and ")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """``DiskError`` with the fix, in the place of what the system or a library says of writing to a path."""
    try:
        yield
    except Exception as error:
        known = isinstance(error, OSError) and error.errno in _FAULTS
        if not known and not any(said in str(error) for said in _SAID):
            raise
        place, reason = getattr(error, "filename", None) or path, getattr(error, "strerror", None) or error
        raise DiskError(
            f"{place}: cannot be written ({' '.join(str(reason).split())}); make room there or change its "
            "permissions, and run the same command again, with --resume to go on with a training."
        ) from error


@contextmanager
def replacement(path: Path) -> Iterator[Path]:
    """A temporary file to write to, which takes the name of ``path`` when the block ends, durably.

    Its mode follows the user's umask, whatever wrote to it. After an exception it is removed, and ``path`` is as it
    was.
    """
    with writing(path):
        temporary, mode = _create(path)
        try:
            yield temporary
            _bring_to_disk(temporary, mode)
            os.replace(temporary, path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path``, which is removed when the block ends."""
    temporary, _ = _create(path)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _create(path: Path) -> tuple[Path, int]:
    """A new, empty, hidden file beside ``path``, and the mode that the user's umask gives it."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    # Not by mkstemp, whose files are private to the user; the umask itself cannot be read without changing it.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        return temporary, stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)


def is_leftover(path: Path) -> bool:
    """Whether a file is what a killed process had begun to write: it has the name of a temporary file."""
    return re.fullmatch(r"\..+\.[0-9a-f]{12}", path.name) is not None


def remove_leftovers(folder: Path) -> None:
    """Remove the unfinished files of killed processes; no other process may be writing to the folder."""
    for path in folder.iterdir():
        if is_leftover(path) and path.is_file():
            path.unlink()


def _bring_to_disk(path: Path, mode: int) -> None:
    with open(path, "rb+") as file:  # Windows synchronises only what may be written
        os.fsync(file.fileno())
    # safetensors puts a private file of its own in the place of ours.
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder onto the disk; without this a power cut can undo a rename."""
    if os.name == "nt":  # a folder cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems know no such thing
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder, and those that it is in, durably; nothing happens if it is there."""
    new = [part for part in (folder, *folder.parents) if not part.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for part in new:
        sync_folder(part.parent)


def finalize_files(folder: Path) -> None:
    """Bring the files that other libraries have written into a folder onto the disk, with the umask's mode.

    Files in folders within it are left as they are.
    """
    probe, mode = _create(folder / "mode")
    probe.unlink()
    for path in folder.iterdir():
        if path.is_file() and not path.is_symlink():  # what a link names is not of this run
            _bring_to_disk(path, mode)
    sync_folder(folder)


def try_file(path: Path) -> None:
    """Raise the ``OSError`` that writing this file would; leave nothing."""
    with beside(path):
        pass


def write_text(path: Path, content: str) -> None:
    """Write a text file whole or not at all, durably."""
    with replacement(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole or not at all, durably; see :func:`plain_json`."""
    write_text(path, json.dumps(plain_json(content), indent=2, ensure_ascii=False) + "\n")


def write_json_lines(path: Path, rows: Iterable[Any]) -> None:
    """Write JSON objects, one a line and each with its checksum, whole or not at all, durably."""
    write_text(path, "".join(json.dumps(sealed(row), ensure_ascii=False) + "\n" for row in rows))


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
    sums = {path.name: _file_sum(*_version(path)) for path in files if not path.name.startswith(".")}
    write_json(folder / SUMS, sealed(sums))


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
        sums = unsealed(json.loads(path.read_text(encoding="utf-8")), path)
        wrong = [
            name for name, known in sums.items()
            if ((folder / name).is_file() or complete) and _file_sum(*_version(folder / name)) != known
        ]  # fmt: skip
    except (OSError, ValueError, AttributeError) as error:
        raise DamagedError(f"{path}: cannot be read ({error})") from error
    if wrong:
        raise DamagedError(f"{folder / wrong[0]}: does not match its checksum in {SUMS}")


def _version(path: Path) -> tuple[Path, int, int]:
    found = path.stat()
    return path.absolute(), found.st_size, found.st_mtime_ns


@lru_cache(maxsize=256)
def _file_sum(path: Path, size: int, changed: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def copy_file(source: Path, target: Path) -> None:
    """Copy the content of a file whole or not at all, durably, making the folder of the copy."""
    make_folder(target.parent)
    with replacement(target) as temporary:
        shutil.copyfile(source, temporary)


def plain_json(value: Any) -> Any:
    """As plain JSON values; nan and infinity, which JSON has no word for, become null."""
    if isinstance(value, dict):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def fingerprint(parts: Iterable[Any]) -> str:
    """Hash of some bytes, each with its length, as 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()
