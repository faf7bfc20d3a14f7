"""``augpro quickstart``: fine-tune a teacher on the embedded data, distil students and compare them."""

import statistics
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from augpro.cli.display import number, with_interval
from augpro.config import DistillConfig, FinetuneConfig
from augpro.data.loading import DataSpec, load_data
from augpro.distillation.pipeline import run
from augpro.distillation.samples import marked
from augpro.files.durable import write_json
from augpro.models.source import ModelSource
from augpro.results.output import claim_new
from augpro.results.result import RunResult, Sample
from augpro.results.terminal import shown, visible
from augpro.teachers.teacher import Teacher

# Lengths and rates were chosen on the validation split (benchmarks/README.md, "Sizes of the quickstart").
TEACHER: dict[str, Any] = {"epochs": 4, "learning_rate": 3e-4}
STUDENT: dict[str, Any] = {
    "epochs": 20, "learning_rate": 2e-4, "batch_size": 16, "train_rows": 0.2, "freeze_embeddings": True,
    "student_layers": (0, 2, 5), "dropout": 0.1,
}  # fmt: skip
# Short runs that are not resumed need neither checkpoints nor a loss on the screen for every epoch.
TRAINER: dict[str, Any] = {"save_strategy": "no", "logging_strategy": "no"}
FAST_TEACHER: dict[str, Any] = {"epochs": 1, "train_rows": 64}
FAST_STUDENT: dict[str, Any] = {"epochs": 1, "train_rows": 64}


def run_quickstart(out: Path, seed: int, fast: bool, console: Console) -> None:
    """Fine-tune a teacher on ``helpdesk``, train a 3-layer student in three ways, print one table.

    Args:
        out: new folder for teacher, students and results.
        seed: of everything that is random.
        fast: a smoke test.
        console: where to print.

    Raises:
        augpro.errors.InputError: if the folder is in use or the base model is not available.
    """
    claim_new(out)
    started = time.perf_counter()
    console.rule("1/4 teacher: MiniLM, 6 layers, fine-tuned on the labelled messages")
    common: dict[str, Any] = {
        "data": "helpdesk",
        "seed": seed,
        "eval_split": "test",
        "trainer_options": TRAINER,
    }
    options = TEACHER | (FAST_TEACHER if fast else {})
    results = {
        "teacher, 6 layers": run(FinetuneConfig(model="minilm", out=out / "teacher", **common, **options))
    }
    common |= STUDENT | {"teacher": str(out / "teacher")}
    if fast:  # each text is labelled once; in the whole quickstart the seconds of a student are all its own
        common |= FAST_STUDENT | {"label_store": out / "labels.sqlite"}
    for step, (title, name, options) in enumerate(_STUDENTS, start=2):
        console.rule(f"{step}/4 student with three layers of the teacher: {title}")
        results[title] = run(DistillConfig(out=out / name, **common, **options))
    folders = [out / "teacher", *(out / name for _, name, _ in _STUDENTS)]
    texts = 10 if fast else 50
    costs = {title: cost_of(folder, texts) for title, folder in zip(results, folders, strict=True)}
    write_json(
        out / "quickstart.json",
        {title: result.model_dump(mode="json") | costs[title] for title, result in results.items()},
    )
    console.print(_table(results, costs, started))
    if fast:
        console.print(
            "--fast only checks that everything works; leave it out to get meaningful figures.",
            style="yellow",
        )
    _show_pairs(console, results["augpro-mix"].samples[:5])
    console.print(_how_to_use(visible(str(out / "augpro"))), highlight=False, markup=False)


# Both distilled students train on texts without gold labels: label_weight is 0 by default.
_STUDENTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("labels only", "labels", {"augment": "none", "label_weight": 1.0, "teacher_weight": 0.0}),
    ("plain distillation", "kd", {"augment": "none"}),
    ("augpro-mix", "augpro", {"augment": "augpro-mix"}),
)


def cost_of(folder: Path, texts: int) -> dict[str, float]:
    """Size of the weights, and median time to classify one text, tokenizing included."""
    source = ModelSource(str(folder))
    model = Teacher(source.load_trained_classifier(), source.load_tokenizer())
    rows = load_data(DataSpec("helpdesk")).splits["test"].texts[: texts + 5]
    seconds = []
    for text in rows:
        started = time.perf_counter()
        model.label([text])
        seconds.append(time.perf_counter() - started)
    return {
        "megabytes": (folder / "model.safetensors").stat().st_size / 1e6,
        "latency_ms": 1000 * statistics.median(seconds[5:]),  # the first few warm up
    }


def _table(results: dict[str, RunResult], costs: dict[str, dict[str, float]], started: float) -> Table:
    rows = next(iter(results.values())).eval_rows
    transfer = results["plain distillation"].train_rows
    table = Table(
        "model",
        "accuracy (95 % interval)",
        "agreement with the teacher",
        "MB",
        "ms a text",
        "seconds",
        title=f"helpdesk, test split ({rows} messages); each student was trained on {transfer} messages",
        caption="Training settings were chosen on the validation split; the figures are from the test split. "
        f"Total time: {time.perf_counter() - started:.0f} s.",
        title_justify="left",
        caption_justify="left",
    )
    for title, result in results.items():
        table.add_row(
            title,
            with_interval(result.evaluation),
            number(result.agreement),
            f"{costs[title]['megabytes']:.0f}",
            f"{costs[title]['latency_ms']:.1f}",
            f"{result.seconds:.0f}",
        )
    return table


def _show_pairs(console: Console, samples: list[Sample]) -> None:
    console.print(
        "\nOriginal and augmented texts with the teacher's label; [bold]changed words[/bold] are in bold"
    )
    for sample in samples:
        before, after = marked(sample, "\0", shown)
        for text, label in ((before, sample.original_label), (after, sample.augmented_label)):
            # An odd number of markers opens, an even one closes.
            pieces = text.split("\0")
            styled = "".join(f"[bold]{piece}[/bold]" if i % 2 else piece for i, piece in enumerate(pieces))
            console.print(Padding(f"{styled}  [dim]{shown(label)}[/dim]", (0, 0, 0, 2)), highlight=False)
        console.print()


def _how_to_use(folder: str) -> str:
    return (
        f"The student is in {folder}. Use it:\n\n"
        "    from transformers import pipeline\n"
        f"    classify = pipeline('text-classification', '{folder}')\n"
        "    print(classify('I was charged twice this month'))\n"
    )
