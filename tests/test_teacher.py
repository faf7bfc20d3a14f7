"""The teacher reads text, and its answers belong to their rows."""

import pytest
import torch

from augpro.models.reading import predict_logits
from augpro.models.source import same_tokenizer
from augpro.teachers.teacher import Teacher
from augpro.tokens import tokenize
from augpro.vocabulary import Vocabulary
from common import WORDS, tiny_bert, wordpiece


def by_hand(model, tokenizer, text, pair=None, **options):
    """Logits of one text: the tokenizer's own output through the model, nothing else."""
    inputs = tokenizer(text, pair, return_tensors="pt", **options)
    with torch.no_grad():
        return model(**inputs).logits[0]


def rows_of(inputs):
    """What a model is given of each row: ids and token types in turn, without padding."""
    present = inputs["attention_mask"].bool()
    both = torch.stack([inputs["input_ids"], inputs["token_type_ids"]], dim=2)
    return [tuple(row[mask].flatten().tolist()) for row, mask in zip(both, present, strict=True)]


@pytest.fixture
def spy():
    """Record the keyword arguments of every forward pass of a model."""
    handles = []

    def record(model):
        calls = []
        hook = lambda _module, _args, kwargs: calls.append(kwargs)  # noqa: E731
        handles.append(model.register_forward_pre_hook(hook, with_kwargs=True))
        return calls

    yield record
    for handle in handles:
        handle.remove()


# --- logits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 3, 128])
def test_logits_are_those_of_each_row_alone(model, tokenizer, texts, batch_size):
    logits = predict_logits(model, tokenize(tokenizer, texts), batch_size)
    expected = torch.stack([by_hand(model, tokenizer, text) for text in texts])
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    assert (expected.std(0) > 0.1).all()  # rows in another order would be seen


@pytest.mark.parametrize("training", [True, False])
def test_predicting_has_no_dropout_and_keeps_the_mode(tokenizer, texts, training):
    model = tiny_bert(len(tokenizer), dropout=0.5).train(training)
    one, other = (predict_logits(model, tokenize(tokenizer, texts)) for _ in range(2))
    assert torch.equal(one, other)
    assert model.training == training


def test_teacher_labels_texts_and_pairs(model, tokenizer, texts):
    teacher = Teacher(model, tokenizer)
    expected = [by_hand(model, tokenizer, text, pair) for text, pair in zip(texts, texts[::-1], strict=True)]
    torch.testing.assert_close(teacher.label(texts, texts[::-1]), torch.stack(expected), rtol=1e-4, atol=1e-5)
    limited = Teacher(model, tokenizer, limit=4).label(texts)
    cut = torch.stack([by_hand(model, tokenizer, t, truncation=True, max_length=4) for t in texts])
    torch.testing.assert_close(limited, cut, rtol=1e-4, atol=1e-5)


def test_teacher_is_frozen(tokenizer):
    model = tiny_bert(len(tokenizer), dropout=0.5).train()
    Teacher(model, tokenizer)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


# --- token rows ------------------------------------------------------------------------------------------


