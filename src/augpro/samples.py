"""Originals beside their augmented text, with the changed words marked, for people to read."""

import difflib
import re
from typing import Any

from torch import Tensor

from augpro.evaluation import decide
from augpro.results import RunResult, Sample
from augpro.tasks import Task
from augpro.tokens import TokenBatch
from augpro.trainer import DistillationDataset, OnlineAugmentation

# A special character, or what makes a number at the start of a line a list item.
_MARKDOWN = re.compile(r"(?=[\\`*_{}\[\]<>#+|~&!-])|(?<=\d)(?=[.)](?:\s|$))")
_CHECKED_ROWS = 1000
_SAMPLES = 20


def draw_samples(
    augmentation: OnlineAugmentation, dataset: DistillationDataset, student: Any, task: Task
) -> tuple[list[Sample], float]:
    """Augment up to 1,000 training rows once more, as in the first epoch.

    Returns:
        20 samples, and the share of rows whose tokens are not what the tokenizer makes of their text.
    """
    device = augmentation.space.table.device
    vocabulary = augmentation.space.vocabulary
    samples: list[Sample] = []
    mismatched = 0.0
    rows = min(_CHECKED_ROWS, len(dataset))
    assert dataset.teacher_logits is not None
    for start in range(0, rows, _SAMPLES):
        batch = dataset.table.batch(range(start, min(start + _SAMPLES, rows))).to(device)
        before = dataset.teacher_logits[batch.row_ids.cpu()]
        augmented = augmentation.augment(batch, before.to(device), dataset, student, copy=0)
        if not isinstance(augmented, TokenBatch):  # virtual rows cannot be read
            return [], 0.0
        mismatched += vocabulary.mismatch_rate(augmented) * len(augmented.ids)
        if not samples:  # the teacher is asked for those that are shown alone
            after = augmentation.teacher.label_tokens(augmented, vocabulary)
            texts = [_joined(*vocabulary.decode(rows)) for rows in (batch, augmented)]
            labels = [_label_names(task, logits.cpu()) for logits in (before, after)]
            samples = [Sample(*fields) for fields in zip(*texts, *labels, strict=True)]
    return samples, mismatched / max(1, rows)


def samples_markdown(result: RunResult) -> str:
    """A Markdown page; everything that came from the data is escaped."""
    lines = [
        f"# {_escape(result.task)}: {result.method}",
        "",
        "Changed words are in bold; the label is the teacher's.",
        "",
    ]
    for number, sample in enumerate(result.samples, start=1):
        before, after = marked(sample, "**", _escape)
        lines += [
            f"{number}. {before} → *{_escape(sample.original_label)}*  ",
            f"   {after} → *{_escape(sample.augmented_label)}*",
            "",
        ]
    return "\n".join(lines)


def marked(sample: Sample, mark: str, escape: Any = str) -> tuple[str, str]:
    """Both texts with ``mark`` around every word that differs."""
    before, after = sample.original.split(), sample.augmented.split()
    matcher = difflib.SequenceMatcher(a=before, b=after, autojunk=False)
    sides: tuple[list[str], list[str]] = ([], [])
    for kind, start_a, end_a, start_b, end_b in matcher.get_opcodes():
        for side, words in zip(sides, (before[start_a:end_a], after[start_b:end_b]), strict=True):
            around = "" if kind == "equal" else mark
            side += [f"{around}{escape(word)}{around}" for word in words]
    return " ".join(sides[0]), " ".join(sides[1])


def _escape(text: str) -> str:
    return _MARKDOWN.sub(r"\\", " ".join(text.split()))


def _joined(texts: list[str], pairs: list[str] | None) -> list[str]:
    return texts if pairs is None else [f"{text} ‖ {pair}" for text, pair in zip(texts, pairs, strict=True)]


def _label_names(task: Task, logits: Tensor) -> list[str]:
    """The decision for each row as a name, with its probability; a score for a regression."""
    decisions = decide(logits, task.problem_type)
    if task.problem_type == "regression":
        return [f"{value:.2f}" for value in decisions]
    if task.problem_type == "multi_label":
        return [", ".join(task.label_names[i] for i in row.nonzero()[0]) or "none" for row in decisions]
    sure = logits.softmax(1).amax(1)
    return [f"{task.label_names[i]} {p:.2f}" for i, p in zip(decisions, sure.tolist(), strict=True)]
