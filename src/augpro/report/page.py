"""``augpro report``: results in, one HTML file out that needs nothing else.

The page holds its own style, script, pictures and data, and a Content-Security-Policy that allows exactly these,
by hash, and nothing from anywhere. The same results give the same bytes.
"""

import base64
import hashlib
import importlib.util
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augpro.compare.cost import training_seconds
from augpro.compare.grid import PLAIN_KD, RESULTS
from augpro.errors import InputError
from augpro.files import write_text
from augpro.report.data import Panel, Study, read_studies
from augpro.report.texts import LEAK, explorer, texts_table
from augpro.results.output import RESULT, check_file, claim_file
from augpro.results.tables import Table, tests_note

if TYPE_CHECKING:
    from augpro.report.charts import Artist, Series

_TEMPLATES = Path(__file__).parent / "templates"
_NUMBER = re.compile(r"[-+]?\d[\d,]*\.?\d*")
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
    missing = [name for name in ("jinja2", "matplotlib") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"augpro report needs {' and '.join(missing)}; pip install 'augpro[report]'.")
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
    texts = explorer(list(studies))
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
        data=Markup(to_script_json(texts)),
        tests_note=tests_note(tables),
        texts=texts,
        markup=Markup,
    )


def to_script_json(value: Any) -> str:
    r"""JSON that no script element can be left from.

    >>> to_script_json("</script>")
    '"\\u003c/script\\u003e"'
    """
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPED)


