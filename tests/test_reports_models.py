"""Inputs made after public reports on other programs: odd texts, tokenizers and weights, and what a user is told."""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import processors
from transformers import BertForMaskedLM

from augpro.config import DistillConfig, EvaluateConfig
from augpro.distillation.scoring import evaluate_model
from augpro.errors import InputError
from augpro.losses import relation_loss, state_loss
from augpro.models.reading import mean_states
from augpro.models.source import ModelSource, load_student, same_tokenizer
from augpro.models.weights import check_shapes, stored_shapes
from augpro.teachers.teacher import Teacher
from augpro.tokens import tokenize
from augpro.vocabulary import Vocabulary
from common import TEXTS, WORDS, tiny_bert, wordpiece
from test_padding import USUAL
from tiny_models import edit, kinds, plain, tiny_classifier, told_of

LONG = "the team page " * 12 + "is awful"


def add_rows(folder, *texts):
    path = folder / "train.csv"
    path.write_text(path.read_text() + "".join(f"{text},negative\n" for text in texts))


@pytest.fixture
def changed(teacher_folder, tmp_path):
    """A copy of the teacher to spoil."""
    return shutil.copytree(teacher_folder, tmp_path / "changed")


# --- texts ---


def test_texts_that_the_tokenizer_removes(planned, table_file):
    """dbmdz/berts#48, huggingface/tokenizers#1349: characters that the tokenizer wipes out."""
    add_rows(table_file, "\u200b", "\ufeff", "\u00ad", "\x01", "\U000fe4fa")
    (note,) = told_of(planned(), "no token")
    assert "15.2% of all 33 rows have no token that its tokenizer knows" in note


def test_rows_of_no_token_have_numbers(tokenizer):
    """huggingface/tokenizers#1349, for a tokenizer without special tokens.

    was: the vectors by which texts are chosen, and the losses of hidden states, were not numbers.
    """
    bare = wordpiece(WORDS)
    bare.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B:1")
    table = tokenize(bare, ["\u200b", "good film"])
    assert table.lengths.tolist() == [0, 2]
    vectors = mean_states(tiny_bert(len(bare)).bert, table, "vectors")
    assert vectors.isfinite().all()
    assert not vectors[0].any()
    states, mask = torch.randn(2, 2, 2, 4), table.batch([0, 1]).mask
    for loss in (state_loss, relation_loss):
        assert loss(*states, mask).isfinite().all()


def test_texts_of_unknown_words_alone(planned, table_file):
    """google-research/bert#748: emoji alone were always neutral; huggingface/transformers#436: all [UNK].

    was: only the share of tokens was told, which is small beside long texts.
    """
    add_rows(table_file, "😍😂🤗", "спасибо", *[" ".join(WORDS[:25])] * 20)
    (note,) = told_of(planned(), "no token")
    assert "4.0% of all 50 rows have no token that its tokenizer knows" in note
    assert not told_of(planned(), "are unknown")


# --- lengths ---


@pytest.mark.parametrize("few", [1, 2, 3, 7])
def test_a_limit_that_leaves_no_room(few, tmp_path):
    """huggingface/transformers#6292 and #5472: both texts of a pair were cut away."""
    with pytest.raises(ValueError, match="greater than or equal to 8"):
        DistillConfig(data="d", teacher="t", out=tmp_path, max_tokens=few)


def test_of_a_cut_pair_both_texts_are_left(tokenizer):
    """UKPLab/sentence-transformers#574: whether a long first text drops the second."""
    table = tokenize(tokenizer, ["good film " * 20, "good"], ["never again", "bad film " * 20], 8)
    assert all({0, 1} <= set(table.batch([row]).segments[0].tolist()) for row in (0, 1))


@pytest.mark.e2e
def test_a_dry_run_tells_what_is_cut(planned, changed, table_file, caplog):
    """pysentimiento/robertuito#3: a tokenizer without a limit, and a model of few positions.

    was: told only after the training, of the student alone, and never by ``evaluate``.
    """
    edit(changed / "tokenizer_config.json", model_max_length=None)
    add_rows(table_file, LONG)
    cut = "1 of 29 rows have more than 32 tokens, and their last words are not read"
    assert told_of(planned(teacher=changed), "more than") == [
        f"{planned().student.name}, the student, and {changed}, the teacher: {cut}"
    ]
    shutil.copy(table_file / "train.csv", table_file / "validation.csv")
    evaluate_model(EvaluateConfig(data=str(table_file), model=str(changed)))
    assert "1 of 21 rows have more than 32 tokens" in caplog.text


def test_each_model_cuts_at_its_own_limit(planned, changed, table_file):
    """TheophileBlard/french-sentiment-analysis-with-bert#14: ``model_max_length`` decides. was: as above."""
    edit(changed / "tokenizer_config.json", model_max_length=16)
    add_rows(table_file, LONG, " ".join(WORDS[:20]))
    notes = told_of(planned(teacher=changed), "more than")
    assert ["1 of 30 rows have more than 32" in notes[0], "2 of 30 rows have more than 16" in notes[1]] == [
        1,
        1,
    ]


# --- what a tokenizer has kept ---


