"""How the speed benchmarks measure and keep what they measured."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from augpro.results.environment import library_versions, machine_facts


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # what was only launched is not done
    return time.perf_counter() - start


def rounds(contenders: dict[str, Callable[[], object]], count: int = 7) -> dict[str, list[float]]:
    """Seconds of each contender in every round, after one round that is not counted."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(count + 1):
        for name, work in contenders.items():
            spent = seconds(work)
            if number:
                found[name].append(spent)
    return found


class Results:
    """Rows of one part of the benchmark."""

    def __init__(self, part: str) -> None:
        self.part, self.rows = part, []

    def add(self, what: str, **figures: Any) -> None:
        facts = {"versions": library_versions(), "machine": machine_facts()}
        self.rows.append({"part": self.part, "what": what, **figures, **facts})
        print(f"{self.part}: {what}: {json.dumps(figures)}", flush=True)

    def ratio(
        self, what: str, against: str, wanted: str, ours: list[float], theirs: list[float], **more: Any
    ) -> None:
        """How many times as long as ours the other takes, round by round."""
        each = [other / own for own, other in zip(ours, theirs, strict=True)]
        self.add(what, against=against, wanted=wanted, ratio=statistics.median(each), least=min(each),
                 largest=max(each), ours_seconds=statistics.median(ours),
                 their_seconds=statistics.median(theirs), rounds=len(each), **more)  # fmt: skip


def environment(root: Path, name: str, folder: Path) -> Path | None:
    """The Python of a library's own environment, made from its requirements when it is first asked for."""
    home = root / name
    python = home / "bin" / "python"
    if not (home / "ready").is_file():
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
            requirements = folder / f"requirements-{name}.txt"
            subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", requirements], check=True)
        except subprocess.CalledProcessError as error:
            print(f"{name}: cannot be installed here: {error}", flush=True)
            return None
        (home / "ready").touch()
    return python


def run_json(python: Path | str, script: Path, *arguments: object, timeout: float = 3600) -> dict[str, Any]:
    """The JSON that a script prints in its last line."""
    done = subprocess.run(
        [python, script, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{script.name}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def table(rows: list[dict[str, Any]]) -> str:
    """The ratios as a Markdown table."""
    lines = ["| what | against | wanted | ratio (least to largest) |", "|---|---|---|---|"]
    for row in rows:
        if "ratio" in row:
            spread = f"{row['ratio']:.3g} ({row['least']:.3g} to {row['largest']:.3g})"
            lines.append(f"| {row['what']} | {row['against']} | {row['wanted']} | {spread} |")
        elif "value" in row:
            lines.append(f"| {row['what']} | {row.get('against', '-')} | {row['wanted']} | {row['value']} |")
    return "\n".join(lines)
