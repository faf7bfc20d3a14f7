"""Seconds and memory of the search for copies of scored rows, see ``augpro.evaluation.leakage``.

    OMP_NUM_THREADS=1 python benchmarks/leakage.py --results benchmarks/results/leakage.jsonl

500 augmented and 500 original texts, a tenth of the augmented ones copied, against 20,000 and 100,000 references:
texts of 60 and of 350 characters (300 of a text are looked at, spaces not counted), made by a chain of the words of
the embedded helpdesk messages. The hard case is variations of 20 long texts, where no bound rules out much. One core
is used; memory is the growth of the process.
"""

import argparse
import json
import random
import time
from itertools import pairwise
from pathlib import Path

import psutil

from augpro import DataSpec, load_data
from augpro.evaluation.leakage import find_copies
from augpro.results.environment import library_versions, machine_facts
from augpro.training.meter import Meter

SEED = 0


class Writer:
    """Texts in which each word followed the one before it in some helpdesk message."""

    def __init__(self):
        self.random = random.Random(SEED)
        splits = load_data(DataSpec("helpdesk")).splits.values()
        messages = [text.split() for split in splits for text in split.texts]
        self.starts = [words[0] for words in messages]
        self.follow = {}
        for words in messages:
            for word, after in pairwise(words):
                self.follow.setdefault(word, []).append(after)

    def text(self, length):
        words = [self.random.choice(self.starts)]
        while len(" ".join(words)) < length:
            words.append(self.random.choice(self.follow.get(words[-1], self.starts)))
        return " ".join(words)[:length]

    def variation(self, text):
        place = self.random.randrange(len(text))
        return text[:place] + self.text(self.random.randrange(5, 25)) + text[place:]


def measure(kind, length, references):
    writer = Writer()
    bases = [writer.text(length) for _ in range(20)]
    varied = kind == "variations"

    def new():
        return writer.variation(writer.random.choice(bases)) if varied else writer.text(length)

    scored, texts = ([new() for _ in range(count)] for count in (references, 1000))
    texts[:50] = scored[:: references // 50]
    before, meter = psutil.Process().memory_info().rss / 2**20, Meter()
    wall, processor = time.perf_counter(), time.process_time()
    with meter.phase("search"):
        found = find_copies(texts, scored)
    return {
        "texts": kind, "characters": length, "references": references,
        "seconds": round(time.perf_counter() - wall, 2),
        "processor_seconds": round(time.process_time() - processor, 2),
        "mib": round(meter.peak_mib["search"] - before), "exact": int(found.exact[:500].sum()),
        "near": int(found.near[:500].sum()), "seed": SEED, "versions": library_versions(), "machine": machine_facts(),
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, required=True)
    args = parser.parse_args()
    cases = [("different", length, count) for length in (60, 350) for count in (20_000, 100_000)]
    rows = [measure(*case) for case in [*cases, ("variations", 350, 20_000)]]
    args.results.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for row in rows:
        print(*(row[key] for key in list(row)[:8]), sep="\t")


if __name__ == "__main__":
    main()