def test_a_cut_that_a_tokenizer_kept_is_not_followed(changed, teacher_folder):
    """vllm-project/llm-compressor#2917, spiceai/spiceai#13416: truncation and padding kept in tokenizer.json."""
    padding = {"strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
               "pad_type_id": 0, "pad_token": "[PAD]"}  # fmt: skip
    cut = {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0}
    edit(changed / "tokenizer.json", truncation=cut, padding=padding)
    own, kept = (ModelSource(str(folder)).load_tokenizer() for folder in (teacher_folder, changed))
    texts = [*TEXTS, LONG]
    assert (tokenize(own, texts).flat == tokenize(kept, texts).flat).all()
    assert same_tokenizer(own, kept)


def test_a_cut_is_not_saved(tokenizer, tmp_path):
    """vllm-project/llm-compressor#2917: the truncation of a call was saved, and followed elsewhere.

    was: a student whose last row was cut was saved so.
    """
    used = wordpiece(WORDS)
    assert tokenize(used, [LONG], limit=8).lengths.tolist() == [8]
    used.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "tokenizer.json").read_text())["truncation"] is None


def test_a_tokenizer_that_cuts_at_the_start(planned, changed, table_file):
    """vllm-project/vllm#12050, huggingface/transformers#4476: the side of the cut is lost.

    was: that teacher and student read other words was not told.
    """
    edit(changed / "tokenizer_config.json", truncation_side="left")
    add_rows(table_file, LONG)
    notes = told_of(planned(teacher=changed), "more than")
    assert [note.split("their ")[1].split()[0] for note in notes] == ["last", "first"]
    loaded = ModelSource(str(changed)).load_tokenizer()
    loaded.save_pretrained(changed)
    ids = tokenize(ModelSource(str(changed)).load_tokenizer(), [LONG]).batch([0]).ids[0].tolist()
    assert loaded.decode(ids).endswith("is awful [SEP]")


def test_a_teacher_that_cuts_at_the_start_reads_the_end_of_augmented_rows(model, tokenizer):
    """vllm-project/vllm#12050. was: the teacher was given the student's tokens, the start of the text."""
    left = wordpiece(WORDS)
    left.truncation_side = "left"
    teacher, batch = Teacher(model, left), tokenize(tokenizer, [LONG]).batch([0])
    torch.testing.assert_close(
        teacher.label_tokens(batch, Vocabulary(tokenizer, len(tokenizer))), teacher.label([LONG])
    )


# --- weights ---


def rename(folder, prefix, part=""):
    path = folder / "model.safetensors"
    weights = load_file(path)
    renamed = {(prefix + key if part in key else key): value.clone() for key, value in weights.items()}
    save_file(renamed, path, {"format": "pt"})


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("prefix", "part"),
    [("_orig_mod.", ""), ("module.", ""), ("_orig_mod.", "layer.1."), ("0.auto_model.", "")],
)
def test_weights_of_a_wrapped_model(prefix, part, changed, refused):
    """karpathy/nanoGPT#325, pytorch/pytorch#101107: names with a prefix fit nothing.

    was: a start was trained from new weights without a word; a teacher was refused only when it was loaded, as one
    without a classifier.
    """
    rename(changed, prefix, part)
    refused(changed, rf"wrapped model \(their names start with '{prefix}'\); save the model inside it")


@pytest.mark.e2e
def test_weights_that_are_missing_below_the_head(changed, refused, planned):
    """pytorch/pytorch#101107, for any reason. was: a start got new weights there without a word."""
    edit(changed / "config.json", num_hidden_layers=4)
    refused(changed, r"not a trained \w+ \(bert\.encoder\.layer\.3\.\S+ is missing\)")
    with pytest.raises(InputError, match=r"not a trained model"):  # of a hub model the loading tells
        load_student(ModelSource(str(changed)), planned().task)


@pytest.mark.e2e
def test_a_start_needs_no_head(save, planned, tokenizer):
    """pytorch/pytorch#101107: a new head, and its pooler, is as usual."""
    torch.manual_seed(0)
    folder = save(BertForMaskedLM(tiny_bert(len(tokenizer)).config), tokenizer)
    assert not [key for key in load_file(folder / "model.safetensors") if "pooler" in key]
    assert planned(student=str(folder))
    with pytest.raises(
        InputError, match=r"not a trained classifier \(bert\.pooler\.dense\.bias is missing\)"
    ):
        planned(teacher=folder)


@pytest.mark.e2e
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind in USUAL else pytest.mark.e2e) for kind in kinds()]
)
def test_no_weights_are_missing_in_a_saved_model(kind, tmp_path):
    """pytorch/pytorch#101107: shared weights, and those that are saved under other names, are not missing."""
    model = tiny_classifier(kind, plain())
    model.save_pretrained(tmp_path)
    for finished in (True, False):
        check_shapes(model.config, stored_shapes(tmp_path, kind), kind, finished, trusted=False)


@pytest.mark.e2e
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model-00001-of-00002.safetensors", "tf_model.h5"])
@pytest.mark.parametrize("later", [3600, 60, -3600])
def test_newer_weights_that_are_not_read(name, later, changed, planned):
    """huggingface/diffusers#14769: after a save in another format the old weights were read. was: no word of it.

    Files of one download come in any order.
    """
    other = changed / name
    other.write_bytes(b"")
    written = (changed / "model.safetensors").stat().st_mtime + later
    os.utime(other, (written, written))
    notes = told_of(planned(teacher=changed), "which is newer")
    told = [
        f"{changed}: its weights are read from model.safetensors, and not from {name} beside it, which is newer"
    ]
    assert notes == (told if later > 600 else [])
