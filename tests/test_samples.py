"""What people read: marks, escaping and notes."""

import dataclasses
import math
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from augpro.augment import EmbeddingSpace, augmenter
from augpro.data.loading import Split
from augpro.distillation.samples import check_rows, marked, samples_markdown
from augpro.distillation.summary import notes_of
from augpro.losses import Objective
from augpro.results.result import Sample, Scores
from augpro.tasks import Task
from augpro.teachers.teacher import Teacher
from augpro.tokens import tokenize
from augpro.training.dataset import DistillationDataset, label_tensor
from augpro.training.online import OnlineAugmentation
from augpro.vocabulary import Vocabulary
from common import LABELS, tiny_bert
from report_cases import cell_result

TASK = Task("reviews", "single_label", "accuracy", LABELS)
HOSTILE = [
    "<script>alert(1)</script>", "a|b", "`code`", "**bold**", "# head", "[x](y)", "![x](y)", "&amp;", "~~a~~",
    "__a__", r"back\slash", "- item", "> quote", "<!-- a -->", "***", "```", "1. one", "2) two", "3.5 of 4."
]  # fmt: skip


def sample(original, augmented, before="negative 0.90", after="positive 0.60"):
    return Sample(original=original, augmented=augmented, original_label=before, augmented_label=after)


def result_with(samples, task="reviews"):
    return cell_result("augpro-mix", task=task, samples=samples, teacher={})


class Rendered(HTMLParser):
    """What a reader of the rendered page sees: its text, the bold words and the tags."""

    def __init__(self, markdown):
        super().__init__()
        self.tags, self.bold, self.text, self._inside = set(), [], [], False
        self.feed(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown))
        self.words = "".join(self.text).split()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self._inside = tag == "strong" or (self._inside and tag != "strong")

    def handle_endtag(self, tag):
        self._inside = self._inside and tag != "strong"

    def handle_data(self, data):
        self.text.append(data)
        if self._inside:
            self.bold.append(data)


PAGE_TAGS = {"h1", "p", "ol", "li", "strong", "em", "br"}


# --- marks ---


@pytest.mark.parametrize(
    ("original", "augmented", "before", "after"),
    [
        ("the film is good", "the film is bad", "the film is *good*", "the film is *bad*"),
        ("the film is good", "the film is good", "the film is good", "the film is good"),
        ("a b c", "x b y", "*a* b *c*", "*x* b *y*"),
        ("a b", "c d", "*a* *b*", "*c* *d*"),
        ("an un able plot", "an plot", "an *un* *able* plot", "an plot"),
        ("good good film", "good film", None, "good film"),
        ("", "new", "", "*new*"),
        ("two  spaces\nand lines", "two spaces and lines", "two spaces and lines", "two spaces and lines"),
    ],
)
def test_exactly_the_changed_words_are_marked(original, augmented, before, after):
    found = marked(sample(original, augmented), "*")
    assert found[1] == after
    if before is None:
        assert found[0].count("*") == 2
    else:
        assert found[0] == before


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("abcde")), max_size=30))
def test_marks_only_add_marks(pairs):
    original, augmented = (" ".join(words) for words in zip(*pairs, strict=True)) if pairs else ("", "")
    before, after = marked(sample(original, augmented), "*")
    assert (before.replace("*", ""), after.replace("*", "")) == (original, augmented)
    unmarked = [[word for word in text.split() if "*" not in word] for text in (before, after)]
    assert unmarked[0] == unmarked[1]
    assert ("*" in before + after) == (original != augmented)


def test_escaping_touches_the_words_not_the_marks():
    assert marked(sample("a*b c", "d c"), "**", lambda word: word.replace("*", r"\*")) == (
        r"**a\*b** c",
        "**d** c",
    )


# --- Markdown ---


