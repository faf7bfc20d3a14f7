"""Memory that rows take when they are scored and compared: the peak with many rows less the peak with few.

    python benchmarks/memory.py --rows 100000 --results benchmarks/results/memory.jsonl

Each measurement is a process of its own, with a model so small that the peak is that of the rows. Parts:

- `evaluate`: a CSV file of so many texts scored with a teacher beside it;
- `distill`: three epochs on so many texts, so that three augmented versions of each are kept;
- `compare`: the tables of five methods and three seeds with the logits of so many rows each;
- `augment-csv`, `augment-jsonl`, `augment-parquet`: a file of so many texts, and one augmented version of each,
  written to shards; few rows are one shard;
- `predict-csv`, `predict-jsonl`, `predict-parquet`: a file of so many texts answered by an exported model.

    python benchmarks/memory.py --parts augment-csv augment-jsonl augment-parquet --rows 300000
"""

import argparse
import csv
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from augpro.models.named import model_location
from augpro.results.environment import library_versions, machine_facts

METHODS = ("fine-tune", "none", "random", "knn", "augpro-mix")
SEEDS = (0, 1, 2)
FEW = {"evaluate": 200, "compare": 200, "distill": 2_000}
SHARD_ROWS = 10_240


def make_model(folder: Path, classes: int) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model_location("minilm"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        id2label={i: f"class {i}" for i in range(classes)}, label2id={f"class {i}": i for i in range(classes)},
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_data(path: Path, rows: int, classes: int) -> None:
    draw = random.Random(0)
    words = [
        "invoice",
        "refund",
        "server",
        "slow",
        "please",
        "again",
        "the",
        "my",
        "is",
        "export",
        "button",
        "month",
    ]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for row in range(rows):
            writer.writerow([f"{' '.join(draw.choices(words, k=10))} {row}", f"class {row % classes}"])


def evaluate(folder: Path) -> None:
    from augpro.config import EvaluateConfig
    from augpro.distillation.scoring import evaluate_model

    model = str(folder / "model")
    evaluate_model(EvaluateConfig(data=str(folder / "rows.csv"), model=model, teacher=model))


def distill(folder: Path) -> None:
    from augpro.config import DistillConfig
    from augpro.distillation.pipeline import run

    model = str(folder / "model")
    run(DistillConfig(data=str(folder / "rows.csv"), teacher=model, student=model, augment="random", epochs=3,
                      batch_size=128, trainer_options={"save_strategy": "no"}, out=folder / "student"))  # fmt: skip


def augment(folder: Path) -> None:
    from augpro.shards.options import AugmentConfig
    from augpro.shards.plan import make_augment_plan
    from augpro.shards.run import run_augment

    data = next(folder.glob("rows.*"))
    config = AugmentConfig(
        data=str(data), student=str(folder / "model"), augment="random", copies=1, shard_rows=SHARD_ROWS,
        out=folder / "shards",
    )  # fmt: skip
    manifest = run_augment(make_augment_plan(config))
    assert sum(shard.rows for shard in manifest.shards) == manifest.expected_rows


def export(folder: Path) -> None:
    """Export the model, in a process of its own as all else that is not measured."""
    command = [
        "-m",
        "augpro.cli",
        "export",
        "--model",
        folder / "model",
        "--out",
        folder / "exported",
        "--no-timing",
    ]
    subprocess.run([sys.executable, *map(str, command)], check=True, capture_output=True)


def predict(folder: Path) -> None:
    from augpro.predict.options import PredictConfig
    from augpro.predict.predicting import make_predict_plan, run_predict

    data = next(folder.glob("rows.*"))
    out = folder / f"answers{data.suffix}"
    run_predict(make_predict_plan(PredictConfig(model=str(folder / "exported"), data=data, out=out)))


def rename_labels(path: Path) -> None:
    """Call the column of labels otherwise, as one of that name is added."""
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("text,label", "text,gold", 1), encoding="utf-8")


