"""The texts of a report: leaks are named, both sides can be rebuilt, and nothing in them can act."""

import json
import re
from itertools import pairwise

import pytest

from augpro.report.data import read_studies
from augpro.report.page import _view
from augpro.report.texts import LEAK, explorer, texts_table
from report_cases import HOSTILE, Page, embedded, read_lines, report, write_lines, write_results


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
def test_texts_are_drawn_evenly_and_rebuild_both_sides(tmp_path):
    grid = write_results(tmp_path / "grid", sizes=(100.0, 400.0))
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
