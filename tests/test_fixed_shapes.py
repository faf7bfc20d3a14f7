"""A label is the same bit for bit, whatever is labelled beside it."""

import pytest
import torch

from augpro.models.fixed_shapes import shape_length
from augpro.models.padding import reads_padding
from augpro.teachers.teacher import Teacher
from augpro.tokens import tokenize
from augpro.vocabulary import Vocabulary
from common import OTHERS, TEXTS, tiny_bert
from tiny_models import kinds, plain, tiny_classifier

# Rows of 2 to 34 tokens; some fill the shape of a shorter row, some are at the limit of 32.
ROWS = [*TEXTS, *(" ".join(["good film"] * count) for count in range(1, 18)), "a", "a b c d e", "a b c d e f"]


def in_parts(teacher, texts, pairs, size):
    parts = [slice(start, start + size) for start in range(0, len(texts), size)]
    return torch.cat([teacher.label(texts[part], pairs and pairs[part]) for part in parts])


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=[] if kind in ("bert", "gpt2") else pytest.mark.e2e) for kind in kinds()],
)
def test_a_label_is_the_same_alone_in_any_order_and_in_any_part(kind, tmp_path):
    tokenizer = plain()
    teacher = Teacher(tiny_classifier(kind, tokenizer), tokenizer)
    whole = teacher.label(ROWS)
    assert whole.isfinite().all()
    assert len(whole.unique(dim=0)) > 20
    mixed = any("expert" in name for name in vars(teacher.model.config))
    same = (lambda one, other: torch.allclose(one, other, atol=1e-5)) if mixed else torch.equal
    assert same(teacher.label(ROWS[::-1]).flip(0), whole)
    assert same(in_parts(teacher, ROWS, None, 1), whole)
    assert same(in_parts(teacher, ROWS, None, 7), whole)
    stored = Teacher(teacher.model, tokenizer, store=tmp_path)
    assert same(stored.label(ROWS[::3]), whole[::3])
    assert same(stored.label(ROWS), whole)


@pytest.mark.e2e
def test_it_is_so_for_a_model_of_usual_width():
    """Wide enough for the blocked matrix products, whose order of sums depends on the shape."""
    tokenizer = plain()
    options = {"hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 12}
    teacher = Teacher(tiny_classifier("bert", tokenizer, **options), tokenizer)
    whole = teacher.label(ROWS)
    assert torch.equal(teacher.label(ROWS[::-1]).flip(0), whole)
    assert torch.equal(in_parts(teacher, ROWS, None, 3), whole)


def test_pairs_and_token_rows_are_labelled_in_the_same_way(model, tokenizer):
    teacher, vocabulary = Teacher(model, tokenizer), Vocabulary(tokenizer, len(tokenizer))
    whole = teacher.label(TEXTS, OTHERS)
    assert torch.equal(in_parts(teacher, TEXTS, OTHERS, 3), whole)
    table = tokenize(tokenizer, TEXTS, OTHERS)
    for rows in (range(20), [3], [19, 4, 4]):
        assert torch.equal(teacher.label_tokens(table.batch(rows), vocabulary), whole[list(rows)])


def test_a_long_row_beside_it_does_not_change_how_a_token_row_is_read(model, tokenizer):
    """The long one is cut by the teacher's tokenizer; the short one is passed on as it is."""
    teacher, vocabulary = Teacher(model, tokenizer, limit=8), Vocabulary(tokenizer, len(tokenizer))
    table = tokenize(tokenizer, ["good film " * 6, "a b c d"])
    both = teacher.label_tokens(table.batch([0, 1]), vocabulary)
    assert torch.equal(both[1:], teacher.label_tokens(table.batch([1]), vocabulary))
    assert torch.equal(both[:1], teacher.label(["good film " * 6]))


def test_equal_rows_are_read_once(model, tokenizer):
    teacher = Teacher(model, tokenizer)
    labels = teacher.label(["good", "bad", "good", "good"])
    assert torch.equal(labels, labels[[0, 1, 0, 0]])
    assert (teacher.counts.asked, teacher.counts.read, teacher.counts.computed) == (4, 0, 2)


def test_no_text_has_no_label(model, tokenizer):
    assert Teacher(model, tokenizer).label([]).shape == (0, 2)


@pytest.mark.parametrize("limit", [5, 32, 100, 512])
def test_every_row_has_padding_or_is_at_the_limit(limit):
    """A batch without any padding takes another path through attention."""
    lengths = range(limit + 1)
    assert all(length < shape_length(length, limit) <= limit for length in lengths[:-1])
    assert shape_length(limit, limit) == limit
    assert len({shape_length(length, limit) for length in lengths}) <= 22
    assert all(shape_length(length, limit) <= max(8, 1.25 * length + 8) for length in lengths)


def test_the_shape_depends_on_the_row_alone(model, tokenizer):
    """Also where the model reads padding: there every length is a shape."""
    shapes = []
    model.register_forward_pre_hook(
        lambda _module, _args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    teacher = Teacher(model, tokenizer)
    teacher.label(ROWS)
    sizes = {}
    for rows, length in shapes:
        assert sizes.setdefault(length, rows) == rows
    assert not reads_padding(model.config)
    assert sizes == {8: 12, 16: 6, 24: 4, 32: 3}


def test_a_model_in_training_mode_is_not_asked(tokenizer):
    """A teacher has no dropout, whatever mode its model was given in."""
    teacher = Teacher(tiny_bert(len(tokenizer), dropout=0.5).train(), tokenizer)
    assert torch.equal(teacher.label(TEXTS), teacher.label(TEXTS))
