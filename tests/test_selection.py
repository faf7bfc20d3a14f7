"""Which candidate is kept, by definitions written with scipy, and that training keeps exactly those."""

import numpy as np
import pytest
import torch
from scipy import special, stats

from augpro.augment import EmbeddingSpace, augmenter
from augpro.dataset import DistillationDataset
from augpro.losses import Objective
from augpro.online import OnlineAugmentation
from augpro.selection import answer_similarity, hardest, kept_share, nearest_share
from augpro.teacher import Teacher
from augpro.tokens import tokenize
from augpro.vocabulary import Vocabulary
from conftest import tiny_bert


def answers(seed, classes=3):
    return 2 * torch.randn(4, 7, classes, generator=torch.Generator().manual_seed(seed))


def test_disagreement_is_the_divergence_from_the_teacher():
    ours, theirs = answers(1), answers(2)
    p, q = (special.softmax(each.double().numpy(), axis=2) for each in (theirs, ours))
    assert hardest(ours, theirs, "single_label").tolist() == stats.entropy(p, q, axis=2).argmax(0).tolist()
    score, other = answers(3, 1), answers(4, 1)
    expected = (score - other).square()[..., 0].argmax(0)
    assert torch.equal(hardest(score, other, "regression"), expected)


def test_disagreement_on_several_labels_is_not_the_teachers_doubt():
    ours, theirs = answers(5), answers(6)
    p, q = (special.expit(each.double().numpy()) for each in (theirs, ours))
    divergence = stats.entropy(np.stack([p, 1 - p]), np.stack([q, 1 - q]), axis=0).mean(2)
    assert hardest(ours, theirs, "multi_label").tolist() == divergence.argmax(0).tolist()
    doubtful, apart = torch.tensor([[[0.0]], [[1.4]]]), torch.tensor([[[0.0]], [[3.0]]])
    assert hardest(doubtful, apart, "multi_label").tolist() == [1]


def test_uncertainty_is_the_entropy_of_the_student():
    ours = answers(1)
    p = special.softmax(ours.double().numpy(), axis=2)
    assert hardest(ours, None, "single_label").tolist() == stats.entropy(p, axis=2).argmax(0).tolist()
    p = special.expit(ours.double().numpy())
    each = stats.entropy(np.stack([p, 1 - p]), axis=0).sum(2)
    assert hardest(ours, None, "multi_label").tolist() == each.argmax(0).tolist()
    with pytest.raises(ValueError, match="regression"):
        hardest(answers(1, 1), None, "regression")


# --- a bound on how hard ---


@pytest.mark.parametrize("problem_type", ["single_label", "multi_label", "regression"])
def test_the_hardest_is_chosen_among_those_within(problem_type):
    ours, theirs = (answers(seed, 1 if problem_type == "regression" else 3) for seed in (1, 2))
    within = torch.rand(4, 7, generator=torch.Generator().manual_seed(0)) < 0.4
    within[0] |= ~within.any(0)
    told = [theirs] if problem_type == "regression" else [theirs, None]
    for teacher in told:
        best = hardest(ours, teacher, problem_type, within)
        for row in range(7):
            inside = torch.nonzero(within[:, row])[:, 0]
            others = None if teacher is None else teacher[inside, row, None]
            expected = inside[hardest(ours[inside, row, None], others, problem_type)]
            assert best[row] == expected
        assert not torch.equal(best, hardest(ours, teacher, problem_type))
        assert torch.equal(
            hardest(ours, teacher, problem_type, torch.ones_like(within)),
            hardest(ours, teacher, problem_type),
        )


@pytest.mark.parametrize(("share", "number"), [(0.01, 1), (0.2, 1), (0.21, 2), (0.6, 3), (0.8, 4), (1, 5)])
def test_the_nearest_share_of_each_row(share, number):
    similarity = torch.randn(5, 30, generator=torch.Generator().manual_seed(0))
    within = nearest_share(similarity, share)
    assert (within.sum(0) == number).all()
    lowest = torch.where(within, similarity, torch.inf).amin(0)
    assert (torch.where(within, -torch.inf, similarity) < lowest).all()


