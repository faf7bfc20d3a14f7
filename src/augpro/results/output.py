"""The folder a run writes: never over another run's, and complete or recognisably unfinished."""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from augpro.config import TrainOptions
from augpro.errors import DiskError, InputError
from augpro.files.checksums import read_sealed, write_sealed
from augpro.files.durable import (
    is_leftover,
    make_folder,
    remove_leftovers,
    try_file,
    writing,
)
from augpro.results.checkpoints import latest_checkpoint, remove_later

CONFIG, RESULT, CHECKPOINTS = "config.augpro.json", "result.json", "checkpoints"
PREDICTIONS, SAMPLES = "predictions.safetensors", "samples.jsonl"
_MAY_CHANGE = {"out", "resume"}
_INPUTS, _LOCK = "inputs", ".lock"


class OutputFolder:
    """Claims ``config.out`` for a run, and for one run at a time: ``with OutputFolder(config) as folder``.

    Args:
        config: the run's options; without ``resume`` the folder must be new or empty, with it the options
            must be those that the run was started with.
        inputs: fingerprints of what the run reads, by name, see :mod:`augpro.distillation.identity`; they are kept
            with the options, and with ``resume`` they must be the same, where there were any.
        leads: False for a process that writes nothing, as another of its run has claimed the folder.

    Attributes:
        path: the folder.
        checkpoint: the checkpoint to go on from, or None.

    Raises:
        InputError: on entering, if the folder holds something else, cannot be made or is in use, if there is
            nothing to resume, or if options or inputs have changed.
    """

    def __init__(
        self, config: TrainOptions, inputs: dict[str, str] | None = None, leads: bool = True
    ) -> None:
        self.config, self.path, self.inputs, self.leads = config, config.out, inputs or {}, leads
        self.checkpoint: str | None = None
        self._held = ExitStack()
        self._made: list[Path] = []  # folders that were not there before

    def __enter__(self) -> Self:
        """Lock the folder and write the options to it."""
        if not self.leads:
            self.checkpoint = latest_checkpoint(self.path / CHECKPOINTS) if self.config.resume else None
            return self
        _check(self.config)
        self._made = [part for part in (self.path, *self.path.parents) if not part.exists()]
        claim_folder(self.path)
        with ExitStack() as held:
            held.enter_context(folder_lock(self.path))
            _check(self.config)  # once more: of two started at once, one may have written since
            remove_leftovers(self.path)
            options = self.config.model_dump(mode="json", exclude=_MAY_CHANGE)
            if self.config.resume:
                self._check_unchanged(options)
                self.checkpoint = latest_checkpoint(self.path / CHECKPOINTS)
                remove_later(self.path / CHECKPOINTS, self.checkpoint)
            write_sealed(self.path / CONFIG, options | ({_INPUTS: self.inputs} if self.inputs else {}))
            self._held = held.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Let others into the folder; a new run that failed before there was anything to go on from leaves nothing.

        So the same command, or a better one, can be given again. What a kill, Ctrl-C or a full disk has left
        is gone on with.
        """
        failed = kind is not None and issubclass(kind, Exception) and not issubclass(kind, DiskError)
        if self.leads and failed and not self.config.resume:
            self._free()
        self._held.close()

    def _free(self) -> None:
        """Remove what this run has made, unless there is a checkpoint or a trained model."""
        if latest_checkpoint(self.path / CHECKPOINTS) or {entry.name for entry in self.path.iterdir()} - {
            CONFIG,
            CHECKPOINTS,
            _LOCK,
        }:
            return
        shutil.rmtree(self.path / CHECKPOINTS, ignore_errors=True)
        (self.path / CONFIG).unlink(missing_ok=True)
        with suppress(OSError):  # some systems keep a file that is open, and others may be in a folder by now
            (self.path / _LOCK).unlink()
            for folder in self._made:
                folder.rmdir()

    def finish(self) -> None:
        """Remove what the model itself replaces (the checkpoints) and what only a run needs (the lock)."""
        shutil.rmtree(self.path / CHECKPOINTS, ignore_errors=True)
        # Who waits for a removed lock gets it, but finds a finished run, which nobody resumes.
        with suppress(OSError):  # some systems keep a file that is open
            (self.path / _LOCK).unlink()

    def _check_unchanged(self, options: dict[str, Any]) -> None:
        before = _started_with(self.path / CONFIG)
        inputs = before.pop(_INPUTS, {})  # runs of earlier versions have none
        other = sorted(key for key in {*before, *options} if before.get(key) != options.get(key))
        changed = [f"the option{'s' * (len(other) > 1)} {', '.join(other)}"] if other else []
        changed += [f"the {name}" for name, content in inputs.items() if content != self.inputs.get(name)]
        if changed:
            raise InputError(
                f"{self.path}: --resume needs what the run was started with, but {' and '.join(changed)} changed; "
                "restore it or give another --out."
            )


@contextmanager
def folder_lock(folder: Path, wait: bool = False) -> Iterator[None]:
    """Keep other runs out of a folder; the lock ends with the process, however it ends.

    Raises:
        InputError: if another run is at work there, unless ``wait`` lets this one wait for its end.
    """
    lock = FileLock(folder / _LOCK, timeout=-1 if wait else 0)
    try:
        with writing(folder):
            lock.acquire()
    except Timeout as error:
        raise InputError(
            f"{folder}: another augpro run is at work here; wait for it to end or give another --out."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _started_with(path: Path) -> dict[str, Any]:
    """The options that a run was started with."""
    try:
        options: dict[str, Any] = read_sealed(path)
        return dict(options)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: is damaged, so it cannot be told what the run was started with; give another --out."
        ) from error


def check_output(config: TrainOptions) -> None:
    """Refuse folders that the run must not or cannot write to; changes nothing.

    Raises:
        InputError: naming the fix.
    """
    _check(config)
    if config.resume and (config.out / _LOCK).exists():
        with folder_lock(config.out):
            pass


def _check(config: TrainOptions) -> None:
    """:func:`check_output` for who may hold the folder's lock."""
    path = config.out
    check_folder(path)
    if config.resume:
        if not (path / CONFIG).is_file():
            raise InputError(
                f"{path}: no run to resume here; leave --resume out or name the folder of the run."
            )
        if (path / RESULT).is_file():
            raise InputError(f"{path}: this run is finished; read {path / RESULT} or give another --out.")
    elif path.is_dir() and any(entry.name != _LOCK and not is_leftover(entry) for entry in path.iterdir()):
        raise InputError(f"{path}: is not empty; use --resume to go on with that run or give another --out.")


