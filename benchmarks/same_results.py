"""Whether two versions of the code give the same students, texts and predictions, bit for bit.

    python benchmarks/same_results.py --out before.json            # with one version
    python benchmarks/same_results.py --against before.json        # with the other, on the same machine

Four short runs: the quickstart with --fast, pairs of texts, several labels a text, and a score. Their data are made
of the embedded helpdesk messages; the models are cut from MiniLM. One thread, so that sums have one order.
"""

import argparse
import csv
import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from safetensors.torch import load_file

from augpro import DataSpec, DistillConfig, FinetuneConfig, load_data, run
from augpro.cli.quickstart import run_quickstart
from augpro.results.terminal import quiet_libraries

ROWS = {"train": 96, "validation": 32}
TRAINER = {"save_strategy": "no", "logging_strategy": "no"}
SHORT: dict[str, Any] = {"epochs": 1, "batch_size": 16, "trainer_options": TRAINER}


def main() -> None:
    """Run everything, then write or compare the hashes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="file for the hashes")
    parser.add_argument(
        "--against", type=Path, help="hashes of the other version; exit code 1 if any differs"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    quiet_libraries()
    with tempfile.TemporaryDirectory() as folder:
        found = hashes(Path(folder))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    before = json.loads(options.against.read_text()) if options.against else found
    for name in sorted(before.keys() | found.keys()):
        same = before.get(name) == found.get(name)
        print(f"{'same     ' if same else 'DIFFERENT'} {name}")
    sys.exit(before != found)


def hashes(folder: Path) -> dict[str, str]:
    """Hash of every file that says what a run has made, by its name below the folder."""
    run_quickstart(folder / "quickstart", seed=0, fast=True, console=Console(quiet=True))
    for name, rows in (("pairs", pairs), ("several labels", several_labels), ("score", score)):
        data = write_task(folder / "data" / name, rows)
        teacher = folder / name / "teacher"
        kind: dict[str, Any] = {
            "data": str(data),
            "problem_type": "multi_label" if rows is several_labels else None,
        }
        run(FinetuneConfig(model="minilm", out=teacher, **kind, **SHORT))
        cut: dict[str, Any] = {"teacher": str(teacher), "student_layers": (1, 4), "augment": "augpro-mix"}
        run(DistillConfig(out=folder / name / "student", **kind, **cut, **SHORT))
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.name in ("model.safetensors", "predictions.safetensors", "samples.jsonl"):
            found[str(path.relative_to(folder))] = digest(path)
    return found


def digest(path: Path) -> str:
    """Hash of a file's content; of tensors by their names and values, in whatever order they were written."""
    hashed = hashlib.sha256()
    if path.suffix == ".safetensors":
        for name, value in sorted(load_file(path).items()):
            hashed.update(f"{name} {value.dtype} {list(value.shape)}".encode())
            hashed.update(value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    else:
        hashed.update(path.read_bytes())
    return hashed.hexdigest()


def write_task(folder: Path, rows: Any) -> Path:
    """A folder with a CSV file for each split."""
    folder.mkdir(parents=True)
    splits = load_data(DataSpec("helpdesk")).splits
    for name, count in ROWS.items():
        split = splits[name]
        with open(folder / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows(list(split.texts[:count]), list(split.labels[:count])))
    return folder


def pairs(texts: list[str], labels: list[Any]) -> list[list[Any]]:
    """Whether two messages have one intent: half of the rows, as the next row with it is looked for."""
    made: list[list[Any]] = [["text", "text_pair", "label"]]
    for row, (text, label) in enumerate(zip(texts, labels, strict=True)):
        later = [*range(row + 1, len(texts)), *range(row)]
        same = row % 2 == 0
        other = next((i for i in later if (labels[i] == label) == same), later[0])
        made.append([text, texts[other], "same" if labels[other] == label else "other"])
    return made


def several_labels(texts: list[str], labels: list[Any]) -> list[list[Any]]:
    """The intents of two messages, as one text; five names for all of them."""
    made: list[list[Any]] = [["text", "labels"]]
    for row, (text, label) in enumerate(zip(texts, labels, strict=True)):
        other = (row + 1) % len(texts)
        names = sorted({f"group {label % 5}", f"group {labels[other] % 5}"})
        made.append([f"{text} {texts[other]}", json.dumps(names)])
    return made


def score(texts: list[str], labels: list[Any]) -> list[list[Any]]:
    """A score for each message: its number of words, and a half for every second intent."""
    rows = [[text, len(text.split()) + label % 2 / 2] for text, label in zip(texts, labels, strict=True)]
    return [["text", "score"], *rows]


if __name__ == "__main__":
    main()
