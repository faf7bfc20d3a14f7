"""What a report shows of the augmented texts: their measures, and texts to look through."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from augpro.distillation.samples import differences
from augpro.report.data import Panel, Study
from augpro.results.result import RunResult
from augpro.results.tables import Alert, Entry, Quantity, Table
from augpro.results.terminal import visible
from augpro.results.texts import AugmentedText

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
    present = [measure for measure in _MEASURES if any(measure[1] in row.replacement for row in panel.runs())]
    if not present:
        return None
    judged = any(key == "near_duplicates" for _, key, _ in present)
    table = Table("Augmented text", ["method", *["leakage"] * judged, *[name for name, _, _ in present]])
    for method, runs in panel.group.runs.items():
        found = {key: _mean([row.replacement for row in runs.values()], key) for _, key, _ in present}
        if all(value is None for value in found.values()):
            continue
        cells = [Quantity(found[key], form) for _, key, form in present]
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


def _mean(parts: Sequence[Mapping[str, float]], key: str) -> float | None:
    values = [part[key] for part in parts if key in part and not math.isnan(part[key])]
    return statistics.mean(values) if values else None


def _leakage(found: Mapping[str, float | None]) -> Entry:
    near, before = found.get("near_duplicates"), found.get("near_duplicates_of_originals") or 0.0
    if near is None:
        return "-"
    if near - before > _LEAK_SHARE:
        return Alert(f"{LEAK} by the method")
    return Alert(f"{LEAK} in the data") if near > _LEAK_SHARE else "none"


class ShownText(NamedTuple):
    """One text of the page, a list in its JSON.

    Attributes:
        group: number of its group.
        row: number of the training row.
        original: runs of words, every second of which differs from the augmented text.
        augmented: likewise.
        before: the teacher's label of the original.
        after: its label of the augmented text.
        sure_before: how sure the teacher is of it; None for a score.
        sure_after: likewise.
    """

    group: int
    row: int | None
    original: list[str]
    augmented: list[str]
    before: str
    after: str
    sure_before: float | None
    sure_after: float | None


class TextGroup(NamedTuple):
    """Texts of one method of one study, and of how many rows they were drawn."""

    study: int
    method: str
    rows: int


@dataclass(frozen=True)
class Explorer:
    """Texts of every method, evenly drawn.

    Attributes:
        groups: of one method each.
        texts: of all groups.
        most: how many texts a group has at most.
    """

    groups: list[TextGroup]
    texts: list[ShownText]
    most: int

    def json(self) -> str:
        """For the page's script: groups as objects, texts as lists."""
        groups = [group._asdict() for group in self.groups]
        found = {"groups": groups, "texts": self.texts, "most": self.most}
        return json.dumps(found, ensure_ascii=False, separators=(",", ":"))


def explorer(studies: Sequence[Study]) -> Explorer:
    """The texts of the main size of every study, as many as the page has room for."""
    drawn = [
        (TextGroup(number, method, len(lines)), study.panels[study.main].group.first, lines)
        for number, study in enumerate(studies)
        for method, lines in study.texts().items()
    ]

    def texts_of(most: int) -> list[ShownText]:
        return [
            _shown_text(number, first, lines[index * len(lines) // count])
            for number, (_, first, lines) in enumerate(drawn)
            for count in [min(most, len(lines))]
            for index in range(count)
        ]

    most, texts = _MOST, texts_of(_MOST)
    while most > 1 and len(json.dumps(texts, ensure_ascii=False)) > _BUDGET:
        most //= 2
        texts = texts_of(most)
    return Explorer([group for group, _, _ in drawn], texts, most)


def _shown_text(number: int, first: RunResult, line: AugmentedText) -> ShownText:
    (old, sure_before), (new, sure_after) = _label(line.before, first), _label(line.after, first)
    original, augmented = _runs(line.original, line.augmented)
    return ShownText(number, line.row, original, augmented, old, new, sure_before, sure_after)


def _label(chances: Sequence[float], first: RunResult) -> tuple[str, float | None]:
    """The teacher's decision in words, and how sure it is: None for a score."""
    names = first.label_names or [f"class {index}" for index in range(len(chances))]
    if first.problem_type == "regression":
        return f"{chances[0]:.2f}", None
    if first.problem_type == "multi_label":
        on = [name for name, chance in zip(names, chances, strict=False) if chance > 0.5]
        return ", ".join(on) or "none", round(min(max(chance, 1 - chance) for chance in chances), 3)
    best = max(range(len(chances)), key=chances.__getitem__)
    return names[best] if best < len(names) else f"class {best}", round(chances[best], 3)


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
