"""What a model was trained on, kept beside it: its texts as hashes, so that a score on seen rows is not believed."""

import json
from pathlib import Path

import torch

from augpro.data.loading import Split
from augpro.files.checksums import read_tensors, write_tensors
from augpro.results.output import CONFIG, RESULT

TRAINING_ROWS = "training-rows.safetensors"
_KEYS = "row_keys"


def write_training_rows(folder: Path, train: Split, start: str) -> None:
    """Keep a 64-bit hash of every text that a model was trained on, 8 bytes each.

    Args:
        folder: of the model.
        train: its training rows.
        start: the model that it began as: what that one has seen, it has seen.
    """
    keys = set(train.keys) | (recorded_rows(Path(start)) or set())
    write_tensors(folder / TRAINING_ROWS, {_KEYS: torch.tensor(sorted(keys), dtype=torch.int64)})


def seen_rows(model: str, role: str, splits: dict[str, Split]) -> list[str]:
    """Notes on rows that a model was trained on and is about to be scored on.

    Args:
        model: its folder; a model from elsewhere left no record, so nothing is said of it.
        role: what the notes call it, such as "teacher".
        splits: rows that will be scored, by the name that the result gives them.
    """
    folder = Path(model)
    known = recorded_rows(folder)
    if known is None and not (folder / CONFIG).is_file():  # not a model of ours
        return []
    if known is None:
        unknown = (
            f"the {role} {model} has no readable {TRAINING_ROWS}, so it cannot be told whether it was trained"
        )
        return [f"{unknown} on rows that are scored here; train it again to find out"]
    notes = []
    for name, split in splits.items():
        seen = sum(key in known for key in split.keys)
        if seen:
            notes.append(
                f"the {role} {model} was trained on {seen} of the {len(split)} {name} rows, so scores on them "
                "are too good; give it and this run the same data, --holdout-rows and --split-seed"
            )
    return notes


def recorded_pairs(folder: Path) -> bool | None:
    """Whether a model was trained on pairs of texts, as its result says; None where that is not known."""
    try:
        found = json.loads((folder / RESULT).read_text(encoding="utf-8")).get("pairs")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return found if isinstance(found, bool) else None


def recorded_rows(folder: Path) -> set[int] | None:
    """The hashes that a model's folder has; None where there are none that can be read."""
    try:
        return set(read_tensors(folder / TRAINING_ROWS)[_KEYS].tolist())
    except (OSError, ValueError, KeyError):
        return None
