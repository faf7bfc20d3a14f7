"""``augpro report``: results in, one HTML file out that needs nothing else.

The page holds its own style, script, pictures and data, and a Content-Security-Policy that allows exactly these,
by hash, and nothing from anywhere. The same results give the same bytes.
"""

import base64
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augpro.compare.cost import training_seconds
from augpro.compare.grid import PLAIN_KD, RESULTS
from augpro.files.durable import write_text
from augpro.plugins import check_installed
from augpro.report.calibration import calibration_pictures
from augpro.report.data import Panel, Study, read_studies
from augpro.report.texts import explorer, texts_table
from augpro.results.output import RESULT, check_file, claim_file
from augpro.results.tables import Alert, Entry, Table, tests_note

if TYPE_CHECKING:
    from augpro.report.charts import Artist, Series

_TEMPLATES = Path(__file__).parent / "templates"
# In a script element only these could end it or be read otherwise than as JSON.
_ESCAPED = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


def write_report(results: Sequence[Path], out: Path) -> None:
    """Write the report of some result folders to one HTML file.

    Args:
        results: folders of ``augpro compare``, or of single ``augpro distill`` runs.
        out: the file; one that is there is replaced.

    Raises:
        InputError: if a package is missing, a folder has no readable results, or the file cannot be written.
    """
    check_installed("augpro report", ("jinja2", "matplotlib"), "report")
    check_file(
        out, [*results, *(folder / RESULTS for folder in results), *(folder / RESULT for folder in results)]
    )
    studies = read_studies(results)
    claim_file(out)
    write_text(out, render(studies))


def render(studies: Sequence[Study]) -> str:
    """The page of some studies, as HTML."""
    import jinja2
    from markupsafe import Markup

    from augpro.report.charts import Artist

    artist = Artist()
    shown = [_study(number, study, artist) for number, study in enumerate(studies)]
    tables = [table for study in studies for panel in study.panels for table in panel.tables]
    texts = explorer(studies)
    style = (_TEMPLATES / "report.css").read_text(encoding="utf-8") + artist.styles
    script = (_TEMPLATES / "report.js").read_text(encoding="utf-8")
    policy = {
        "default-src": "'none'", "style-src": _hash(style), "script-src": _hash(script), "base-uri": "'none'",
        "form-action": "'none'",
    }  # fmt: skip
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("report.html").render(
        studies=shown,
        title=", ".join(dict.fromkeys(study.task for study in studies)),
        policy="; ".join(f"{name} {value}" for name, value in policy.items()),
        # Files of the package, pictures whose texts matplotlib escaped, and JSON that is escaped here.
        style=Markup(style),
        script=Markup(script),
        data=Markup(to_script(texts.json())),
        tests_note=tests_note(tables),
        texts=texts,
        markup=Markup,
    )


def to_script(json: str) -> str:
    r"""JSON that no script element can be left from.

    >>> to_script('"</script>"')
    '"\\u003c/script\\u003e"'
    """
    return json.translate(_ESCAPED)


