"""Which texts are, or nearly are, one of many references, such as the rows that a student is scored on.

All references are compared, block by block. Equal texts are found by hash. Near is a cosine of 0.9 or more between
tf-idf vectors of character n-grams, and a bound rules out most pairs. Let q be a text's unit vector, s its part on
its rarest n-grams and t the rest, so that q = s + t. For the unit vector r of a reference, r.q <= r.s + |t|: the pair
can only be near if r.s >= 0.9 - |t|. A product with s is cheap, as rare n-grams are in few texts. Only the texts and
references of pairs that pass are multiplied in full, and no near pair is missed.

With 500 augmented and 500 original texts, 20,000 references of 60 characters take 0.8 s on one core of an AMD EPYC,
100,000 take 3.5 s; of 300 characters and more 4.3 s and 18 s; up to 80 MiB (``benchmarks/leakage.py``). The worst
found, where most texts are variations of a few long ones, is 1.1 ms a reference.
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
NEAR = 0.9  # cosine from which two texts are nearly the same
CHARACTERS = 300  # of each text, without whitespace: long texts that agree in these are near
_GRAMS = (3, 4, 5)
_WEIGHED = 1000  # references that the tf-idf weights are taken from, evenly drawn
_BLOCK = 1000  # references at a time: what bounds the memory
_RARE = 0.4  # of a text's squared length is in the n-grams that rule pairs out; 0.25 to 0.5 are about as fast
_ROUNDING = 1e-6  # of 32-bit products
_BITS = 20
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio, as in Fibonacci hashing


@dataclass(frozen=True)
class Copies:
    """Which texts are in the references: ``exact`` equal one, ``near`` are equal or near; both bool [N]."""

    exact: Array
    near: Array


def find_copies(texts: Sequence[str], references: Sequence[str]) -> Copies:
    """Compare every text with every reference.

    Case, accents and whitespace do not count. Near is a cosine of at least 0.9 of the tf-idf of character 3- to
    5-grams of the first 300 characters. The tf-idf weights come from the texts and from up to 1,000 references,
    evenly drawn, so that one pass over the references is enough.

    Args:
        texts: up to some thousand; the cost grows with them too.
        references: any number; the memory does not grow with them. A progress bar is shown when they take more than
            two seconds.
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
        # Of the texts as well: an n-gram that no reference has still makes a text another one.
        self.weights = TfidfTransformer().fit(sparse.vstack([counts, sample]))
        vectors = self.weights.transform(counts)
        self.whole = vectors.T.tocsr()
        rare, bound = _rare_part(vectors, self.weights.idf_)
        self.rare, self.bound = rare.T.tocsr(), bound

    def near(self, block: Sequence[str]) -> Array:
        """Which texts are near to a text of the block and to none of the blocks before, bool [N]."""
        vectors = self.weights.transform(count_grams(block))
        found = vectors @ self.rare
        possible = found.data >= self.bound[found.indices]
        texts = np.unique(found.indices[possible])
        rows = np.unique(np.repeat(np.arange(len(block)), np.diff(found.indptr))[possible])
        near = np.zeros(len(self.bound), dtype=bool)
        if len(texts):
            cosines = vectors[rows] @ self.whole[:, texts]
            near[texts] = cosines.max(axis=0).toarray()[0] >= NEAR - _ROUNDING
            self.bound[near] = np.inf  # found once is enough
        return near


def _rare_part(vectors: Any, rarity: Array) -> tuple[Any, Array]:
    """The vectors on each text's rarest n-grams alone, and the least product of that with a near reference, [N]."""
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
    """Character 3- to 5-grams of the first 300 characters of each text, hashed into 2**20 columns: a CSR matrix.

    As scikit-learn's ``HashingVectorizer`` counts them, which takes four times as long, text by text in Python.
    """
    texts = [text[:CHARACTERS] for text in texts]
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
    codes += np.uint64(1)  # a leading 0 would make an n-gram equal to the shorter one behind it
    # The number of its text stands above the column, so that one sort brings equal n-grams of a text together.
    numbers = np.arange(len(texts), dtype=np.uint64) << np.uint64(_BITS)
    text_of = np.repeat(numbers, [len(text) for text in texts])
    keys, polynomial = [], codes
    for length in range(2, max(_GRAMS) + 1):
        polynomial = polynomial[:-1] * _FACTOR + codes[length - 1 :]
        if length in _GRAMS:
            first = text_of[: len(polynomial)]
            column = (polynomial * _FACTOR) >> np.uint64(64 - _BITS)
            keys.append((first | column)[first == text_of[length - 1 :]])  # none goes on into the next text
    found, times = np.unique(np.concatenate(keys), return_counts=True)
    ends = np.searchsorted(found, numbers + np.uint64(1 << _BITS))
    columns = (found & np.uint64((1 << _BITS) - 1)).astype(np.int32)
    starts = np.concatenate([[0], ends]).astype(np.int32)
    return sparse.csr_matrix((times.astype(np.float32), columns, starts), (len(texts), 1 << _BITS))
