"""Which candidate is kept, by definitions written with scipy, and that training keeps exactly those."""

import numpy as np
import pytest
import torch
from scipy import special, stats

from augpro.augment import EmbeddingSpace, augmenter
from augpro.losses import Objective
from augpro.teachers.teacher import Teacher
from augpro.tokens import tokenize
from augpro.training.dataset import DistillationDataset
from augpro.training.online import OnlineAugmentation
from augpro.training.selection import new_texts, select_hardest
from augpro.vocabulary import Vocabulary
from common import tiny_bert

OWNERS = torch.tensor([0, 0, 0, 1, 2, 2, 2, 2, 3, 3])  # rows have 3, 1, 4 and 2 texts


def answers(seed, classes=3):
    return 2 * torch.randn(len(OWNERS), classes, generator=torch.Generator().manual_seed(seed))


def chosen(distances):
    """The number of the largest of each row's distances, one row after the other."""
    numbers = np.arange(len(OWNERS))
    return [max(numbers[row == OWNERS], key=lambda number: distances[number]) for row in range(4)]


def test_the_hardest_is_the_divergence_from_the_teacher():
    ours, theirs = answers(1), answers(2)
    p, q = (special.softmax(each.double().numpy(), axis=1) for each in (theirs, ours))
    assert select_hardest(ours, theirs, OWNERS, "single_label").tolist() == chosen(
        stats.entropy(p, q, axis=1)
    )
    score, other = answers(3, 1), answers(4, 1)
    assert select_hardest(score, other, OWNERS, "regression").tolist() == chosen(
        (score - other).square()[:, 0].numpy()
    )


def test_the_hardest_of_several_labels_is_not_the_teachers_doubt():
    ours, theirs = answers(5), answers(6)
    p, q = (special.expit(each.double().numpy()) for each in (theirs, ours))
    divergence = stats.entropy(np.stack([p, 1 - p]), np.stack([q, 1 - q]), axis=0).mean(1)
    assert select_hardest(ours, theirs, OWNERS, "multi_label").tolist() == chosen(divergence)
    doubtful, apart = torch.tensor([[0.0], [1.4]]), torch.tensor([[0.0], [3.0]])
    assert select_hardest(doubtful, apart, torch.tensor([0, 0]), "multi_label").tolist() == [1]


def test_the_first_of_texts_that_are_alike_is_chosen():
    assert select_hardest(torch.zeros(10, 3), torch.zeros(10, 3), OWNERS, "single_label").tolist() == [
        0,
        3,
        4,
        8,
    ]


@pytest.mark.parametrize("rate", [0.25, 0.5, 0.7, 1.0, 2.5, 3.0])
def test_rows_take_turns(rate):
    """Over the epochs each row has its share, and so has each batch."""
    rows, epochs = torch.arange(64), 40
    due = torch.stack([new_texts(rows, epoch, rate) for epoch in range(epochs)])
    assert (due - rate).abs().max() < 1
    assert ((due.sum(0) - rate * epochs).abs() <= 1).all()
    assert ((due.sum(1) - rate * 64).abs() <= 2).all()  # of 64 consecutive rows
    assert torch.equal(new_texts(rows[5:9], 3, rate), due[3, 5:9])


@pytest.fixture
def make(tokenizer, texts):
    teacher = Teacher(tiny_bert(len(tokenizer), layers=3, seed=7), tokenizer)
    student = tiny_bert(len(tokenizer), dropout=0.3).train()
    space = EmbeddingSpace(student.get_input_embeddings().weight, Vocabulary(tokenizer, len(tokenizer)))
    dataset = DistillationDataset(
        tokenize(tokenizer, texts), torch.zeros(20, dtype=torch.int64), teacher.label(texts)
    )

    def build(candidates=4, new=None, method="random", **options):
        made = OnlineAugmentation(
            augmenter(method, **options),
            space,
            teacher,
            Objective("single_label"),
            seed=3,
            candidates=candidates,
            new_candidates=new or candidates,
        )
        batch = dataset.table.batch(range(20))
        return made, batch, (batch, dataset.teacher_logits, dataset, student)

    return build


def answers_to(made, *models):
    """The logits of models, [K, B, C], for texts of the same rows."""
    with torch.no_grad():
        return [torch.stack([model(**each.model_inputs()).logits for each in made]) for model in models]


