"""Texts a second that are augmented in one process, beside TextAttack and nlpaug."""

import argparse
import json
import tempfile
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from speed_common import Results, environment, run_json, seconds
from speed_projection import NEIGHBOURS, embedding_table

from augpro import DataSpec, augmenter, load_data
from augpro.augment import AugmentContext, EmbeddingSpace, Store
from augpro.models.source import ModelSource
from augpro.row_random import RowRandom
from augpro.tokens import tokenize
from augpro.vocabulary import Vocabulary

OURS, THEIRS = 5000, 500  # texts; the slower ones get fewer


class Offline:
    """Text to text by augpro-mix."""

    def __init__(self, texts: list[str]) -> None:
        tokenizer = ModelSource("minilm").load_tokenizer()
        table = embedding_table()
        self.vocabulary = Vocabulary(tokenizer, len(table))
        self.rows, self.space = tokenize(tokenizer, texts), EmbeddingSpace(table, self.vocabulary)
        self.method, self.copy = augmenter("augpro-mix"), 0
        self.batch = self.rows.batch(range(len(self.rows)))
        self.loaded: dict[Hashable, Any] = {}

    def augment(self) -> None:
        """Every text once more."""
        context = AugmentContext(RowRandom(0, self.copy), self.space, self.rows, store=Store(self.loaded))
        self.vocabulary.decode(self.method(self.batch, context))
        self.copy += 1

    def decode(self) -> None:
        """From tokens to text alone, which no augmentation of tokens can do without."""
        self.vocabulary.decode(self.batch)


def offline(args: argparse.Namespace, results: Results) -> None:
    """Our clock, like theirs, starts when the augmenter is there and has been used once; what came before is told."""
    texts = list(load_data(DataSpec(str(args.data))).splits["train"].texts[:OURS])
    made: list[Offline] = []
    loading = seconds(lambda: made.append(Offline(texts)))
    first = seconds(made[0].augment)
    own, decoding = (
        [len(texts) / seconds(step) for _ in range(5)] for step in (made[0].augment, made[0].decode)
    )
    results.add("augpro-mix, text to text", texts=len(texts), texts_per_second=own, loading_seconds=loading,
                first_copy_seconds=first)  # fmt: skip
    results.add(
        "limit: tokens to text by the tokenizer, nothing else", texts=len(texts), texts_per_second=decoding
    )
    if not args.environments:
        return
    for library in ("nlpaug", "textattack"):
        python = environment(args.environments, library, NEIGHBOURS)
        if python is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.jsonl"
            path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[:THEIRS]))
            found = run_json(python, NEIGHBOURS / f"{library}_words.py", "--rows", path)
        for method, rate in found["texts_per_second"].items():
            name = f"{library}: {method}"
            if rate is None:
                results.add("offline augmentation", against=name, wanted="50", value="cannot run without a download",
                            reason=found["reasons"][method])  # fmt: skip
            else:
                results.ratio("offline augmentation", name, "50", [1 / one for one in own], [1 / rate] * len(own),
                              their_texts_per_second=rate)  # fmt: skip
