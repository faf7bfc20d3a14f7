"""Texts a second that are augmented in one process, beside TextAttack and nlpaug."""

import argparse
import json
import tempfile
from pathlib import Path

from speed_common import Results, environment, run_json, seconds
from speed_projection import NEIGHBOURS, embedding_table

from augpro import DataSpec, augmenter, load_data
from augpro.augment import AugmentContext, EmbeddingSpace
from augpro.draws import Draws
from augpro.models import ModelSource
from augpro.tokens import tokenize
from augpro.vocabulary import Vocabulary

OURS, THEIRS = 5000, 500  # texts; the slower ones get fewer


def augment(texts: list[str], copies: int) -> int:
    """Text to text by augpro-mix, everything counted: table, vocabulary, tokens, lists, text."""
    tokenizer = ModelSource("minilm").load_tokenizer()
    table = embedding_table()
    vocabulary = Vocabulary(tokenizer, len(table))
    rows, space, method = (
        tokenize(tokenizer, texts),
        EmbeddingSpace(table, vocabulary),
        augmenter("augpro-mix"),
    )
    made = 0
    for copy in range(copies):
        for start in range(0, len(texts), 256):
            batch = rows.batch(range(start, min(start + 256, len(texts))))
            made += len(vocabulary.decode(method(batch, AugmentContext(Draws(0, copy), space, rows)))[0])
    return made


def offline(args: argparse.Namespace, results: Results) -> None:
    texts = list(load_data(DataSpec(str(args.data))).splits["train"].texts[:OURS])
    spent = [seconds(lambda: augment(texts, 2)) for _ in range(3)]
    own = [2 * len(texts) / one for one in spent]
    results.add("augpro-mix, text to text", texts=2 * len(texts), texts_per_second=own)
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
