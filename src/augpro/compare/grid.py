"""The cells of a comparison, what identifies each, and the file that their results are collected in."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from augpro.augment import AUGMENTERS
from augpro.baselines import BASELINES
from augpro.config import BaselineConfig, CompareConfig, DistillConfig, StudentOptions, build
from augpro.data.loading import load_data
from augpro.distillation.identity import code_version, data_fingerprint, foreign_code
from augpro.distillation.matching import TEACHER_STATES
from augpro.errors import InputError
from augpro.files.checksums import file_content, sealed, unsealed
from augpro.files.durable import fingerprint, sync_folder, writing
from augpro.models.source import ModelSource
from augpro.results.cell import Cell, CellResult
from augpro.results.content import model_content, models_among
from augpro.results.result import checked
from augpro.teachers.alignment import spec_for
from augpro.values import key_values, parse_mapping

FINETUNE, PLAIN_KD = "fine-tune", "none"
RESULTS = "results.jsonl"
_REMOVE = "remove that line, and its cell runs again"
# What a run reads is told by its content, and where it writes does not matter.
_NOT_IN_KEY = {
    "data",
    "unlabelled",
    "teacher",
    "student",
    "out",
    "resume",
    "label_store",
    "allow_unknown_tokens",
}
_SHARED = (set(DistillConfig.model_fields) & set(CompareConfig.model_fields)) - {"out", "epochs"}
_POOL = ("unlabelled", "label_budget", "label_by")
# Why what was named may be only a part of what was meant.
_MARKS = "here a comma starts the next method and a colon the next option, so that no value holds one"
# Options of `augpro distill` that one method of a grid may have otherwise than the rest.
_OWN = {"train_rows", *StudentOptions.model_fields} - {
    "teacher",
    "student",
    "student_layers",
    "trainer_options",
}


def method_options(method: str) -> dict[str, Any]:
    """What a method means for ``DistillConfig``, or for ``BaselineConfig``.

    Args:
        method: as the user wrote it, such as "augpro-mix:replace_fraction=0.3" or "none:epochs=20".

    Raises:
        InputError: if the method is unknown or an option is not written as option=value.
    """
    name, *items = method.split(":")
    if name not in (FINETUNE, PLAIN_KD, *AUGMENTERS, *BASELINES):
        raise InputError(
            f"--methods {method}: unknown method {name!r}; "
            f"use {FINETUNE}, {PLAIN_KD}, {', '.join((*AUGMENTERS, *BASELINES))} ({_MARKS})."
        )
    try:
        given: dict[str, Any] = parse_mapping(key_values(items))
    except ValueError as error:
        raise InputError(f"--methods {method}: write {str(error)!r} as option=value ({_MARKS}).") from error
    if name in BASELINES:
        own = {key: given.pop(key) for key in {"train_rows"} & given.keys()}
        return {"baseline": name, "baseline_options": given} | own
    own = {key: given.pop(key) for key in _OWN & given.keys()}
    if name == FINETUNE:
        # It asks the teacher nothing: not for states, and not for labels of other texts.
        nothing = dict.fromkeys(TEACHER_STATES, 0.0) | dict.fromkeys(_POOL)
        own = {"label_weight": 1.0, "teacher_weight": 0.0} | nothing | own
    return {"augment": "none" if name == FINETUNE else name, "augment_options": given} | own


class Grid:
    """All cells of a comparison.

    Args:
        config: the comparison.

    Attributes:
        methods: its methods; the student on labels alone and plain distillation are always among them.

    Raises:
        InputError: if a method, the reference or the method of equal seconds is not one of them.
    """

    def __init__(self, config: CompareConfig) -> None:
        self.config = config
        always = [name for name in (FINETUNE, PLAIN_KD) if name not in config.methods]
        self.methods = (*always, *config.methods)
        for option in ("reference", "equal_seconds"):
            named = getattr(config, option)
            if named is not None and named not in self.methods:
                raise InputError(
                    f"--{option.replace('_', '-')} {named}: is not one of the methods ({', '.join(self.methods)})."
                )
        for method in self.methods:
            method_options(method)

    def cells(self, epochs: dict[str, float] | None = None) -> Iterator[Cell]:
        """Every cell, seed by seed, so that a budget cuts seeds and not methods.

        Args:
            epochs: by method, where they are not those of the configuration.
        """
        for seed in self.config.seeds:
            for size in self.config.sizes or (None,):
                for method in self.methods:
                    yield Cell(method, size, seed, (epochs or {}).get(method, self.config.epochs))

    def distill_config(self, cell: Cell, out: Path) -> DistillConfig:
        """The configuration of one run."""
        values = {name: getattr(self.config, name) for name in _SHARED}
        values |= {"train_rows": cell.size, "epochs": cell.epochs} | method_options(cell.method)
        # A grid is many short runs: no checkpoints, and no loss on the screen.
        trainer = {"save_strategy": "no", "logging_strategy": "no", **self.config.trainer_options}
        values |= {"trainer_options": trainer, "label_store": self.config.out / "teacher-labels"}
        kind = BaselineConfig if "baseline" in values else DistillConfig
        return build(kind, {**values, "seed": cell.seed, "out": out}, f"--methods {cell.method}")

    def key(self, cell: Cell) -> str:
        """Hash of the cell's whole configuration, its data, its models and the code, also that of other packages.

        Options that all share count even where the cell has its own: its line tells them as its condition.
        """
        config = self.distill_config(cell, Path())
        options = config.model_dump(mode="json", exclude=_NOT_IN_KEY)
        own = options["augment_options"] | options.get("baseline_options", {})
        models = [model_content(source) for source in models_among(own)]
        models += [file_content(config.unlabelled)] if config.unlabelled else []
        parts = [json.dumps(part, sort_keys=True).encode() for part in (options, self.settings, self._inputs)]
        return fingerprint([*parts, *models, *foreign_code(config)])

    @property
    def settings(self) -> dict[str, Any]:
        """The options that all methods of the comparison share, as JSON; see :mod:`augpro.compare.conditions`."""
        values = self.config.model_dump(mode="json")
        return {name: values[name] for name in sorted(_SHARED - _NOT_IN_KEY)}

    @property
    def inputs(self) -> dict[str, str]:
        """Hashes of training data, models and code, which all cells share; see :mod:`augpro.compare.conditions`."""
        return {name: value for name, value in self._inputs.items() if name != "data"}

    @cached_property
    def _inputs(self) -> dict[str, str]:
        teacher = ModelSource(self.config.teacher, self.config.trust_remote_code).load_config()
        data = load_data(spec_for(self.config.data_spec(), teacher))
        training = {name: split for name, split in data.splits.items() if name == "train"}
        found = {
            "data": data_fingerprint(data),
            "training_data": data_fingerprint(replace(data, splits=training)),
            "code": code_version().decode(),
        }
        if self.config.unlabelled:
            found["unlabelled"] = file_content(self.config.unlabelled).hex()[:32]
        for role in ("teacher", "student"):
            name = (
                getattr(self.config, role) or self.config.teacher
            )  # a student without a name is cut from it
            source = ModelSource(name, self.config.trust_remote_code)
            found[role] = model_content(source).decode()
        return found


def charge_labels(rows: Sequence[CellResult]) -> None:
    """Tell older lines what the teacher's labels of their training rows took.

    Labels were shared through a store, and the first cell that asked for them was charged: by default the student
    on gold labels alone, which does not use them. Here they are charged to every cell that does.
    """
    old = [
        (row, (row.task, row.models, row.seed, row.train_rows))
        for row in rows
        if "label_seconds" not in row.model_fields_set
    ]
    spent: dict[Any, float] = {}
    for row, key in old:
        spent[key] = max(spent.get(key, 0.0), row.phase_seconds.get("teacher_originals", 0.0))
    for row, key in old:
        row.label_seconds = 0.0 if row.cell.method.split(":")[0] == FINETUNE else spent[key]


class ResultsFile:
    """JSON Lines, one finished cell a line; a line is whole or is not there.

    Args:
        path: the file; a last line that was cut by a kill is removed.

    Raises:
        InputError: if another line is no result of a cell, or lacks something.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[CellResult] = []
        content = path.read_bytes() if path.is_file() else b""
        whole = content[: content.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                found = unsealed(json.loads(line), path)
                found["cell"]["key"]
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"{path}, row {number}: is damaged, or no result of augpro compare; {_REMOVE}."
                ) from error
            self.rows.append(checked(CellResult, found, f"{path}, row {number}", _REMOVE))
        self._torn = len(whole) if len(whole) < len(content) else None
        charge_labels(self.rows)

    def finished(self) -> dict[str, CellResult]:
        """Results by the key of their cell."""
        return {row.cell.key: row for row in self.rows}

    def append(self, row: CellResult) -> None:
        """Add one finished cell, in a single write that is on the disk when this returns."""
        if self._torn is not None:
            os.truncate(self.path, self._torn)
            self._torn = None
        new = not self.path.exists()
        with writing(self.path), open(self.path, "ab") as file:
            file.write((json.dumps(sealed(row.line()), ensure_ascii=False) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())
        if new:
            sync_folder(self.path.parent)
        self.rows.append(row)