def test_page_shows_both_texts_with_their_labels():
    page = samples_markdown(result_with([sample("the film is good", "the film is bad"), sample("x", "y")]))
    lines = page.splitlines()
    assert lines[0] == "# reviews: augpro-mix"
    assert "1. the film is **good** → *negative 0.90*  " in lines
    assert "   the film is **bad** → *positive 0.60*" in lines
    assert "2. **x** → *negative 0.90*  " in lines
    rendered = Rendered(page)
    assert rendered.tags == PAGE_TAGS
    assert rendered.bold == ["good", "bad", "x", "y"]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_as_it_is(text):
    page = samples_markdown(result_with([sample(f"so {text} end", f"so {text} fin", text, text)], task=text))
    rendered = Rendered(page)
    assert rendered.tags <= PAGE_TAGS
    assert rendered.bold == ["end", "fin"]
    shown = " ".join(rendered.words)
    assert shown.count(" ".join(text.split())) == 5  # title, two texts, two labels


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_words_can_be_the_changed_ones(text):
    rendered = Rendered(samples_markdown(result_with([sample("plain", text)])))
    assert rendered.tags <= PAGE_TAGS
    assert rendered.bold == ["plain", *text.split()]


def test_lines_within_a_text_cannot_leave_their_item():
    text = "one\n\n# two\n\n<b>three</b>\r\n- four"
    rendered = Rendered(samples_markdown(result_with([sample(text, text), sample("next", "next")])))
    assert rendered.tags <= PAGE_TAGS
    shown = " ".join(rendered.words)
    assert shown.count("one # two <b>three</b> - four →") == 2
    assert rendered.bold == []


@given(st.text(st.sampled_from("ab <>*_`|~[]()!#&;\\\"'-+=:/\n\t"), max_size=40))
def test_any_text_is_shown_as_it_is(text):
    text = f"so {text} end"
    rendered = Rendered(samples_markdown(result_with([sample(text, "other")])))
    assert rendered.tags <= PAGE_TAGS
    assert " ".join(text.split()) in " ".join(rendered.words)


# --- samples of a run ---


@pytest.fixture
def augmentation(model, tokenizer):
    space = EmbeddingSpace(model.get_input_embeddings().weight, Vocabulary(tokenizer, len(tokenizer)))
    return OnlineAugmentation(
        augmenter("augpro-mix"), space, Teacher(model, tokenizer), Objective("single_label"), seed=3
    )


@pytest.mark.e2e
def test_samples_are_the_first_epochs_texts_with_the_teachers_labels(augmentation, tokenizer, texts, model):
    teacher = augmentation.teacher
    table, logits = tokenize(tokenizer, texts), teacher.label(texts)
    dataset = DistillationDataset(table, label_tensor([None] * 20, TASK), logits)
    checked = check_rows(augmentation, dataset, model, TASK, texts[:3])
    samples = checked.samples
    assert checked.shares["rows_retokenized_differently"] == 0.0
    assert [one.original for one in samples] == texts
    augmented, _ = augmentation(table.batch([7]), logits[7:8], dataset, model, epoch=0)
    assert samples[7].augmented == augmentation.space.vocabulary.decode(augmented)[0][0]
    for one in samples:
        for text, label in ((one.original, one.original_label), (one.augmented, one.augmented_label)):
            name, sure = label.split()
            chances = teacher.label([text]).softmax(1)[0]
            assert name == LABELS[int(chances.argmax())]
            assert float(sure) == pytest.approx(float(chances.max()), abs=0.006)
    assert any(one.original != one.augmented for one in samples)

    assert [line.row for line in checked.lines] == list(range(20))
    for one, line in zip(samples, checked.lines, strict=True):
        assert (line.original, line.augmented) == (one.original, one.augmented)
        for side in ("original", "augmented"):
            chances = line.before if side == "original" else line.after
            assert chances == pytest.approx(
                teacher.label([getattr(line, side)]).softmax(1)[0].tolist(), abs=1e-4
            )
            assert sum(chances) == pytest.approx(1.0, abs=1e-4)
    flips = sum(one.original_label.split()[0] != one.augmented_label.split()[0] for one in samples)
    assert checked.shares["label_flips"] == flips / 20
    assert checked.shares["checked_texts"] == 20
    # The three texts that were given were there before; of those made of them some are left as they were.
    assert checked.shares["near_duplicates_of_originals"] == 3 / 20
    assert checked.shares["exact_duplicates_of_evaluation_before"] == 3 / 20
    equal = sum(one.augmented in texts[:3] for one in samples)
    assert checked.shares["exact_duplicates_of_evaluation"] == equal / 20
    assert checked.shares["near_duplicates"] >= equal / 20
    same = sum(one.augmented in texts for one in samples)
    assert checked.shares["duplicates"] >= same / 20
    assert 0 < checked.shares["teacher_entropy_before"] < math.log(2)


