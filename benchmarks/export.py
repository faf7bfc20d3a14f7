"""Size, agreement with PyTorch, throughput and cold start of exported students.

    python benchmarks/export.py --student runs/student --data glue/sst2 --kinds int8 int8-10mb \
        --results benchmarks/results/export.jsonl

Kinds: `onnx`, `int8`, `int8-10mb` or another size, `int8-trimmed` (the tokens of the training texts), with `-all`
those of all texts of the data (for who knows the texts to come), `int8-trimmed-all-10mb`, and `dynamic` (activations
rounded too, which augpro does not offer). `--parity` leaves times out.
Throughput: the evaluation rows at batch 32 with tokenization, median of three turns: of augpro-runtime, of PyTorch
with texts sorted by length as in `augpro evaluate`, and of a pipeline of transformers, which takes them as they come.
Nothing else may use the cores. Rows are never printed.
"""

import argparse
import hashlib
import json
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import pipeline

from augpro.data.loading import load_data
from augpro.data.spec import DataSpec
from augpro.export.exporting import run_export
from augpro.export.options import ExportConfig
from augpro.export.parity import compare
from augpro.export.plan import make_export_plan
from augpro.export.timing import cold_start
from augpro.models.reading import predict_logits
from augpro.results.environment import library_versions, machine_facts
from augpro.tokens import tokenize
from augpro_runtime import Classifier, Manifest


def dynamic(folder: Path) -> None:
    """Quantize activations too, with a scale for each batch."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = folder / "model.onnx"
    quantize_dynamic(model, model, ["MatMul", "Gemm"], per_channel=True, weight_type=QuantType.QInt8)
    manifest = Manifest.from_json((folder / "augpro.json").read_text(encoding="utf-8"))
    manifest.files["model.onnx"] = hashlib.sha256(model.read_bytes()).hexdigest()
    (folder / "augpro.json").write_text(manifest.to_json(), encoding="utf-8")


def write_texts(data: str, path: Path) -> None:
    """The texts of all splits, without labels."""
    with open(path, "w", encoding="utf-8") as file:
        for split in load_data(DataSpec(data, make_validation=False)).splits.values():
            for row, text in enumerate(split.texts):
                pair = {} if split.pairs is None else {"pair": split.pairs[row]}
                file.write(json.dumps({"text": text, **pair}) + "\n")


def seconds(work: Callable[[], Any]) -> float:
    """The median of three turns."""
    spent = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        spent.append(time.perf_counter() - started)
    return statistics.median(spent)


def measure(kind: str, args: argparse.Namespace) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as name:
        out, texts = Path(name) / "exported", None
        if "-all" in kind:
            texts = Path(name) / "texts.jsonl"
            write_texts(args.data, texts)
        most = re.search(r"-([\d.]+)mb$", kind)
        plan = make_export_plan(
            ExportConfig(model=args.student, data=args.data, out=out, int8=kind.startswith("int8"),
                         trim_vocabulary="trimmed" in kind, timing=False, texts=texts,
                         max_megabytes=float(most[1]) if most else None)
        )  # fmt: skip
        result = run_export(plan)
        if kind == "dynamic":
            dynamic(out)
        model, rows = plan.source.load_trained_classifier().eval(), plan.rows
        classifier = Classifier.load(out, threads=args.threads)
        tokenizer, limit = plan.source.load_tokenizer(), plan.limit

        def pytorch() -> Any:
            return predict_logits(model, tokenize(tokenizer, rows.texts, rows.pairs, limit), 32).numpy()

        def runtime() -> Any:
            return classifier.logits(rows.texts, rows.pairs)

        expected, found = pytorch(), runtime()
        parity = compare(found, expected, plan.problem, expected.any(axis=1) & False)
        size = sum((out / file).stat().st_size for file in classifier.manifest.files)
        line = {
            "kind": kind, "task": Path(args.data).name, "layers": model.config.num_hidden_layers,
            "rows": len(rows), "mb": round(size / 1e6, 2),
            "pytorch_mb": round(result.sizes.model_before / 1e6, 2),
            "tokens": result.sizes.kept_tokens, "equal_decisions": round(parity.agreement, 5),
            "largest_difference": round(parity.largest, 4), "mean_difference": round(parity.mean, 5),
            "retokenized_rows": result.parity.retokenized,
        }  # fmt: skip
        if args.parity:
            return line
        asked = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")

        def piped() -> Any:
            return asked(rows.texts, batch_size=32, truncation=True, max_length=limit)

        speeds = {
            f"{name}texts_per_second": round(len(rows) / seconds(work), 1)
            for name, work in (("", runtime), ("pytorch_", pytorch), ("pipeline_", piped))
        }
        start = round(cold_start(str(out), exported=True), 2)
        return {**line, "threads": args.threads, **speeds, "cold_start_seconds": start}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--student", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument(
        "--kinds", nargs="+", default=["onnx", "int8", "int8-trimmed", "int8-10mb", "dynamic"]
    )
    parser.add_argument("--parity", action="store_true", help="leave times out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for kind in args.kinds:
        line = measure(kind, args)
        print(json.dumps(line), flush=True)
        if args.results:
            with open(args.results, "a", encoding="utf-8") as file:
                file.write(
                    json.dumps(line | {"versions": library_versions(), "machine": machine_facts()}) + "\n"
                )


if __name__ == "__main__":
    main()