def test_ids_pass_where_the_tokenizer_is_the_same(model, tokenizer, texts, spy):
    """An equal tokenizer, not the same object: the rows go in as they are."""
    teacher, vocabulary = Teacher(model, wordpiece(WORDS)), Vocabulary(tokenizer, len(tokenizer))
    assert teacher.reads_ids_of(tokenizer)
    batch = tokenize(tokenizer, texts[:5], texts[5:10]).batch(range(5))
    calls = spy(model)
    logits = teacher.label_tokens(batch, vocabulary)
    assert {row for call in calls for row in rows_of(call)} == set(rows_of(batch.model_inputs()))
    torch.testing.assert_close(logits, teacher.label(texts[:5], texts[5:10]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("with_pairs", [False, True])
def test_another_tokenizer_is_given_the_text(tokenizer, other_tokenizer, texts, spy, with_pairs):
    """Of augmented rows too: what the teacher reads is its own tokenizer's output for the decoded text."""
    assert len(tokenizer) == len(other_tokenizer)
    model = tiny_bert(len(other_tokenizer), seed=3)
    teacher, vocabulary = Teacher(model, other_tokenizer), Vocabulary(tokenizer, len(tokenizer))
    assert not teacher.reads_ids_of(tokenizer)
    first, second = ["looks working", *texts[:4]], ["my plays", *texts[4:8]] if with_pairs else None
    batch = tokenize(tokenizer, first, second).batch(range(5))
    changed = batch.ids.clone()
    changed[:, 2] = tokenizer.convert_tokens_to_ids("server")  # as an augmenter would
    batch = batch.with_ids(torch.where(batch.segments == 0, changed, batch.ids))
    calls = spy(model)
    logits = teacher.label_tokens(batch, vocabulary)
    texts_read, pairs_read = vocabulary.decode(batch)
    expected_ids = other_tokenizer(texts_read, pairs_read)["input_ids"]
    assert any("server" in text for text in texts_read)
    received = [list(row[::2]) for call in calls for row in rows_of(call)]
    assert {tuple(ids) for ids in received} == {tuple(ids) for ids in expected_ids}
    # Not the student's ids: there the same words have other numbers.
    student_ids = [ids[mask.bool()].tolist() for ids, mask in zip(batch.ids, batch.mask, strict=True)]
    assert not any(ids in student_ids for ids in received)
    pairs = pairs_read or [None] * 5
    expected = [by_hand(model, other_tokenizer, a, b) for a, b in zip(texts_read, pairs, strict=True)]
    torch.testing.assert_close(logits, torch.stack(expected), rtol=1e-4, atol=1e-5)


def test_logits_do_not_depend_on_the_way_the_words_are_numbered(tokenizer, other_tokenizer, texts):
    """The same teacher with its embedding rows renumbered gives the same labels; leaked ids would not."""
    teacher_model, renumbered = tiny_bert(len(tokenizer)), tiny_bert(len(tokenizer))
    order = [
        tokenizer.convert_tokens_to_ids(t)
        for t in other_tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    ]
    table = renumbered.get_input_embeddings().weight
    table.data = teacher_model.get_input_embeddings().weight.data[order].clone()
    vocabulary = Vocabulary(tokenizer, len(tokenizer))
    batch = tokenize(tokenizer, texts).batch(range(20))
    one = Teacher(teacher_model, tokenizer).label_tokens(batch, vocabulary)
    other = Teacher(renumbered, other_tokenizer).label_tokens(batch, vocabulary)
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        leaked = renumbered(**batch.model_inputs()).logits
    assert (leaked - one).abs().max() > 0.5


def test_labels_may_enter_the_students_graph(model, tokenizer, other_tokenizer, texts):
    vocabulary, batch = Vocabulary(tokenizer, len(tokenizer)), tokenize(tokenizer, texts).batch([0, 1])
    for own in (tokenizer, other_tokenizer):
        logits = Teacher(model, own).label_tokens(batch, vocabulary)
        weight = torch.ones(2, requires_grad=True)
        (logits * weight).sum().backward()  # an inference tensor would raise here
        assert not logits.requires_grad


def test_same_tokenizer_compares_the_vocabulary_not_its_size(tokenizer, other_tokenizer):
    assert same_tokenizer(tokenizer, wordpiece(WORDS))
    assert len(tokenizer) == len(other_tokenizer)
    assert not same_tokenizer(tokenizer, other_tokenizer)
    cased = wordpiece(WORDS)
    cased.backend_tokenizer.normalizer = None
    assert not same_tokenizer(tokenizer, cased)
    used = wordpiece(WORDS)
    used(["good", "a good film"], padding=True, truncation=True, max_length=4)
    assert same_tokenizer(tokenizer, used)


def test_tokenizers_are_compared_anew_for_another_student(model, tokenizer, other_tokenizer):
    teacher = Teacher(model, tokenizer)
    answers = [teacher.reads_ids_of(t) for t in (tokenizer, other_tokenizer, tokenizer, other_tokenizer)]
    assert answers == [True, False, True, False]


def test_the_limit_holds_for_token_rows_too(model, tokenizer):
    teacher, text = Teacher(model, tokenizer, limit=6), "the movie is great again today and your app is slow"
    rows = tokenize(tokenizer, [text]).batch([0])
    labels = teacher.label_tokens(rows, Vocabulary(tokenizer, len(tokenizer)))
    torch.testing.assert_close(labels, teacher.label([text]), rtol=1e-4, atol=1e-5)


def test_a_student_without_token_types_and_a_teacher_with(model, tokenizer):
    """As DistilBERT and BERT: one vocabulary, but only the teacher tells the second text from the first."""
    student_tokenizer = wordpiece(WORDS)
    student_tokenizer.model_input_names = ["input_ids", "attention_mask"]
    rows = tokenize(student_tokenizer, ["my app"], ["slow team"]).batch([0])
    teacher = Teacher(model, tokenizer)
    labels = teacher.label_tokens(rows, Vocabulary(student_tokenizer, len(student_tokenizer)))
    torch.testing.assert_close(labels, teacher.label(["my app"], ["slow team"]), rtol=1e-4, atol=1e-5)