def test_rows_that_are_no_text_leave_no_samples(augmentation, tokenizer, texts, model):
    virtual = dataclasses.replace(augmentation, augmenter=augmenter("mixup"))
    logits = augmentation.teacher.label(texts)
    dataset = DistillationDataset(tokenize(tokenizer, texts), label_tensor([None] * 20, TASK), logits)
    checked = check_rows(virtual, dataset, model, TASK, texts)
    assert (checked.samples, checked.lines, checked.shares) == ([], [], {})


@pytest.mark.e2e
def test_at_most_500_rows_are_labelled_of_the_1000_that_are_tokenized_again(
    augmentation, tokenizer, texts, model
):
    many = texts * 30
    logits = augmentation.teacher.label(texts).repeat(30, 1)
    dataset = DistillationDataset(tokenize(tokenizer, many), label_tensor([None] * 600, TASK), logits)
    checked = check_rows(augmentation, dataset, model, TASK)
    assert augmentation.counts.rows == 600
    assert len(checked.lines) == checked.shares["checked_texts"] == 500
    assert len(checked.samples) == 20
    assert checked.shares["near_duplicates"] == 0.0  # nothing to be near to


@pytest.mark.parametrize(
    ("problem", "names", "pattern"),
    [("regression", (), r"-?\d+\.\d\d"), ("multi_label", LABELS, r"none|(negative|positive)(, positive)?")],
)
def test_labels_of_other_problems_can_be_read(problem, names, pattern, model, tokenizer, texts):
    task = Task("t", problem, "pearson", names)
    teacher = Teacher(tiny_bert(len(tokenizer), labels=names), tokenizer)
    logits = teacher.label(texts)
    space = EmbeddingSpace(model.get_input_embeddings().weight, Vocabulary(tokenizer, len(tokenizer)))
    augmentation = OnlineAugmentation(augmenter("augpro-mix"), space, teacher, Objective(problem))
    dataset = DistillationDataset(tokenize(tokenizer, texts), label_tensor([None] * 20, task), logits)
    checked = check_rows(augmentation, dataset, model, task)
    samples = checked.samples
    assert ("label_flips" in checked.shares) == (problem == "multi_label")
    assert "teacher_entropy_before" not in checked.shares
    chances = torch.tensor([line.before for line in checked.lines])
    expected = logits.sigmoid() if problem == "multi_label" else logits
    assert torch.allclose(chances, expected, atol=1e-4)
    assert all(re.fullmatch(pattern, one.original_label) for one in samples)
    assert len({one.original_label for one in samples}) > 1


# --- notes ---


def plan_with(labels, notes=(), task=TASK):
    split = Split(["x"] * len(labels), None, labels, "f.csv")
    data = SimpleNamespace(notes=list(notes))
    return SimpleNamespace(data=data, task=task, scored_splits=lambda: {"evaluation": split})


def run_with(accuracy):
    result = result_with([])
    if accuracy is not None:
        result.teacher = {"evaluation": Scores(rows=4, metrics={"accuracy": accuracy})}
    return result


def test_notes_of_the_data_come_first_and_are_left_as_they_were():
    plan = plan_with([0, 1], ["columns guessed"])
    notes = notes_of(plan, run_with(0.2))
    assert notes[0] == "columns guessed"
    assert len(notes) == 2
    assert plan.data.notes == ["columns guessed"]


@pytest.mark.parametrize(
    ("accuracy", "warned"), [(0.2, True), (0.74, True), (0.75, False), (0.9, False), (None, False)]
)
def test_a_teacher_worse_than_the_most_frequent_class_is_told(accuracy, warned):
    notes = notes_of(plan_with([1, 1, 1, 0, None]), run_with(accuracy))
    assert any("most frequent class (0.750)" in note for note in notes) == warned


def test_a_teacher_without_labels_to_compare_is_not_judged():
    assert notes_of(plan_with([None, None]), run_with(None)) == []
    regression = Task("t", "regression", "pearson")
    assert notes_of(plan_with([1.0, 2.0], task=regression), run_with(0.0)) == []
