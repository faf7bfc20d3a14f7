"""Opens the data that the user names: a file, a folder, the embedded data or a data set of the hub."""

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from augpro.data.readers import ENDINGS, Table, arrow_table, join_tables, listed, read_table
from augpro.errors import InputError
from augpro.tasks import GLUE, Task
from augpro.values import at_home

EMBEDDED = "helpdesk"
SPLITS = ("train", "validation", "test")
_ALIASES = {name: name for name in SPLITS} | {
    "dev": "validation",
    "val": "validation",
    "valid": "validation",
    "eval": "validation",
    # MNLI has two of each; the matched ones are the usual ones.
    "validation_matched": "validation",
    "dev_matched": "validation",
    "test_matched": "test",
}
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?:-[0-9a-f]+)?")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
# A split file with one of these endings is an error if no other file has its split; train.py is not data.
_OTHER_ENDINGS = (".txt", ".xls", ".xlsx", ".arrow", ".feather", ".gz", ".zip", ".bz2", ".xz", ".zst")
_SAVED = ("dataset_dict.json", "state.json")  # files of datasets' save_to_disk
_LAYOUT = "pass the path of a local folder that holds train, validation and test files instead"


@dataclass(frozen=True)
class Source:
    """Raw splits, the entry of ``GLUE`` that their name suggests, and notes for the user."""

    name: str
    tables: dict[str, Table]
    glue: Task | None = None
    notes: list[str] = field(default_factory=list)


def open_source(source: str) -> Source:
    """Read what ``source`` names: the embedded data, a file, a folder, or a data set of the hub.

    Raises:
        InputError: If there is no such thing, or it cannot be read.
    """
    if source == EMBEDDED:
        root = resources.files("augpro.data") / "embedded" / EMBEDDED
        return Source(EMBEDDED, {split: read_table(root / f"{split}.csv") for split in SPLITS})
    source = at_home(source)
    path = Path(source or "./")
    if source and os.path.isdir(path):
        return _open_saved(path) if is_saved(path) else _open_folder(path)
    if source and os.path.exists(path):
        return Source(path.stem, {"train": read_table(path)})
    family, _, task = source.partition("/")
    if source in GLUE:
        return _open_hub(source, "nyu-mll/glue", task, GLUE[source])
    if family == "glue" and task:
        raise InputError(f"{source}: there is no such GLUE task; use one of {', '.join(GLUE)}")
    if _HUB_NAME.fullmatch(source) and not re.fullmatch(r"\.[A-Za-z]{1,8}", Path(source).suffix):
        return _open_hub(source, source, None, None)
    raise InputError(
        f"{source or 'the empty name'}: file not found{_similar(path)}; "
        "check the path, or name a data set such as helpdesk or glue/sst2"
    )


def is_saved(folder: Path) -> bool:
    """Whether a folder was written by ``save_to_disk`` of ``datasets``."""
    return any((folder / name).is_file() for name in _SAVED)


def _similar(path: Path) -> str:
    names = sorted(os.listdir(path.parent)) if os.path.isdir(path.parent) else []
    near = difflib.get_close_matches(path.name, names, 1)
    return f" (did you mean {str(path.parent / near[0])!r}?)" if near else ""


