"""Texts that a seed has always given: 200 rows of helpdesk, with every kind of chain that augpro-mix can be.

A change of these hashes is a change of every published result.
"""

import hashlib

import pytest
import torch

from augpro.augment import AugmentContext, EmbeddingSpace, augmenter
from augpro.data.loading import DataSpec, load_data
from augpro.row_random import RowRandom
from augpro.tokens import tokenize
from augpro.vocabulary import Vocabulary
from common import wordpiece

ROWS, WIDTH = 200, 16


@pytest.fixture(scope="module")
def rows():
    texts = load_data(DataSpec("helpdesk")).splits["train"].texts[:ROWS]
    words = sorted({word.strip(".,!?;:'\"()").lower() for text in texts for word in text.split()} - {""})
    tokenizer = wordpiece(words)
    table = tokenize(tokenizer, texts)
    # The same on every machine: no generator that a library may change.
    place = torch.arange(len(tokenizer) * WIDTH, dtype=torch.float64).view(-1, WIDTH)
    embeddings = torch.sin(place * 12.9898 + place**2 * 0.1).float()
    return table, EmbeddingSpace(embeddings, Vocabulary(tokenizer, len(tokenizer)))


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("augpro-mix", {}, "979438edfa8e680d"),
        ("augpro-mix", {"partner_unit": "two-spans", "beta": 0.4}, "33966cb7762d5c16"),
        ("augpro-mix", {"partner_unit": "clause", "repeat_partner": False}, "35541336ad2248a3"),
        ("augpro-mix", {"partner": "same-class", "partner_fraction": 0.2, "top_k": 5}, "4a9bb5db2712a8e1"),
        ("augpro-mix", {"partner_fraction": 0.0}, "0f9f5f7d9fa0130d"),
        ("augpro-noise", {"partner_fraction": 0.5}, "e1c7021d84eab4a4"),
        ("knn", {"partner_fraction": 0.3, "partner_unit": "span"}, "9d7effe8b1d9f7bf"),
        ("crossover", {}, "9561cebf5898f64b"),
        ("crossover", {"unit": "span"}, "ba1aba40ac074939"),
        ("random", {}, "62676028b46f90b3"),
        ("several", {}, "2627ce92674c7305"),
    ],
)
def test_a_seed_gives_the_texts_it_always_gave(rows, name, options, expected):
    table, space = rows
    classes = torch.arange(ROWS) % 3
    texts = []
    for copy in range(2):
        context = AugmentContext(RowRandom(3, copy), space, table, classes)
        made = augmenter(name, **options)(table.batch(range(ROWS)), context)
        texts += space.vocabulary.decode(made)
    assert hashlib.sha256("\n".join(map(repr, texts)).encode()).hexdigest()[:16] == expected
