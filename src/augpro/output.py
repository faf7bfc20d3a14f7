"""The folder a run writes: never over another run's, and complete or recognisably unfinished."""

import json
import shutil
from pathlib import Path
from typing import Any

from augpro.config import TrainOptions
from augpro.errors import InputError
from augpro.results import write_json

CONFIG, RESULT, CHECKPOINTS = "config.augpro.json", "result.json", "checkpoints"
PREDICTIONS, SAMPLES = "predictions.safetensors", "samples.jsonl"
_MAY_CHANGE = {"out", "resume"}


class OutputFolder:
    """Claims ``config.out`` for a run.

    Args:
        config: the run's options; without ``resume`` the folder must be new or empty, with it the options
            must be those that the run was started with.

    Attributes:
        path: the folder.
        checkpoint: the checkpoint to go on from, or None.

    Raises:
        InputError: if the folder holds something else or cannot be made, or there is nothing to resume.
    """

    def __init__(self, config: TrainOptions) -> None:
        self.path = config.out
        self.options: dict[str, Any] = config.model_dump(mode="json", exclude=_MAY_CHANGE)
        self.checkpoint: str | None = None
        check_output(config)
        if config.resume:
            self.checkpoint = self._find_checkpoint()
        _make(self.path)
        write_json(self.path / CONFIG, self.options)

    def finish(self) -> None:
        """Remove the checkpoints: the model itself is in the folder now."""
        shutil.rmtree(self.path / CHECKPOINTS, ignore_errors=True)

    def _find_checkpoint(self) -> str | None:
        before = json.loads((self.path / CONFIG).read_text(encoding="utf-8"))
        changed = sorted(key for key in {*before, *self.options} if before.get(key) != self.options.get(key))
        if changed:
            raise InputError(
                f"{self.path}: --resume with other options than before ({', '.join(changed)}); "
                "give the same ones or another --out."
            )
        found = (self.path / CHECKPOINTS).glob("checkpoint-*/trainer_state.json")
        whole = [path.parent for path in found if _is_json(path)]
        return str(max(whole, key=lambda path: int(path.name.split("-")[1]))) if whole else None


def _is_json(path: Path) -> bool:
    """Whether the file is whole. The Trainer writes its state last: else the run was killed while saving."""
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def check_output(config: TrainOptions) -> None:
    """Refuse a folder that the run must not write to; changes nothing.

    Raises:
        InputError: naming the mend.
    """
    path = config.out
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file; give a folder as --out.")
    if config.resume:
        if not (path / CONFIG).is_file():
            raise InputError(
                f"{path}: no run to resume here; leave --resume out or name the folder of the run."
            )
        if (path / RESULT).is_file():
            raise InputError(f"{path}: this run is finished; read {path / RESULT} or give another --out.")
    elif path.is_dir() and any(path.iterdir()):
        raise InputError(f"{path}: is not empty; use --resume to go on with that run or give another --out.")


def claim_new(path: Path) -> None:
    """Make a folder that must be new or empty.

    Raises:
        InputError: naming the mend.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path}: exists and is not an empty folder; give another --out.")
    _make(path)


def _make(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: cannot make this folder ({error.strerror}); give another --out."
        ) from error


def output_file(path: Path | None) -> None:
    """Refuse a file that cannot be written.

    Raises:
        InputError: if its folder does not exist.
    """
    if path is not None and not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist; make it first.")