def test_candidates_that_are_alike_are_in_together():
    similarity = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.5, 0.0]])
    assert nearest_share(similarity, 0.1).tolist() == [[True, True], [True, True], [False, True]]
    for share in (0.0, 1.1, -1):
        with pytest.raises(ValueError, match=f"not {share}"):
            nearest_share(similarity, share)


def test_similarity_is_the_share_of_kept_tokens():
    original = torch.tensor([[1, 5, 6, 7, 2], [1, 5, 6, 2, 0], [1, 2, 0, 0, 0]])
    editable = torch.tensor([[0, 1, 1, 1, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]]).bool()
    changed = original.clone()
    changed[0, 1:3] = 9
    changed[1, 1] = 9
    kept = kept_share(torch.stack([original, changed]), original, editable)
    torch.testing.assert_close(kept, torch.tensor([[1.0, 1.0, 1.0], [1 / 3, 0.5, 1.0]]))


def test_similarity_is_how_little_the_teachers_answer_changes():
    made, original = answers(1), answers(2)[0]
    p, q = (special.softmax(each.double().numpy(), axis=-1) for each in (original, made))
    expected = -stats.entropy(np.broadcast_to(p, q.shape), q, axis=2)
    np.testing.assert_allclose(answer_similarity(made, original, "single_label"), expected, rtol=1e-4)
    score, before = answers(3, 1), answers(4, 1)[0]
    expected = -(score - before).square()[..., 0]
    torch.testing.assert_close(answer_similarity(score, before, "regression"), expected)
    same = answer_similarity(original.expand(4, 7, 3), original, "multi_label")
    assert same.abs().max() < 1e-6


@pytest.fixture
def make(tokenizer, texts):
    teacher = Teacher(tiny_bert(len(tokenizer), layers=3, seed=7), tokenizer)
    student = tiny_bert(len(tokenizer), dropout=0.3).train()
    space = EmbeddingSpace(student.get_input_embeddings().weight, Vocabulary(tokenizer, len(tokenizer)))
    dataset = DistillationDataset(
        tokenize(tokenizer, texts), torch.zeros(20, dtype=torch.int64), teacher.label(texts)
    )

    def build(select_by="disagreement", candidates=4, method="random", **options):
        made = OnlineAugmentation(
            augmenter(method, **options), space, teacher, Objective("single_label"), 3, candidates, select_by
        )
        batch = dataset.table.batch(range(20))
        return made, batch, (batch, dataset.teacher_logits, dataset, student)

    return build


@pytest.mark.parametrize("select_by", ["disagreement", "uncertainty"])
def test_the_kept_text_is_the_hardest_of_the_rows_own(make, select_by):
    augmentation, _, given = make(select_by)
    student = given[3]
    rows, labels = augmentation(*given, epoch=2)
    assert student.training  # dropout was off for the choice and is on again
    candidates = [augmentation.augment(*given, copy) for copy in range(8, 12)]
    student.eval()
    with torch.no_grad():
        ours = torch.stack([student(**each.model_inputs()).logits for each in candidates])
        theirs = torch.stack(
            [augmentation.teacher.model(**each.model_inputs()).logits for each in candidates]
        )
    student.train()
    best = hardest(ours, theirs if select_by == "disagreement" else None, "single_label")
    assert len(set(best.tolist())) > 1
    for row, number in enumerate(best.tolist()):
        assert torch.equal(rows.ids[row], candidates[number].ids[row])
        torch.testing.assert_close(labels[row], theirs[number, row], rtol=1e-4, atol=1e-5)


def test_uncertainty_asks_the_teacher_for_what_is_kept_alone(make):
    asked = []
    for select_by in ("disagreement", "uncertainty"):
        augmentation, _, given = make(select_by)
        hook = augmentation.teacher.model.register_forward_hook(
            lambda _m, _a, kwargs, _o: asked.append(len(kwargs["input_ids"])), with_kwargs=True
        )
        augmentation(*given, epoch=0)
        hook.remove()
    assert asked == [80, 20]


