"""Texts to which the teacher gives another answer: tokens and their number against definitions, and what is asked."""

import pytest
import torch
from torch.nn import functional as F

from augpro.augment import AugmentContext, EmbeddingSpace, TrainingState, augmenter
from augpro.augment.methods.counterfactual import _away_from, _first_tokens
from augpro.config import DistillConfig
from augpro.distillation.plan import make_plan
from augpro.errors import InputError
from augpro.losses import Objective
from augpro.row_random import RowRandom
from augpro.teachers.teacher import Teacher
from augpro.tokens import tokenize
from augpro.training.dataset import DistillationDataset
from augpro.training.online import OnlineAugmentation
from augpro.vocabulary import Vocabulary
from common import OTHERS, TEXTS, tiny_bert

ROWS = range(20)


class Bench:
    """Rows, a teacher of a task, and what it is asked."""

    def __init__(self, tokenizer, problem="single_label", labels=("a", "b", "c")):
        self.table = tokenize(tokenizer, TEXTS, OTHERS)
        self.batch, self.problem = self.table.batch(ROWS), problem
        self.teacher = tiny_bert(len(tokenizer), labels=labels, layers=3, seed=7).requires_grad_(False)
        student = tiny_bert(len(tokenizer))  # of another table
        self.space = EmbeddingSpace(
            student.get_input_embeddings().weight, Vocabulary(tokenizer, len(tokenizer))
        )
        self.asked = []
        self.before = self.answers(self.batch)

    def answers(self, rows):
        with torch.no_grad():
            return self.teacher(**rows.model_inputs()).logits

    def context(self, copy=0, **state):
        def label(rows):
            self.asked.append(rows)
            return self.answers(rows)

        given = {
            "target_logits": self.before,
            "label": label,
            "teacher": self.teacher,
            "problem_type": self.problem,
        }
        return AugmentContext(
            RowRandom(0, copy), self.space, self.table, training=TrainingState(**{**given, **state})
        )

    def made(self, copy=0, method="counterfactual", **options):
        return augmenter(method, **{"replace_fraction": 1.0, **options})(self.batch, self.context(copy))


@pytest.fixture
def bench(tokenizer):
    return Bench(tokenizer)


def test_tokens_are_the_first_on_their_rays_and_gains_what_the_gradient_expects(bench):
    """The step at which another token is nearest, from every pair of tokens in float64."""
    space, weight = bench.space, bench.teacher.get_input_embeddings().weight.detach().double()
    chosen = space.vocabulary.editable(bench.batch)
    generator = torch.Generator().manual_seed(0)
    gradient = torch.randn(int(chosen.sum()), weight.shape[1], generator=generator)
    tokens, gain = _first_tokens(bench.batch, chosen, gradient, bench.context(), bench.teacher)
    unit, normed = F.normalize(gradient.double(), dim=1), F.normalize(weight, dim=1)
    own = bench.batch.ids[chosen]
    lead = (normed[own][:, None] - normed[None]) * weight[own][:, None]
    pace = (normed[None] - normed[own][:, None]) * unit[:, None]
    lead, pace = lead.sum(2), pace.sum(2)
    step = torch.where(pace > 0, lead / pace, torch.inf)
    step[(space.groups[own][:, None] != space.groups) | (own[:, None] == torch.arange(len(weight)))] = (
        torch.inf
    )
    reached = step.amin(1).isfinite()
    assert reached.sum() > 20
    assert torch.equal(tokens[chosen][reached], step.argmin(1)[reached])
    expected = ((weight[step.argmin(1)] - weight[own]) * gradient).sum(1).float()
    torch.testing.assert_close(gain[chosen][reached], expected[reached], rtol=1e-4, atol=1e-4)
    assert (gain[chosen][~reached] == -torch.inf).all()
    assert (gain[~chosen] == -torch.inf).all()
    assert torch.equal(tokens[~chosen], bench.batch.ids[~chosen])


@pytest.mark.parametrize("problem", ["single_label", "multi_label", "regression"])
def test_the_loss_grows_away_from_the_answer(problem):
    logits = torch.tensor([[2.0, -1.0, 0.5], [-0.1, 3.0, 1.0]], requires_grad=True)
    (slope,) = torch.autograd.grad(_away_from(problem)(logits, logits.detach()).sum(), logits)
    if problem == "regression":
        assert torch.equal(slope[:, 0], torch.ones(2))
        return
    if problem == "multi_label":  # the label that is least certain first
        assert torch.equal(slope < 0, logits > 0)
        assert torch.equal(slope.abs().argmax(1), logits.abs().argmin(1))
        return
    (other,) = torch.autograd.grad(F.cross_entropy(logits, logits.argmax(1), reduction="sum"), logits)
    torch.testing.assert_close(F.normalize(slope, dim=1), F.normalize(other, dim=1))
    sure = torch.tensor([[90.0, 0.0, 0.0]], requires_grad=True)
    assert torch.autograd.grad(_away_from(problem)(sure, sure.detach()).sum(), sure)[0].norm() > 0.1


def changed(bench, made):
    return (made.ids != bench.batch.ids).sum(1)


