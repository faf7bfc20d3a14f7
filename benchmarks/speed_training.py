"""Speed of generation and of whole distillation runs, beside a plain loop and TextBrewer."""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from speed_common import Results, environment, rounds, run_json

from augpro import DistillConfig, run
from augpro.distillation.plan import make_plan
from augpro.distillation.train import load_teacher, online_augmentation
from augpro.models.reading import predict_logits
from augpro.models.source import load_student
from augpro.tokens import join, tokenize
from augpro.training.dataset import DistillationDataset, label_tensor
from augpro.training.meter import Meter
from augpro.training.online import OnlineAugmentation

NEIGHBOURS = Path(__file__).parent / "neighbours"
RECIPE = {"learning_rate": 5e-4, "epochs": 10, "freeze_embeddings": True, "candidates": 1}
# The method as it was before a partner's tokens were its default, which is what the other loops do.
MIX = {"augment": "augpro-mix", "augment_options": {"replace_fraction": 0.6, "partner_fraction": 0.0}}
HOLDOUT = 5000


def config(args: argparse.Namespace, out: Path | str = "unused", **changes: Any) -> DistillConfig:
    options = {"data": str(args.data), "teacher": str(args.teacher), "train_rows": 1000,
               "student": "minilm", "student_layers": (0, 5),
               "out": out, "trainer_options": {"save_strategy": "no", "disable_tqdm": True}}  # fmt: skip
    return DistillConfig(**{**options, **RECIPE, **changes})


