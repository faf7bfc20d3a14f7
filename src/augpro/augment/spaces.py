"""Alternatives to the student's embedding table for moving tokens; each is computed once and then fixed."""

from typing import Any, Literal

import torch
from torch import Tensor

Space = Literal["student", "centred", "weighted", "teacher"]
_COMPONENTS = 256  # of `weighted`
_RARE = 1e-4  # a token with this relative frequency has half the weight of one that never occurs


def centred(table: Tensor, groups: Tensor) -> Tensor:
    """The table minus its mean and its first D / 100 principal components (at least one).

    This removes properties that many tokens share, such as their frequency, from the distances. Mean and components
    are computed over the allowed tokens.

    Args:
        table: word embeddings E, float [V, D].
        groups: group of each token, -1 for none, int64 [V].

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
    shifted = table.double() - mean
    remainder: Tensor = shifted - shifted @ top @ top.T
    return remainder.float()


def weighted(table: Tensor, groups: Tensor, frequencies: Tensor) -> Tensor:
    """The table as Model2Vec makes static embeddings: principal components, and less weight for frequent tokens.

    The first 256 components (all of a narrower table) of the table minus its mean, times a / (a + relative frequency
    of the token) with a = 0.0001. Mean and components are computed over the allowed tokens. The weight matters where
    two tokens are mixed, and for the metrics "l2" and "dot"; under "cosine" the neighbours of a single token do not
    depend on it. Model2Vec does this to the model's outputs for single tokens; here it is done to word embeddings.

    Args:
        table: word embeddings E, float [V, D].
        groups: group of each token, -1 for none, int64 [V].
        frequencies: relative frequency of each token, float64 [V], see
            :func:`augpro.vocabulary.frequency.token_frequencies`.

    Returns:
        float32 [V, min(D, 256)].

    Source: Tulkens and van Dongen 2024, "Model2Vec: Fast State-of-the-Art Static Embeddings" (256 components, the
    weight and its a); the weight is that of Arora et al. 2017, "A Simple but Tough-to-Beat Baseline for Sentence
    Embeddings".
    """
    words = table[groups >= 0].double()
    mean = words.mean(0)
    words = words - mean
    _, directions = torch.linalg.eigh(words.T @ words)
    components = directions[:, -_COMPONENTS:].flip(1)
    weight = _RARE / (_RARE + frequencies.to(table.device))
    made: Tensor = (table.double() - mean) @ components * weight[:, None]
    return made.float()


def teacher_table(teacher: Any, table: Tensor, groups: Tensor) -> Tensor:
    """The word embeddings of a teacher with the student's tokenizer, with as many rows as the student's table.

    Args:
        teacher: the model.
        table: the student's word embeddings, float [V, D].
        groups: group of each token, -1 for none, int64 [V].

    Returns:
        float32 [V, D'], on the table's device; zeros for rows that the teacher does not have.

    Raises:
        ValueError: if there is no teacher, or it has no embedding for an allowed token.
    """
    if teacher is None:
        raise ValueError("space='teacher' needs the teacher's embeddings: pass it as TrainingState.teacher")
    weight = teacher.get_input_embeddings().weight.detach().to(table.device, torch.float32)
    if len(weight) <= int(torch.nonzero(groups >= 0).max()):
        raise ValueError(
            "space='teacher' needs a teacher with the student's tokenizer, and the teacher has embeddings of only "
            f"{len(weight)} tokens; use another space"
        )
    rows = torch.zeros(len(table), weight.shape[1], device=table.device)
    rows[: len(weight)] = weight[: len(table)]
    return rows