def claim_new(path: Path) -> None:
    """Make a folder that must be new or empty.

    Raises:
        InputError: naming the fix.
    """
    check_folder(path)
    if path.exists() and any(path.iterdir()):
        raise InputError(f"{path}: exists and is not an empty folder; give another --out.")
    claim_folder(path)


def claim_folder(path: Path) -> None:
    """Make a folder, unless it is there.

    Raises:
        InputError: naming the fix.
    """
    try:
        make_folder(path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot make this folder ({error.strerror}); give another --out."
        ) from error


def check_folder(path: Path, option: str = "--out") -> None:
    """Refuse a folder that cannot be made or written to; changes nothing.

    Args:
        path: the folder, which need not be there.
        option: that named it.

    Raises:
        InputError: naming the fix.
    """
    place = _first_there(path, option)
    if not place.is_dir():
        what = "is a file" if place == path else f"cannot make this folder, as {place} is a file"
        raise InputError(f"{path}: {what}; give a folder as {option}.")
    if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
        raise InputError(
            f"{path}: {place} cannot be written to; change its permissions or give another {option}."
        )


def check_file(path: Path, inputs: Iterable[Path] = ()) -> None:
    """Refuse a file that cannot be written, or that must not be; changes nothing.

    Args:
        path: the file, which is replaced if it is there.
        inputs: files that the command reads.

    Raises:
        InputError: naming the fix.
    """
    check_folder(path.parent)
    there = _first_there(path, "--out") == path
    if there and not path.is_file():
        what = "a folder" if path.is_dir() else "no ordinary file"
        raise InputError(f"{path}: is {what}, and a file is to be written there; give another --out.")
    if there and any(file.is_file() and path.samefile(file) for file in inputs):
        raise InputError(f"{path}: is read by this command, and would be replaced; give another --out.")


def claim_file(path: Path) -> None:
    """Make the folder of a file and try to write there, before the work whose result the file will hold.

    What killed processes had begun to write for this file is removed.

    Raises:
        InputError: naming the fix.
    """
    claim_folder(path.parent)
    try:
        try_file(path)
        remove_leftovers(path.parent, path.name)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); give another --out.") from error


def _first_there(path: Path, option: str) -> Path:
    """The path, or the nearest folder around it that is there."""
    for place in (path, *path.parents):
        try:
            place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as error:  # such as a name that is too long, or holds a NUL
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{path}: cannot be written ({reason}); give another {option}.") from error
        return place
    return Path()