class Steps:
    """The parts of a training step by themselves, over one epoch of batches of like length."""

    def __init__(self, settings: DistillConfig) -> None:
        plan = make_plan(settings)
        tokenizer = plan.student.load_tokenizer()
        cpu = torch.device("cpu")
        self.student: Any = load_student(
            plan.student, plan.task, plan.student_layers, settings.freeze_embeddings, 0
        )
        self.teacher: Any = load_teacher(plan, settings, cpu)
        train = plan.data.splits["train"]
        table = tokenize(tokenizer, train.texts, train.pairs)
        self.logits = self.teacher.label(train.texts, train.pairs)
        self.data = DistillationDataset(table, label_tensor(train.labels, plan.task), self.logits)
        found = online_augmentation(plan, settings, self.student, tokenizer, self.teacher, Meter())
        assert found is not None
        self.augmentation: OnlineAugmentation = found
        self.objective, self.pad_id = plan.objective, table.pad_id
        order = np.argsort(table.lengths, kind="stable")
        self.batches = [table.batch(order[i : i + 32]) for i in range(0, len(order), 32)]
        learned = [weight for weight in self.student.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(learned, lr=1e-6, fused=True)
        self.epoch = 0
        self.augmented = self.generate()

    def generate(self) -> list[Any]:
        """Augmented rows of an epoch, another one each time."""
        self.epoch += 1
        with self.augmentation.meter.phase("epoch"):
            return [
                self.augmentation.augment(
                    batch, self.logits[batch.row_ids], self.data, self.student, self.epoch
                )
                for batch in self.batches
            ]

    def train(self) -> None:
        """All but the generation: the teacher reads the augmented rows, the student learns from both."""
        self.student.train()
        for batch, augmented in zip(self.batches, self.augmented, strict=True):
            theirs = self.teacher.label_tokens(augmented, self.augmentation.space.vocabulary)
            ours = self.student(**join(batch, augmented, self.pad_id).model_inputs()).logits
            rows = len(batch.ids)
            loss = self.objective.originals(ours[:rows], None, self.logits[batch.row_ids])
            (loss + self.objective.augmented(ours[rows:], theirs)).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()

    def forward_backward(self) -> None:
        """One pass of the student over the originals, as in training."""
        self.student.train()
        for batch in self.batches:
            self.student(**batch.model_inputs()).logits.square().mean().backward()
            self.student.zero_grad()


def generation(args: argparse.Namespace, results: Results) -> None:
    """After a first epoch, in which the neighbour lists of the tokens that occur are built."""
    parts = Steps(config(args, **MIX))
    spent = rounds({"mix": parts.generate, "rest": parts.train}, 5)
    shares = [mix / rest for mix, rest in zip(spent["mix"], spent["rest"], strict=True)]
    results.add("AugPro-Mix's generation, share of the step without it", wanted="at most 3 %", against="the step",
                value=f"{statistics.median(shares):.1%}", shares=shares, epoch_seconds=spent)  # fmt: skip
    parts = Steps(config(args, augment="augpro-fgsm"))
    spent = rounds({"fgsm": parts.generate, "pass": parts.forward_backward}, 5)
    times = [own / one for own, one in zip(spent["fgsm"], spent["pass"], strict=True)]
    results.add("AugPro-FGSM's generation", against="forward and backward of the student", wanted="at most 1.3",
                value=f"{statistics.median(times):.2f}", times=times, epoch_seconds=spent)  # fmt: skip


def profile(args: argparse.Namespace, results: Results) -> None:
    """Where a step's time goes: operators with the most time of their own, over one epoch."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    for freeze in (True, False):
        parts = Steps(config(args, **MIX, freeze_embeddings=freeze))
        parts.train()
        with profiler(activities=[ProfilerActivity.CPU]) as found:
            parts.generate()
            parts.train()
        averages = found.key_averages()
        whole = sum(one.self_cpu_time_total for one in averages)
        top = sorted(averages, key=lambda one: -one.self_cpu_time_total)[:12]
        shares = {one.key: round(one.self_cpu_time_total / whole, 4) for one in top}
        results.add(f"profile of a step, embeddings {'frozen' if freeze else 'trained'}", shares=shares,
                    epoch_seconds=whole / 1e6)  # fmt: skip


def ours(args: argparse.Namespace, **changes: Any) -> dict[str, Any]:
    """Seconds and quality of a run of ours; the seconds are those after loading and before scoring."""
    with tempfile.TemporaryDirectory() as folder:
        result = run(config(args, Path(folder) / "student", holdout_rows=HOLDOUT, **changes))
    spent = sum(value for name, value in result.phase_seconds.items() if name not in ("load", "evaluate"))
    assert result.holdout is not None
    return {"train_seconds": spent, "kl_to_teacher": result.holdout.kl_to_teacher,
            "accuracy": result.holdout.metrics["accuracy"], "phases": result.phase_seconds}  # fmt: skip


def plain(args: argparse.Namespace, seed: int, augment: str, freeze: bool) -> dict[str, Any]:
    given = {"data": args.data, "teacher": args.teacher, "train-rows": 1000, "holdout-rows": HOLDOUT, "seed": seed,
             "epochs": RECIPE["epochs"], "learning-rate": RECIPE["learning_rate"], "batch-size": 32,
             "augment": augment}  # fmt: skip
    flags = [str(part) for name, value in given.items() for part in (f"--{name}", value)]
    return run_json(sys.executable, NEIGHBOURS / "plain_loop.py", *flags, *["--freeze-embeddings"] * freeze)


def against_plain(args: argparse.Namespace, results: Results, freeze: bool, seeds: tuple[int, ...]) -> None:
    own = [ours(args, seed=seed, **MIX, freeze_embeddings=freeze) for seed in seeds]
    other = [plain(args, seed, "mix", freeze) for seed in seeds]
    what = f"whole distillation, embeddings {'frozen' if freeze else 'trained'}"
    times = ([one["train_seconds"] for one in runs] for runs in (own, other))
    results.ratio(what, "a plain Trainer loop that does the same", "2.5", *times, runs=own, their_runs=other)


def distillation(args: argparse.Namespace, results: Results) -> None:
    against_plain(args, results, freeze=True, seeds=(0, 1))


def trained(args: argparse.Namespace, results: Results) -> None:
    against_plain(args, results, freeze=False, seeds=(0,))


def compiled(args: argparse.Namespace, results: Results) -> None:
    """torch.compile of the student, the time that compiling takes counted."""
    options = {"save_strategy": "no", "disable_tqdm": True, "torch_compile": True}
    own, other = (ours(args, **MIX, **more) for more in ({}, {"trainer_options": options}))
    results.ratio("whole distillation, student not compiled", "the same with torch.compile", "-",
                  *([one["train_seconds"]] for one in (own, other)), runs=[own], their_runs=[other])  # fmt: skip


def textbrewer(args: argparse.Namespace, results: Results) -> None:
    python = environment(args.environments, "textbrewer", NEIGHBOURS) if args.environments else None
    if python is None:
        return
    own = [ours(args, seed=seed, augment="none") for seed in (0, 1)]
    with tempfile.TemporaryDirectory() as folder:
        rows, student = Path(folder) / "rows.jsonl", Path(folder) / "student"
        plan = make_plan(config(args, augment="none"))
        load_student(plan.student, plan.task, plan.student_layers, True, 0).save_pretrained(student)
        rows.write_text(
            "".join(json.dumps({"text": text}) + "\n" for text in plan.data.splits["train"].texts)
        )
        other = [
            run_json(python, NEIGHBOURS / "textbrewer_kd.py", "--rows", rows, "--student", student, "--teacher",
                     args.teacher, "--epochs", RECIPE["epochs"], "--batch-size", 32, "--learning-rate",
                     RECIPE["learning_rate"], "--freeze-embeddings")
            for _ in range(2)
        ]  # fmt: skip
    times = ([one["train_seconds"] for one in runs] for runs in (own, other))
    results.ratio(
        "plain distillation", "TextBrewer's GeneralDistiller", "1.5", *times, runs=own, their_runs=other
    )


def rows(args: argparse.Namespace, results: Results) -> None:
    """One epoch of augpro-mix on more and more rows: milliseconds a row and peak memory."""
    for count in (1_000, 8_000, 60_000):
        with tempfile.TemporaryDirectory() as folder:
            result = run(config(args, Path(folder) / "student", **MIX, train_rows=count, epochs=1))
        spent = sum(value for name, value in result.phase_seconds.items() if name not in ("load", "evaluate"))
        results.add("one epoch of augpro-mix", rows=count, ms_a_row=1e3 * spent / count,
                    peak_mib=result.peak_memory_mib["student"])  # fmt: skip


def latency(args: argparse.Namespace, results: Results) -> None:
    """One text at a time and 128 at once, on the CPU."""
    settings = config(args, augment="none")
    plan = make_plan(settings)
    student = load_student(plan.student, plan.task, plan.student_layers, True, 0).eval()
    teacher: Any = load_teacher(plan, settings, torch.device("cpu"))
    table = tokenize(plan.student.load_tokenizer(), plan.data.splits["train"].texts[:128])

    def one_by_one(model: Any) -> None:
        with torch.inference_mode():
            for row in range(64):
                model(**table.batch([row]).model_inputs())

    for what, work in (
        ("a text at a time", one_by_one),
        ("128 texts", lambda model: predict_logits(model, table)),
    ):
        spent = rounds({"student": lambda: work(student), "teacher": lambda: work(teacher.model)}, 5)  # noqa: B023
        results.ratio(f"latency of the 2-layer student, {what}", "its teacher", "reported", spent["student"],
                      spent["teacher"])  # fmt: skip


def start_up(args: argparse.Namespace, results: Results) -> None:
    """Seconds until a command has answered."""
    import subprocess

    program = Path(sys.executable).parent / "augpro"
    distill = ["distill", "--data", args.data, "--teacher", args.teacher, "--out", "unused", "--dry-run"]
    commands = {"augpro --help": ["--help"], "augpro distill --help": ["distill", "--help"],
                "augpro distill --dry-run": distill}  # fmt: skip
    spent = rounds({
        name: lambda flags=flags: subprocess.run([program, *flags], check=True, capture_output=True)
        for name, flags in commands.items()
    }, 3)  # fmt: skip
    for name, values in spent.items():
        results.add("start-up", command=name, seconds=statistics.median(values))
