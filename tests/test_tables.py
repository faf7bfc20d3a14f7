"""The tables of README and docs are those that the committed results give."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "benchmarks" / "tables.py"
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if "<!-- end -->" in page.read_text()
]


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import tables

    return tables


def test_the_pages_say_what_the_results_say(tables, tmp_path, monkeypatch):
    assert ROOT / "README.md" in PAGES
    assert ROOT / "docs" / "benchmarks.md" in PAGES
    monkeypatch.setattr(sys, "argv", ["tables.py", "--check", *map(str, PAGES)])
    tables.main()
    page = tmp_path / "page.md"
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    page.write_text(text.replace("| teacher | |", "| teacher | 7 |", 1))
    monkeypatch.setattr(sys, "argv", ["tables.py", "--check", str(page)])
    with pytest.raises(SystemExit, match=r"page\.md"):
        tables.main()
    monkeypatch.setattr(sys, "argv", ["tables.py", str(page)])
    tables.main()
    assert page.read_text() == text


def run_of(task, method, seed, score, kl):
    scores = {"rows": 2000, "metrics": {"accuracy": score}, "distance_to_teacher": kl}
    return {
        "cell": {"method": method, "seed": seed, "size": 1000, "epochs": 25.0, "key": f"{method}-{seed}"},
        "task": f"glue/{task}", "method": method, "seed": seed, "eval_rows": 2000, "seconds": 60.0,
        "problem_type": "single_label", "train_rows": 1000, "epochs": 25.0, "metric_name": "accuracy",
        "holdout": scores, "evaluation": scores,
        "phase_seconds": {"student": 50.0}, "teacher": {"holdout": {"rows": 2000, "metrics": {"accuracy": 0.9}}},
    }  # fmt: skip


def test_gains_are_those_of_the_seeds_that_both_were_run_with(tables, tmp_path):
    files = []
    for task, gain in (("one", 0.04), ("two", -0.01)):
        runs = [(seed, 0.80 + seed / 100, gain + seed / 500) for seed in (0, 1)]
        rows = [run_of(task, "none", seed, score, 0.4) for seed, score, _ in runs]
        rows += [run_of(task, "augpro-mix", seed, score + more, 0.1) for seed, score, more in runs]
        rows += [run_of(task, "augpro-mix", 2, 0.0, 9.0), run_of(task, "fine-tune", 0, 0.75, 0.9)]
        files.append(tmp_path / f"{task}.jsonl")
        files[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second, mean = tables.gains(files, "augpro-mix").splitlines()[2:]
    assert first.startswith("| one | accuracy | 1,000 x 25 | 2 | 2,000 | 90.0 | 75.0 | 80.5 (")
    assert "| +4.1 |" in first
    assert "| 0.400 to 0.100 (-75%) | 50 to 50 |" in first
    assert "| -0.9 |" in second
    assert mean.count("|") == first.count("|")
    assert "| +1.6 |" in mean
    (alone,) = tables.gains(files[:1], "augpro-mix").splitlines()[2:]
    assert alone == first
    short = tables.summary(files[:1], "augpro-mix").splitlines()[2:]
    assert short == ["| one | 90.0 | 75.0 | 80.5 | 84.6 | -75% | 1 and 1 |"]


def test_the_mean_of_equal_seeds_has_a_dash_for_an_interval(tables, tmp_path):
    rows = [run_of("one", method, seed, 0.8, 0.4) for method in ("none", "augpro-mix") for seed in (0, 1)]
    path = tmp_path / "one.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "| | 80.0 (-) | 80.0 (-) | +0.0 |" in tables.gains([path], "augpro-mix")
    assert "| `none` | 2 | 80.0 (-) |" in tables.table(path, "none")
