"""The pool of ``--unlabelled``: texts that the teacher may label, none of which is trained on or scored already."""

from pathlib import Path
from typing import Any

from augpro.config import DistillConfig
from augpro.data.columns import read_texts
from augpro.data.headers import check_header
from augpro.data.loading import Split, TaskData
from augpro.data.readers import listed, read_table
from augpro.errors import InputError
from augpro.tasks import LabelBy

_DEFAULT: LabelBy = "random"


def open_pool(config: DistillConfig, data: TaskData, start: Any) -> tuple[DistillConfig, Split | None]:
    """Read the pool and settle how many of its texts are labelled, and how these are chosen.

    Args:
        config: the run's options.
        data: its task and splits; notes on the pool are added.
        start: Hugging Face config of the model that the student starts from.

    Returns:
        The options with ``label_budget`` set, and ``label_by`` too unless all are labelled; and the texts, or None
        where there is no pool.

    Raises:
        InputError: if the file or an option does not fit.
    """
    for option, needed in (("label_budget", "unlabelled"), ("label_by", "label_budget")):
        if getattr(config, option) is not None and getattr(config, needed) is None:
            option, needed = (name.replace("_", "-") for name in (option, needed))
            raise InputError(f"--{option} has no effect without --{needed}; give that too, or leave it out.")
    if config.unlabelled is None:
        return config, None
    asks = (config.teacher_weight, config.hidden_weight, config.relation_weight, config.pooled_weight)
    if config.augment == "none" and not any(asks):
        raise InputError(
            "--unlabelled has no effect with --augment none and --teacher-weight 0, which ask the teacher nothing; "
            "leave it out, or give a --teacher-weight."
        )
    _check_criterion(config, data, start)
    pool = load_pool(config.unlabelled, data)
    budget = config.label_budget
    if budget is not None and budget > len(pool):
        data.notes.append(f"--label-budget {budget}: the pool has {len(pool)} texts, and all are labelled")
    found: dict[str, Any] = {"label_budget": len(pool), "label_by": None}
    if budget is not None and budget < len(pool):
        found = {"label_budget": budget, "label_by": config.label_by or _DEFAULT}
    return config.model_copy(update=found), pool


def _check_criterion(config: DistillConfig, data: TaskData, start: Any) -> None:
    if config.label_by == "uncertainty" and data.task.problem_type == "regression":
        raise InputError("--label-by uncertainty: a score does not say how sure the student is; use bald.")
    rates = {name: value for name, value in start.get_text_config().to_dict().items() if "drop" in name}
    if config.label_by == "bald" and not any(isinstance(rate, float) and rate > 0 for rate in rates.values()):
        raise InputError(
            "--label-by bald: the model that the student starts from has no dropout, whose effect on its answers "
            "is what bald measures; use uncertainty, or coverage for a score."
        )


def load_pool(file: Path, data: TaskData) -> Split:
    """Read texts, without their labels, from the columns that the data has.

    Texts that are in another split, or that were met before in the file, are left out; case, accents and whitespace
    do not count. What is left out, and a label column that is there, is noted in ``data.notes``.

    Raises:
        InputError: if the file cannot be read, lacks a column, has a row without text, or has no new text.
    """
    table, task = read_table(file), data.task
    columns = [task.text_column, *([task.pair_column] if task.pair_column else [])]
    check_header(table, columns)
    for column in columns:
        if column not in table.columns:
            raise InputError(
                f"{table.source}: there is no column {column!r} among its columns "
                f"({listed(list(table.columns))}); name its columns as those of --data."
            )
    data.notes.extend(table.notes)
    ((texts, pairs),) = read_texts([table], task.text_column, task.pair_column)
    pool = Split(texts, pairs, [None] * len(texts), table.source)
    rows, left_out = _new_rows(pool, data.splits)
    if not rows:
        raise InputError(f"{table.source}: has no new text: {left_out}; give other texts.")
    if left_out:
        data.notes.append(f"{table.source}: of {len(pool)} texts {len(rows)} are new: {left_out}")
    if task.label_column in table.columns:
        data.notes.append(
            f"{table.source}: column {task.label_column!r} is not read, as the teacher labels these texts"
        )
    return pool.select(rows)


def _new_rows(pool: Split, splits: dict[str, Split]) -> tuple[list[int], str]:
    """Numbers of the rows that are in no split and not in a row before; and how many are not, in words."""
    trained = set(splits["train"].keys)
    scored = {key for name, split in splits.items() if name != "train" for key in split.keys}
    rows: list[int] = []
    met: set[int] = set()
    counts = {"in a split that is not trained on": 0, "in the training rows": 0, "repeated": 0}
    for row, key in enumerate(pool.keys):
        found = [key in scored, key in trained, key in met]
        if any(found):
            counts[list(counts)[found.index(True)]] += 1
        else:
            rows.append(row)
        met.add(key)
    return rows, ", ".join(f"{count} {where}" for where, count in counts.items() if count)
