"""The report: what it says, and that nothing is loaded by it."""

import base64
import hashlib
import json
import re
import shutil

import pytest

from augpro.report.charts import Artist
from augpro.report.data import read_studies
from augpro.report.texts import texts_table
from report_cases import Page, embedded, read_lines, report, write_lines, write_results

UNLABELLED = {"rows": 24, "metrics": {}, "interval": None, "agreement": 0.8, "distance_to_teacher": 0.2}


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("grid") / "grid-reviews", sizes=(100.0, 400.0))


@pytest.fixture(scope="module")
def page(grid, tmp_path_factory):
    return report(tmp_path_factory.mktemp("out") / "report.html", grid)


# --- content ---


@pytest.mark.e2e
def test_it_says_what_was_run_and_who_was_best(page):
    for told in (
        "reviews",
        "grid-reviews",
        "100, 400",
        "15.6 million parameters",
        "python 3.11",
        "fine-tune, none",
    ):
        assert told in page
    headline = re.search(r'class="headline">(.*?)</p>', page)[1]
    assert headline.startswith(
        "random has the highest mean accuracy, 0.680 (plain distillation 0.630, teacher 0.900"
    )


@pytest.mark.e2e
def test_tables_are_those_of_the_comparison(grid, page):
    tables = Page(page).tables
    panels = read_studies([grid])[0].panels
    expected = []
    for panel in reversed(panels):  # the largest size first
        expected += [*panel.tables, texts_table(panel)]
    assert len(tables) == len(expected) == 8
    for shown, table in zip(tables, expected, strict=True):
        assert shown[0] == table.header
        assert shown[1:] == [[str(cell).strip() for cell in row] for row in table.rows]


def test_every_picture_has_its_words_and_follows_the_theme(page):
    alternatives = [value for name, value in Page(page).attributes if name == "aria-label"]
    assert any("mean over seeds: fine-tune 0.580, none 0.630, random 0.680" in text for text in alternatives)
    assert any("Seconds to train" in text and "random 5.5 s" in text for text in alternatives)
    assert any("Mean accuracy by training rows" in text and "0.650 at 100" in text for text in alternatives)
    assert page.count("<svg") == 3
    assert not re.search(r"#0000[0-9a-f]{2}", page), "a stand-in colour was left"
    identifiers = [value for name, value in Page(page).attributes if name == "id"]
    assert len(identifiers) == len(set(identifiers))
    references = re.findall(r'(?:url\(#|href="#)([^)"]+)', page)
    assert references
    assert set(references) <= set(identifiers)


def test_long_names_leave_room_for_the_curves():
    names = [
        "none",
        "none:train_rows=50000:epochs=1:batch_size=64",
        "augpro-mix:candidates=4:select_by=uncertainty",
    ]
    points = [(100.0, 0.8), (1000.0, 0.9)]
    width = {}
    for count in (1, 3):
        svg = Artist().curves(dict.fromkeys(names[:count], points), "accuracy", "lines").svg
        ticks = {text: float(x) for x, text in re.findall(r'<text[^>]* x="([\d.]+)"[^>]*>([\d,]+)<', svg)}
        width[count] = ticks["1,000"] - ticks["100"]
    assert width[3] > 0.95 * width[1]


@pytest.mark.e2e
def test_one_size_has_no_learning_curve_and_no_text_no_explorer(tmp_path):
    folder = write_results(tmp_path / "plain", methods=("fine-tune", "none"))
    page = report(tmp_path / "r.html", folder)
    assert page.count("<svg") == 2
    assert "These results have no texts" in page
    assert embedded(page)["texts"] == []


@pytest.mark.e2e
@pytest.mark.parametrize("by_metric", [True, False])
@pytest.mark.parametrize("labelled", [True, False])
def test_the_headline_is_about_the_figure_it_names(tmp_path, monkeypatch, labelled, by_metric):
    """Whoever is separated by one figure alone is called so where that figure is told."""
    named = "random" if labelled else "fine-tune"  # the highest metric; the first of equal distances
    monkeypatch.setattr(
        "augpro.compare.comparison.best_method",
        lambda group, figure: named if figure.larger_is_better == by_metric else None,
    )
    changes = {} if labelled else {"evaluation": UNLABELLED, "teacher": {"evaluation": UNLABELLED}}
    page = report(tmp_path / "r.html", write_results(tmp_path / "grid", **changes))
    assert ("It is separated from every other" in page) == (labelled == by_metric)


@pytest.mark.e2e
def test_the_size_with_the_most_runs_comes_first(tmp_path):
    """A few runs of a larger size do not push aside the one that everything was run with."""
    folder = write_results(tmp_path / "grid", sizes=(100.0, 400.0, 900.0))
    write_lines(
        folder, [row for row in read_lines(folder) if row["cell"]["size"] < 900 or row["cell"]["seed"] == 0]
    )
    (study,) = read_studies([folder])
    assert study.panels[study.main].size == 400.0
    assert "after 400 training rows" in report(tmp_path / "r.html", folder)


