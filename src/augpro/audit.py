"""What augmentation did to the checked rows: changed decisions, changed certainty, copies, and leakage.

Pure functions of texts and teacher logits. They judge a sample (see :mod:`augpro.samples`), so a share of 500
rows is known to some four percentage points (95 %) and not better.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from torch import Tensor

from augpro.evaluation import decide
from augpro.losses import entropy
from augpro.tasks import ProblemType

NEAR = 0.9  # cosine from which two texts are told to be nearly the same
# Bounds on the work, so that the check stays well under two seconds whatever the data: long texts that agree
# in their first characters are near duplicates already, and a sample of the references shows a leak.
_CHARACTERS = 300
_REFERENCES = 1000


def teacher_changes(before: Tensor, after: Tensor, problem_type: ProblemType) -> dict[str, float]:
    """How augmentation changed what the teacher says.

    Args:
        before: teacher logits of the originals, [N, C], N at least 1.
        after: of the augmented rows, [N, C].
        problem_type: of the task.

    Returns:
        ``label_flips``, the share of rows whose decision changed (multi-label: any of its labels; left out for
        a regression), and for single-label tasks ``teacher_entropy_before`` and ``teacher_entropy_after``,
        means in nats.
    """
    found: dict[str, float] = {}
    if problem_type != "regression":
        changed = decide(before, problem_type) != decide(after, problem_type)
        found["label_flips"] = float(changed.reshape(len(before), -1).any(1).mean())
    if problem_type == "single_label":
        found["teacher_entropy_before"] = float(entropy(before.double()).mean())
        found["teacher_entropy_after"] = float(entropy(after.double()).mean())
    return found


def duplicates(augmented: Sequence[str], originals: Sequence[str]) -> float:
    """Share of augmented texts that equal another augmented text or any original one.

    Case, accents and whitespace do not count: a tokenizer that lowers and spaces texts makes no new ones.

    >>> duplicates(["a new text", "Same  twice", "same twice", "As it was"], ["as it was"])
    0.75
    """
    there = {_plain(text) for text in originals}
    plain = [_plain(text) for text in augmented]
    times = Counter(plain)
    return sum(times[text] > 1 or text in there for text in plain) / max(1, len(plain))


def near_duplicates(
    augmented: Sequence[str], originals: Sequence[str], references: Sequence[str]
) -> tuple[float, float]:
    """Shares of augmented and of original texts that nearly are one of the references.

    Near is a cosine of at least 0.9 of the tf-idf of character 3- to 5-grams (case, accents and whitespace taken
    away, as in :func:`duplicates`). Up to 1,000 references, evenly drawn, and the first 300 characters of every
    text are looked at.

    Args:
        augmented: the augmented texts.
        originals: the texts that they were made from.
        references: texts that training must not see, such as the evaluation rows.

    Returns:
        The share for the augmented texts, then that for the originals: what was near before is no leak of the
        augmentation.
    """
    if not (augmented and originals and references):
        return 0.0, 0.0
    step = max(1, -(-len(references) // _REFERENCES))
    groups = (augmented, originals, references[::step])
    texts = [_plain(text)[:_CHARACTERS] for group in groups for text in group]
    counts = HashingVectorizer(
        analyzer="char",
        ngram_range=(3, 5),
        n_features=2**20,
        norm=None,
        alternate_sign=False,
        lowercase=False,
    ).transform(texts)
    # Fitted on all of them: an n-gram that no reference has still makes a text another one.
    vectors = TfidfTransformer().fit_transform(counts).tocsr()
    first = len(augmented) + len(originals)
    nearest = (vectors[:first] @ vectors[first:].T).max(axis=1).toarray()[:, 0]
    near = nearest >= NEAR - 1e-9
    return float(np.mean(near[: len(augmented)])), float(np.mean(near[len(augmented) :]))


def _plain(text: str) -> str:
    """Without case, accents and whitespace."""
    letters = unicodedata.normalize("NFKD", "".join(text.casefold().split()))
    return "".join(letter for letter in letters if not unicodedata.combining(letter))
