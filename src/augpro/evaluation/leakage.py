"""Exact and near duplicates of texts among many references, such as the evaluation rows.

All references are compared, block by block. Exact duplicates are found by hash. A near duplicate has a tf-idf cosine
of at least 0.9 over character n-grams. A bound rules out most pairs. Let q be a text's unit vector, s its part on its
rarest n-grams and t the rest, so that q = s + t. For the unit vector r of a reference, r.q <= r.s + |t|, so the pair
can only be near if r.s >= 0.9 - |t|. The product with s is cheap, because rare n-grams are in few texts. Only texts
and references of the remaining pairs are multiplied in full, and no near pair is missed.

With 500 augmented and 500 original texts, 20,000 references of 60 characters take 0.8 s on one core of an AMD EPYC,
100,000 take 3.5 s; with 300 characters and more 4.3 s and 18 s; up to 80 MiB (``benchmarks/leakage.py``). The worst
case found, most texts being variations of a few long ones, takes 1.1 ms per reference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfTransformer
from tqdm.auto import tqdm

from augpro.data.same_text import normalize

Array = np.ndarray[Any, Any]
NEAR = 0.9  # minimum cosine of near duplicates
CHARACTERS = 300  # compared characters of each text, without whitespace
_GRAMS = (3, 4, 5)
_WEIGHED = 1000  # evenly spaced references for the tf-idf weights
_BLOCK = 1000  # references at a time, which bounds the memory
_RARE = 0.4  # share of a text's squared norm in the rare n-grams; 0.25 to 0.5 are about as fast
_ROUNDING = 1e-6  # error of 32-bit products
_BITS = 20
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio, as in Fibonacci hashing


@dataclass(frozen=True)
class Copies:
    """Which texts equal a reference (``exact``), and which equal or nearly equal one (``near``); both bool [N]."""

    exact: Array
    near: Array


def find_copies(texts: Sequence[str], references: Sequence[str]) -> Copies:
    """Compare every text with every reference.

    Case, accents and whitespace are ignored. Near duplicates have a tf-idf cosine of at least 0.9 over character 3-
    to 5-grams of the first 300 characters. The tf-idf weights come from the texts and up to 1,000 evenly spaced
    references, so one pass over the references is enough.

    Args:
        texts: up to some thousand; the cost grows with their number.
        references: any number; memory does not grow with it. A progress bar is shown after two seconds.
    """
    plain = [normalize(text) for text in texts]
    exact_texts: set[str] = set()
    near = np.zeros(len(texts), dtype=bool)
    if texts and references:
        known = set(plain)
        search = _NearSearch(plain, references)
        for start in tqdm(range(0, len(references), _BLOCK), desc="leakage", delay=2, leave=False):
            block = [normalize(text) for text in references[start : start + _BLOCK]]
            exact_texts |= known.intersection(block)
            near |= search.near(block)
    exact = np.array([text in exact_texts for text in plain], dtype=bool)
    return Copies(exact, near | exact)


class _NearSearch:
    """Finds which of some texts are near to any text of a block."""

    def __init__(self, plain: Sequence[str], references: Sequence[str]) -> None:
        step = -(-len(references) // _WEIGHED)
        counts = count_grams(plain)
        sample = count_grams([normalize(text) for text in references[::step]])
        # From the texts as well: n-grams that no reference has still distinguish a text.
        self.weights = TfidfTransformer().fit(sparse.vstack([counts, sample]))
        vectors = self.weights.transform(counts)
        self.whole = vectors.T.tocsr()
        rare, bound = _rare_part(vectors, self.weights.idf_)
        self.rare, self.bound = rare.T.tocsr(), bound

    def near(self, block: Sequence[str]) -> Array:
        """Which texts are near a text of this block and of no earlier one, bool [N]."""
        vectors = self.weights.transform(count_grams(block))
        products = vectors @ self.rare
        possible = products.data >= self.bound[products.indices]
        texts = np.unique(products.indices[possible])
        rows = np.unique(np.repeat(np.arange(len(block)), np.diff(products.indptr))[possible])
        near = np.zeros(len(self.bound), dtype=bool)
        if len(texts):
            cosines = vectors[rows] @ self.whole[:, texts]
            near[texts] = cosines.max(axis=0).toarray()[0] >= NEAR - _ROUNDING
            self.bound[near] = np.inf  # found once is enough
        return near


def _rare_part(vectors: Any, rarity: Array) -> tuple[Any, Array]:
    """The vectors restricted to each text's rarest n-grams, and their minimum product with a near reference, [N]."""
    part = vectors.copy()
    bound = np.full(part.shape[0], NEAR)
    for row, (start, end) in enumerate(pairwise(part.indptr)):
        order = start + np.argsort(-rarity[part.indices[start:end]], kind="stable")
        covered = np.cumsum(part.data[order].astype(float) ** 2)
        rest = order[np.searchsorted(covered, _RARE) + 1 :]
        bound[row] -= np.sqrt((part.data[rest].astype(float) ** 2).sum())
        part.data[rest] = 0.0
    part.eliminate_zeros()
    return part, bound - _ROUNDING


def count_grams(texts: Sequence[str]) -> Any:
    """Counts of character 3- to 5-grams of the first 300 characters, hashed into 2**20 columns: a CSR matrix.

    Does the same as scikit-learn's ``HashingVectorizer`` in a quarter of the time.
    """
    texts = [text[:CHARACTERS] for text in texts]
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
    codes += np.uint64(1)  # with a leading 0 an n-gram would equal the shorter one after it
    # The upper bits hold the number of the text, so one sort groups equal n-grams of a text.
    numbers = np.arange(len(texts), dtype=np.uint64) << np.uint64(_BITS)
    text_of = np.repeat(numbers, [len(text) for text in texts])
    keys, polynomial = [], codes
    for length in range(2, max(_GRAMS) + 1):
        polynomial = polynomial[:-1] * _FACTOR + codes[length - 1 :]
        if length in _GRAMS:
            first = text_of[: len(polynomial)]
            column = (polynomial * _FACTOR) >> np.uint64(64 - _BITS)
            keys.append((first | column)[first == text_of[length - 1 :]])  # none crosses into the next text
    distinct, times = np.unique(np.concatenate(keys), return_counts=True)
    ends = np.searchsorted(distinct, numbers + np.uint64(1 << _BITS))
    columns = (distinct & np.uint64((1 << _BITS) - 1)).astype(np.int32)
    starts = np.concatenate([[0], ends]).astype(np.int32)
    return sparse.csr_matrix((times.astype(np.float32), columns, starts), (len(texts), 1 << _BITS))
