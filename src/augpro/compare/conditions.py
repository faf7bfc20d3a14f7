"""Which results may be tested against each other: those that differ in method and seed alone.

Every line of ``results.jsonl`` says under what condition it was made: the options that all methods of the
comparison share (``settings``), hashes of training data, models and code (``inputs``), and hashes of the rows
and labels that it was scored on (``scored_rows``). Lines of one condition are paired; the others are told apart
by name.
"""

import json
from collections.abc import Sequence

from augpro.errors import InputError
from augpro.results.cell import CellResult

_UNRECORDED = "settings not recorded"


def condition_of(row: CellResult) -> str:
    """What must be equal for two results to be paired, as text; of older lines only the models are known."""
    inputs = {key: value for key, value in row.inputs.items() if key != "code"}
    settings = row.settings
    if settings is not None:  # an option without a value is as one that there was not yet
        settings = {key: value for key, value in settings.items() if value is not None}
    hashes = {name: found.model_dump() for name, found in row.scored_rows.items()}
    known = [settings, hashes or _counts(row), inputs or row.models.model_dump()]
    return json.dumps([row.task, *known], sort_keys=True)


def by_condition(rows: Sequence[CellResult], place: str) -> dict[str, list[CellResult]]:
    """Results by the name of their condition, in the order in which they come; the name is "" if all have one.

    Args:
        rows: results.
        place: of the results, for messages.

    Raises:
        InputError: if the same rows were scored with other labels.
    """
    _check_labels(rows, place)
    groups: dict[str, list[CellResult]] = {}
    for row in rows:
        groups.setdefault(condition_of(row), []).append(row)
    firsts = [group[0] for group in groups.values()]
    names = [_name(first, firsts) for first in firsts]
    if len(set(names)) < len(names):  # such as hashes that begin alike
        names = [f"{name} ({number})" for number, name in enumerate(names, start=1)]
    return dict(zip(names, groups.values(), strict=True))


def _counts(row: CellResult) -> dict[str, int]:
    """How many rows of each split were scored: all that older lines tell of them."""
    return {name: scores.rows for name, scores in row.splits.items()}


def codes_of(rows: Sequence[CellResult]) -> int:
    """How many versions of the code made these results."""
    return len({row.inputs.get("code") for row in rows})


def _name(row: CellResult, firsts: Sequence[CellResult]) -> str:
    """In what a result's condition differs from those of the others."""
    if len(firsts) == 1:
        return ""
    if row.settings is None and any(other.settings is not None for other in firsts):
        return _UNRECORDED
    facts = [_facts(each) for each in firsts]
    own = _facts(row)
    varying = [key for key in own if any(each.get(key, _shown(None)) != own[key] for each in facts)]
    return ", ".join(f"{key.replace('_', ' ')} {own[key]}" for key in varying)


def _facts(row: CellResult) -> dict[str, str]:
    """The condition as names and short values, models by their names where those tell them apart."""
    inputs = row.inputs
    facts = {"task": row.task}
    for role, name in (("teacher", row.models.teacher), ("student", row.models.student)):
        known = [name, f"({inputs[role][:6]})" if role in inputs else None]
        facts[role] = " ".join(filter(None, known)) or "unknown"
    layers = row.models.student_layers  # numbers, or how many a search is to choose
    if layers is not None:
        facts["layers"] = layers if isinstance(layers, str) else " ".join(map(str, layers)) or "all"
    settings = row.settings or {}
    facts |= {key: _shown(value) for key, value in settings.items() if key != "student_layers"}
    facts |= {"training data": inputs["training_data"][:6]} if "training_data" in inputs else {}
    facts["unlabelled texts"] = inputs.get("unlabelled", "none")[:6]
    hashes = {name: found.texts[:6] for name, found in row.scored_rows.items()}
    scored = hashes or {name: str(count) for name, count in _counts(row).items()}
    return facts | {f"{name} rows": scored.get(name, "none") for name in ("evaluation", "holdout")}


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={part}" for key, part in value.items()) or "none"
    return "by default" if value is None else str(value)


def _check_labels(rows: Sequence[CellResult], place: str) -> None:
    met: dict[tuple[str, str], CellResult] = {}
    for row in rows:
        for split, found in row.scored_rows.items():
            other = met.setdefault((split, found.texts), row)
            if other.scored_rows[split].labels != found.labels:
                one, two = (f"{each.cell.method}, seed {each.cell.seed}," for each in (other, row))
                raise InputError(
                    f"{place}: {one} and {two} were scored on the same {split} rows with different labels, so the "
                    "data has changed in between; remove the lines of one of them or give another --out."
                )
