"""Throughput of ``augpro augment`` beside the same work in a loop, and with two workers beside one.

    OMP_NUM_THREADS=1 python benchmarks/shard_speed.py --data DATA/sst2 --teacher runs/sst2-teacher --results FILE

The loop tokenizes, augments and labels the same texts in one process and keeps nothing: no files, no checksums, no
data file that is read as a stream. All of them load the models anew. They take turns, and each line has the seconds
of one turn.
"""

import argparse
import csv
import itertools
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from augpro.augment import AugmentContext, EmbeddingSpace, augmenter
from augpro.data.loading import load_data
from augpro.data.spec import DataSpec
from augpro.models.reading import fastest_device
from augpro.models.source import ModelSource
from augpro.results.environment import library_versions, machine_facts
from augpro.row_random import RowRandom
from augpro.shards.options import AugmentConfig
from augpro.shards.plan import make_augment_plan
from augpro.shards.run import run_augment
from augpro.teachers.teacher import Teacher
from augpro.tokens import tokenize
from augpro.vocabulary import Vocabulary

BATCH = 128  # rows that are augmented at once, as in a shard


def loop(arguments: argparse.Namespace, _: Path) -> int:
    """The work alone; returns how many rows it has labelled."""
    source = ModelSource(arguments.teacher)
    tokenizer, model = source.load_tokenizer(), source.load_trained_classifier()
    table = source.load_classifier().get_input_embeddings().get_parameter("weight")
    space = EmbeddingSpace(table.to(fastest_device()), Vocabulary(tokenizer, len(table)))
    teacher = Teacher(model, tokenizer, None, fastest_device())
    texts = load_data(DataSpec(str(arguments.file))).splits["train"].texts
    method, rows = augmenter("augpro-mix"), tokenize(tokenizer, texts, None)
    classes, labelled = teacher.label(texts).argmax(1), len(texts)
    for copy in range(arguments.copies):
        context = AugmentContext(RowRandom(0, copy), space, rows, classes)
        made: list[str] = []
        for part in torch.arange(len(texts)).split(BATCH):
            with torch.no_grad():
                made += space.vocabulary.decode(method(rows.batch(part).to(space.table.device), context))[0]
        labelled += len(teacher.label(made))
    return labelled


def shards(workers: int) -> Callable[[argparse.Namespace, Path], int]:
    """``augpro augment`` with so many workers."""

    def run(arguments: argparse.Namespace, folder: Path) -> int:
        config = AugmentConfig(
            data=str(arguments.file), student=arguments.teacher, teacher=arguments.teacher,
            copies=arguments.copies, shard_rows=arguments.rows // 4, workers=workers, out=folder / "rows",
        )  # fmt: skip
        return sum(shard.rows for shard in run_augment(make_augment_plan(config)).shards)

    return run


def write_texts(data: str, rows: int, path: Path) -> None:
    """The first training texts of a task, so that all have the same."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [["text"], *([text] for text in load_data(DataSpec(data)).splits["train"].texts[:rows])]
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--copies", type=int, default=3)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--results", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    facts = {"versions": library_versions(), "machine": machine_facts()}
    ways = {"loop": loop, "one worker": shards(1), "two workers": shards(2)}
    with tempfile.TemporaryDirectory() as scratch:
        arguments.file = Path(scratch) / "texts.csv"
        write_texts(arguments.data, arguments.rows, arguments.file)
        for turn, (name, run) in itertools.product(range(arguments.turns), ways.items()):
            started = time.perf_counter()
            rows = run(arguments, Path(scratch) / f"{name}-{turn}")
            line = {"way": name, "turn": turn, "rows": rows, "seconds": time.perf_counter() - started}
            print(line, flush=True)
            if arguments.results:
                with arguments.results.open("a") as file:
                    file.write(json.dumps(line | {"copies": arguments.copies, "seed": 0} | facts) + "\n")


if __name__ == "__main__":
    main()