def _hash(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _study(number: int, study: Study, artist: "Artist") -> dict[str, Any]:
    panels = [_panel(panel) for panel in study.panels]
    main, shown = study.panels[study.main], panels[study.main]
    split = max(main.splits, key=lambda name: int(main.group.first[name]["rows"]))
    name, series, teacher = _quality(main, split)
    separated = shown["separated"][f"{main.title(split)}: {name}"]
    pictures = [_story(artist, main, split, shown["tables"]), _cost(artist, main, split)]
    if len(study.panels) > 1:
        pictures.append(_curves(artist, study.panels, split))
    return {
        "id": f"study-{number}", "number": number, "task": study.task, "folder": study.folder.resolve().name,
        "headline": _headline(main, name, series, teacher, separated), "facts": facts(study),
        "condition": study.condition, "pictures": pictures, "panels": panels,
    }  # fmt: skip


def _panel(panel: Panel) -> dict[str, Any]:
    tables = panel.tables
    found = texts_table(panel)
    notes = list(panel.notes)
    if panel.left_out:
        notes.append(
            f"{panel.left_out} further runs of this size were trained for another number of epochs than "
            f"{panel.epochs:g}, as --equal-seconds asks for; the comparison's table.md has them."
        )
    separated = {table.title: {table.rows[row][0] for row in table.bold} for table in tables}
    views = [_view(table) for table in (*tables, *([found] if found else []))]
    return {"name": panel.name, "tables": views, "notes": notes, "separated": separated}


def _view(table: Table) -> dict[str, Any]:
    """A table's cells with what they are sorted by: the first number in them, else their text."""
    rows = []
    for number, row in enumerate(table.rows):
        cells = [{"text": row[0], "value": row[0].casefold(), "kind": "best" if number in table.bold else ""}]
        for text in row[1:]:
            found = _NUMBER.search(text)
            kind = "leak" if text.startswith(LEAK) else ""
            cells.append({"text": text, "value": found[0].replace(",", "") if found else "", "kind": kind})
            if not found and text not in ("", "-"):
                cells[-1]["value"] = text.casefold()
        rows.append(cells)
    return {"title": table.title, "header": table.header, "rows": rows, "notes": table.notes}


def _quality(panel: Panel, split: str) -> tuple[str, list["Series"], float | None]:
    """Name and values of the metric, by method, and the teacher's; the distance to it where no row has a label."""
    from augpro.report.charts import Series

    name, values = str(panel.group.first["metric_name"]), panel.metrics(split)
    if not values:
        name = "KL to the teacher"
        runs = panel.group.runs.items()
        values = {
            method: [float(row[split]["kl_to_teacher"]) for row in found.values()] for method, found in runs
        }
    series = [Series(method, found) for method, found in values.items()]
    return name, series, panel.teacher(split)


def _headline(
    panel: Panel, name: str, series: list["Series"], teacher: float | None, separated: set[str]
) -> str:
    least = name.startswith("KL")
    best = (min if least else max)(series, key=lambda one: one.mean)
    plain = [f"plain distillation {one.mean:.3f}" for one in series if one.label == PLAIN_KD != best.label]
    others = [*plain, *([f"teacher {teacher:.3f}"] if teacher is not None else [])]
    label = "Plain distillation (none)" if best.label == PLAIN_KD else best.label
    told = f"{label} has the {'lowest' if least else 'highest'} mean {name}, {best.mean:.3f}"
    told += f" ({', '.join(others)})." if others else "."
    if best.label in separated:
        return f"{told} It is separated from every other method, over seeds and over rows."
    seeds = min(len(one.values) for one in series)
    few = " With fewer than three seeds little else can be told." if seeds < 3 else ""
    return f"{told} It is not separated from every other method.{few}"


def _story(artist: "Artist", panel: Panel, split: str, tables: list[dict[str, Any]]) -> dict[str, Any]:
    name, series, teacher = _quality(panel, split)
    plain = next((one.mean for one in series if one.label == PLAIN_KD), None)
    lines = {"plain distillation": plain, "teacher": teacher}
    rows = f"{panel.group.first[split]['rows']:,} {split} rows"
    values = ", ".join(f"{one.label} {one.mean:.3f}" for one in series)
    picture = artist.dots(
        series, lines, f"{name}, {rows}", f"{name} of every method on {rows}, mean over seeds: {values}."
    )
    caption = (
        f"Mean {name} over seeds (dot), its 95 % interval (bar; an arrow where it goes on beyond the picture) and "
        f"every seed (ring), on {rows} after {panel.name}. Dashed: plain distillation; dotted: the teacher."
    )
    return {"title": "Quality of every method", "picture": picture, "caption": caption}


def _cost(artist: "Artist", panel: Panel, split: str) -> dict[str, Any]:
    name, series, _ = _quality(panel, split)
    seconds = {
        method: sum(map(training_seconds, runs.values())) / len(runs)
        for method, runs in panel.group.runs.items()
    }
    points = [(one.label, max(seconds[one.label], 1e-3), one.mean) for one in series]
    values = ", ".join(f"{label} {x:.1f} s and {y:.3f}" for label, x, y in points)
    picture = artist.scatter(
        points, "seconds to train", name, f"Seconds to train and mean {name} of every method: {values}."
    )
    better = "low" if name.startswith("KL") else "high"
    caption = (
        f"Mean seconds to train (teacher labels, augmentation and student) against mean {name}: "
        f"{better} and to the left is better. {panel.name.capitalize()}."
    )
    return {"title": "Quality against cost", "picture": picture, "caption": caption}


def _curves(artist: "Artist", panels: Sequence[Panel], split: str) -> dict[str, Any]:
    curves: dict[str, list[tuple[float, float]]] = {}
    name = ""
    for panel in panels:
        if split in panel.splits:
            name, series, _ = _quality(panel, split)
            for one in series:
                curves.setdefault(one.label, []).append((float(panel.group.first["train_rows"]), one.mean))
    told = "; ".join(
        f"{label}: {', '.join(f'{y:.3f} at {x:,.0f}' for x, y in points)}" for label, points in curves.items()
    )
    picture = artist.curves(curves, name, f"Mean {name} by training rows. {told}.")
    caption = f"Mean {name} on {split} rows over the number of training rows (logarithmic)."
    return {"title": "Learning curves", "picture": picture, "caption": caption}


def facts(study: Study) -> list[tuple[str, str]]:
    """What was run, as names and values."""
    first = study.rows[0]
    models = first.get("models") or {key: first.get("config", {}).get(key) for key in ("teacher", "student")}
    scored = [f"{first[name]['rows']:,} {name}" for name in ("evaluation", "holdout") if first.get(name)]
    teacher = [f"{metric:.3f} {first['metric_name']} on {name} rows" for name in ("evaluation", "holdout")
               if first.get(name) and (metric := study.panels[study.main].teacher(name)) is not None]  # fmt: skip
    runs = [row for panel in study.panels for row in panel.runs()]
    layers = models.get("student_layers")  # numbers, or how many a search is to choose
    numbers = layers if isinstance(layers, str) or not layers else ", ".join(map(str, layers))
    weights = max(row["parameters"].get("student", 0) for row in runs)  # baselines have none of it
    student = [models.get("student"), f"layers {numbers}" if numbers else None,
               f"{weights / 1e6:.1f} million parameters"]  # fmt: skip
    found = [
        ("task", f"{study.task}, {first['problem_type'].replace('_', '-')}"),
        ("labels", ", ".join(first.get("label_names") or [])),
        ("teacher", ", ".join(filter(None, [models.get("teacher"), *teacher]))),
        ("student", ", ".join(filter(None, student))),
        ("training rows", _list(f"{panel.group.first['train_rows']:,}" for panel in study.panels)),
        ("scored rows", ", ".join(scored)),
        ("methods", _list(row["cell"]["method"] for row in runs)),
        ("seeds", _list(str(seed) for seed in sorted({row["cell"]["seed"] for row in runs}))),
        ("condition", study.condition),
        ("epochs", _list(f"{panel.epochs:g}" for panel in study.panels)),
        ("runs", f"{len(runs)}"),
        ("versions", _list((_pairs(row["versions"]) for row in runs), "; or ")),
        ("machine", _list((_pairs(row["machine"]) for row in runs), "; or ")),
        ("notes", _list((note for row in runs for note in row["notes"]), "; ")),
    ]
    return [(name, value) for name, value in found if value]


def _list(values: Any, between: str = ", ") -> str:
    return between.join(dict.fromkeys(map(str, values)))


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {'none' if value is None else value}" for name, value in values.items()
    )
