"""The report: what it says, and that nothing in it can act."""

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from augpro.report.charts import Artist
from augpro.report.data import read_studies
from augpro.report.page import _view
from augpro.report.texts import LEAK, explorer, texts_table
from report_cases import HOSTILE, invoke, read_lines, write_lines, write_results

UNLABELLED = {"rows": 24, "metrics": {}, "interval": None, "agreement": 0.8, "distance_to_teacher": 0.2}


class Page(HTMLParser):
    """The elements, attributes and texts of a page."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.attributes, self.tables, self.inside, self.scripts = [], [], [], [], []
        self.in_table = False
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.inside = [tag, dict(attrs)]
        if tag == "table":
            self.tables.append([])
            self.in_table = True
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")
        elif tag in ("script", "style"):
            self.scripts.append((tag, dict(attrs), ""))

    def handle_endtag(self, tag):
        self.inside = [None, {}]
        self.in_table &= tag != "table"

    def handle_data(self, data):
        if self.inside and self.inside[0] in ("script", "style"):
            tag, attrs, text = self.scripts[-1]
            self.scripts[-1] = (tag, attrs, text + data)
        elif self.inside and self.inside[0] in ("th", "td", "button") and self.in_table:
            self.tables[-1][-1][-1] += data.strip()


def report(out, *folders):
    done = invoke(*(part for folder in folders for part in ("--results", folder)), "--out", out)
    assert done.exit_code == 0, done.output
    return out.read_text(encoding="utf-8")


def embedded(page):
    found = [text for tag, attrs, text in Page(page).scripts if attrs.get("type") == "application/json"]
    assert len(found) == 1
    return json.loads(found[0])


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


@pytest.mark.parametrize(
    ("near", "before", "said"),
    [(0.0, 0.0, "none"), (0.01, 0.005, "none"), (0.03, 0.0, f"{LEAK} by the method"),
     (0.03, 0.03, f"{LEAK} in the data"), (0.012, 0.011, f"{LEAK} in the data")],
)  # fmt: skip
def test_leakage_has_a_sign_and_a_word(tmp_path, near, before, said):
    folder = write_results(tmp_path / "grid", methods=("none", "random"))
    lines = read_lines(folder)
    for row in lines:
        if row["replacement"]:
            row["replacement"] |= {"near_duplicates": near, "near_duplicates_of_originals": before}
    write_lines(folder, lines)
    table = texts_table(read_studies([folder])[0].panels[0])
    assert table.rows[0][:2] == ["random", said]
    assert (_view(table)["rows"][0][1]["kind"] == "leak") == said.startswith(LEAK)


def test_exact_and_near_duplicates_and_how_many_texts_were_checked_are_in_the_table(tmp_path):
    folder = write_results(tmp_path / "grid", methods=("none", "random"))
    lines = read_lines(folder)
    for row in lines:
        if row["replacement"]:
            row["replacement"] |= {
                "near_duplicates": 0.12, "near_duplicates_of_originals": 0.034, "exact_duplicates_of_evaluation": 0.1,
                "exact_duplicates_of_evaluation_before": 0.032, "checked_texts": 250 * (1 + row["seed"]),
            }  # fmt: skip
    write_lines(folder, lines)
    table = texts_table(read_studies([folder])[0].panels[0])
    cells = dict(zip(table.header, map(str, table.rows[0]), strict=True))
    assert cells["checked"] == "500"
    assert (cells["equal to a scored row"], cells["originals equal to one"]) == ("10.0%", "3.2%")
    assert (cells["near a scored row"], cells["originals near one"]) == ("12.0%", "3.4%")
    for row in lines:  # as they were written before exact duplicates were counted
        for key in (
            "checked_texts",
            "exact_duplicates_of_evaluation",
            "exact_duplicates_of_evaluation_before",
        ):
            row["replacement"].pop(key, None)
    write_lines(folder, lines)
    table = texts_table(read_studies([folder])[0].panels[0])
    assert not {"checked", "equal to a scored row", "originals equal to one"} & set(table.header)
    assert table.rows[0][1] == f"{LEAK} by the method"


# --- texts ---


@pytest.mark.e2e
def test_texts_are_drawn_evenly_and_rebuild_both_sides(grid):
    found = explorer(read_studies([grid]))
    assert [group.rows for group in found.groups] == [180]
    assert len(found.texts) == 180
    lines = read_studies([grid])[0].texts()["random"]
    for text, line in zip(found.texts, lines, strict=True):
        for side, key in ((2, "original"), (3, "augmented")):
            assert " ".join(run for run in text[side] if run) == getattr(line, key)
        same = [[run for run in text[side][::2] if run] for side in (2, 3)]
        assert same[0] == same[1]
        assert text[4] == ("negative" if line.before[0] >= 0.5 else "positive")
        assert text[7] == pytest.approx(max(line.after), abs=0.001)


@pytest.mark.e2e
def test_the_page_stays_under_two_megabytes(tmp_path):
    methods = ["none", *(f"random:replace_fraction=0.{number}" for number in range(1, 10))]
    folder = write_results(tmp_path / "grid", methods=methods, seeds=(0,), samples=250)
    for path in (folder / "samples").iterdir():
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        long = [{**line, "augmented": line["augmented"] + " the plot was slow" * 60} for line in lines]
        path.write_text("".join(json.dumps(line) + "\n" for line in long))
    page = report(tmp_path / "r.html", folder)
    assert len(page.encode()) < 2_000_000
    data = embedded(page)
    assert data["most"] < 200
    assert f"At most {data['most']} texts of each method" in page
    rows = [text[1] for text in data["texts"] if text[0] == 0]
    steps = {after - before for before, after in pairwise(rows)}
    assert max(steps) - min(steps) <= 1


@pytest.mark.parametrize(
    ("problem", "before", "label", "sure"),
    [("regression", [3.25], "3.25", None), ("multi_label", [0.9, 0.6], "negative, positive", 0.6),
     ("multi_label", [0.1, 0.2], "none", 0.8)],
)  # fmt: skip
def test_labels_of_other_problems(tmp_path, problem, before, label, sure):
    folder = write_results(tmp_path / "grid", methods=("none", "random"), seeds=(0,), samples=3)
    lines = read_lines(folder)
    write_lines(folder, [{**row, "problem_type": problem} for row in lines])
    for path in (folder / "samples").iterdir():
        texts = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text(
            "".join(json.dumps({**text, "before": before, "after": before}) + "\n" for text in texts)
        )
    assert explorer(read_studies([folder])).texts[0][4::2] == (label, sure)


# --- nothing in it can act ---


def test_hostile_text_stays_text(tmp_path):
    hostile_method = f"random:replace_fraction={HOSTILE.replace(':', '')}"
    folder = write_results(
        tmp_path / "grid", methods=("none", hostile_method), hostile=True, task=HOSTILE, notes=[HOSTILE],
        label_names=[HOSTILE, "positive"], versions={HOSTILE: HOSTILE}, machine={HOSTILE: HOSTILE},
    )  # fmt: skip
    page = report(tmp_path / "r.html", folder)
    found = Page(page)
    assert "img" not in found.tags
    assert found.tags.count("script") == 2
    assert not any(name.startswith("on") for name, _ in found.attributes)
    assert "{{ 7*7 }}" in page
    texts = embedded(page)["texts"]
    assert HOSTILE.split()[0] in json.dumps(texts, ensure_ascii=False)
    data = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1]
    assert not set("<>&\u2028\u2029") & set(data)


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
