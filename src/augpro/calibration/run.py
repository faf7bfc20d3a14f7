"""A student and its teacher read the same texts; temperature and threshold go into the student's folder."""

import logging
from dataclasses import asdict
from pathlib import Path

import numpy as np

from augpro.calibration import fit as fitting
from augpro.calibration.fit import Array, above, confidences, rows_needed
from augpro.calibration.options import CalibrateConfig
from augpro.calibration.record import FILE, CalibrationRecord, ReliabilityBin, Threshold
from augpro.data.loading import Split
from augpro.distillation.scoring import CheckedModels, check_models_and_rows, load_models
from augpro.errors import InputError
from augpro.results.output import check_file, claim_file
from augpro.results.provenance import recorded_rows, seen_rows
from augpro.results.tables import Entry, Quantity, Table
from augpro.teachers.store import check_store

log = logging.getLogger(__name__)


def plan_calibration(config: CalibrateConfig) -> tuple[CheckedModels, Split]:
    """Check everything that needs no weights.

    Returns:
        The models, and the texts to run them on: all different, in an order that chance decides, and none that the
        student was trained on.

    Raises:
        InputError: if data, models or the number of texts do not fit.
    """
    folder = Path(config.model)
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder, and {FILE} is to be written there; give a student's folder."
        )
    check_file(folder / FILE)
    store_notes = check_store(config.label_store) if config.label_store else []
    checked = check_models_and_rows(config.scored())
    kind = checked.data.task.problem_type
    if kind != "single_label":
        what = "scores, which agree more or less" if kind == "regression" else "several labels for a text"
        raise InputError(
            f"{config.model} gives {what}, and a threshold is for one answer that agrees or does not; give a "
            "classifier with one label for a text."
        )
    rows, seen = _fresh_rows(checked, folder)
    notes = checked.data.notes
    notes.extend(store_notes)
    if seen:
        notes.append(f"{seen} texts are left out, as the student was trained on them")
    else:
        notes.extend(seen_rows(config.model, "student", {"calibration": rows}))
    notes.extend(seen_rows(config.teacher, "teacher", {"calibration": rows}))
    needed = rows_needed(config.agree, config.confidence)
    if len(rows) < needed:
        raise InputError(
            f"{config.data}: {len(rows)} different texts that the student was not trained on are too few to show an "
            f"agreement of {config.agree:g} with confidence {config.confidence:g}, which takes at least {needed}; "
            "give more texts, or a lower --agree."
        )
    return checked, rows


def _fresh_rows(checked: CheckedModels, folder: Path) -> tuple[Split, int]:
    """Every text once, and how many were left out because the student knows them.

    In the order of their hashes, which is as good as random and does not depend on the file.
    """
    splits = [checked.data.splits[key] for key in checked.names.values()]
    pairs = None if splits[0].pairs is None else [text for split in splits for text in split.pairs or []]
    texts = [text for split in splits for text in split.texts]
    labels = [label for split in splits for label in split.labels]
    whole = Split(texts, pairs, labels, ", ".join(split.source for split in splits))
    known = recorded_rows(folder) or set()
    places = {key: row for row, key in reversed(list(enumerate(whole.keys)))}
    fresh = [places[key] for key in sorted(places) if key not in known]
    return whole.select(fresh), len(places) - len(fresh)


def calibrate_model(config: CalibrateConfig) -> CalibrationRecord:
    """Find temperature and threshold, and write them into the student's folder; notes are logged.

    Raises:
        InputError: see :func:`plan_calibration`; or if logits are not finite, or the file cannot be written.
    """
    checked, rows = plan_calibration(config)
    folder = Path(config.model)
    claim_file(folder / FILE)
    loaded = load_models(checked, config.label_store)
    for note in loaded.notes:
        log.warning("note: %s", note)
    assert loaded.teacher is not None  # the option is required
    logits, answers = (one.label(rows.texts, rows.pairs).numpy() for one in (loaded.model, loaded.teacher))
    record = calibrated(logits, answers.argmax(axis=1), config)
    record.save(folder)
    return record


def calibrated(logits: Array, answers: Array, config: CalibrateConfig) -> CalibrationRecord:
    """The record of a fit, all figures measured on the rows that the temperature was not fitted on.

    Args:
        logits: of the student for different texts in random order, [N, C].
        answers: classes that the teacher gives, int [N].
        config: what was asked.
    """
    found = fitting.fit(logits, answers, config.agree, config.confidence)
    first = int(len(logits) * fitting.FIT_SHARE)
    raw, scaled = (confidences(logits[first:], value) for value in (1.0, found.temperature))
    agrees = logits[first:].argmax(axis=1) == answers[first:]
    plain = fitting.plain_threshold(scaled, agrees, config.agree)

    def measured(threshold: float | None) -> Threshold | None:
        if threshold is None:
            return None
        tested = above(threshold, scaled, agrees, config.confidence)
        return Threshold(
            threshold=threshold, coverage=tested.rows / len(agrees), agreement=tested.agreement,
            bound=tested.bound,
        )  # fmt: skip

    chosen = measured(found.chosen.threshold if found.chosen else None)
    bins = [
        tuple(ReliabilityBin(**asdict(part)) for part in fitting.reliability(values, agrees))
        for values in (raw, scaled)
    ]
    return CalibrationRecord(
        temperature=found.temperature, threshold=chosen.threshold if chosen else None, agree=config.agree,
        confidence=config.confidence, coverage=chosen.coverage if chosen else 0.0, rows=len(logits),
        fitted_rows=first, teacher=config.teacher, data=config.data, method=fitting.METHOD,
        ece_before=fitting.calibration_error(raw, agrees),
        ece_after=fitting.calibration_error(scaled, agrees), agreement=float(np.mean(agrees)), chosen=chosen,
        plain=measured(plain), bins_before=bins[0], bins_after=bins[1],
        curve=tuple(fitting.coverage_curve(scaled, agrees)),
    )  # fmt: skip


def calibration_table(record: CalibrationRecord) -> Table:
    """What was found, beside a threshold without a bound."""
    tested = record.rows - record.fitted_rows
    table = Table(
        f"When the student may answer alone: {tested:,} texts",
        [
            "",
            "threshold",
            "texts above it",
            "agreement above it",
            f"{100 * record.confidence:.4g} % lower bound",
        ],
    )
    told = f"agrees at least {record.agree:.4g}"
    for name, one in ((told, record.chosen), ("smallest that agrees so often here", record.plain)):
        values = (None,) * 4 if one is None else (one.threshold, one.coverage, one.agreement, one.bound)
        cells: list[Entry] = [
            Quantity(value, form) for value, form in zip(values, (".4f", ".1%", ".2%", ".2%"), strict=True)
        ]
        table.rows.append([name, *cells])
    table.notes.append(
        f"Temperature {record.temperature:.3f}; expected calibration error {record.ece_before:.3f} before, "
        f"{record.ece_after:.3f} after. {record.fitted_rows:,} other texts gave the temperature."
    )
    table.notes.append(f"Without a threshold they agree on {record.agreement:.2%}.")
    if record.threshold is None:
        table.notes.append(
            "No threshold could be shown to give the agreement that was asked, so no answer counts as confident; "
            "give more texts, a lower --agree, or a better student."
        )
    return table