def split_files(folder: Path) -> dict[str, list[Path]]:
    """The files of each split in a folder, several if a split is in shards.

    Raises:
        InputError: If there is none, or several files stand for a split.
    """
    found: dict[str, list[Path]] = {}
    unreadable: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        shard = _SHARD.fullmatch(path.stem)
        split = _ALIASES.get((shard["stem"] if shard else path.stem).lower())
        other = _ALIASES.get(path.name.partition(".")[0].lower())
        if split and path.suffix.lower() in ENDINGS:
            found.setdefault(split, []).append(path)
        elif other and path.suffix.lower() in _OTHER_ENDINGS:
            unreadable[other] = path
    for split in unreadable.keys() - found.keys():
        read_table(unreadable[split])  # says which endings can be read
    if not found and (folder / "config.json").is_file():
        raise InputError(
            f"{folder}: this is the folder of a model; give it as --teacher or --model, and data as --data"
        )
    if not found:
        holds = [path.name for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
        raise InputError(
            f"{folder}: the folder has no file named train, validation or test with one of the endings "
            f"{', '.join(ENDINGS)} (it holds {listed(holds, 10) or 'nothing'}); name the split files so, or "
            "pass one of its files or folders"
        )
    splits = {split: found[split] for split in SPLITS if split in found}
    for split, paths in splits.items():
        _check_shards(paths, split)
    return splits


def _open_folder(folder: Path) -> Source:
    tables = {
        split: join_tables([read_table(path) for path in paths])
        for split, paths in split_files(folder).items()
    }
    name = folder.resolve().name
    return Source(name, tables, GLUE.get(f"glue/{name.lower()}"))


def _check_shards(paths: list[Path], split: str) -> None:
    shards = [_SHARD.fullmatch(path.stem) for path in paths]
    if len(paths) == 1 and shards[0] is None:
        return
    parts = zip(shards, paths, strict=True)
    kinds = {(shard["stem"], shard["count"], path.suffix) if shard else None for shard, path in parts}
    if len(kinds) > 1 or None in kinds:
        raise InputError(
            f"{paths[0].parent}: several files stand for the {split} split "
            f"({listed([path.name for path in paths], 5)}); keep one of them in the folder"
        )
    count = int(next(shard["count"] for shard in shards if shard))
    there = {int(shard["number"]) for shard in shards if shard}
    if there != set(range(count)) or len(paths) != count:
        raise InputError(
            f"{paths[0]}: {len(paths)} of the {count} shards of the {split} split are in the folder; "
            "put all of them there, each once"
        )


def _open_saved(folder: Path) -> Source:
    """A folder written by ``save_to_disk`` of ``datasets``: one table, or one table per split."""
    import datasets

    try:
        data = datasets.load_from_disk(str(folder))
    except Exception as error:  # as of the hub: damaged files can fail in any way
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{folder}: the folder that save_to_disk of datasets has written cannot be read "
            f"({type(error).__name__}: {reason}); save the data set again"
        ) from error
    name = folder.resolve().name
    splits = data if isinstance(data, datasets.DatasetDict) else {"train": data}
    return open_splits(str(folder), name, splits, GLUE.get(f"glue/{name.lower()}"))


def _open_hub(source: str, repository: str, config: str | None, glue: Task | None) -> Source:
    return open_splits(source, source, _load_hub(source, repository, config), glue)


def open_splits(
    source: str, name: str, data: Mapping[str, Any], glue: Task | None = None, fix: str = _LAYOUT
) -> Source:
    """The splits of a data set, under our names.

    Args:
        source: where it is from, for messages.
        name: of the task.
        data: a ``datasets.Dataset`` or a :class:`Table` for each split, by its own name.
        glue: the task that it is, if it is one.
        fix: what to do where no split has one of our names.

    Raises:
        InputError: if there is none, or it has no rows.
    """
    tables: dict[str, Table] = {}
    left_out = []
    for own_name, rows in data.items():
        split = _ALIASES.get(str(own_name).lower())
        if split is None or split in tables or not len(rows):
            left_out.append(str(own_name))
        elif isinstance(rows, Table):
            tables[split] = rows
        else:
            tables[split] = arrow_table(f"{source} ({own_name})", rows.with_format("arrow")[:])
    if not tables:
        empty = [own_name for own_name in left_out if own_name.lower() in _ALIASES]
        if empty:
            raise InputError(f"{source}: its split {listed(empty)} has no rows; add rows to it")
        raise InputError(
            f"{source}: the data set has no split named train, validation or test "
            f"(it has {listed(left_out, 10) or 'none'}); {fix}"
        )
    notes = [f"left out the splits {listed(left_out, 10)} of {source}"] if left_out else []
    return Source(name, {split: tables[split] for split in SPLITS if split in tables}, glue, notes)


def _load_hub(source: str, repository: str, config: str | None) -> Mapping[str, Any]:
    try:
        import datasets
    except ImportError as error:
        raise InputError(
            f"{source}: reading from the hub needs the package datasets; pip install datasets, or {_LAYOUT}"
        ) from error
    try:
        data: Mapping[str, Any] = datasets.load_dataset(repository, config)
    except datasets.exceptions.DatasetNotFoundError as error:
        raise InputError(
            f"{source}: there is no such file, folder or public data set on the Hugging Face hub"
            f"{_similar(Path(source))}; check the name, or {_LAYOUT}"
        ) from error
    except (ConnectionError, TimeoutError) as error:
        raise InputError(
            f"{source}: there is no such file or folder{_similar(Path(source))}, and the Hugging Face hub "
            f"cannot be reached; connect to the network, or {_LAYOUT}"
        ) from error
    except Exception as error:  # a data set's own files can fail in any way, and none of them is our bug
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{source}: the data set could not be loaded from the Hugging Face hub "
            f"({type(error).__name__}: {reason}); {_LAYOUT}"
        ) from error
    return data
