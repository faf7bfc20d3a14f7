"""The distillation loss: L = alpha CE(s(x), y) + beta KD(s(x), t(x)) + gamma KD(s(x'), t(x')).

x is an original row, x' its augmented version, s and t are the student's and the teacher's logits, and y is the gold
label if there is one. Functions return one value per row. :class:`Objective` weights them and averages over all rows
of the batch, labelled or not, so that accumulating gradients over small batches of equal size equals one large batch.
KD follows Hinton et al. 2015 (arXiv 1503.02531), with the factor temperature**2 that keeps the size of the gradient
independent of the temperature.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from augpro.plugins import Registry
from augpro.tasks import ProblemType

NO_LABEL = -100  # class id of a row without a gold label; scores and multi-label rows have nan


KDForm = Callable[[Tensor, Tensor, ProblemType, float], Tensor]


def kl_loss(student: Tensor, teacher: Tensor, problem_type: ProblemType, temperature: float = 1.0) -> Tensor:
    """Distance between the student's and the teacher's output, one value per row.

    Args:
        student: logits [B, C]; [B, 1] for a regression.
        teacher: logits of the same shape.
        problem_type: "single_label": KL(teacher || student) of the softened distributions times
            temperature**2. "multi_label": binary cross-entropy with soft targets, mean over the labels,
            times temperature**2. "regression": squared error; the temperature has no effect.
        temperature: divides both logits; above 1 the probabilities of the wrong classes get more weight.

    Returns:
        [B].
    """
    if problem_type == "regression":
        return mse_loss(student, teacher, problem_type, temperature)
    scale = temperature**2
    if problem_type == "multi_label":
        target = torch.sigmoid(teacher / temperature)
        loss = F.binary_cross_entropy_with_logits(student / temperature, target, reduction="none")
        return loss.mean(1) * scale
    log_student, log_teacher = (F.log_softmax(logits / temperature, dim=1) for logits in (student, teacher))
    return F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(1) * scale


def mse_loss(student: Tensor, teacher: Tensor, problem_type: ProblemType, temperature: float = 1.0) -> Tensor:
    """Squared error of the logits, mean over the classes, for every problem type, [B].

    The temperature has no effect (Ba and Caruana 2014, arXiv 1312.6184). Arguments as of :func:`kl_loss`.
    """
    return (student - teacher).square().mean(1)


def _form(given: Any) -> KDForm:
    if not callable(given):
        raise TypeError(
            f"{given!r} is not a function of student and teacher logits, problem type and temperature"
        )
    form: KDForm = given
    return form


_OWN: dict[str, KDForm] = {"kl": kl_loss, "mse": mse_loss}
LOSSES = Registry("augpro.losses", _OWN, _form)


def register_loss(name: str, form: KDForm) -> None:
    """Register your own distillation loss under a name, in this process; see :mod:`augpro.plugins`.

    Args:
        name: for ``kd_loss`` and ``--kd-loss``.
        form: a function with the signature of :func:`kl_loss`: logits [B, C] of student and teacher, problem type and
            temperature. It returns one differentiable value per row, [B].

    Raises:
        ValueError: if the name is taken.
        TypeError: if the form is not callable.
    """
    LOSSES.register(name, form)


def kd_loss(
    student: Tensor,
    teacher: Tensor,
    problem_type: ProblemType,
    temperature: float = 1.0,
    form: str | KDForm = "kl",
) -> Tensor:
    """Distance between the student's and the teacher's output by a named loss or a function, [B].

    Arguments as of :func:`kl_loss`.

    Raises:
        ValueError: if the loss does not return one value per row.
    """
    loss = (LOSSES[form] if isinstance(form, str) else form)(student, teacher, problem_type, temperature)
    if not isinstance(loss, Tensor) or loss.shape != student.shape[:1]:
        found = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(
            f"the loss {loss_name(form)!r} must return one value per row, shape ({len(student)},), not {found}"
        )
    return loss


def loss_name(form: str | KDForm) -> str:
    """The name of a loss, or of the function or class that it is."""
    return form if isinstance(form, str) else getattr(form, "__name__", type(form).__name__)


def divergence(student: Tensor, teacher: Tensor, problem_type: ProblemType) -> Tensor:
    """Divergence of the student's output from the teacher's at temperature 1, one value per row; 0 where they agree.

    This is :func:`kd_loss`. For multi-label tasks the teacher's entropy is subtracted, which leaves the KL
    divergence.
    """
    loss = kd_loss(student, teacher, problem_type)
    return loss - kd_loss(teacher, teacher, problem_type) if problem_type == "multi_label" else loss


def label_loss(logits: Tensor, labels: Tensor, problem_type: ProblemType) -> Tensor:
    """Loss against gold labels, one value per row; 0 for a row without a label.

    Args:
        logits: [B, C].
        labels: class ids [B] with -100 for no label; or scores [B] with nan; or 0/1 [B, C] with nan rows.
        problem_type: cross-entropy, binary cross-entropy (mean over labels) or squared error.

    Returns:
        [B].
    """
    if problem_type == "single_label":
        return F.cross_entropy(logits, labels, reduction="none", ignore_index=NO_LABEL)
    labels = labels.reshape(len(labels), -1).to(logits.dtype)
    missing = labels.isnan()
    labels = labels.nan_to_num()
    if problem_type == "multi_label":
        loss = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    else:
        loss = (logits - labels).square()
    return loss.masked_fill(missing, 0.0).mean(1)


def smoothness_loss(one: Tensor, other: Tensor, problem_type: ProblemType) -> Tensor:
    """Distance between two outputs of one model, one value per row; gradients flow into both.

    Args:
        one: logits [B, C].
        other: logits of the same shape.
        problem_type: "single_label": symmetric KL, KL(p || q) + KL(q || p). "multi_label": the same for each label
            (Bernoulli), mean over the labels. "regression": squared error (SMART, Jiang et al. 2020, arXiv
            1911.03437).

    Returns:
        [B].
    """
    if problem_type == "regression":
        return (one - other).square().mean(1)
    if problem_type == "multi_label":
        # For two outcomes the symmetric KL is (p - q) (logit p - logit q).
        return ((torch.sigmoid(one) - torch.sigmoid(other)) * (one - other)).mean(1)
    p, q = F.log_softmax(one, dim=1), F.log_softmax(other, dim=1)
    return ((p.exp() - q.exp()) * (p - q)).sum(1)


def state_loss(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Squared distance of the normalized vectors, ||s/||s|| - t/||t||||^2 = 2 - 2 cos(s, t), one value per row.

    FitNets (Romero et al. 2015, arXiv 1412.6550) and TinyBERT (Jiao et al. 2020, arXiv 1909.10351) use the squared
    error of hidden states; PKD (Sun et al. 2019, arXiv 1908.09355) normalizes the vectors first.

    Args:
        student: one vector per row [B, D], or one per token [B, T, D].
        teacher: vectors of the same shape.
        mask: 1 at tokens, 0 at padding, [B, T]; needed with one vector per token, for the mean over the tokens.

    Returns:
        [B], from 0 (same directions) to 4 (opposite ones).
    """
    error = (F.normalize(student, dim=-1) - F.normalize(teacher, dim=-1)).square().sum(-1)
    return error if mask is None else _mean_where(error, mask.bool())