def test_runs_of_other_models_are_other_studies(tmp_path):
    folder = write_results(tmp_path / "grid")
    rows = read_lines(folder)
    for row in rows:
        row["models"] = {"student_layers": [0, 2, 5] if row["cell"]["method"] == "random" else [0, 5]}
    write_lines(folder, rows)
    methods = [set(study.panels[0].group.runs) for study in read_studies([folder])]
    assert methods == [{"fine-tune", "none"}, {"random"}]


@pytest.mark.e2e
def test_a_run_that_diverged_can_be_reported(tmp_path):
    folder = write_results(tmp_path / "grid")
    rows = read_lines(folder)
    rows[0]["evaluation"] |= {"agreement": None, "distance_to_teacher": None}
    write_lines(folder, rows)
    assert "random" in report(tmp_path / "r.html", folder)


@pytest.mark.e2e
def test_a_task_without_labels_is_told_by_its_distance(tmp_path):
    folder = write_results(tmp_path / "un", evaluation=UNLABELLED, teacher={"evaluation": UNLABELLED})
    page = report(tmp_path / "r.html", folder)
    assert "the lowest mean KL to the teacher, 0.200" in page


@pytest.mark.e2e
def test_a_single_run_can_be_reported(tmp_path):
    grid = write_results(tmp_path / "grid", methods=("random",), seeds=(4,))
    row = read_lines(grid)[0]
    run = tmp_path / "run"
    run.mkdir()
    key = row.pop("cell")["key"]
    (run / "result.json").write_text(
        json.dumps({**row, "config": {"teacher": "my-teacher", "student": "minilm"}})
    )
    shutil.copy(grid / "predictions" / f"{key}.safetensors", run / "predictions.safetensors")
    shutil.copy(grid / "samples" / f"{key}.jsonl", run / "samples.jsonl")
    page = report(tmp_path / "r.html", run)
    assert "my-teacher" in page
    assert len(embedded(page)["texts"]) == 60


def test_a_method_that_is_not_installed_here_can_be_reported(tmp_path):
    """One of another package, or an object that was given in Python."""
    grid = write_results(tmp_path / "grid", methods=("none", "shift:share=0.3"), seeds=(4,))
    row = read_lines(grid)[1] | {"method": "mostfrequent"}
    run = tmp_path / "run"
    run.mkdir()
    (run / "result.json").write_text(json.dumps(row))
    shutil.copy(grid / "predictions" / f"{row['cell']['key']}.safetensors", run / "predictions.safetensors")
    studies = read_studies([grid, run])
    methods = [{row.cell.method for row in study.rows} for study in studies]
    assert methods == [{"none", "shift:share=0.3"}, {"mostfrequent"}]
    assert all(study.panels[0].tables for study in studies)


@pytest.mark.e2e
def test_folders_can_be_combined(grid, tmp_path):
    other = write_results(tmp_path / "other", task="tickets", samples=5)
    page = report(tmp_path / "r.html", grid, other)
    assert "<title>Report: reviews, tickets</title>" in page
    groups = embedded(page)["groups"]
    assert [(group["study"], group["rows"]) for group in groups] == [(0, 180), (1, 15)]


@pytest.mark.e2e
def test_runs_of_other_epochs_are_left_out_and_counted(tmp_path):
    folder = write_results(tmp_path / "grid")
    lines = read_lines(folder)
    longer = json.loads(json.dumps(lines[0]))
    longer["cell"] |= {"epochs": 9.0, "key": "f" * 32}
    write_lines(folder, [*lines, longer])
    predictions = folder / "predictions"
    shutil.copyfile(predictions / f"{0:032x}.safetensors", predictions / f"{'f' * 32}.safetensors")
    page = report(tmp_path / "r.html", folder)
    assert "1 further runs of this size" in page


def test_nothing_is_loaded_and_the_policy_allows_only_what_is_there(page):
    found = Page(page)
    loading = {"src", "srcset", "action", "poster", "background", "formaction", "ping"}
    assert not loading & {name for name, _ in found.attributes}
    assert not {"link", "img", "iframe", "object", "embed", "base", "image", "video", "audio"} & set(
        found.tags
    )
    assert all(value.startswith("#") for name, value in found.attributes if name == "href")
    assert "style" not in {name for name, _ in found.attributes}
    assert "@import" not in page
    assert "url(" not in next(text for tag, _, text in found.scripts if tag == "style")
    policy = next(value for name, value in found.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag, attrs, text in found.scripts:
        if attrs.get("type") != "application/json":
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert f"{tag}-src 'sha256-{digest}'" in policy


@pytest.mark.e2e
def test_the_same_results_give_the_same_bytes(grid, page, tmp_path):
    assert report(tmp_path / "again.html", grid) == page


def test_no_place_on_the_disk_is_told(grid, page):
    assert str(grid.parent) not in page
