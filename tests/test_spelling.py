"""The text of an augmented row: words that were not changed are read as they were written."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from augpro.augment import augmenter
from augpro.augment.base import EmbeddingSpace
from augpro.distillation.samples import check_rows
from augpro.distillation.summary import notes_of
from augpro.losses import Objective
from augpro.tasks import Task
from augpro.teachers.teacher import Teacher
from augpro.tokens import join, tokenize
from augpro.training.candidates import CandidateStore
from augpro.training.dataset import DistillationDataset, label_tensor
from augpro.training.online import OnlineAugmentation
from augpro.vocabulary import Vocabulary
from common import LABELS, WORDS, tiny_bert, wordpiece
from test_samples import plan_with, run_with

TASK = Task("t", "single_label", "accuracy", LABELS)
CAPITALS = [word.capitalize() for word in WORDS]


@pytest.fixture(scope="module")
def vocabulary(tokenizer):
    return Vocabulary(tokenizer, len(tokenizer))


@pytest.fixture(scope="module")
def cased():
    """A tokenizer to which "Great" and "great" are two words."""
    tokenizer = wordpiece([*WORDS, *CAPITALS])
    tokenizer.backend_tokenizer.normalizer = None
    return tokenizer


@pytest.fixture(scope="module")
def cased_teacher(cased):
    return Teacher(tiny_bert(len(cased), seed=8), cased)


def written(vocabulary, *texts, limit=None, **new):
    """A row, or a pair, with tokens replaced: old=new; ## is left out in both."""
    tokenizer = vocabulary.tokenizer

    def number(token):
        return tokenizer.convert_tokens_to_ids(token)

    batch = tokenize(tokenizer, *[[text] for text in texts], limit=limit).batch([0])
    ids = batch.ids.clone()
    for old, to in new.items():
        pairs = [(old, to), (f"##{old}", f"##{to}")]
        for before, after in pairs:
            if number(before) != tokenizer.unk_token_id:
                ids[batch.ids == number(before)] = number(after)
    first, second = vocabulary.decode(batch.with_ids(ids))
    return [first[0], *(second or [])]


def test_all_but_the_replaced_words_is_kept_as_it_was_written(vocabulary):
    text = "The  MOVIE \U0001f600 (café), was Good\tagain"
    assert written(vocabulary, text) == [text]
    assert written(vocabulary, text, movie="app", good="slow", the="my") == [
        "My  APP \U0001f600 (café), was Slow\tagain"
    ]
    assert written(vocabulary, "good film", "Film, good", film="plot") == ["good plot", "Plot, good"]
    assert written(vocabulary, "it works, works", works="work") == ["it work, work"]
    assert written(vocabulary, "Unworkable  WORKING", ing="ed") == ["Unworkable  WORKED"]


def test_the_end_that_was_cut_for_the_student_is_kept(vocabulary):
    text = "the movie " * 4 + "Is GREAT"
    assert written(vocabulary, text, limit=6) == [text]
    assert written(vocabulary, text, limit=6, movie="film") == [
        "the film the film the movie the movie Is GREAT"
    ]


def test_words_that_touch_stay_two_words(vocabulary):
    """A sign of its own is no word's part for the tokenizer; a word in its place would be."""
    assert written(vocabulary, "good.film") == ["good.film"]
    assert written(vocabulary, "good.film", good="slow") == ["slow.film"]
    assert written(vocabulary, "good.film", **{".": "the"}) == ["good the film"]
    assert written(vocabulary, "good.film", **{".": "the"}, good="slow", film="app") == ["slow the app"]


def test_case_is_the_old_words_only_where_the_student_does_not_see_it(cased):
    """To a tokenizer that tells case it is a part of the new token."""
    vocabulary = Vocabulary(cased, len(cased))
    assert written(vocabulary, "The movie is Great", Great="bad", movie="App") == ["The App is bad"]