def expect(rows, labels, made, student, teacher):
    """That these are the hardest of the texts, with the teacher's answers to them."""
    ours, theirs = answers_to(made, student.eval(), teacher.model)
    student.train()
    p, q = theirs.softmax(2), ours.softmax(2)
    best = (p * (p.log() - q.log())).sum(2).argmax(0)
    assert len(set(best.tolist())) > 1
    for row, number in enumerate(best.tolist()):
        assert torch.equal(rows.ids[row], made[number].ids[row])
        torch.testing.assert_close(labels[row], theirs[number, row], rtol=1e-4, atol=1e-5)


def test_the_chosen_text_is_the_hardest_of_the_rows_own(make):
    augmentation, _, given = make()
    student = given[3]
    rows, labels = augmentation(*given, epoch=2)
    assert student.training  # dropout was off for the choice and is on again
    made = [augmentation.augment(*given, copy) for copy in range(8, 12)]
    expect(rows, labels, made, student, augmentation.teacher)


def test_texts_of_earlier_epochs_are_among_the_candidates(make):
    """The teacher reads one new text of each row, and the last three are compared by the student as it is now."""
    augmentation, _, given = make(candidates=3, new=1)
    asked = record_labelled(augmentation.teacher)
    for epoch in range(5):
        rows, labels = augmentation(*given, epoch=epoch)
    assert asked == [20] * 5
    made = [augmentation.augment(*given, copy) for copy in (2, 3, 4)]
    expect(rows, labels, made, given[3], augmentation.teacher)
    with torch.no_grad():
        for weight in given[3].parameters():
            weight.neg_()
    augmentation.new_candidates = 1e-9
    asked.clear()
    chosen = augmentation(*given, epoch=5)
    assert asked == []
    expect(*chosen, made, given[3], augmentation.teacher)


def test_a_row_that_was_left_out_of_the_first_epoch_gets_its_text_when_it_comes(make):
    """As where the last rows of an epoch do not fill a batch."""
    augmentation, batch, given = make(candidates=2, new=0.1)
    first = batch.take(torch.arange(15))
    augmentation(first, given[1][:15], *given[2:], epoch=0)
    rows, labels = augmentation(*given, epoch=1)
    assert len(rows.ids) == len(labels) == 20
    assert torch.equal(rows.ids[15:], augmentation.augment(*given, 1).ids[15:])


def test_half_a_text_an_epoch_is_read_by_the_teacher_in_every_second(make):
    augmentation, batch, given = make(candidates=1, new=0.5)
    asked = record_labelled(augmentation.teacher)
    seen = [augmentation(*given, epoch=epoch)[0].ids for epoch in range(5)]
    assert asked[0] == 20
    assert all(9 <= rows <= 11 for rows in asked[1:])
    for before, after, epoch in zip(seen, seen[1:], range(1, 5), strict=False):
        fresh = new_texts(batch.row_ids, epoch, 0.5) == 1
        assert torch.equal(before[~fresh], after[~fresh])
        copy = augmentation.augment(*given, epoch).ids
        assert torch.equal(after[fresh], copy[fresh])


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
        augmentation.half = torch.bfloat16 if bf16 else None
        hooks = [
            model.classifier.register_forward_hook(lambda _m, _a, out: seen.append(out.dtype))
            for model in (augmentation.teacher.model, given[3])
        ]
        labels[bf16] = augmentation(*given, epoch=0)[1]
        for hook in hooks:
            hook.remove()
    half = seen.index(torch.bfloat16)
    assert half > 1
    assert seen == [torch.float32] * half + [torch.bfloat16] * half
    assert labels[True].dtype == torch.float32
    torch.testing.assert_close(labels[True], labels[False], rtol=0.2, atol=0.05)


# --- what a choice costs ---


def record_labelled(teacher):
    """The rows of every batch that a teacher labels from now on."""
    rows, label = [], teacher.label_tokens
    teacher.label_tokens = lambda batch, vocabulary: rows.append(len(batch.ids)) or label(batch, vocabulary)
    return rows


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


@pytest.mark.e2e
def test_memory_does_not_grow_with_the_candidates(make):
    """Both models read them in parts of equal size; the choice is that of one pass."""
    augmentation, _, given = make(candidates=16)
    read = [record_batches(model) for model in (augmentation.teacher.model, given[3])]
    rows, labels = augmentation(*given, epoch=0)
    assert max(read[0]) <= 12
    assert (max(read[1]), sum(read[1])) == (107, 320)
    made = [augmentation.augment(*given, copy) for copy in range(16)]
    expect(rows, labels, made, given[3], augmentation.teacher)
