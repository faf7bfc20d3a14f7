"""Checks of augmented texts, and samples of them beside their originals for people to read."""

import difflib
import operator
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from augpro.evaluation.audit import duplicates, teacher_changes
from augpro.evaluation.leakage import find_copies
from augpro.evaluation.metrics import decide
from augpro.results.result import RunResult, Sample
from augpro.results.terminal import visible
from augpro.results.texts import AugmentedText
from augpro.shards.stored import StoredAugmentation
from augpro.tasks import Task
from augpro.tokens import TokenBatch, tokenize
from augpro.training.dataset import DistillationDataset
from augpro.training.online import OnlineAugmentation

# A special character of Markdown, or the mark after a number that starts a list item.
_MARKDOWN = re.compile(r"(?=[\\`*_{}\[\]<>#+|~&!-])|(?<=\d)(?=[.)](?:\s|$))")
_CHECKED_ROWS, _LABELLED_ROWS, _SAMPLES = 1000, 500, 20
_BATCH = 20


@dataclass
class CheckedRows:
    """The result of :func:`check_rows`.

    Attributes:
        samples: the first 20 rows, with label names.
        lines: all labelled rows, for ``samples.jsonl``.
        shares: measurements for ``result.replacement``; see
            :mod:`augpro.evaluation.audit` and :mod:`augpro.evaluation.leakage`.
    """

    samples: list[Sample] = field(default_factory=list)
    lines: list[AugmentedText] = field(default_factory=list)
    shares: dict[str, float] = field(default_factory=dict)


def check_rows(
    augmentation: OnlineAugmentation | StoredAugmentation,
    dataset: DistillationDataset,
    student: Any,
    task: Task,
    eval_texts: Sequence[str] = (),
) -> CheckedRows:
    """Check the texts of up to 1,000 training rows: augmented once more, as in the first epoch, or stored ones.

    All texts are tokenized again; the teacher labels the first 500, unless stored labels are there.

    Args:
        augmentation: of the run.
        dataset: the training rows, with the teacher's logits.
        student: the trained student.
        task: its problem type and label names.
        eval_texts: evaluation texts, which must not leak into training; see :func:`joined`.

    Returns:
        An empty result for virtual rows, which have no text.
    """
    assert dataset.teacher_logits is not None
    made = (
        _stored(augmentation, dataset)
        if isinstance(augmentation, StoredAugmentation)
        else _made_again(augmentation, dataset, dataset.teacher_logits, student)
    )
    if made is None or not made.texts:
        return CheckedRows()
    originals, texts = made.originals, made.texts
    before, after = dataset.teacher_logits[made.row_ids], torch.cat(made.labelled)
    known = joined(dataset.table.texts, dataset.table.pairs)
    shares = {
        "rows_retokenized_differently": made.mismatched,
        **teacher_changes(before, after, task.problem_type),
        **_flips_unchanged(before, made.as_read, task),
        "duplicates": duplicates(texts, known + originals),
        "unchanged_texts": sum(map(operator.eq, texts, originals)) / len(texts),
        **_leakage(texts, originals, eval_texts),
    }
    fields = (originals, texts, _label_names(task, before), _label_names(task, after))
    samples = [
        Sample(original=original, augmented=text, original_label=old, augmented_label=new)
        for original, text, old, new in zip(*fields, strict=True)
    ][:_SAMPLES]
    probabilities = [_probabilities(task, logits) for logits in (before, after)]
    lines = [
        AugmentedText(original=original, augmented=text, before=old, after=new, row=row)
        for row, original, text, old, new in zip(
            made.row_ids.tolist(), originals, texts, *probabilities, strict=True
        )
    ]
    return CheckedRows(samples, lines, shares)


@dataclass
class _Texts:
    """Augmented texts and their originals, N of each.

    Attributes:
        row_ids: of the originals, int64 [N].
        originals: the texts, second texts joined to them.
        texts: their augmented versions.
        labelled: the teacher's logits of these, in parts of [B, C].
        as_read: see :func:`_flips_unchanged`.
        mismatched: share of the augmented texts that are tokenized into other tokens; of more texts than these.
    """

    row_ids: Tensor
    originals: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    labelled: list[Tensor] = field(default_factory=list)
    as_read: list[Tensor] = field(default_factory=list)
    mismatched: float = 0.0


def _made_again(
    augmentation: OnlineAugmentation, dataset: DistillationDataset, teacher_logits: Tensor, student: Any
) -> _Texts | None:
    """Texts as those of the first epoch; None for virtual rows."""
    device, vocabulary = augmentation.space.table.device, augmentation.space.vocabulary
    rows = min(_CHECKED_ROWS, len(dataset))
    made = _Texts(torch.arange(min(rows, _LABELLED_ROWS)))
    label = partial(augmentation.teacher.label_tokens, vocabulary=vocabulary)
    for start in range(0, rows, _BATCH):
        batch = dataset.table.batch(range(start, min(start + _BATCH, rows))).to(device)
        logits = teacher_logits[batch.row_ids.cpu()]
        augmented = augmentation.augment(batch, logits.to(device), dataset, student, copy=0)
        if not isinstance(augmented, TokenBatch):
            return None
        made.mismatched += vocabulary.mismatch_rate(augmented) * len(augmented.ids) / rows
        if start < _LABELLED_ROWS:
            made.originals += joined(*vocabulary.decode(batch))
            made.texts += joined(*vocabulary.decode(augmented))
            made.labelled.append(label(augmented).cpu())
            if not augmentation.teacher.reads_ids_of(vocabulary.tokenizer):
                made.as_read.append(label(replace(batch, texts=None)).cpu())
    return made


