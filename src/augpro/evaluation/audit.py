"""What augmentation did to the checked rows: changed decisions, changed certainty, and duplicates.

Pure functions of texts and teacher logits. They judge a sample (see :mod:`augpro.distillation.samples`), so a share
of 500 rows is known to some four percentage points (95 %) and not better.
"""

from collections import Counter
from collections.abc import Sequence

from torch import Tensor

from augpro.data.same_text import normalize
from augpro.evaluation.metrics import decide
from augpro.losses import entropy
from augpro.tasks import ProblemType


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

    Case, accents and whitespace do not count, see :func:`augpro.data.same_text.normalize`.

    >>> duplicates(["a new text", "Same  twice", "same twice", "As it was"], ["as it was"])
    0.75
    """
    there = {normalize(text) for text in originals}
    plain = [normalize(text) for text in augmented]
    times = Counter(plain)
    return sum(times[text] > 1 or text in there for text in plain) / max(1, len(plain))