def test_rows_without_their_texts_are_what_their_tokens_read(vocabulary, tokenizer):
    batch = tokenize(tokenizer, ["The  Movie", "GOOD"], ["Fine", "my APP"]).batch([0, 1])
    assert vocabulary.decode(batch) == (["The  Movie", "GOOD"], ["Fine", "my APP"])
    bare = type(batch)(**batch.tensors())
    assert vocabulary.decode(bare) == (["the movie", "good"], ["fine", "my app"])


def metaspace(cut: bool):
    """A SentencePiece type tokenizer; without ``cut`` a whole text is one word to it, as Llama's."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.Metaspace(split=cut), decoders.Metaspace()
    return inner, trainers.BpeTrainer(vocab_size=200, show_progress=False)


def byte_level(_cut: bool):
    """A GPT-2 type tokenizer, which counts the space before a word to it."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer, inner.decoder = (
        pre_tokenizers.ByteLevel(False, trim_offsets=False),
        decoders.ByteLevel(),
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return inner, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)


@pytest.mark.parametrize(("family", "cut"), [(byte_level, True), (metaspace, True), (metaspace, False)])
def test_any_kind_of_tokenizer(family, cut):
    inner, trainer = family(cut)
    corpus = ["a movie was good", "the film was slow", "The Film"]
    inner.train_from_iterator(
        [word for text in corpus for word in (text, *map(" ".__add__, text.split()))] * 20, trainer
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner)
    vocabulary = Vocabulary(tokenizer, len(tokenizer))
    batch = tokenize(tokenizer, ["the  movie was\n good", "the  film was\n good"]).batch([0, 1])
    one, other = (ids[mask.bool()] for ids, mask in zip(batch.ids, batch.mask, strict=True))
    assert len(one) == len(other), tokenizer.tokenize("the  movie was\n good")
    assert vocabulary.decode(batch)[0] == ["the  movie was\n good", "the  film was\n good"]
    assert vocabulary.decode(batch.take(torch.tensor([0])).with_ids(other[None]))[0] == [
        "the  film was\n good"
    ]


@pytest.mark.e2e
@settings(max_examples=60, deadline=None)
@given(
    text=st.lists(
        st.sampled_from(
            [*WORDS[:30], *CAPITALS[:9], "GOOD", "café", "\U0001f600", "don't", "20%", "(x)", "  "]
        ),
        min_size=1,
    ),
    seed=st.integers(0, 10**6),
    limit=st.integers(4, 30),
)
def test_what_is_written_has_the_rows_own_tokens(vocabulary, text, seed, limit):
    """Whatever is replaced, the student would read the very tokens that it is trained on."""
    batch = tokenize(vocabulary.tokenizer, [" ".join(text)], limit=limit).batch([0])
    generator = torch.Generator().manual_seed(seed)
    new = batch.ids.clone()
    chosen = vocabulary.editable(batch) & (torch.rand(new.shape, generator=generator) < 0.5)
    for group in (0, 1):
        tokens = torch.nonzero(vocabulary.groups == group)[:, 0]
        drawn = tokens[torch.randint(len(tokens), new.shape, generator=generator)]
        new = torch.where(chosen & (vocabulary.groups[batch.ids] == group), drawn, new)
    changed = batch.with_ids(vocabulary.keep_canonical(new, batch))
    assert vocabulary.mismatch_rate(changed) == 0.0
    (found,), _ = vocabulary.decode(changed)
    again = tokenize(vocabulary.tokenizer, [found], limit=limit).batch([0])
    assert torch.equal(again.ids, changed.ids)
    if not (changed.ids != batch.ids).any():
        assert found == " ".join(text)


# --- what the teacher is given ---


def augmentation_with(teacher, tokenizer, method, **options):
    student = tiny_bert(len(tokenizer))
    space = EmbeddingSpace(student.get_input_embeddings().weight, Vocabulary(tokenizer, len(tokenizer)))
    return student, OnlineAugmentation(
        augmenter(method, **options), space, teacher, Objective("single_label")
    )


