"""Speed of augpro beside what else does the same work: ratios measured side by side, and where the limits are.

    python benchmarks/speed.py --data DATA/sst2 --teacher runs/sst2-teacher --environments ENVS \
        --results benchmarks/results/speed.jsonl

Everything is measured in rounds in which each contender runs once, after one warm-up, so that a machine that
slows down slows all of them. A ratio is the median of the rounds' ratios, with the least and the largest.
``--only projection training`` runs some of the parts. Libraries to compare with are installed into environments
of their own under ``--environments``; without it their cells stay empty.
"""

import argparse
import json
from pathlib import Path

import speed_neighbours
import speed_projection
import speed_training
from speed_common import Results, table

PARTS = {
    "projection": speed_projection.projection,
    "large": speed_projection.large_vocabulary,
    "steps": speed_projection.steps,
    "memory": speed_projection.memory,
    "scaling": speed_projection.scaling,
    "profile": speed_training.profile,
    "generation": speed_training.generation,
    "distillation": speed_training.distillation,
    "compiled": speed_training.compiled,
    "textbrewer": speed_training.textbrewer,
    "trained": speed_training.trained,
    "rows": speed_training.rows,
    "latency": speed_training.latency,
    "start": speed_training.start_up,
    "offline": speed_neighbours.offline,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of SST-2")
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--environments", type=Path, help="folder for the environments of other libraries")
    parser.add_argument("--results", type=Path, required=True, help="JSON Lines; a part that ran is replaced")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--device", default="cpu", help="of the part 'projection': cpu or cuda")
    parser.add_argument("--model", default="minilm", help="whose embeddings that part searches")
    args = parser.parse_args()
    kept = []
    if args.results.is_file():
        kept = [json.loads(line) for line in args.results.read_text().splitlines()]
    for part in args.only:
        results = Results(part)
        PARTS[part](args, results)
        kept = [row for row in kept if row["part"] != part] + results.rows
        order = list(PARTS)
        kept.sort(key=lambda row: order.index(row["part"]))
        args.results.write_text("".join(json.dumps(row) + "\n" for row in kept))
    print(table(kept))


if __name__ == "__main__":
    main()