def test_as_few_tokens_change_as_flip_the_answer(bench):
    """A quarter of the tokens, half of them, or all: the first that flips, by texts that the teacher has read."""
    every, made = bench.made(steps=1), bench.made(steps=3)
    assert len(bench.asked) == 2
    assert [len(rows.ids) for rows in bench.asked] == sorted(
        (len(rows.ids) for rows in bench.asked), reverse=True
    )
    flipped = bench.answers(made).argmax(1) != bench.before.argmax(1)
    few, more = (changed(bench, each) for each in (made, every))
    assert (few <= more).all()
    assert 0 < (few < more).sum() < 20
    assert flipped[few < more].all()  # nothing else ends the steps
    first = bench.asked[0]
    for row, ids in zip(first.row_ids.tolist(), first.ids, strict=True):
        alike = bench.answers(bench.batch.take(torch.tensor([row])).with_ids(ids[None])).argmax(1)
        if alike != bench.before[row].argmax():
            assert torch.equal(made.ids[row], ids)
        else:
            assert row in bench.asked[1].row_ids.tolist() or torch.equal(made.ids[row], every.ids[row])


def test_more_rows_flip_than_by_random_tokens(bench):
    ours = theirs = tokens = others = 0
    for copy in range(5):
        made, drawn = bench.made(copy, replace_fraction=0.5), bench.made(copy, "random", replace_fraction=0.5)
        ours += int((bench.answers(made).argmax(1) != bench.before.argmax(1)).sum())
        theirs += int((bench.answers(drawn).argmax(1) != bench.before.argmax(1)).sum())
        tokens, others = tokens + int(changed(bench, made).sum()), others + int(changed(bench, drawn).sum())
    assert ours > 1.3 * theirs
    assert tokens < others


def test_only_drawn_tokens_change(bench):
    """So that the candidates of a row differ."""
    draw = RowRandom(0).uniform("replace", bench.batch.row_ids, bench.batch.ids.shape[1])
    made = bench.made(replace_fraction=0.3, steps=1)
    where = made.ids != bench.batch.ids
    assert where.any()
    assert (draw[where] < 0.3).all()
    assert not torch.equal(made.ids, bench.made(1, replace_fraction=0.3, steps=1).ids)


def test_one_of_several_labels_flips(tokenizer):
    bench = Bench(tokenizer, "multi_label")
    made = bench.made()
    flipped = ((bench.answers(made) > 0) != (bench.before > 0)).any(1)
    few = changed(bench, made) < changed(bench, bench.made(steps=1))
    assert flipped.sum() >= 10
    assert few.any()
    assert flipped[few].all()


def test_a_score_goes_up_or_down_and_nothing_is_asked(tokenizer):
    bench = Bench(tokenizer, "regression", ())
    asked, followed, rose = 0, 0, 0
    for copy in range(10):  # of a few tokens: with more the gradient is not that of the text any more
        made = bench.made(copy, replace_fraction=0.2)
        assert torch.equal(made.ids, bench.made(copy, replace_fraction=0.2, steps=1).ids)
        up = RowRandom(0, copy).uniform("direction", bench.batch.row_ids)[:, 0] < 0.5
        moved = (bench.answers(made) - bench.before)[:, 0]
        asked, rose = asked + int((moved != 0).sum()), rose + int(up.sum())
        followed += int(((moved > 0) == up)[moved != 0].sum())
    assert bench.asked == []
    assert 60 < rose < 140
    assert followed > 0.7 * asked > 70


def test_after_another_method_it_is_the_answer_to_the_text_as_it_is(bench):
    """The crossover's text is read once for its answer, and then those in which tokens have changed."""
    crossed = augmenter("compose", of="crossover+counterfactual(replace_fraction=1.0)")
    crossed(bench.batch, bench.context())
    assert len(bench.asked) == 3
    assert len(bench.asked[0].ids) == 20
    assert not torch.equal(bench.asked[0].ids, bench.batch.ids)


def test_what_is_missing_is_named(bench):
    method = augmenter("counterfactual")
    with pytest.raises(
        ValueError, match=r"the teacher's gradient, so it runs only during .*TrainingState\.teacher"
    ):
        method(bench.batch, bench.context(teacher=None))
    with pytest.raises(ValueError, match=r"counterfactual needs .*TrainingState\.label"):
        method(bench.batch, bench.context(label=None))
    augmenter("counterfactual", steps=1)(bench.batch, bench.context(label=None))


def test_candidates_share_the_gradient_and_what_the_teacher_reads_is_counted(tokenizer, monkeypatch):
    teacher = Teacher(tiny_bert(len(tokenizer), layers=3, seed=7), tokenizer)
    student = tiny_bert(len(tokenizer))
    space = EmbeddingSpace(student.get_input_embeddings().weight, Vocabulary(tokenizer, len(tokenizer)))
    dataset = DistillationDataset(tokenize(tokenizer, TEXTS), torch.zeros(20), teacher.label(TEXTS))
    made = OnlineAugmentation(
        augmenter("counterfactual"), space, teacher, Objective("single_label"), candidates=3, new_candidates=3
    )
    gradients, take = [], torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *given: gradients.append(1) or take(*given))
    rows, logits = made(dataset.table.batch(ROWS), dataset.teacher_logits, dataset, student, 0)
    assert len(gradients) == 1
    assert len(rows.ids) == len(logits) == 20
    assert 60 < made.labelled <= 60 + 2 * 60
    assert {"teacher", "augment"} <= made.meter.seconds.keys()


def test_the_plan_refuses_a_teacher_of_another_tokenizer(
    table_file, teacher_folder, save_model, other_tokenizer, tmp_path
):
    common = {"data": str(table_file), "teacher": str(teacher_folder), "out": tmp_path, "batch_size": 4,
              "augment": "several", "augment_options": {"of": "counterfactual+random"}}  # fmt: skip
    assert make_plan(DistillConfig(**common, student_layers=(0,))).augmenter.teacher_shares == "tokens"
    with pytest.raises(InputError, match="the same tokenizer"):
        make_plan(DistillConfig(**common, student=str(save_model(other_tokenizer))))
