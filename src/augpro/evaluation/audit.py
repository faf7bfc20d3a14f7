"""Checks of augmented rows: label flips, changes of the teacher's entropy, and duplicates.

Pure functions of texts and teacher logits. They are applied to a sample (see :mod:`augpro.distillation.samples`), so
a share of 500 rows has a 95 % interval of about plus or minus four percentage points.
"""

from collections import Counter
from collections.abc import Sequence

from torch import Tensor

from augpro.data.same_text import normalize
from augpro.evaluation.metrics import decide
from augpro.losses import entropy
from augpro.tasks import ProblemType


def teacher_changes(before: Tensor, after: Tensor, problem_type: ProblemType) -> dict[str, float]:
    """How augmentation changed the teacher's predictions.

    Args:
        before: teacher logits of the originals, [N, C], N at least 1.
        after: teacher logits of the augmented rows, [N, C].
        problem_type: of the task.

    Returns:
        ``label_flips``, the share of rows whose predicted label changed (multi-label: any label; omitted for a
        regression), and for single-label tasks ``teacher_entropy_before`` and ``teacher_entropy_after``, means in
        nats.
    """
    measured: dict[str, float] = {}
    if problem_type != "regression":
        changed = decide(before, problem_type) != decide(after, problem_type)
        measured["label_flips"] = float(changed.reshape(len(before), -1).any(1).mean())
    if problem_type == "single_label":
        measured["teacher_entropy_before"] = float(entropy(before.double()).mean())
        measured["teacher_entropy_after"] = float(entropy(after.double()).mean())
    return measured


def duplicates(augmented: Sequence[str], originals: Sequence[str]) -> float:
    """Share of augmented texts that equal another augmented text or any original one.

    Case, accents and whitespace are ignored, see :func:`augpro.data.same_text.normalize`.

    >>> duplicates(["a new text", "Same  twice", "same twice", "As it was"], ["as it was"])
    0.75
    """
    known = {normalize(text) for text in originals}
    plain = [normalize(text) for text in augmented]
    times = Counter(plain)
    return sum(times[text] > 1 or text in known for text in plain) / max(1, len(plain))
