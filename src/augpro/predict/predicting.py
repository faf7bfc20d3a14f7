"""The story of a prediction: rows are read, answered and written some at a time, and the file is named at the end."""

import time
from dataclasses import dataclass, replace

from tqdm.auto import tqdm

from augpro.data.columns import choose_columns, header_notes, read_texts
from augpro.data.readers import Table
from augpro.data.stream import file_parts
from augpro.errors import InputError
from augpro.files.durable import replacement
from augpro.predict.options import PredictConfig
from augpro.predict.sources import Model, find_model
from augpro.predict.writers import ENDINGS, writing
from augpro.results.output import check_file, claim_file


@dataclass(frozen=True)
class PredictPlan:
    """What is answered and written.

    Attributes:
        config: the options.
        model: what answers.
        text: column of the text.
        pair: column of the second text, or None.
        added: columns that are written beside those of the file.
        notes: for the user.
    """

    config: PredictConfig
    model: Model
    text: str
    pair: str | None
    added: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Predicted:
    """How it went.

    Attributes:
        rows: that were answered.
        seconds: from the first to the last.
        confident: share of confident answers; None without a calibration.
    """

    rows: int
    seconds: float
    confident: float | None


def make_predict_plan(config: PredictConfig) -> PredictPlan:
    """Check options, model and the first rows.

    Raises:
        InputError: naming the fix.
    """
    check_file(config.out, [config.data])
    if config.out.suffix.lower() not in ENDINGS:
        raise InputError(
            f"{config.out}: the ending says the format; give one of {', '.join(ENDINGS)} as --out."
        )
    if config.data.exists() and not config.data.is_file() and not config.data.is_dir():
        raise InputError(
            f"{config.data}: is no ordinary file, and it is read twice; write its rows to a file, and give that."
        )
    first = next(file_parts(config.data))
    columns, _ = choose_columns({"train": first}, config.text_column, config.pair_column, None)
    model = find_model(config)
    pair = config.pair_column or (columns.pair if model.pair else None)
    if model.pair and pair is None:
        raise InputError(
            f"{config.data}: this model reads text pairs; name the second text by --pair-column."
        )
    if model.pair is False and pair is not None:
        raise InputError(f"--pair-column {pair}: this model reads single texts; leave it out.")
    read_texts([first], columns.text, pair)
    added = tuple(model.decisions.names(config.distribution))
    _check_free(config, list(first.columns), added)
    second = "" if pair is None else f", second text {pair!r}"
    said: tuple[str, ...] = () if config.text_column else (f"columns guessed: text {columns.text!r}{second}",)
    said += (*header_notes([first], config.text_column, config.pair_column), *first.notes)
    return PredictPlan(config, model, columns.text, pair, added, said)


def _check_free(config: PredictConfig, columns: list[str], added: tuple[str, ...]) -> None:
    taken = [name for name in added if name in columns]
    if taken:
        raise InputError(
            f"{config.data}: column {taken[0]!r} is there already, and is one that is added; rename it in the file, "
            f"for example to {taken[0] + '_before'!r}."
        )
    doubled = [name for name in added if added.count(name) > 1]
    if doubled:
        raise InputError(
            f"{config.model}: two columns would be called {doubled[0]!r}; leave --distribution out."
        )


def _with(part: Table, plan: PredictPlan) -> Table:
    """The rows with empty cells where a part of a file lacks a column of texts."""
    needed = [name for name in (plan.text, plan.pair) if name is not None]
    missing: dict[str, list[object]] = {
        name: [None] * len(part) for name in needed if name not in part.columns
    }
    return replace(part, columns=part.columns | missing) if missing else part


def run_predict(plan: PredictPlan) -> Predicted:
    """Answer all rows.

    Raises:
        InputError: if a row has no text, or the file changes its columns; then nothing is written.
    """
    config, started = plan.config, time.perf_counter()
    logits, rows, confident = plan.model.load(), 0, 0
    claim_file(config.out)
    with (
        replacement(config.out) as temporary,
        writing(temporary, config.out.suffix.lower(), str(config.data)) as write,
        tqdm(desc="answering", unit=" rows", delay=2, leave=False) as bar,
    ):
        for part in file_parts(config.data):
            _check_free(config, list(part.columns), plan.added)
            texts, pairs = read_texts([_with(part, plan)], plan.text, plan.pair)[0]
            answers = plan.model.decisions.columns(logits(texts, pairs), config.distribution)
            write({**part.columns, **answers})
            rows += len(texts)
            confident += sum(map(bool, answers.get("confident", ())))
            bar.update(len(texts))
    share = confident / rows if plan.model.decisions.calibrated else None
    return Predicted(rows, time.perf_counter() - started, share)
