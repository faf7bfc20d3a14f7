"""Quality of distillation, with and without augmentation, over several seeds.

Runs ``augpro.run`` for every cell that is not in the results file yet (killed and started again, it goes
on), appends one line of ``result.json`` a cell, and prints the paired comparison of each method with the
first one:

    python benchmarks/quality.py --data DATA/sst2 --teacher runs/sst2-teacher --holdout-rows 5000 \
        --train-rows 1000 --epochs 10 --seeds 0,1,2 --methods none,augpro-mix \
        --results benchmarks/results/quality.jsonl
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from scipy import stats

from augpro import DistillConfig, run
from augpro.config import parse_value
from augpro.display import quiet_libraries

FIGURES = ("metric", "agreement", "kl_to_teacher")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="folder of one task")
    parser.add_argument("--teacher", required=True)
    parser.add_argument(
        "--methods", default="none,augpro-mix", help="method[:option=value...], comma separated"
    )
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--train-rows", type=float)
    parser.add_argument("--holdout-rows", type=int, default=0)
    parser.add_argument("--epochs", type=float, default=10)
    parser.add_argument("--set", action="append", default=[], help="any other option=value of augpro distill")
    parser.add_argument("--results", type=Path, required=True)
    return parser.parse_args()


def options_of(items: list[str]) -> dict[str, object]:
    return {key: parse_value(value) for key, _, value in (item.partition("=") for item in items)}


def cell_key(args: argparse.Namespace, method: str, seed: int) -> dict[str, object]:
    names = ("train_rows", "holdout_rows", "epochs", "set")
    task = Path(args.data).name
    return {"task": task, "method": method, "seed": seed, **{name: getattr(args, name) for name in names}}


def run_cell(args: argparse.Namespace, method: str, seed: int) -> dict[str, object]:
    name, *options = method.split(":")
    with tempfile.TemporaryDirectory() as folder:
        config = DistillConfig(
            data=args.data, teacher=args.teacher, student="minilm", student_layers=(0, 5), augment=name,
            augment_options=options_of(options), train_rows=args.train_rows, holdout_rows=args.holdout_rows,
            epochs=args.epochs, seed=seed, out=Path(folder) / "student",
            trainer_options={"save_strategy": "no", "disable_tqdm": True, "logging_strategy": "no"},
            **options_of(args.set),
        )  # fmt: skip
        result = run(config).to_json()
    for private in ("samples", "config"):  # texts of the data, and paths of this machine
        augmenter = result.pop(private, {})
    return {"cell": cell_key(args, method, seed), "augmenter": augmenter.get("augmenter"), **result}


def compare(rows: list[dict], methods: list[str]) -> None:
    """Means over seeds, and each method's paired difference from the first."""
    for part in ("evaluation", "holdout"):
        found = {
            method: {
                row["cell"]["seed"]: row[part]
                for row in rows
                if row["cell"]["method"] == method and row[part]
            }
            for method in methods
        }
        if not found[methods[0]]:
            continue
        print(f"\n{part}: {next(iter(found[methods[0]].values()))['rows']} rows")
        for method in methods:
            seeds = sorted(found[method])
            line = [f"{method:58s} seeds {len(seeds)}"]
            for name in FIGURES:
                values = [value(found[method][seed], name) for seed in seeds]
                line.append(f"{name} {statistics.mean(values):.4f}")
                both = [seed for seed in seeds if seed in found[methods[0]]]
                base = [value(found[methods[0]][seed], name) for seed in both]
                ours = [value(found[method][seed], name) for seed in both]
                if method != methods[0] and len(both) > 1:
                    p = stats.ttest_rel(ours, base).pvalue
                    difference = statistics.mean(ours) - statistics.mean(base)
                    line.append(f"({difference:+.4f}, {difference / statistics.mean(base):+.0%}, p={p:.3f})")
            print("  ".join(line))


def value(scores: dict, name: str) -> float:
    return next(iter(scores["metrics"].values())) if name == "metric" else scores[name]


def main() -> None:
    args = arguments()
    quiet_libraries()
    args.results.parent.mkdir(parents=True, exist_ok=True)
    args.results.touch()
    methods, seeds = args.methods.split(","), [int(seed) for seed in args.seeds.split(",")]
    wanted = [cell_key(args, method, seed) for method in methods for seed in seeds]
    for seed in seeds:
        for method in methods:
            rows = [json.loads(line) for line in args.results.read_text().splitlines()]
            if cell_key(args, method, seed) not in [row["cell"] for row in rows]:
                row = run_cell(args, method, seed)
                with open(args.results, "a") as file:
                    file.write(json.dumps(row) + "\n")
                print(f"{method} seed {seed}: {row['seconds']:.0f} s", flush=True)
    rows = [json.loads(line) for line in args.results.read_text().splitlines()]
    compare([row for row in rows if row["cell"] in wanted], methods)


if __name__ == "__main__":
    main()
