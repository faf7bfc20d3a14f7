"""The pool of ``--unlabelled``: texts that the teacher may label and that are in no split of the data."""

from pathlib import Path
from typing import Any

from augpro.config import DistillConfig
from augpro.data.columns import read_texts
from augpro.data.headers import check_header
from augpro.data.loading import Split, TaskData
from augpro.data.readers import listed, read_table
from augpro.errors import InputError
from augpro.models.source import dropout_rates
from augpro.tasks import LabelBy

_DEFAULT: LabelBy = "random"


def open_pool(config: DistillConfig, data: TaskData, start: Any) -> tuple[DistillConfig, Split | None]:
    """Read the pool and decide how many of its texts are labelled and how they are chosen.

    Args:
        config: the run's options.
        data: its task and splits; notes on the pool are added.
        start: Hugging Face config of the model that the student starts from.

    Returns:
        The options with ``label_budget`` set, and with ``label_by`` unless all texts are labelled; and the texts, or
        None without a pool.

    Raises:
        InputError: if the file or an option does not fit.
    """
    for option, needed in (("label_budget", "unlabelled"), ("label_by", "label_budget")):
        if getattr(config, option) is not None and getattr(config, needed) is None:
            option, needed = (name.replace("_", "-") for name in (option, needed))
            raise InputError(f"--{option} has no effect without --{needed}; give both or leave it out.")
    if config.unlabelled is None:
        return config, None
    asks = (config.teacher_weight, config.hidden_weight, config.relation_weight, config.pooled_weight)
    if config.augment == "none" and not any(asks):
        raise InputError(
            "--unlabelled has no effect with --augment none and --teacher-weight 0: the teacher is not used; "
            "leave it out, or give a --teacher-weight."
        )
    _check_criterion(config, data, start)
    pool = load_pool(config.unlabelled, data)
    budget = config.label_budget
    if budget is not None and budget > len(pool):
        data.notes.append(f"--label-budget {budget}: the pool has only {len(pool)} texts; all are labelled")
    update: dict[str, Any] = {"label_budget": len(pool), "label_by": None}
    if budget is not None and budget < len(pool):
        update = {"label_budget": budget, "label_by": config.label_by or _DEFAULT}
    return config.model_copy(update=update), pool


def _check_criterion(config: DistillConfig, data: TaskData, start: Any) -> None:
    if config.label_by == "uncertainty" and data.task.problem_type == "regression":
        raise InputError(
            "--label-by uncertainty: a predicted score has no entropy; use bald for a regression."
        )
    rates = dropout_rates(start)
    if config.dropout is not None:
        rates = dict.fromkeys(rates, config.dropout)
    if config.label_by == "bald" and not any(rates.values()):
        raise InputError(
            "--label-by bald: bald compares passes with dropout, and the student has none; add --dropout 0.1, or "
            "use uncertainty, or coverage for a regression."
        )


def load_pool(file: Path, data: TaskData) -> Split:
    """Read texts without labels, from the same columns as in the data.

    Texts that are in a split of the data or earlier in the file are left out; case, accents and whitespace are
    ignored. ``data.notes`` reports what was left out, and a label column that is ignored.

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
                f"({listed(list(table.columns))}); use the column names of --data."
            )
    data.notes.extend(table.notes)
    ((texts, pairs),) = read_texts([table], task.text_column, task.pair_column)
    pool = Split(texts, pairs, [None] * len(texts), table.source)
    rows, left_out = _new_rows(pool, data.splits)
    if not rows:
        raise InputError(f"{table.source}: has no new text ({left_out}); give other texts.")
    if left_out:
        data.notes.append(f"{table.source}: {len(rows)} of {len(pool)} texts are new; left out: {left_out}")
    if task.label_column in table.columns:
        data.notes.append(
            f"{table.source}: column {task.label_column!r} is not read because the teacher labels these texts"
        )
    return pool.select(rows)


def _new_rows(pool: Split, splits: dict[str, Split]) -> tuple[list[int], str]:
    """Indices of the rows that are in no split and not repeated; and a text that counts the others by reason."""
    trained = set(splits["train"].keys)
    scored = {key for name, split in splits.items() if name != "train" for key in split.keys}
    rows: list[int] = []
    seen: set[int] = set()
    counts = {"in an evaluation split": 0, "in the training rows": 0, "repeated": 0}
    for row, key in enumerate(pool.keys):
        reasons = [key in scored, key in trained, key in seen]
        if any(reasons):
            counts[list(counts)[reasons.index(True)]] += 1
        else:
            rows.append(row)
        seen.add(key)
    return rows, ", ".join(f"{count} {reason}" for reason, count in counts.items() if count)