def _hash(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


@dataclass(frozen=True)
class MainFigure:
    """What headline and pictures of a panel are about: the metric, or the distance to the teacher without labels.

    Attributes:
        name: of the figure.
        larger_is_better: whether the best method has the highest value.
        split: the larger set of scored rows.
        series: values of every method.
        teacher: the teacher's metric, where there is one.
    """

    name: str
    larger_is_better: bool
    split: str
    series: list["Series"]
    teacher: float | None

    @classmethod
    def of(cls, panel: Panel, split: str) -> "MainFigure":
        """The figure of a panel on one of its splits."""
        from augpro.report.charts import Series

        first, metrics = panel.group.first, panel.metrics(split)
        series = [Series(*item) for item in (metrics or panel.distances(split)).items()]
        name = first.metric_name if metrics else first.distance_label
        return cls(name, bool(metrics), split, series, panel.teacher(split))


def _study(number: int, study: Study, artist: "Artist") -> dict[str, Any]:
    main = study.panels[study.main]
    figure = MainFigure.of(main, main.main_split)
    pictures = [_story(artist, main, figure), _cost(artist, main, figure)]
    if len(study.panels) > 1:
        pictures.append(_curves(artist, study.panels, figure.split))
    if study.calibration is not None:
        pictures += calibration_pictures(artist, study.calibration)
    return {
        "id": f"study-{number}", "number": number, "task": study.task, "folder": study.folder.resolve().name,
        "headline": _headline(main, figure), "facts": facts(study), "condition": study.condition,
        "pictures": pictures, "panels": [_panel(panel) for panel in study.panels],
    }  # fmt: skip


def _panel(panel: Panel) -> dict[str, Any]:
    found = texts_table(panel)
    notes = list(panel.notes)
    if panel.left_out:
        notes.append(
            f"{panel.left_out} further runs of this size were trained for another number of epochs than "
            f"{panel.epochs:g}, as --equal-seconds asks for; the comparison's table.md has them."
        )
    views = [_view(table) for table in (*panel.tables, *([found] if found else []))]
    return {"name": panel.name, "tables": views, "notes": notes}


def _view(table: Table) -> dict[str, Any]:
    """A table's cells with what they are sorted by."""
    rows = [[_cell(cell) for cell in row] for row in table.rows]
    for number in table.bold:
        rows[number][0]["kind"] = "best"
    return {"title": table.title, "header": table.header, "rows": rows, "notes": table.notes}


def _cell(cell: Entry) -> dict[str, str]:
    if isinstance(cell, str):
        value = "" if cell == "-" else cell.casefold()
        return {"text": cell, "value": value, "kind": "leak" if isinstance(cell, Alert) else ""}
    known = cell.value is not None and math.isfinite(cell.value)
    return {"text": str(cell), "value": str(cell.value) if known else "", "kind": ""}


def _headline(panel: Panel, figure: MainFigure) -> str:
    series, name = figure.series, figure.name
    best = (max if figure.larger_is_better else min)(series, key=lambda one: one.mean)
    plain = [f"plain distillation {one.mean:.3f}" for one in series if one.label == PLAIN_KD != best.label]
    others = [*plain, *([f"teacher {figure.teacher:.3f}"] if figure.teacher is not None else [])]
    label = "Plain distillation (none)" if best.label == PLAIN_KD else best.label
    end = "highest" if figure.larger_is_better else "lowest"
    told = f"{label} has the {end} mean {name}, {best.mean:.3f}"
    told += f" ({', '.join(others)})." if others else "."
    if panel.separated(figure.split, figure.larger_is_better) == best.label:
        return f"{told} It is separated from every other method, over seeds and over rows."
    seeds = min(len(one.values) for one in series)
    few = " With fewer than three seeds little else can be told." if seeds < 3 else ""
    return f"{told} It is not separated from every other method.{few}"


def _story(artist: "Artist", panel: Panel, figure: MainFigure) -> dict[str, Any]:
    name = figure.name
    plain = next((one.mean for one in figure.series if one.label == PLAIN_KD), None)
    lines = {"plain distillation": plain, "teacher": figure.teacher}
    rows = f"{panel.rows(figure.split):,} {figure.split} rows"
    values = ", ".join(f"{one.label} {one.mean:.3f}" for one in figure.series)
    picture = artist.dots(
        figure.series,
        lines,
        f"{name}, {rows}",
        f"{name} of every method on {rows}, mean over seeds: {values}.",
    )
    caption = (
        f"Mean {name} over seeds (dot), its 95 % interval (bar; an arrow where it goes on beyond the picture) and "
        f"every seed (ring), on {rows} after {panel.name}. Dashed: plain distillation; dotted: the teacher."
    )
    return {"title": "Quality of every method", "picture": picture, "caption": caption}


def _cost(artist: "Artist", panel: Panel, figure: MainFigure) -> dict[str, Any]:
    name = figure.name
    seconds = {
        method: sum(map(training_seconds, runs.values())) / len(runs)
        for method, runs in panel.group.runs.items()
    }
    points = [(one.label, max(seconds[one.label], 1e-3), one.mean) for one in figure.series]
    values = ", ".join(f"{label} {x:.1f} s and {y:.3f}" for label, x, y in points)
    picture = artist.scatter(
        points, "seconds to train", name, f"Seconds to train and mean {name} of every method: {values}."
    )
    better = "high" if figure.larger_is_better else "low"
    caption = (
        f"Mean seconds to train (teacher labels, augmentation and student) against mean {name}: "
        f"{better} and to the left is better. {panel.name.capitalize()}."
    )
    return {"title": "Quality against cost", "picture": picture, "caption": caption}


def _curves(artist: "Artist", panels: Sequence[Panel], split: str) -> dict[str, Any]:
    curves: dict[str, list[tuple[float, float]]] = {}
    name = ""
    for panel in panels:
        if split in panel.group.first.splits:
            figure = MainFigure.of(panel, split)
            name = figure.name
            for one in figure.series:
                curves.setdefault(one.label, []).append((float(panel.group.first.train_rows), one.mean))
    told = "; ".join(
        f"{label}: {', '.join(f'{y:.3f} at {x:,.0f}' for x, y in points)}" for label, points in curves.items()
    )
    picture = artist.curves(curves, name, f"Mean {name} by training rows. {told}.")
    caption = f"Mean {name} on {split} rows over the number of training rows (logarithmic)."
    return {"title": "Learning curves", "picture": picture, "caption": caption}


def facts(study: Study) -> list[tuple[str, str]]:
    """What was run, as names and values."""
    first, models = study.rows[0], study.rows[0].models
    scored = [f"{scores.rows:,} {name}" for name, scores in first.splits.items()]
    main = study.panels[study.main]
    teacher = [
        f"{metric:.3f} {first.metric_name} on {name} rows"
        for name in first.splits
        if (metric := main.teacher(name)) is not None
    ]
    runs = [row for panel in study.panels for row in panel.runs()]
    layers = models.student_layers  # numbers, or how many a search is to choose
    numbers = layers if isinstance(layers, str) or not layers else ", ".join(map(str, layers))
    weights = max(row.parameters.get("student", 0) for row in runs)  # baselines have none of it
    student = [models.student, f"layers {numbers}" if numbers else None,
               f"{weights / 1e6:.1f} million parameters"]  # fmt: skip
    found = [
        ("task", f"{study.task}, {first.problem_type.replace('_', '-')}"),
        ("labels", ", ".join(first.label_names)),
        ("teacher", ", ".join(filter(None, [models.teacher, *teacher]))),
        ("student", ", ".join(filter(None, student))),
        ("training rows", _list(f"{panel.group.first.train_rows:,}" for panel in study.panels)),
        ("scored rows", ", ".join(scored)),
        ("methods", _list(row.cell.method for row in runs)),
        ("seeds", _list(str(seed) for seed in sorted({row.cell.seed for row in runs}))),
        ("condition", study.condition),
        ("epochs", _list(f"{panel.epochs:g}" for panel in study.panels)),
        ("runs", f"{len(runs)}"),
        ("versions", _list((_pairs(row.versions) for row in runs), "; or ")),
        ("machine", _list((_pairs(row.machine) for row in runs), "; or ")),
        ("notes", _list((note for row in runs for note in row.notes), "; ")),
    ]
    return [(name, value) for name, value in found if value]


def _list(values: Iterable[str], between: str = ", ") -> str:
    return between.join(dict.fromkeys(values))


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {'none' if value is None else value}" for name, value in values.items()
    )