def relation_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Squared difference of the cosines between the hidden states of a row, mean over all pairs of tokens.

    The widths may differ. The idea is from MiniLMv2 (Wang et al. 2021, arXiv 2012.15828), with two changes. It
    compares hidden states, which every encoder returns, not queries, keys and values. It uses cosines, not the
    softmax of scaled products, in which the product of a hidden state with itself can dominate.

    Args:
        student: hidden states [B, T, D].
        teacher: hidden states [B, T, D'].
        mask: 1 at tokens, 0 at padding, [B, T].

    Returns:
        [B], from 0 to 4.
    """
    units = [F.normalize(states, dim=-1) for states in (student, teacher)]
    student_cosines, teacher_cosines = (unit @ unit.transpose(1, 2) for unit in units)
    tokens = mask.bool()
    squares = (student_cosines - teacher_cosines).square()
    return _mean_where(squares, tokens[:, :, None] & tokens[:, None, :])


def _mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of each row's chosen values, [B]; 0 if a row has none."""
    return values.masked_fill(~chosen, 0.0).flatten(1).sum(1) / chosen.flatten(1).sum(1).clamp(min=1)


def entropy(logits: Tensor) -> Tensor:
    """Entropy of the predicted distributions over the last dimension, in nats.

    >>> import torch
    >>> round(entropy(torch.zeros(2)).item(), 4)  # ln 2
    0.6931
    """
    return entropy_of(logits.softmax(-1))


def entropy_of(probabilities: Tensor) -> Tensor:
    """Entropy of distributions over the last dimension, in nats."""
    entropies: Tensor = torch.special.entr(probabilities).sum(-1)
    return entropies


@dataclass(frozen=True)
class Objective:
    """The training loss: weights of its three terms, and the temperature.

    Attributes:
        problem_type: determines the form of every term.
        label_weight: alpha, weight of the loss on gold labels.
        teacher_weight: beta, weight of the distillation loss on original rows.
        augmented_weight: gamma, weight of the distillation loss on augmented rows.
        temperature: of both distillation terms.
        kd_loss: the distillation loss: a name in ``LOSSES``, or a function with the signature of :func:`kl_loss`.
    """

    problem_type: ProblemType
    label_weight: float = 0.0
    teacher_weight: float = 1.0
    augmented_weight: float = 1.0
    temperature: float = 1.0
    kd_loss: str | KDForm = "kl"

    def kd(self, student: Tensor, teacher: Tensor) -> Tensor:
        """:func:`kd_loss` with this problem type, temperature and loss, [B]."""
        return kd_loss(student, teacher, self.problem_type, self.temperature, self.kd_loss)

    def originals(self, student: Tensor, labels: Tensor | None, teacher: Tensor | None) -> Tensor:
        """Mean loss of original rows: the label term, and the distillation term if teacher logits are given."""
        loss = student.new_zeros(len(student))
        if labels is not None and self.label_weight:
            loss = loss + self.label_weight * label_loss(student, labels, self.problem_type)
        if teacher is not None and self.teacher_weight:
            loss = loss + self.teacher_weight * self.kd(student, teacher.detach())
        return loss.mean()

    def augmented(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Mean distillation loss of augmented rows; they never use the gold label of the original."""
        return self.augmented_weight * self.kd(student, teacher.detach()).mean()

    def smoothness(self, augmented: Tensor, originals: Tensor) -> Tensor:
        """Mean distance between the student's outputs on augmented and on original rows, for SMART."""
        return self.augmented_weight * smoothness_loss(augmented, originals, self.problem_type).mean()
