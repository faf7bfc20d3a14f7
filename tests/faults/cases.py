"""The commands that are killed, on 24 rows and models of one and two layers."""

import json
from pathlib import Path
from typing import Any

from kills import Case

# What is measured, how many labels came from the store, and the folders of the run.
_VARIES = {
    "seconds", "phase_seconds", "label_seconds", "texts_per_second", "peak_memory_mib", "teacher_labels", "config",
    "label_store",
}  # fmt: skip


def inputs(folder: Path) -> dict[str, str]:
    """Data and models, made once; returns their paths."""
    from augpro.testing import TEXTS, tiny_classifier, tiny_tokenizer

    if not folder.exists():
        tokenizer = tiny_tokenizer()
        (folder / "data").mkdir(parents=True)
        labels = ["negative", "positive"]
        for split, rows in {"train": 20, "validation": 8}.items():
            lines = [f"{text},{labels[number % 2]}" for number, text in enumerate(TEXTS[:rows])]
            (folder / "data" / f"{split}.csv").write_text("\n".join(["text,label", *lines]))
        for name, layers in {"teacher": 2, "student": 1}.items():
            tiny_classifier(len(tokenizer), layers=layers, seed=layers).save_pretrained(folder / name)
            tokenizer.save_pretrained(folder / name)
    return {name: str(folder / name) for name in ("data", "teacher", "student")}


def files(folder: Path) -> dict[str, Any]:
    """Every file of a folder: its bytes, or its content without what is measured."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file():
            continue
        if path.name in ("result.json", "config.augpro.json"):
            found[name] = {
                key: value for key, value in json.loads(path.read_text()).items() if key not in _VARIES
            }
        elif path.suffix not in (".sqlite", ".log") and not name.endswith(("-wal", "-shm")):
            found[name] = path.read_bytes()
    return found


class Distil:
    """``augpro distill``, with --resume if there is something to go on with."""

    def __init__(self, given: dict[str, str]) -> None:
        self.given = given

    def __call__(self, folder: Path) -> None:
        from augpro.config import DistillConfig
        from augpro.distillation.pipeline import run

        if (folder / "result.json").exists():
            return
        resume = (folder / "config.augpro.json").exists()
        run(DistillConfig(
            **self.given, out=folder, augment="augpro-mix", epochs=2, batch_size=8, learning_rate=0.01, resume=resume,
            label_store=folder.parent / "labels.sqlite", trainer_options={"disable_tqdm": True},
        ))  # fmt: skip


def all_cases(scratch: Path) -> list[Case]:
    """Every command."""
    given = inputs(scratch / "inputs")
    return [Case("distill", Distil(given), files)]