def convert(path: Path, ending: str) -> None:
    """Write the CSV file in another format, and remove it."""
    if ending == "csv":
        return
    import pandas

    rows = pandas.read_csv(path)
    if ending == "jsonl":
        rows.to_json(path.with_suffix(".jsonl"), orient="records", lines=True)
    else:
        rows.to_parquet(path.with_suffix(".parquet"))
    path.unlink()


def make_predictions(folder: Path, rows: int, classes: int) -> None:
    from safetensors.torch import save_file

    (folder / "predictions").mkdir()
    lines = []
    gold, keys = torch.arange(rows) % classes, torch.arange(rows)
    teacher = torch.nn.functional.one_hot(gold, classes).float() * 3
    for method in METHODS:
        for seed in SEEDS:
            key = f"{method}-{seed}"
            torch.manual_seed(seed)
            tensors = {
                "student": teacher + torch.randn(rows, classes),
                "teacher": teacher,
                "labels": gold,
                "row_keys": keys,
            }
            save_file({f"evaluation.{name}": value for name, value in tensors.items()},
                      folder / "predictions" / f"{key}.safetensors")  # fmt: skip
            lines.append({
                "cell": {"method": method, "seed": seed, "size": None, "epochs": 1.0, "key": key}, "task": "rows",
                "method": method, "seed": seed, "train_rows": rows, "eval_rows": rows, "metric_name": "accuracy",
                "problem_type": "single_label", "epochs": 1.0, "seconds": 1.0, "phase_seconds": {"student": 1.0},
                "evaluation": {"rows": rows, "metrics": {"accuracy": 0.9}, "agreement": 0.9},
                "teacher": {"evaluation": {"rows": rows, "metrics": {"accuracy": 1.0}}},
            })  # fmt: skip
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def compare(folder: Path) -> None:
    from augpro.compare.comparison import compare_rows
    from augpro.compare.grid import Grid, ResultsFile
    from augpro.config import CompareConfig

    config = CompareConfig(data="", teacher="", methods=METHODS, seeds=SEEDS, epochs=1.0, out=folder)
    assert compare_rows(
        Grid(config), ResultsFile(folder / "results.jsonl").rows, folder / "predictions"
    ).tables


def peak_mib() -> float:
    """The most memory that this process has held, by the kernel's count for its own program.

    ``getrusage`` counts what the process held that started it, too.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def measure(part: str, rows: int, classes: int) -> tuple[float, float]:
    """Peak memory in MiB and seconds of one part, in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if part == "compare":
            make_predictions(folder, rows, classes)
        else:
            make_model(folder / "model", classes)
            make_data(folder / "rows.csv", rows, classes)
            if part.startswith("predict"):
                export(folder)
                rename_labels(folder / "rows.csv")
            convert(folder / "rows.csv", part.partition("-")[2] or "csv")
        done = subprocess.run(
            [sys.executable, __file__, "--part", part, "--folder", name],
            check=True,
            capture_output=True,
            text=True,
        )
        peak, seconds = map(float, done.stdout.split()[-2:])
    return peak, seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 77])
    parser.add_argument("--results", type=Path)
    parser.add_argument("--parts", nargs="+", default=["evaluate", "compare"])
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        import time

        started = time.perf_counter()
        work = {part.__name__: part for part in (evaluate, distill, compare, augment, predict)}
        work[args.part.split("-")[0]](args.folder)
        print(peak_mib(), time.perf_counter() - started)
        return
    for part in args.parts:
        for classes in args.classes if part in FEW else [2]:
            few, _ = measure(part, FEW.get(part, SHARD_ROWS), classes)
            many, seconds = measure(part, args.rows, classes)
            line = {
                "part": part, "rows": args.rows, "classes": classes,
                "peak_mib": round(many), "peak_mib_few": round(few),
                "rows_mib": round(many - few), "seconds": round(seconds, 1), "seed": 0,
                "versions": library_versions(), "machine": machine_facts(),
            }  # fmt: skip
            print(
                json.dumps(
                    {key: line[key] for key in ("part", "rows", "classes", "peak_mib", "rows_mib", "seconds")}
                )
            )
            if args.results:
                with open(args.results, "a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
