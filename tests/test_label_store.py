"""What a label store keeps: every label once, for the same model reading the same text and for no other."""

import os
import signal
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import pytest
import torch

from augpro.models.source import ModelSource
from augpro.teachers.store import store_path
from augpro.teachers.teacher import Teacher
from augpro.tokens import tokenize
from augpro.vocabulary import Vocabulary
from common import OTHERS, TEXTS, WORDS, wordpiece
from label_stores import keeping_teacher, rows_in


@pytest.fixture
def teacher(tokenizer, tmp_path):
    """The same teacher as often as it is called, with a new connection to one store."""
    return partial(keeping_teacher, tokenizer, store=tmp_path / "labels")


def count_rows(model):
    """The rows of every batch that a model reads from now on."""
    batches = []
    model.register_forward_pre_hook(
        lambda _module, _args, kwargs: batches.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    return batches


def test_stored_labels_are_fresh_labels(teacher, tmp_path):
    fresh = teacher(store=None).label(TEXTS)
    assert torch.equal(teacher().label(TEXTS), fresh)
    again = teacher()
    again.model.forward = None  # cannot be asked any more
    assert torch.equal(again.label(TEXTS), fresh)
    assert torch.equal(again.label(TEXTS[::-1]), fresh.flip(0))
    assert torch.equal(again.label(TEXTS[3:5]), fresh[3:5])
    assert (again.counts.asked, again.counts.read, again.counts.computed) == (42, 42, 0)
    assert again.counts.saved_seconds > 0
    assert rows_in(tmp_path / "labels") == 20


def test_new_texts_alone_are_read(teacher):
    teacher().label(TEXTS[:17])
    again = teacher()
    batches = count_rows(again.model)
    again.label([*TEXTS[:17], "a slow page", "help", "a slow page"])
    assert again.counts.computed == 2
    assert len(batches) <= 2


@pytest.mark.parametrize(
    "options",
    [{"seed": 4}, {"limit": 5}, {"hidden_act": "relu"}, {"layer_norm_eps": 0.1}, {"is_decoder": True}],
    ids=lambda options: next(iter(options)),
)
def test_another_model_configuration_or_limit_is_another_teacher(options, teacher):
    first, other = teacher().label(TEXTS), teacher(**options)
    labels = other.label(TEXTS)
    assert other.counts.computed == 20
    assert torch.equal(labels, teacher(store=None, **options).label(TEXTS))
    assert (first - labels).abs().max() > 1e-3


def test_another_tokenizer_is_another_teacher(teacher, other_tokenizer):
    """The same texts and weights, and other token ids."""
    first, other = teacher().label(TEXTS), teacher(own=other_tokenizer)
    assert (other.label(TEXTS) - first).abs().max() > 1e-3


def test_the_same_numbers_in_another_place_are_another_teacher(teacher):
    """Two tensors of the same shape that have changed their names: all bytes are those of before, in their order."""
    teacher().label(TEXTS)
    renamed = teacher()
    state = renamed.model.state_dict()
    renamed.model.state_dict = lambda: {k.replace(".query.", ".other."): v for k, v in state.items()}
    renamed.label(TEXTS)
    assert renamed.counts.computed == 20


def test_where_a_model_lies_and_how_its_labels_are_called_does_not_count(teacher, tokenizer, tmp_path):
    first = teacher()
    labels = first.label(TEXTS)
    first.model.config.id2label = {0: "bad", 1: "good"}
    first.model.config.label2id = {"bad": 0, "good": 1}
    first.model.save_pretrained(tmp_path / "model")
    model = ModelSource(str(tmp_path / "model")).load_trained_classifier()
    again = Teacher(model, tokenizer, store=tmp_path / "labels")
    assert torch.equal(again.label(TEXTS), labels)
    assert not again.counts.computed


# --- augmented rows ---


@pytest.mark.parametrize("same", [True, False], ids=["token ids", "text"])
def test_augmented_rows_are_stored_too(same, teacher, tokenizer, other_tokenizer):
    """By their token ids, or by the text that they are decoded to."""
    own, vocabulary = tokenizer if same else other_tokenizer, Vocabulary(tokenizer, len(tokenizer))
    batch = tokenize(tokenizer, TEXTS, OTHERS).batch(range(20))
    labels = teacher(own=own).label_tokens(batch, vocabulary)
    again = teacher(own=own)
    assert torch.equal(again.label_tokens(batch.take(torch.arange(19, -1, -1)), vocabulary).flip(0), labels)
    assert (again.counts.read, again.counts.computed) == (20, 0)
    kept = {(label.text, label.pair) for _, _, label in again.store.rows()}
    assert kept == set(zip(TEXTS, OTHERS, strict=True))


def test_token_types_belong_to_the_key(teacher, tokenizer):
    """A text and a pair of the same token ids."""
    vocabulary = Vocabulary(tokenizer, len(tokenizer))
    pair = tokenize(tokenizer, ["good film"], ["bad app"]).batch([0])
    one = pair.__class__(pair.ids, pair.mask, pair.segments, pair.row_ids, torch.zeros_like(pair.ids))
    asked = teacher()
    assert not torch.equal(asked.label_tokens(pair, vocabulary), asked.label_tokens(one, vocabulary))
    assert asked.counts.computed == 2


def test_labels_in_half_precision_are_kept_apart(teacher, tokenizer):
    vocabulary, batch = Vocabulary(tokenizer, len(tokenizer)), tokenize(tokenizer, TEXTS).batch(range(20))
    full = teacher().label_tokens(batch, vocabulary)
    again = teacher()
    with torch.autocast("cpu", torch.bfloat16):
        half = again.label_tokens(batch, vocabulary)
    assert again.counts.computed == 20
    assert 0 < (half - full).abs().max() < 0.1 * full.abs().max()
    assert {record.precision for record in again.store.teachers()} == {"float32", "float32 in bfloat16"}
    assert torch.equal(again.label_tokens(batch, vocabulary), full)


# --- kills and other processes ---

FORKED = get_context("fork")  # nothing is imported again


def label_until_killed(store, tokenizer):
    teacher, batches = keeping_teacher(tokenizer, store), []

    def before(*_):
        if len(batches) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        batches.append(1)

    teacher.model.register_forward_pre_hook(before)
    teacher.label(TEXTS)


def test_a_killed_labelling_pays_for_no_label_twice(teacher, tokenizer, tmp_path):
    """Killed by the system between two batches; every answer before that is in the file."""
    process = FORKED.Process(target=label_until_killed, args=(tmp_path / "labels", tokenizer))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    kept = rows_in(tmp_path / "labels")
    assert 0 < kept < 20
    again = teacher()
    labels = again.label(TEXTS)
    assert (again.counts.read, again.counts.computed) == (kept, 20 - kept)
    assert torch.equal(labels, teacher(store=None).label(TEXTS))


def label_all(store):
    teacher = keeping_teacher(wordpiece(WORDS), store)
    texts = [f"{a} {b}" for a in TEXTS for b in TEXTS[:5]]
    return teacher.label(texts).tolist(), teacher.counts.computed


def test_processes_at_once_do_not_fail_and_keep_one_of_each(tmp_path):
    with ProcessPoolExecutor(2, FORKED) as pool:
        found = list(pool.map(label_all, [tmp_path / "labels"] * 2))
    assert found[0][0] == found[1][0]
    assert rows_in(tmp_path / "labels") == 100


# --- the path ---


def test_a_path_is_a_file_or_a_folder(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("")
    names = {"there": "there/labels.sqlite", "new": "new/labels.sqlite", "new.db": "new.db", "file": "file"}
    for given, expected in names.items():
        assert store_path(tmp_path / given) == tmp_path / expected


def test_files_of_earlier_versions_are_told(planned, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / f"{'0' * 32}.safetensors").write_bytes(b"")
    notes = planned(label_store=tmp_path / "store").data.notes
    assert any(
        "store holds 1 label files of an earlier version of augpro, which are not read" in n for n in notes
    )
    assert not (tmp_path / "store" / "labels.sqlite").exists()


def test_before_a_run_nothing_is_written_and_nothing_counted(teacher, tmp_path):
    asked = teacher()
    asked.beside_the_run().label(TEXTS)
    assert not (tmp_path / "labels").exists()
    assert asked.counts.asked == 0
    asked.label(TEXTS)
    later = teacher()
    beside = later.beside_the_run()
    beside.label(TEXTS)
    assert (beside.counts.read, later.counts.asked) == (20, 0)
