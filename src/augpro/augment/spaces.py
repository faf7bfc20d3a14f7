"""Embedding tables to move tokens in beside the student's own; each is made once and then as fixed as that one."""

from typing import Any, Literal

import torch
from torch import Tensor

Space = Literal["student", "centred", "teacher"]


def centred(table: Tensor, groups: Tensor) -> Tensor:
    """The table less its mean and its first D / 100 principal components, at least one of them.

    So what many tokens have in common, such as how frequent they are, no longer makes them neighbours. Mean and
    components are those of the candidate tokens.

    Args:
        table: word embeddings E, float [V, D].
        groups: candidate group of each token, -1 for none, int64 [V].

    Returns:
        float32 [V, D].

    Source: Mu and Viswanath 2018, "All-but-the-Top: Simple and Effective Postprocessing for Word Representations"
    (arXiv 1702.01417), who recommend D / 100 components.
    """
    words = table[groups >= 0].double()
    mean = words.mean(0)
    words = words - mean
    _, directions = torch.linalg.eigh(words.T @ words)
    top = directions[:, -max(1, table.shape[1] // 100) :]
    moved = table.double() - mean
    left: Tensor = moved - moved @ top @ top.T
    return left.float()


def teacher_table(teacher: Any, table: Tensor, groups: Tensor) -> Tensor:
    """The word embeddings of a teacher that has the student's tokenizer, as many rows as the student's table.

    Args:
        teacher: the model.
        table: the student's word embeddings, float [V, D].
        groups: candidate group of each token, -1 for none, int64 [V].

    Returns:
        float32 [V, D'], on the table's device; zeros where only the student has a row.

    Raises:
        ValueError: if there is no teacher, or it has no embedding of some candidate token.
    """
    if teacher is None:
        raise ValueError("space='teacher' needs the teacher's embeddings: pass it as TrainingState.teacher")
    weight = teacher.get_input_embeddings().weight.detach().to(table.device, torch.float32)
    if len(weight) <= int(torch.nonzero(groups >= 0).max()):
        raise ValueError(
            f"space='teacher' needs the student's tokenizer, and the teacher has embeddings of {len(weight)} tokens "
            "only; use another space"
        )
    rows = torch.zeros(len(table), weight.shape[1], device=table.device)
    rows[: len(weight)] = weight[: len(table)]
    return rows