def test_every_epoch_has_candidates_of_its_own(make):
    augmentation, _, given = make(candidates=2)
    first, second = (augmentation(*given, epoch=epoch)[0].ids for epoch in (0, 1))
    assert not torch.equal(first, second)
    copies = [augmentation.augment(*given, copy).ids for copy in range(4)]
    from_first = [any(torch.equal(row, copy[i]) for copy in copies[:2]) for i, row in enumerate(first)]
    from_second = [any(torch.equal(row, copy[i]) for copy in copies[2:]) for i, row in enumerate(second)]
    assert all(from_first)
    assert all(from_second)


def test_bf16_runs_both_models_in_bfloat16_and_keeps_the_labels_float32(make):
    seen, labels = [], {}
    for bf16 in (False, True):
        augmentation, _, given = make(candidates=2)
        augmentation.bf16 = bf16
        hooks = [
            model.classifier.register_forward_hook(lambda _m, _a, out: seen.append(out.dtype))
            for model in (augmentation.teacher.model, given[3])
        ]
        labels[bf16] = augmentation(*given, epoch=0)[1]
        for hook in hooks:
            hook.remove()
    assert seen == [torch.float32, torch.float32, torch.bfloat16, torch.bfloat16]
    assert labels[True].dtype == torch.float32
    torch.testing.assert_close(labels[True], labels[False], rtol=0.2, atol=0.05)


# --- what a choice costs ---


def record_batches(model):
    """The rows of every batch that a model reads from now on."""
    rows = []
    model.register_forward_pre_hook(
        lambda _m, _a, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    return rows


@pytest.fixture
def gradients(monkeypatch):
    """How often a gradient was taken."""
    calls = []
    take = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *given: calls.append(1) or take(*given))
    return calls


@pytest.mark.parametrize("through", ["student", "both"])
def test_candidates_of_one_text_share_its_gradient(make, gradients, through):
    augmentation, _, given = make(candidates=3, method="augpro-fgsm", through=through)
    alone = [augmentation.augment(*given, copy).ids for copy in range(3)]
    assert len(gradients) == 3
    assert not torch.equal(alone[0], alone[1])  # candidates differ by the positions that are drawn
    gradients.clear()
    seen = record_batches(given[3])
    rows, _ = augmentation(*given, epoch=0)
    assert len(gradients) == 1
    assert seen == [20, 60]  # the gradient and the choice
    for row, ids in enumerate(rows.ids):
        assert any(torch.equal(ids, each[row]) for each in alone)
    hook = given[3].classifier.register_forward_hook(
        lambda _m, _a, logits: logits * torch.tensor([2.0, -1.0])
    )
    augmentation(*given, epoch=0)
    hook.remove()
    assert len(gradients) == 2  # the student of the next step is another


def test_candidates_of_other_texts_have_gradients_of_their_own(make, gradients):
    """Where tokens of a partner come first, each candidate starts at another text, with another answer to it."""
    augmentation, _, given = make(candidates=3, method="augpro-fgsm", partner_fraction=0.5)
    alone = [augmentation.augment(*given, copy).ids for copy in range(3)]
    gradients.clear()
    rows, _ = augmentation(*given, epoch=0)
    assert len(gradients) == 3
    for row, ids in enumerate(rows.ids):
        assert any(torch.equal(ids, each[row]) for each in alone)


@pytest.mark.parametrize("select_by", ["disagreement", "uncertainty"])
def test_memory_does_not_grow_with_the_candidates(make, select_by):
    """Both models read them in parts of equal size; the choice is that of one pass."""
    augmentation, _, given = make(select_by, candidates=16)
    read = [record_batches(model) for model in (augmentation.teacher.model, given[3])]
    rows, labels = augmentation(*given, epoch=0)
    assert [max(each) for each in read] == [107 if select_by == "disagreement" else 20, 107]
    assert [sum(each) for each in read] == [320 if select_by == "disagreement" else 20, 320]
    made = [augmentation.augment(*given, copy) for copy in range(16)]
    student = given[3].eval()
    with torch.no_grad():
        ours, theirs = (
            torch.stack([model(**each.model_inputs()).logits for each in made])
            for model in (student, augmentation.teacher.model)
        )
    best = hardest(ours, theirs if select_by == "disagreement" else None, "single_label")
    for row, number in enumerate(best.tolist()):
        assert torch.equal(rows.ids[row], made[number].ids[row])
        torch.testing.assert_close(labels[row], theirs[number, row], rtol=1e-4, atol=1e-5)
