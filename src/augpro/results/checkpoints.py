"""The checkpoint that a stopped run goes on from: the latest that is whole."""

import json
import logging
import shutil
from pathlib import Path
from zipfile import is_zipfile

from safetensors import SafetensorError, safe_open

from augpro.files.checksums import SUMS, DamagedError, check_sums

log = logging.getLogger(__name__)


def latest_checkpoint(folder: Path) -> str | None:
    """The latest whole checkpoint of a folder of them, if there is one."""
    found = folder.glob("checkpoint-*/trainer_state.json")
    whole = [path.parent for path in found if _is_whole(path)]
    return str(max(whole, key=_step)) if whole else None


def remove_later(folder: Path, checkpoint: str | None) -> None:
    """Remove the checkpoints after the one that is gone on from, none of which is whole.

    The Trainer keeps the checkpoint of the latest step, so it would keep these and remove the new ones.
    """
    first = -1 if checkpoint is None else _step(Path(checkpoint))
    for path in folder.glob("checkpoint-*"):
        if _step(path) > first:
            shutil.rmtree(path)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.split("-")[1])


def _is_whole(state: Path) -> bool:
    """Whether a checkpoint can be gone on from; one that is damaged is named.

    The Trainer writes its state, and then the checksums are written: without a state the run was killed while
    saving. Checkpoints without checksums are judged by the ends of their files.
    """
    folder = state.parent
    try:
        check_sums(folder, complete=True)
    except DamagedError as error:
        log.warning("note: %s, so this checkpoint is left out", error)
        return False
    if (folder / SUMS).is_file():
        return True
    try:
        json.loads(state.read_text(encoding="utf-8"))
        for path in folder.glob("*.safetensors"):
            with safe_open(path, "pt"):
                pass
    except (OSError, ValueError, SafetensorError):
        return False
    return all(map(is_zipfile, [*folder.glob("*.pt"), *folder.glob("*.pth")]))
