"""Made-up results of comparisons, without any training, and the pages that ``augpro report`` makes of them."""

import json
import random
from html.parser import HTMLParser

import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from augpro.cli.app import app
from augpro.results.cell import CellResult

HOSTILE = '</script><img src=x onerror="window.harm=1"><!-- & \u2028 ]]> {{ 7*7 }} $x$'
LABELS = ["negative", "positive"]
WORDS = [
    "the",
    "a",
    "plot",
    "film",
    "server",
    "invoice",
    "was",
    "is",
    "good",
    "bad",
    "slow",
    "never",
    "again",
    "very",
    "price",
    "team",
]
ROWS = 24


def scores(metric, rows=ROWS):
    return {
        "rows": rows, "metrics": {"accuracy": metric, "macro_f1": metric}, "interval": [metric - 0.1, metric + 0.1],
        "agreement": 0.8, "distance_to_teacher": 0.2,
    }  # fmt: skip


def result(method, size, seed, key, metric, **changes):
    makes_text = method.split(":")[0] in ("random", "augpro-mix")
    replacement = {
        "changed": 0.3, "original": 0.7, "partner": 0.0, "new": 0.3, "label_flips": 0.25, "duplicates": 0.02,
        "teacher_entropy_before": 0.31, "teacher_entropy_after": 0.47, "near_duplicates": 0.0,
        "near_duplicates_of_originals": 0.0, "exact_duplicates_of_evaluation": 0.0,
        "exact_duplicates_of_evaluation_before": 0.0, "checked_texts": 500,
    }  # fmt: skip
    return {
        "cell": {"method": method, "size": size, "seed": seed, "epochs": 2.0, "key": key},
        "task": "reviews", "method": method, "seed": seed, "train_rows": int(size or 900), "epochs": 2.0,
        "metric_name": "accuracy", "metric": metric, "problem_type": "single_label", "label_names": LABELS,
        "eval_rows": ROWS, "evaluation": scores(metric), "holdout": None, "teacher": {"evaluation": scores(0.9)},
        "phase_seconds": {"student": 3.0 + seed, "teacher": 1.0 * makes_text},
        "seconds": 9.0 + seed, "label_seconds": 0.5,
        "texts_per_second": {"student": 200.0}, "peak_memory_mib": {"student": 800.0},
        "replacement": replacement if makes_text else {}, "parameters": {"student": 15_600_000}, "notes": [],
        "versions": {"python": "3.11", "augpro": "0.1.0"}, "machine": {"architecture": "x86_64", "gpu": None},
        "augmenter": None, **changes,
    }  # fmt: skip


def cell_result(method="none", seed=0, size=None, epochs=1.0, key="", **changes):
    """A line of ``results.jsonl`` as it is read; ``changes`` replace its keys."""
    made = result(method, size, seed, key, 0.5) | {"replacement": {}, **changes}
    return CellResult.model_validate(made | {"cell": {**made["cell"], "epochs": epochs}})


def predictions(rng, metric):
    """Logits whose accuracy is about ``metric``, with the teacher's and the labels."""
    labels = torch.tensor([row % 2 for row in range(ROWS)])
    right = torch.tensor([rng.random() < metric for _ in range(ROWS)])
    student = torch.nn.functional.one_hot(torch.where(right, labels, 1 - labels), 2).float() * 2
    teacher = torch.nn.functional.one_hot(labels, 2).float() * 3
    return {"evaluation.student": student, "evaluation.teacher": teacher, "evaluation.labels": labels}


def sample_lines(rng, count, hostile=False):
    lines = []
    for row in range(count):
        words = rng.choices(WORDS, k=rng.randint(3, 12))
        other = [rng.choice(WORDS) if rng.random() < 0.4 else word for word in words]
        before, after = (round(rng.random(), 5) for _ in range(2))
        lines.append({"original": " ".join(words), "augmented": " ".join(other), "before": [before, 1 - before],
                      "after": [after, 1 - after], "row": row})  # fmt: skip
    if hostile:
        lines[0] |= {"original": f"so {HOSTILE} end", "augmented": f"so {HOSTILE} fin"}
    return lines


def write_results(folder, methods=("fine-tune", "none", "random"), sizes=(None,), seeds=(0, 1, 2), samples=60,
                  hostile=False, **changes):  # fmt: skip
    """A folder of ``augpro compare``; ``changes`` replace keys of every result."""
    rng = random.Random(0)
    (folder / "predictions").mkdir(parents=True)
    lines = []
    for method_number, method in enumerate(methods):
        for size in sizes:
            for seed in seeds:
                key = f"{len(lines):032x}"
                metric = 0.5 + 0.05 * method_number + 0.04 * seed + (size or 0) / 10_000
                row = result(method, size, seed, key, metric, **changes)
                lines.append(row)
                save_file(predictions(rng, metric), folder / "predictions" / f"{key}.safetensors")
                if row["replacement"] and samples:
                    (folder / "samples").mkdir(exist_ok=True)
                    texts = sample_lines(rng, samples, hostile)
                    (folder / "samples" / f"{key}.jsonl").write_text(
                        "".join(json.dumps(text, ensure_ascii=False) + "\n" for text in texts),
                        encoding="utf-8",
                    )
    write_lines(folder, lines)
    return folder


def write_lines(folder, lines):
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / "results.jsonl").write_text(text, encoding="utf-8")


def read_lines(folder):
    return [
        json.loads(line)
        for line in (folder / "results.jsonl").read_text(encoding="utf-8").split("\n")
        if line
    ]


def invoke(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)], catch_exceptions=False)


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
    """The page of some folders."""
    done = invoke(*(part for folder in folders for part in ("--results", folder)), "--out", out)
    assert done.exit_code == 0, done.output
    return out.read_text(encoding="utf-8")


def embedded(page):
    """The data that the script of a page reads."""
    found = [text for tag, attrs, text in Page(page).scripts if attrs.get("type") == "application/json"]
    assert len(found) == 1
    return json.loads(found[0])
