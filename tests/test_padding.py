"""A row alone is answered as a row in a batch, by every kind of classifier that the library has."""

import json

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BartConfig,
    BartForSequenceClassification,
    FNetConfig,
    FNetForSequenceClassification,
    XLNetConfig,
    XLNetForSequenceClassification,
)

from augpro.errors import InputError
from augpro.models.padding import padded_at_start, reads_padding
from augpro.models.reading import predict_logits
from augpro.models.source import ModelSource
from augpro.tokens import tokenize
from common import TEXTS, tiny_bert
from tiny_models import NAMES, SMALL, edit, gpt2, kinds, llama, plain, roberta, tiny_classifier, told_of

ROWS = ["good", "bad", "not bad", "the movie is great today", "a slow app", "a very good film and the plot works",
        "my server is broken again and it was broken today"]  # fmt: skip
# One of each way to pad and to answer; the others are the end-to-end run's.
USUAL = [
    "bert",
    "roberta",
    "mpnet",
    "xlm",
    "gpt2",
    "llama",
    "mpt",
    "bart",
    "t5",
    "fnet",
    "xlnet",
    "longformer",
]


def differs(one, other):
    return bool((one - other).abs().max() > 1e-4 * other.abs().max())


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind in USUAL else pytest.mark.e2e) for kind in kinds()]
)
def test_a_row_alone_is_answered_as_a_row_in_a_batch(kind):
    tokenizer = plain()
    model = tiny_classifier(kind, tokenizer)
    alone = torch.cat([predict_logits(model, tokenize(tokenizer, [row])) for row in ROWS])
    assert not differs(predict_logits(model, tokenize(tokenizer, ROWS)), alone)
    assert alone.isfinite().all()
    assert differs(alone[:1], alone[3:4]), "no answer is like another"
    with torch.no_grad():  # as any other program reads a batch
        elsewhere = model(**tokenizer(ROWS, padding=True, return_tensors="pt")).logits
    assert differs(elsewhere, alone) == (reads_padding(model.config) and not padded_at_start(model.config))


# --- a model and its tokenizer name one padding token ---


def rows_alone_and_together(folder):
    source = ModelSource(str(folder))
    model, tokenizer = source.load_trained_classifier(), source.load_tokenizer()
    alone = torch.cat([predict_logits(model, tokenize(tokenizer, [text])) for text in TEXTS])
    return alone, predict_logits(model, tokenize(tokenizer, TEXTS)), model, tokenizer


@pytest.mark.parametrize(
    ("build", "pad"),
    [
        (lambda size: llama(size, pad_token_id=2), 2),  # the tokenizer pads with 0
        (lambda size: llama(size, pad_token_id=-1), 0),
        (lambda size: llama(size, pad_token_id=None), 0),
        (gpt2, 0),
        (roberta, 1),
        (lambda size: tiny_bert(size, pad_token_id=4), 4),
    ],
    ids=["llama", "llama-1", "llama-none", "gpt2", "roberta", "bert"],
)
def test_the_padding_is_the_models_own(build, pad, save, tmp_path):
    tokenizer = plain()
    tokenizer.padding_side = "left"
    folder = save(build(len(tokenizer)), tokenizer)
    alone, together, model, loaded = rows_alone_and_together(folder)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    assert (loaded.pad_token_id, model.config.pad_token_id) == (pad, pad)
    model.save_pretrained(tmp_path / "saved")
    loaded.save_pretrained(tmp_path / "saved")
    elsewhere = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved").eval()
    inputs = AutoTokenizer.from_pretrained(tmp_path / "saved")(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(elsewhere(**inputs).logits, alone, rtol=1e-4, atol=1e-4)


def without_padding(folder, **more):
    edit(folder / "tokenizer_config.json", pad_token=None, **more)
    return folder


def test_a_special_token_of_no_text_pads_where_nothing_else_is_named(save):
    tokenizer = plain()
    folder = without_padding(save(gpt2(len(tokenizer)), tokenizer), eos_token="[unused1]")
    alone, together, model, loaded = rows_alone_and_together(folder)
    assert loaded.pad_token_id == model.config.pad_token_id == 1
    torch.testing.assert_close(together, alone)


def test_a_model_without_any_padding_is_refused(save, refused):
    """Every special token that is left is one that the tokenizer adds to a row."""
    tokenizer = plain()
    folder = save(gpt2(len(tokenizer)), tokenizer)
    without_padding(folder, mask_token=None, unk_token=None)
    definition = json.loads((folder / "tokenizer.json").read_text())
    kept = [token for token in definition["added_tokens"] if token["content"] in ("[CLS]", "[SEP]")]
    edit(folder / "tokenizer.json", added_tokens=kept)
    refused(folder, r"neither its config\.json nor its tokenizer has a padding token; .* as pad_token_id")


def test_a_word_does_not_pad(save, refused, tokenizer):
    word = tokenizer.convert_tokens_to_ids("good")
    refused(
        save(gpt2(len(tokenizer), pad_token_id=word), plain()),
        rf"pad_token_id {word} .* the token 'good' of its tok",
    )
    size = len(tokenizer)
    beyond = save(gpt2(size + 5, pad_token_id=size + 2), plain(), "beyond")
    refused(beyond, rf"pad_token_id {size + 2} of its config.json is no token of its tokenizer")


def test_a_model_that_is_padded_at_its_start_is_no_student(save, planned, tokenizer):
    torch.manual_seed(0)
    config = XLNetConfig(
        vocab_size=len(tokenizer), d_model=16, n_layer=3, n_head=2, d_inner=32, pad_token_id=0, **NAMES
    )
    folder = save(XLNetForSequenceClassification(config), plain())
    with pytest.raises(InputError, match="a xlnet model must be padded at the start"):
        planned(student=str(folder))
    assert planned(teacher=folder)
    alone, together, *_ = rows_alone_and_together(folder)
    torch.testing.assert_close(together, alone)


def test_a_student_that_reads_its_padding_is_told(save, planned, tokenizer):
    config = FNetConfig(vocab_size=len(tokenizer), pad_token_id=0, **SMALL)
    folder = save(FNetForSequenceClassification(config), tokenizer)
    (note,) = told_of(planned(student=str(folder)), "padding")
    assert "the output of a fnet model depends on padding" in note
    assert not told_of(planned(teacher=folder), "padding")


def test_an_encoder_decoder_needs_its_end_token(save, refused, tokenizer):
    torch.manual_seed(0)
    config = BartConfig(vocab_size=len(tokenizer), d_model=16, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=32,
                        encoder_attention_heads=2, decoder_attention_heads=2, decoder_ffn_dim=32, pad_token_id=0,
                        max_position_embeddings=32, init_std=0.4, eos_token_id=5, **NAMES)  # fmt: skip
    folder = save(BartForSequenceClassification(config), plain())
    refused(
        folder,
        r"a bart model classifies at its end token \(eos_token_id 5\), which its tokenizer does not add",
    )
    edit(folder / "config.json", eos_token_id=tokenizer.sep_token_id)
    source = ModelSource(str(folder))
    model, loaded = source.load_trained_classifier(), source.load_tokenizer()
    rows = [
        "good [SEP] film",
        "bad",
        "very " * 60 + "good",
    ]  # an end that is typed, and one that a cut leaves
    alone = torch.cat([predict_logits(model, tokenize(loaded, [row])) for row in rows])
    torch.testing.assert_close(predict_logits(model, tokenize(loaded, rows)), alone)