def _stored(augmentation: StoredAugmentation, dataset: DistillationDataset) -> _Texts:
    """The first stored version of the first rows that have one."""
    found, table = augmentation.stored.first_versions(_CHECKED_ROWS), dataset.table
    pairs = found.pairs or None
    again = tokenize(augmentation.tokenizer, found.texts, pairs, table.limit)
    tokens = np.split(again.flat[0], again.offsets[1:-1])
    different = sum(new.tolist() != old for new, old in zip(tokens, found.tokens, strict=True))
    rows = found.row_ids[:_LABELLED_ROWS]
    columns = [list(column) for column in zip(*(table.texts_of(rows) or ()), strict=True)] or [[]]
    return _Texts(
        torch.tensor(rows),
        joined(columns[0], columns[1] if pairs else None),
        joined(found.texts, pairs)[: len(rows)],
        [torch.cat(found.logits)[: len(rows)]] if rows else [],
        mismatched=different / max(1, len(found.texts)),
    )


def _flips_unchanged(before: Tensor, as_read: list[Tensor], task: Task) -> dict[str, float]:
    """Share of the originals whose predicted label changes when the teacher reads what the student's tokens keep.

    Args:
        before: the teacher's logits of the texts, [N, C].
        as_read: the teacher's logits of the texts decoded from the student's tokens, batches of [B, C]; empty if the
            tokenizers are the same.
        task: a regression has no predicted label, so nothing is returned.
    """
    if not as_read or task.problem_type == "regression":
        return {}
    return {
        "label_flips_unchanged": teacher_changes(before, torch.cat(as_read), task.problem_type)["label_flips"]
    }


def _leakage(texts: list[str], originals: list[str], scored: Sequence[str]) -> dict[str, float]:
    """Shares of the augmented texts, and of their originals, that equal or nearly equal an evaluation row."""
    copies, checked = find_copies(texts + originals, scored), len(texts)
    return {
        "checked_texts": checked,
        "exact_duplicates_of_evaluation": float(copies.exact[:checked].mean()),
        "exact_duplicates_of_evaluation_before": float(copies.exact[checked:].mean()),
        "near_duplicates": float(copies.near[:checked].mean()),
        "near_duplicates_of_originals": float(copies.near[checked:].mean()),
    }


def samples_markdown(result: RunResult) -> str:
    """A Markdown page of the samples; text from the data is escaped."""
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
    sides: tuple[list[str], list[str]] = ([], [])
    for changed, *words in differences(sample.original, sample.augmented):
        around = mark if changed else ""
        for side, part in zip(sides, words, strict=True):
            side += [f"{around}{escape(word)}{around}" for word in part]
    return " ".join(sides[0]), " ".join(sides[1])


def differences(original: str, augmented: str) -> Iterator[tuple[bool, list[str], list[str]]]:
    """Runs of words in order: whether they differ, and the words of both texts.

    >>> list(differences("a good film", "a bad film"))
    [(False, ['a'], ['a']), (True, ['good'], ['bad']), (False, ['film'], ['film'])]
    """
    before, after = original.split(), augmented.split()
    matcher = difflib.SequenceMatcher(a=before, b=after, autojunk=False)
    for kind, start_a, end_a, start_b, end_b in matcher.get_opcodes():
        yield kind != "equal", before[start_a:end_a], after[start_b:end_b]


def _escape(text: str) -> str:
    return _MARKDOWN.sub(r"\\", visible(" ".join(text.split())))


def joined(texts: Sequence[str], pairs: Sequence[str] | None) -> list[str]:
    """One text per row; the two texts of a pair are joined by a bar."""
    return (
        list(texts)
        if pairs is None
        else [f"{text} ‖ {pair}" for text, pair in zip(texts, pairs, strict=True)]
    )


def _label_names(task: Task, logits: Tensor) -> list[str]:
    """The predicted label of each row with its probability; for a regression the score."""
    decisions = decide(logits, task.problem_type)
    if task.problem_type == "regression":
        return [f"{value:.2f}" for value in decisions]
    if task.problem_type == "multi_label":
        return [", ".join(task.label_names[i] for i in row.nonzero()[0]) or "none" for row in decisions]
    confidence = logits.softmax(1).amax(1)
    return [f"{task.label_names[i]} {p:.2f}" for i, p in zip(decisions, confidence.tolist(), strict=True)]


def _probabilities(task: Task, logits: Tensor) -> list[list[float]]:
    """Class probabilities, or the score, of each row, rounded to five digits."""
    if task.problem_type == "single_label":
        logits = logits.double().softmax(1)
    elif task.problem_type == "multi_label":
        logits = logits.double().sigmoid()
    return [[round(value, 5) for value in row] for row in logits.tolist()]
