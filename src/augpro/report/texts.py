"""What a report shows of the augmented texts: their measures, and texts to look through."""

import json
import statistics
from typing import Any

from augpro.distillation.samples import differences
from augpro.report.data import Panel, Study
from augpro.results.tables import Table
from augpro.results.terminal import visible

LEAK = "\u2716 leak"  # a sign and a word: red alone says nothing to many readers
_LEAK_SHARE = 0.01
_MOST = 200  # texts of one method
_BUDGET = 1_200_000  # characters of all texts together: the page stays under 2 MB

_SHARE, _NATS, _COUNT = ".1%", ".2f", ".0f"
# Column, key in result.replacement, format.
_MEASURES = [
    ("changed", "changed", _SHARE),
    ("partner's", "partner", _SHARE),
    ("new", "new", _SHARE),
    ("checked", "checked_texts", _COUNT),
    ("label flips", "label_flips", _SHARE),
    ("flips unchanged", "label_flips_unchanged", _SHARE),
    ("entropy before, nats", "teacher_entropy_before", _NATS),
    ("entropy after, nats", "teacher_entropy_after", _NATS),
    ("duplicates", "duplicates", _SHARE),
    ("unchanged", "unchanged_texts", _SHARE),
    ("equal to a scored row", "exact_duplicates_of_evaluation", _SHARE),
    ("originals equal to one", "exact_duplicates_of_evaluation_before", _SHARE),
    ("near a scored row", "near_duplicates", _SHARE),
    ("originals near one", "near_duplicates_of_originals", _SHARE),
]


def texts_table(panel: Panel) -> Table | None:
    """Measures of every method that makes text, means over seeds; None where no run has any."""
    present = [
        measure for measure in _MEASURES if any(measure[1] in row["replacement"] for row in panel.runs())
    ]
    if not present:
        return None
    judged = any(key == "near_duplicates" for _, key, _ in present)
    table = Table("Augmented text", ["method", *["leakage"] * judged, *[name for name, _, _ in present]])
    for method, runs in panel.group.runs.items():
        found = {key: _mean([row["replacement"] for row in runs.values()], key) for _, key, _ in present}
        if all(value is None for value in found.values()):
            continue
        cells = ["-" if (value := found[key]) is None else f"{value:{form}}" for _, key, form in present]
        table.rows.append([method, *[_leakage(found)] * judged, *cells])
    table.notes = [
        "Changed, partner's and new are shares of the words or tokens that may be replaced.",
        "Checked: the number of texts of each run, at most 500, behind the shares to the right.",
        "Label flips: the teacher decides otherwise than on the original.",
        "Flips unchanged: the same on the originals, read as the student's tokens spell them.",
        "Duplicates: equal to another augmented text or to a training text. Unchanged: equal to its original.",
        "Scored rows: all of the evaluation set and the holdout. Equal: but for case, accents and spaces.",
        "Near: equal, or with a cosine of at least 0.9 of character n-grams.",
    ]
    if judged:
        table.notes.append(
            f"{LEAK}: more than 1 % of the augmented texts are near a scored row. By the method: over a percentage "
            "point more than of the originals they were made from; in the data: it was there before."
        )
    return table


def _mean(parts: list[dict[str, Any]], key: str) -> float | None:
    values = [part[key] for part in parts if part.get(key) is not None]
    return statistics.mean(values) if values else None


def _leakage(found: dict[str, float | None]) -> str:
    near, before = found.get("near_duplicates"), found.get("near_duplicates_of_originals") or 0.0
    if near is None:
        return "-"
    if near - before > _LEAK_SHARE:
        return f"{LEAK} by the method"
    return f"{LEAK} in the data" if near > _LEAK_SHARE else "none"


def explorer(studies: list[Study]) -> dict[str, Any]:
    """Texts of every method, evenly drawn, as JSON values for the page.

    Returns:
        ``groups``: method, study and rows in all of each group. ``texts``: for each text its group, the row,
        both texts as a list of runs of words in which every second run differs, the teacher's label before and
        after, and how sure the teacher is of it. ``most``: how many texts a group has at most.
    """
    groups = [
        (number, method, study.panels[study.main].group.first, lines)
        for number, study in enumerate(studies)
        for method, lines in study.texts().items()
    ]
    most, texts = _MOST, _texts(groups, _MOST)
    while most > 1 and len(json.dumps(texts, ensure_ascii=False)) > _BUDGET:
        most //= 2
        texts = _texts(groups, most)
    named = [{"study": number, "method": method, "rows": len(lines)} for number, method, _, lines in groups]
    return {"groups": named, "texts": texts, "most": most}


def _texts(groups: list[Any], most: int) -> list[list[Any]]:
    found = []
    for number, (_, _, first, lines) in enumerate(groups):
        count = min(most, len(lines))
        for line in (lines[index * len(lines) // count] for index in range(count)):
            old, sure_before = _label(line["before"], first)
            new, sure_after = _label(line["after"], first)
            found.append(
                [number, line.get("row"), *_runs(line["original"], line["augmented"]),
                 old, new, sure_before, sure_after]
            )  # fmt: skip
    return found


def _label(chances: list[float], first: dict[str, Any]) -> tuple[str, float | None]:
    """The teacher's decision in words, and how sure it is: None for a score."""
    names = first.get("label_names") or [f"class {index}" for index in range(len(chances))]
    if first["problem_type"] == "regression":
        return f"{chances[0]:.2f}", None
    if first["problem_type"] == "multi_label":
        on = [name for name, chance in zip(names, chances, strict=False) if chance > 0.5]
        return ", ".join(on) or "none", round(min(max(chance, 1 - chance) for chance in chances), 3)
    best = max(range(len(chances)), key=chances.__getitem__)
    return str(names[best]) if best < len(names) else f"class {best}", round(chances[best], 3)


def _runs(original: str, augmented: str) -> list[list[str]]:
    """Both texts as runs of words, the same and the different ones in turn, beginning with the same."""
    sides: list[list[str]] = [[], []]
    for changed, *words in differences(original, augmented):
        if len(sides[0]) % 2 != changed:  # only the first run can be of the wrong kind
            for side in sides:
                side.append("")
        for side, part in zip(sides, words, strict=True):
            side.append(visible(" ".join(part)))
    return sides
