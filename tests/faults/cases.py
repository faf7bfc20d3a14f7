"""The commands that are killed, on some rows and models of one and two layers."""

import json
from pathlib import Path
from typing import Any

from kills import Case

# What is measured, how many labels came from the store, and the folders of the run.
_VARIES = {
    "seconds", "phase_seconds", "label_seconds", "texts_per_second", "peak_memory_mib", "teacher_labels", "config",
    "label_store", "checksum",
}  # fmt: skip


def inputs(folder: Path, rows: int) -> dict[str, str]:
    """Data and models, made once; returns their paths."""
    from augpro.testing import TEXTS, tiny_classifier, tiny_tokenizer

    train = [
        f"{TEXTS[number % 20]} {TEXTS[number // 20 % 20]} {TEXTS[number // 400]}" for number in range(rows)
    ]

    if not folder.exists():
        tokenizer = tiny_tokenizer()
        (folder / "data").mkdir(parents=True)
        labels = ["negative", "positive"]
        for split, texts in {"train": train, "validation": TEXTS[:8]}.items():
            lines = [f"{text},{labels[number % 2]}" for number, text in enumerate(texts)]
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
        # A run that is killed after its result is there leaves the checkpoints, which it was about to remove.
        if not path.is_file() or name == ".lock" or name.startswith("checkpoints/"):
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

    def __init__(self, given: dict[str, str], **options: Any) -> None:
        self.given, self.options = given, options

    def __call__(self, folder: Path) -> None:
        from augpro.config import DistillConfig
        from augpro.distillation.pipeline import run

        if (folder / "result.json").exists():
            return
        resume = (folder / "config.augpro.json").exists()
        run(DistillConfig(
            **self.given, **self.options, out=folder, epochs=2, batch_size=8, learning_rate=0.01, resume=resume,
            label_store=folder.parent / "labels.sqlite", trainer_options={"disable_tqdm": True},
        ))  # fmt: skip


class Augment:
    """``augpro augment`` in two files, with the teacher's labels or without."""

    def __init__(self, given: dict[str, str], labels: bool, copies: int = 1) -> None:
        self.given, self.labels, self.copies = given, labels, copies

    def __call__(self, folder: Path) -> None:
        from augpro.shards.options import AugmentConfig
        from augpro.shards.plan import make_augment_plan
        from augpro.shards.run import run_augment

        given = self.given if self.labels else {**self.given, "teacher": None}
        store = {"label_store": folder.parent / "labels.sqlite"} if self.labels else {}
        run_augment(
            make_augment_plan(AugmentConfig(**given, **store, copies=self.copies, shard_rows=256, out=folder))
        )


class Label:
    """``augpro label`` of the rows that ``augpro augment`` has made."""

    def __init__(self, given: dict[str, str]) -> None:
        self.given = given

    def __call__(self, folder: Path) -> None:
        from augpro.shards.manifest import Manifest
        from augpro.shards.options import LabelConfig
        from augpro.shards.relabel import make_label_plan, run_label

        if not (folder / "manifest.json").exists() or not Manifest.load(folder).complete:
            Augment(self.given, labels=False)(folder)
        store = folder.parent / "labels.sqlite"
        run_label(
            make_label_plan(LabelConfig(augmented=folder, teacher=self.given["teacher"], label_store=store))
        )


class DistilStored:
    """``augpro distill --augmented`` of rows that are there."""

    def __init__(self, given: dict[str, str], augmented: Path) -> None:
        self.given, self.augmented = given, augmented

    def __call__(self, folder: Path) -> None:
        Distil(self.given, augmented=self.augmented, candidates=2)(folder)


class Compare:
    """``augpro compare`` of two methods, whose cells are processes of their own."""

    def __init__(self, given: dict[str, str]) -> None:
        self.given = given

    def __call__(self, folder: Path) -> None:
        from augpro.compare.runner import run_compare
        from augpro.config import CompareConfig

        run_compare(CompareConfig(
            **self.given, methods=("augpro-mix",), epochs=1, batch_size=8, seeds=(0,), jobs=2, out=folder,
        ))  # fmt: skip


def tables(folder: Path) -> dict[str, Any]:
    """What a comparison leaves: predictions, and its results without what is measured."""
    lines = map(json.loads, (folder / "results.jsonl").read_text().splitlines())
    results = {line["cell"]["key"]: {key: line[key] for key in line if key not in _VARIES} for line in lines}
    return results | {path.name: path.read_bytes() for path in sorted((folder / "predictions").iterdir())}


NAMES = ["augment", "label", "distill", "distill --augmented", "compare"]


def all_cases(scratch: Path) -> list[Case]:
    """Every command; ``augment`` and ``label`` write two files."""
    few, many = inputs(scratch / "few", 20), inputs(scratch / "many", 300)
    if not (scratch / "stored").exists():
        Augment(few, labels=True, copies=2)(scratch / "stored")
    runs = [
        Augment(many, labels=True), Label(many), Distil(few, augment="augpro-mix"),
        DistilStored(few, scratch / "stored"), Compare(few),
    ]  # fmt: skip
    return [
        Case(name, run, tables if name == "compare" else files) for name, run in zip(NAMES, runs, strict=True)
    ]
