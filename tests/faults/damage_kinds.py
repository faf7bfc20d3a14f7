"""The kinds of files that are damaged, made by runs of tiny models."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import cases


class _Stop(BaseException):
    """Ends a run as Ctrl-C does."""


def _stopped(given: dict[str, str], folder: Path, epochs: int, **options: Any) -> None:
    """A run that was stopped after an epoch, with a checkpoint of each."""
    from transformers import TrainerCallback

    from augpro.distillation.pipeline import run

    class StopAfter(TrainerCallback):
        def on_save(self, args, state, control, **_):
            if state.epoch >= epochs:
                raise _Stop

    try:
        run(_config(given, folder, **options), [StopAfter()])
    except _Stop:
        return
    raise AssertionError("the run was not stopped")


def _config(given: dict[str, str], folder: Path, **options: Any) -> Any:
    from augpro.config import DistillConfig

    settings = {"epochs": 3, "batch_size": 8, "learning_rate": 0.01, "augment": "augpro-mix", **options}
    return DistillConfig(**given, **settings, out=folder / "out", trainer_options={"disable_tqdm": True})


def _resumed(given: dict[str, str], **options: Any) -> Any:
    def read(folder: Path) -> Any:
        from augpro.distillation.pipeline import run

        run(_config(given, folder, **options, resume=True))
        return cases.files(folder / "out")

    return read


def _labels(given: dict[str, str], folder: Path) -> Any:
    """A label store in use: the newest labels are in the file beside it."""
    from augpro.models.source import ModelSource
    from augpro.teachers.teacher import Teacher
    from augpro.testing import TEXTS

    source = ModelSource(given["teacher"])
    teacher = Teacher(
        source.load_trained_classifier(), source.load_tokenizer(), store=folder / "labels.sqlite"
    )
    return teacher, teacher.label(TEXTS).tolist()


def _stores(given: dict[str, str]) -> Any:
    def make(folder: Path) -> None:
        import shutil

        teacher, _ = _labels(given, folder / "open")
        for path in (folder / "open").iterdir():  # as a kill leaves them: closing would join the files
            if not path.name.endswith("-shm"):
                shutil.copyfile(path, folder / path.name)
        teacher.store.connection.close()
        shutil.rmtree(folder / "open")

    return make


def _joined_store(given: dict[str, str]) -> Any:
    def make(folder: Path) -> None:
        teacher, _ = _labels(given, folder)
        teacher.store.connection.close()

    return make


def _relabelled(given: dict[str, str]) -> Any:
    def read(folder: Path) -> Any:
        teacher, labels = _labels(given, folder)
        teacher.store.connection.close()
        return labels

    return read


def _exported(given: dict[str, str]) -> Any:
    def make(folder: Path) -> None:
        from augpro.teachers.exchange import export_labels

        _joined_store(given)(folder)
        export_labels(_store(folder), folder / "labels.parquet")

    return make


def _store(folder: Path, name: str = "labels.sqlite") -> Any:
    from augpro.teachers.store import LabelStore

    return LabelStore(folder / name)


def _imported(folder: Path) -> Any:
    from augpro.teachers.exchange import import_labels

    import_labels(_store(folder, "other.sqlite"), folder / "labels.parquet")
    with sqlite3.connect(folder / "other.sqlite") as connection:
        query = "SELECT identity, config, labels.* FROM labels JOIN teachers ON teachers.id = teacher"
        return sorted(map(repr, connection.execute(query)))


def _run(given: dict[str, str]) -> Any:
    def make(folder: Path) -> None:
        from augpro.distillation.pipeline import run

        run(_config(given, folder, epochs=1))

    return make


def _scored(given: dict[str, str]) -> Any:
    def read(folder: Path) -> Any:
        from augpro.config import EvaluateConfig
        from augpro.distillation.scoring import evaluate_model

        scores = evaluate_model(EvaluateConfig(data=given["data"], model=str(folder / "out")))
        return {name: found.model_dump() for name, found in scores.items()}

    return read


def _reported(folder: Path) -> Any:
    from augpro.report.data import read_studies

    (study,) = read_studies([folder / "out"])
    return [row.line() for panel in study.panels for row in panel.runs()], study.texts(), study.notes


def _compared(given: dict[str, str]) -> Any:
    def read(folder: Path) -> Any:
        cases.Compare(given)(folder / "out")
        return cases.tables(folder / "out")

    return read


def _augmented(given: dict[str, str], labels: bool = True) -> Any:
    def read(folder: Path) -> Any:
        cases.Augment(given, labels=labels, copies=2)(folder / "out")
        return cases.files(folder / "out")

    return read


def _labelled(given: dict[str, str]) -> Any:
    def read(folder: Path) -> Any:
        cases.Label(given)(folder / "out")
        return cases.files(folder / "out")

    return read


def _trained(given: dict[str, str]) -> Any:
    def read(folder: Path) -> Any:
        cases.DistilStored(given, folder / "out")(folder / "student")
        return cases.files(folder / "student")

    return read


def _stored_rows(given: dict[str, str]) -> Any:
    """A set whose training rows are stored, and whose shard was not made yet."""

    def make(folder: Path) -> None:
        from augpro.shards.options import AugmentConfig
        from augpro.shards.plan import make_augment_plan
        from augpro.shards.rows import store_rows

        _augmented(given)(folder)
        config = AugmentConfig(**given, copies=2, out=folder / "out")
        store_rows(make_augment_plan(config).rows, config.data_spec(), folder / "out")
        for path in (folder / "out").glob("*.parquet"):
            path.unlink()

    return make


def _searched(given: dict[str, str]) -> Any:
    def run(folder: Path) -> Any:
        import shutil

        from augpro.distillation.pipeline import run

        shutil.rmtree(folder / "out", ignore_errors=True)
        options = {"student": given["teacher"], "student_layers": "auto:1", "epochs": 1, "augment": "none"}
        store = {"label_store": folder / "labels.sqlite"}
        run(
            _config(
                {**given, "student": given["teacher"]},
                folder,
                **{k: v for k, v in options.items() if k != "student"},
                **store,
            )
        )
        left = cases.files(folder / "out")
        result = json.dumps(left.pop("result.json")["layer_search"]["layers"])
        return result, left["model.safetensors"]

    return run


def all_kinds(scratch: Path | None) -> list[Any]:
    """Every kind of file and every command that reads it; without a folder for models, to list them."""
    from damage import Kind

    few = cases.inputs(scratch / "few", 20) if scratch else {"teacher": "", "student": "", "data": ""}
    pool = (scratch or Path()) / "few" / "pool.csv"
    if scratch:
        texts = [f"a {word} film about {word}" for word in ("good", "bad", "slow", "fine", "old", "new")]
        pool.write_text("\n".join(["text", *texts]))
    choice = {
        "unlabelled": pool,
        "label_budget": 3,
        "label_by": "coverage",
        "augment": "none",
    }

    def stopped(**options: Any) -> Any:
        return lambda folder: _stopped(few, folder, 2, **options)

    def unlabelled(folder: Path) -> None:
        _augmented(few, labels=False)(folder)

    search = _searched(few)
    return [
        Kind("shard", "augment", _augmented(few), "out/*.parquet", _augmented(few)),
        Kind("shard", "label", unlabelled, "out/*.parquet", _labelled(few)),
        Kind("shard", "distill --augmented", _augmented(few), "out/*.parquet", _trained(few)),
        Kind("manifest", "augment", _augmented(few), "out/manifest.json", _augmented(few)),
        Kind("manifest", "distill --augmented", _augmented(few), "out/manifest.json", _trained(few)),
        Kind("training rows of a set", "augment", _stored_rows(few), "out/rows/*", _augmented(few)),
        Kind("label store", "distill", _joined_store(few), "labels.sqlite", _relabelled(few)),
        Kind("label store that was not closed", "distill", _stores(few), "labels.sqlite*", _relabelled(few)),
        Kind("exported labels", "labels import", _exported(few), "labels.parquet", _imported),
        Kind("checkpoint", "distill --resume", stopped(), "out/checkpoints/checkpoint-6/*", _resumed(few)),
        Kind("options of a run", "distill --resume", stopped(), "out/config.augpro.json", _resumed(few)),
        Kind("chosen texts", "distill --resume", stopped(**choice), "out/*/chosen*", _resumed(few, **choice)),
        Kind("layer search", "distill", search, "labels.layers/*.json", search),
        Kind("saved model", "evaluate", _run(few), "out/[cmt]*[ngs].[js]*", _scored(few)),
        Kind("result", "report", _run(few), "out/result.json", _reported),
        Kind("predictions", "report", _run(few), "out/predictions.safetensors", _reported),
        Kind("augmented texts", "report", _run(few), "out/samples.jsonl", _reported),
        Kind("results of a comparison", "compare", _compared(few), "out/results.jsonl", _compared(few)),
        Kind("predictions of a comparison", "compare", _compared(few), "out/predictions/*", _compared(few)),
        Kind("augmented texts of a comparison", "report", _compared(few), "out/samples/*", _reported),
    ]  # fmt: skip