def test_a_cased_teacher_answers_the_unchanged_text_as_before(cased_teacher, tokenizer, texts):
    """Lowered, the texts would have other answers: the student's tokens do not tell case."""
    shouted = [text.title() for text in texts]
    answers = cased_teacher.label(shouted)
    assert (answers.argmax(1) != cased_teacher.label(texts).argmax(1)).any()
    table = tokenize(tokenizer, shouted)
    dataset = DistillationDataset(table, label_tensor([None] * 20, TASK), answers)
    student, still = augmentation_with(cased_teacher, tokenizer, "random", replace_fraction=0.0)
    _, labels = still(table.batch(range(20)), answers, dataset, student, epoch=0)
    torch.testing.assert_close(labels, answers, rtol=1e-4, atol=1e-5)


def test_what_a_text_method_wrote_is_read_as_it_wrote_it(cased_teacher, tokenizer, texts):
    shouted = [text.title() for text in texts]
    table, answers = tokenize(tokenizer, shouted), cased_teacher.label(shouted)
    dataset = DistillationDataset(table, label_tensor([None] * 20, TASK), answers)
    student, swapping = augmentation_with(
        cased_teacher, tokenizer, "eda", synonym=0, insertion=0, deletion=0, swap=0.3
    )
    rows, labels = swapping(table.batch(range(20)), answers, dataset, student, epoch=0)
    assert rows.texts != table.texts_of(range(20))
    assert all(text.istitle() for (text,) in rows.texts)
    expected = cased_teacher.label([text for (text,) in rows.texts])
    torch.testing.assert_close(labels, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["random", "eda"])
def test_the_store_keeps_what_was_written(method, cased_teacher, tokenizer, texts, tmp_path):
    """Over a restart too: texts and changed tokens give the same text again."""
    options = {"synonym": 0, "insertion": 0} if method == "eda" else {}
    table, answers = tokenize(tokenizer, texts), cased_teacher.label(texts)
    dataset = DistillationDataset(table, label_tensor([None] * 20, TASK), answers)
    student, changing = augmentation_with(cased_teacher, tokenizer, method, **options)
    batch = table.batch(range(20))
    augmented = changing.augment(batch, answers, dataset, student, copy=0)
    vocabulary = changing.space.vocabulary
    store, other = CandidateStore(2), CandidateStore(2)
    store.add(join(augmented, augmented, 0), torch.zeros(40, 2))
    store.save(tmp_path / "kept.safetensors")
    other.load(tmp_path / "kept.safetensors")
    expected = [text for text in vocabulary.decode(augmented)[0] for _ in range(2)]
    for kept in (store, other):
        assert vocabulary.decode(kept.of(batch.row_ids, table).rows)[0] == expected


def test_what_the_student_cannot_see_is_measured_and_told(cased_teacher, tokenizer, texts):
    shouted = [text.title() for text in texts]
    before, lowered = cased_teacher.label(shouted), cased_teacher.label(texts)
    dataset = DistillationDataset(tokenize(tokenizer, shouted), label_tensor([None] * 20, TASK), before)
    student, changing = augmentation_with(cased_teacher, tokenizer, "random")
    shares = check_rows(changing, dataset, student, TASK).shares
    flips = float((before.argmax(1) != lowered.argmax(1)).float().mean())
    assert shares["label_flips_unchanged"] == pytest.approx(flips)
    assert flips > 0.01
    for share, told in ((flips, True), (0.01, False)):
        result = run_with(None)
        result.replacement = {"label_flips_unchanged": share}
        notes = notes_of(plan_with([0, 1]), result)
        assert any(f"label changes on {share:.1%} of the texts" in note for note in notes) == told


def test_a_teacher_with_the_students_tokenizer_sees_what_it_sees(tokenizer, texts):
    teacher = Teacher(tiny_bert(len(tokenizer), seed=5), tokenizer)
    dataset = DistillationDataset(
        tokenize(tokenizer, texts), label_tensor([None] * 20, TASK), teacher.label(texts)
    )
    student, changing = augmentation_with(teacher, tokenizer, "random")
    assert "label_flips_unchanged" not in check_rows(changing, dataset, student, TASK).shares
