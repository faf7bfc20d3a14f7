"""Size, agreement with PyTorch, throughput and cold start of exported students.

    python benchmarks/export.py --student runs/student --data glue/sst2 --kinds int8 int8-10mb \
        --results benchmarks/results/export.jsonl

Kinds: `onnx`, `int8`, `int8-trimmed` (the tokens of the training texts), `int8-10mb` or another size, and `dynamic`
(activations rounded too, which augpro does not offer). Throughput: the evaluation rows at batch 32 with tokenization,
the median of three turns: of augpro-runtime, of PyTorch with texts sorted by length as in `augpro evaluate`, and of a
pipeline of transformers, which takes them as they come. Nothing else may use the cores. Rows are never printed.
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


def turns(work: Callable[[], Any]) -> tuple[Any, float]:
    """What some work gives, and the median of its seconds in three turns."""
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        found = work()
        seconds.append(time.perf_counter() - started)
    return found, statistics.median(seconds)


def measure(kind: str, args: argparse.Namespace) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "exported"
        most = re.fullmatch(r"int8-([\d.]+)mb", kind)
        plan = make_export_plan(
            ExportConfig(model=args.student, data=args.data, out=out, int8=kind.startswith("int8"),
                         trim_vocabulary=kind == "int8-trimmed", timing=False,
                         max_megabytes=float(most[1]) if most else None)
        )  # fmt: skip
        result = run_export(plan)
        if kind == "dynamic":
            dynamic(out)
        rows, tokenizer = plan.rows, plan.source.load_tokenizer()
        model = plan.source.load_trained_classifier().eval()
        classifier = Classifier.load(out, threads=args.threads)
        asked = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
        expected, pytorch = turns(
            lambda: predict_logits(model, tokenize(tokenizer, rows.texts, rows.pairs, plan.limit), 32).numpy()
        )
        found, runtime = turns(lambda: classifier.logits(rows.texts, rows.pairs))
        _, piped = turns(lambda: asked(rows.texts, batch_size=32, truncation=True, max_length=plan.limit))
        size = sum((out / file).stat().st_size for file in classifier.manifest.files)
        parity = compare(found, expected, plan.problem, expected.any(axis=1) & False)
        return {
            "kind": kind, "task": Path(args.data).name, "layers": model.config.num_hidden_layers,
            "rows": len(rows), "mb": round(size / 1e6, 2),
            "pytorch_mb": round(result.sizes.model_before / 1e6, 2),
            "tokens": result.sizes.kept_tokens, "equal_decisions": round(parity.agreement, 5),
            "largest_difference": round(parity.largest, 4), "mean_difference": round(parity.mean, 5),
            "retokenized_rows": result.parity.retokenized,
            "threads": args.threads, "texts_per_second": round(len(rows) / runtime, 1),
            "pytorch_texts_per_second": round(len(rows) / pytorch, 1),
            "pipeline_texts_per_second": round(len(rows) / piped, 1),
            "cold_start_seconds": round(cold_start(str(out), exported=True), 2),
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--student", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument(
        "--kinds", nargs="+", default=["onnx", "int8", "int8-trimmed", "int8-10mb", "dynamic"]
    )
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
