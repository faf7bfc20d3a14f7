"""Translation there and back with tiny models of random weights: BART, and Marian as opus-mt is published."""

import io
import json

import pytest
import torch
from scipy.stats import chisquare
from transformers import AutoTokenizer, BartConfig, LogitsProcessorList, MarianConfig

from augpro.augment.methods.text import sample
from augpro.augment.methods.translate import BackTranslation, RowSampler, Translator
from augpro.errors import InputError
from augpro.models.source import ModelSource
from augpro.row_random import RowRandom
from augpro.tokens import tokenize
from common import OTHERS, ROWS, TEXTS
from text_sources import rows_of, save_translator, tiny_config


@pytest.fixture(scope="module")
def marian(tmp_path_factory):
    """A folder with a tiny Marian model as opus-mt is published: slow tokenizer, four beams, padding barred."""
    sentencepiece = pytest.importorskip("sentencepiece")
    folder, file = tmp_path_factory.mktemp("marian"), io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 5),
        model_writer=file,
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(file.getvalue())
    model = sentencepiece.SentencePieceProcessor(model_proto=file.getvalue())
    pieces = [model.id_to_piece(i) for i in range(model.get_piece_size())]
    words = ["</s>", "<unk>", *(piece for piece in pieces if piece not in ("<unk>", "<s>", "</s>")), "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "config.json").write_text('{"model_type": "marian"}')
    pad = len(words) - 1
    config = tiny_config(MarianConfig, len(words), pad, 0, pad)
    return save_translator(
        folder, AutoTokenizer.from_pretrained(folder), config, 5.0, num_beams=4, max_length=512,
        bad_words_ids=[[pad]], forced_eos_token_id=0, renormalize_logits=True,
    )  # fmt: skip


def back(context, folder, columns, seed=0, **options):
    method = BackTranslation(str(folder), str(folder), **{"max_tokens": 16, **options})
    return method.rewrite(columns, torch.arange(len(columns[0])), context(seed=seed))


@pytest.mark.e2e
@pytest.mark.parametrize("kind", ["translator", "marian"])
def test_translations_do_not_depend_on_the_models_batch(request, kind, context):
    folder = request.getfixturevalue(kind)
    longer = [f"{one} {two}" for one, two in zip(TEXTS, OTHERS, strict=True)]
    together = back(context, folder, [TEXTS, longer])
    assert together == back(context, folder, [TEXTS, longer], batch_size=1)
    assert together != back(context, folder, [TEXTS, longer], seed=1)
    assert sum(bool(text) for text in together[0] + together[1]) > 15
    assert len(set(together[0])) > 5


@pytest.mark.parametrize("option", [{"temperature": 3.0}, {"top_k": 2}, {"max_tokens": 5}], ids=str)
def test_every_parameter_of_the_translation_changes_the_texts(translator, context, option):
    assert back(context, translator, [TEXTS]) != back(context, translator, [TEXTS], **option)


def test_the_direction_of_both_models_counts(translator, marian, context):
    there = BackTranslation(str(translator), str(marian), max_tokens=16).rewrite([TEXTS], ROWS, context())
    back = BackTranslation(str(marian), str(translator), max_tokens=16).rewrite([TEXTS], ROWS, context())
    assert there != back


@pytest.fixture
def heard(monkeypatch):
    """Every row of ids that a model wrote, with the text made of it."""
    rows, text = [], Translator.text

    def listen(self, ids):
        rows.append((ids, text(self, ids)))
        return rows[-1][1]

    monkeypatch.setattr(Translator, "text", listen)
    return rows


@pytest.mark.parametrize("max_tokens", [4, 12])
def test_a_translation_has_an_end_or_is_not_used(translator, tokenizer, context, heard, max_tokens):
    end = tokenizer.sep_token_id
    back(context, translator, [TEXTS], max_tokens=max_tokens)
    assert max(len(ids) for ids, _ in heard) == max_tokens
    unfinished = [text for ids, text in heard if end not in ids]
    assert unfinished
    assert not any(unfinished), "a text that was cut off, or whose end was forced, is used"
    for ids, text in heard:
        if end in ids:
            assert text == tokenizer.decode(ids[: ids.index(end)], skip_special_tokens=True)


def test_the_models_own_rules_hold(translator, tokenizer, context, heard):
    """Those of its generation config are applied before a token is sampled."""
    back(context, translator, [TEXTS], temperature=50.0, top_k=1000)
    the, good, end = tokenizer.convert_tokens_to_ids(["the", "good", "[SEP]"])
    assert len(heard) > 20
    for ids, _ in heard:
        ids = ids[: ids.index(end)] if end in ids else ids
        assert ids[0] == the
        assert good not in ids
        triples = list(zip(ids, ids[1:], ids[2:], strict=False))
        assert len(set(triples)) == len(triples)
    assert len({token for ids, _ in heard for token in ids}) > 40, "not sampled from all tokens"


def test_the_sampler_leaves_one_token_a_row_drawn_from_its_scores(tokenizer):
    draws = RowRandom(1).uniform("there0", torch.arange(3000), 2)
    sampler = RowSampler(draws, 4, 1.5)
    scores = torch.tensor([[2.0, 0.5, 1.0, -1.0, 0.0]]).expand(3000, -1)
    picked = [sampler(torch.zeros(3000, step + 1), scores) for step in range(2)]
    weight = (scores[0] / 1.5).exp().double()
    weight[3] = 0
    for step, result in enumerate(picked):
        assert (result.isfinite().sum(1) == 1).all()
        assert torch.equal(result.argmax(1), sample(scores, 4, 1.5, draws[:, step]))
        counts = torch.bincount(result.argmax(1), minlength=5)
        assert counts[3] == 0
        kept = weight > 0
        assert chisquare(counts[kept], (weight / weight.sum() * 3000)[kept]).pvalue > 1e-3
    assert not torch.equal(picked[0], picked[1])
    assert len(LogitsProcessorList([sampler])) == 1


@pytest.mark.e2e
def test_greedy_search_is_a_top_k_of_one(translator, context):
    model, tokenizer = ModelSource(str(translator)).load_seq2seq()
    model.generation_config.max_length = None
    end = tokenizer.sep_token_id
    (made,) = back(context, translator, [TEXTS], top_k=1)

    def greedy(text):
        if not text:
            return ""
        with torch.no_grad():
            inputs = tokenizer([text], return_tensors="pt")
            ids = model.generate(**inputs, num_beams=1, do_sample=False, max_new_tokens=17)[0].tolist()[1:17]
        return tokenizer.decode(ids[: ids.index(end)], skip_special_tokens=True) if end in ids else ""

    assert made == [greedy(greedy(text)) for text in TEXTS]
    assert len(set(made)) > 1


def test_a_text_without_a_translation_is_kept(translator, tokenizer, context):
    long = "good movie " * 16  # 34 tokens; the model takes 32
    texts = [long, "  ", *TEXTS]
    (raw,) = back(context, translator, [texts], max_tokens=5)
    assert raw[:2] == ["", ""]
    assert "" in raw[2:]
    table = tokenize(tokenizer, texts)
    method = BackTranslation(str(translator), str(translator), max_tokens=5)
    made = method(table.batch(range(len(texts))), context(table))
    kept = [text if text.strip() else texts[row] for row, text in enumerate(raw)]
    assert rows_of(made) == rows_of(tokenize(tokenizer, kept).batch(range(len(texts))))
    assert method.rewrite([["", " "]], ROWS[:2], context()) == [["", ""]]


def test_the_model_runs_on_the_rows_device_without_dropout_or_warnings(translator, context, loaded, caplog):
    back(context, translator, [TEXTS[:2]])
    assert not caplog.records
    model = loaded[("back-translation", str(translator))].model
    assert model.device == ROWS.device
    assert (model.dtype, model.training) == (torch.float32, False)


def test_what_translation_needs_is_told(marian, masked_lm, translator, tmp_path, monkeypatch):
    BackTranslation(str(marian), str(translator)).check()
    for method in (
        BackTranslation(str(tmp_path / "none"), str(marian)),
        BackTranslation(str(marian), "/no/such/one"),
    ):
        with pytest.raises(InputError, match="no such model folder"):
            method.check()
    with pytest.raises(InputError, match="bert is not an encoder-decoder"):
        BackTranslation(str(marian), str(masked_lm)).check()

    endless = save_translator(
        tmp_path / "endless", AutoTokenizer.from_pretrained(translator), BartConfig.from_pretrained(translator), 0.0,
        eos_token_id=None, forced_eos_token_id=None,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"generation_config\.json has no eos_token_id"):
        Translator.load(ModelSource(str(endless)))

    def missing(*_args, **_kwargs):
        raise ImportError("\nMarianTokenizer requires the SentencePiece library but it was not found")

    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    told = r"needs sentencepiece; run in a copy of the repository: pip install '\.\[translation\]'"
    with monkeypatch.context() as patch:
        patch.setattr(AutoTokenizer, "from_pretrained", missing)
        with pytest.raises(InputError, match=told):
            ModelSource(str(marian)).load_seq2seq()
    with pytest.raises(InputError, match=told):
        BackTranslation(str(marian), str(marian)).check()
    BackTranslation(str(translator), str(translator)).check()  # has a fast tokenizer
