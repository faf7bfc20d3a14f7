"""The three losses against definitions written with numpy and scipy."""

import numpy as np
import pytest
import torch
from scipy import special, stats

from augpro.losses import NO_LABEL, Objective, kd_loss, label_loss

PROBLEMS = ("single_label", "multi_label", "regression")


def logits(rows: int = 6, classes: int = 4, seed: int = 0, size: float = 3.0) -> torch.Tensor:
    return size * torch.randn(
        rows, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def sigmoid_entropy(target: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Binary cross-entropy of a Bernoulli variable, by its definition."""
    return -(target * np.log(special.expit(score)) + (1 - target) * np.log(special.expit(-score)))


@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0, 7.0])
def test_kd_is_the_kl_divergence_of_softened_distributions(tau):
    student, teacher = logits(seed=1), logits(seed=2)
    p, q = (special.softmax(x.numpy() / tau, axis=1) for x in (teacher, student))
    expected = stats.entropy(p, q, axis=1) * tau**2
    np.testing.assert_allclose(kd_loss(student, teacher, "single_label", tau).numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0, 7.0])
def test_kd_of_several_labels_is_a_soft_cross_entropy(tau):
    student, teacher = logits(seed=1), logits(seed=2)
    target = special.expit(teacher.numpy() / tau)
    expected = sigmoid_entropy(target, student.numpy() / tau).mean(1) * tau**2
    np.testing.assert_allclose(kd_loss(student, teacher, "multi_label", tau).numpy(), expected, rtol=1e-10)


def test_kd_of_a_regression_is_the_squared_error_at_any_temperature():
    student, teacher = logits(classes=1, seed=1), logits(classes=1, seed=2)
    expected = (student.numpy() - teacher.numpy())[:, 0] ** 2
    for tau in (1.0, 5.0):
        np.testing.assert_allclose(kd_loss(student, teacher, "regression", tau).numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_kd_of_the_logits_is_their_squared_error_at_any_temperature(problem):
    student, teacher = logits(seed=1), logits(seed=2)
    expected = ((student - teacher).numpy() ** 2).mean(1)
    for tau in (1.0, 5.0):
        objective = Objective(problem, temperature=tau, kd_loss="mse")
        np.testing.assert_allclose(objective.kd(student, teacher).numpy(), expected, rtol=1e-10)


def test_kd_of_extreme_logits_is_finite():
    """Probabilities that underflow: 200 against -200 is a KL of 400, not inf or nan."""
    student, teacher = torch.tensor([[200.0, 0.0, -200.0]]), torch.tensor([[-200.0, 0.0, 200.0]])
    assert kd_loss(student, teacher, "single_label").item() == pytest.approx(400.0)
    assert kd_loss(student, teacher, "multi_label").item() == pytest.approx(400 / 3, rel=0.01)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_kd_is_least_where_the_student_is_the_teacher(problem):
    teacher = logits(classes=1 if problem == "regression" else 4)
    same = teacher.clone().requires_grad_()
    loss = kd_loss(same, teacher, problem, 2.0)
    (gradient,) = torch.autograd.grad(loss.sum(), same)
    assert gradient.abs().max() < 1e-12
    assert (kd_loss(teacher + torch.randn_like(teacher), teacher, problem, 2.0) > loss).all()
    assert problem == "multi_label" or loss.abs().max() < 1e-12


@pytest.mark.parametrize("problem", ["single_label", "multi_label"])
def test_gradient_size_does_not_depend_on_a_high_temperature(problem):
    student, teacher = logits(seed=1).requires_grad_(), logits(seed=2)
    sizes = [
        torch.autograd.grad(kd_loss(student, teacher, problem, tau).sum(), student)[0].norm().item()
        for tau in (20.0, 40.0, 80.0)
    ]
    assert sizes == pytest.approx([sizes[0]] * 3, rel=0.1)
    assert sizes[0] > 0.1


@pytest.mark.parametrize("problem", PROBLEMS)
def test_no_gradient_reaches_the_teacher(problem):
    student, teacher = logits(seed=1).requires_grad_(), logits(seed=2).requires_grad_()
    objective = Objective(problem)
    (objective.originals(student, None, teacher) + objective.augmented(student, teacher)).backward()
    assert teacher.grad is None
    assert student.grad.norm() > 0


def test_label_loss_of_classes():
    scores, labels = logits(), torch.tensor([0, 3, NO_LABEL, 1, NO_LABEL, 2])
    loss = label_loss(scores, labels, "single_label").numpy()
    probabilities = special.softmax(scores.numpy(), axis=1)
    for row, label in enumerate(labels.tolist()):
        expected = 0.0 if label == NO_LABEL else -np.log(probabilities[row, label])
        assert loss[row] == pytest.approx(expected, rel=1e-10)


def test_label_loss_of_several_labels():
    scores = logits(rows=3)
    labels = torch.tensor([[1.0, 0, 0, 1], [float("nan")] * 4, [0, 0, 0, 0]])
    loss = label_loss(scores, labels, "multi_label").numpy()
    expected = sigmoid_entropy(labels.numpy(), scores.numpy()).mean(1)
    assert loss[1] == 0.0
    np.testing.assert_allclose(loss[[0, 2]], expected[[0, 2]], rtol=1e-6)


def test_label_loss_of_scores():
    scores, labels = logits(rows=3, classes=1), torch.tensor([0.5, float("nan"), -2.0])
    loss = label_loss(scores, labels, "regression")
    expected = [(scores[0, 0].item() - 0.5) ** 2, 0.0, (scores[2, 0].item() + 2) ** 2]
    assert loss.shape == (3,)  # [B, 1] against [B] would broadcast to [B, B]
    assert loss.tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("problem", "none"),
    [
        ("single_label", torch.tensor([NO_LABEL] * 6)),
        ("multi_label", torch.full((6, 4), float("nan"))),
        ("regression", torch.full((6,), float("nan"))),
    ],
)
def test_rows_without_a_label_give_no_gradient_and_no_nan(problem, none):
    scores = logits(classes=1 if problem == "regression" else 4).requires_grad_()
    loss = label_loss(scores, none, problem)
    assert loss.tolist() == [0.0] * 6
    (gradient,) = torch.autograd.grad(loss.sum(), scores)
    assert gradient.abs().max() == 0.0


def labels_of(problem: str, rows: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(9)
    if problem == "single_label":
        labels = torch.randint(0, 4, (rows,), generator=generator)
        labels[1] = NO_LABEL
        return labels
    shape = (rows, 4) if problem == "multi_label" else (rows,)
    labels = torch.randint(0, 2, shape, generator=generator).double()
    labels[1] = float("nan")
    return labels


@pytest.mark.parametrize("problem", PROBLEMS)
def test_two_half_batches_are_one_batch(problem):
    """With rows that have no label: the mean is over all rows, so halves weigh alike."""
    width = 1 if problem == "regression" else 4
    student, teacher, labels = logits(8, width, 1), logits(8, width, 2), labels_of(problem, 8)
    objective = Objective(
        problem, label_weight=0.7, teacher_weight=0.4, augmented_weight=1.3, temperature=2.0
    )

    def total(rows: slice) -> torch.Tensor:
        originals = objective.originals(student[rows], labels[rows], teacher[rows])
        return originals + objective.augmented(student[rows].flip(1) + 0.5, teacher[rows])

    halves = (total(slice(0, 4)) + total(slice(4, 8))) / 2
    assert halves.item() == pytest.approx(total(slice(0, 8)).item(), rel=1e-12)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_objective_is_the_weighted_sum_of_its_terms(problem):
    width = 1 if problem == "regression" else 4
    student, teacher, labels = logits(6, width, 1), logits(6, width, 2), labels_of(problem, 6)
    gold = label_loss(student, labels, problem).mean().item()
    distance = {tau: kd_loss(student, teacher, problem, tau).mean().item() for tau in (1.0, 3.0)}
    assert gold != pytest.approx(distance[1.0])
    for alpha, beta, gamma, tau in [
        (1, 1, 1, 1.0),
        (2, 1, 1, 1.0),
        (1, 3, 1, 1.0),
        (1, 1, 0.5, 3.0),
        (0, 0, 2, 3.0),
    ]:
        objective = Objective(problem, alpha, beta, gamma, tau)
        originals = objective.originals(student, labels, teacher).item()
        assert originals == pytest.approx(alpha * gold + beta * distance[tau])
        assert objective.augmented(student, teacher).item() == pytest.approx(gamma * distance[tau])
    if problem != "regression":
        assert distance[1.0] != pytest.approx(distance[3.0])


def test_a_term_without_its_data_is_left_out():
    student, teacher = logits(seed=1), logits(seed=2)
    objective = Objective("single_label", label_weight=0.5)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    gold = label_loss(student, labels, "single_label").mean().item()
    assert objective.originals(student, labels, None).item() == pytest.approx(0.5 * gold)
    distance = objective.kd(student, teacher).mean().item()
    assert objective.originals(student, None, teacher).item() == pytest.approx(distance)
    assert objective.originals(student, None, None).item() == 0.0
