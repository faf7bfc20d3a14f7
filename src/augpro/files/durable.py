"""Files that are whole or not there, and on the disk before anything else can name them; and hashes of content.

Every file of a run is written to a temporary one in the same folder, brought onto the disk, and only then given
its name. After a kill or a power cut either the old file or the new one is there, and a line of ``results.jsonl``
never names a file that is not.
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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from augpro.errors import DiskError, InputError

_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
# What libraries that are not written in Python say of the same.
_SAID = ("(os error ", "PytorchStreamWriter failed writing", " requested and ")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """``DiskError`` with the fix, in the place of what the system or a library says of writing to a path."""
    try:
        yield
    except InputError:  # may quote a text that reads like a fault of the disk
        raise
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
            with _held(temporary):
                yield temporary
                _bring_to_disk(temporary, mode)
                os.replace(temporary, path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to write to, which takes the name of ``path`` when the block ends, durably.

    After an exception it is removed.

    Raises:
        OSError: also if something else has the name by then.
    """
    make_folder(path.parent)
    temporary = _hidden(path)
    temporary.mkdir()
    try:
        with _held(temporary):
            yield temporary
            finalize_files(temporary)
            os.replace(temporary, path)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
    temporary = _hidden(path)
    # Not by mkstemp, whose files are private to the user; the umask itself cannot be read without changing it.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        return temporary, stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)


def _hidden(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}")


def is_leftover(path: Path) -> bool:
    """Whether a file is what a killed process had begun to write: it has the name of a temporary file."""
    return re.fullmatch(r"\..+\.[0-9a-f]{12}", path.name) is not None


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


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Remove the files and folders that killed processes had begun to write in a folder, or those under a name.

    What a living process writes there stays: it holds a lock on it, or on Windows has it open.
    """
    for found in folder.iterdir():
        if is_leftover(found) and name in ("", found.name[1:-13]):
            with suppress(OSError), _held(found) as free:
                if free and found.is_dir():
                    shutil.rmtree(found)
                elif free:
                    found.unlink()


@contextmanager
def _held(path: Path) -> Iterator[bool]:
    """Hold a lock on a file or folder, which ends with the process; says whether no other process holds it."""
    if os.name == "nt":  # what is open cannot be removed there
        yield True
        return
    import fcntl

    descriptor = os.open(path, os.O_RDONLY)
    try:
        free = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # also on a network file system that knows no locks: nothing is removed there
            free = False
        yield free
    finally:
        os.close(descriptor)


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
