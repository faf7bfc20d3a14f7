"""A trimmed tokenizer splits texts whose tokens are kept as before, and the model answers the same."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from augpro.errors import InputError
from augpro.export.graph import check_shapes, input_names, to_onnx
from augpro.export.trimming import _order, count_tokens, in_blocks, text_parts, trim
from augpro.export.vocabularies import tokens_of
from augpro.models.source import ModelSource
from augpro.testing import TEXTS, tiny_classifier
from augpro.tokens import encode
from tiny_models import NAMES, plain, roberta

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
OTHERS = "xylophone jazz quiz vexed wizard dwarf foxglove movies serving broker zebra " * 3


def trained(kind):
    """A tokenizer of a kind, trained on some texts, in which special tokens have the first ids."""
    texts = [*TEXTS, OTHERS] * 20
    if kind == "wordpiece":
        return plain([*["the", "movie", "is", "great", "server", "jazz", "wizard", "broker", "zebra"]])
    if kind == "bpe":
        built = Tokenizer(models.BPE())
        built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        letters = pre_tokenizers.ByteLevel.alphabet()
        built.train_from_iterator(
            texts, trainers.BpeTrainer(vocab_size=420, special_tokens=SPECIAL, initial_alphabet=letters)
        )
        built.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    else:
        built = Tokenizer(models.Unigram())
        built.normalizer = normalizers.NFKC()
        built.pre_tokenizer = pre_tokenizers.Metaspace()
        built.train_from_iterator(
            texts,
            trainers.UnigramTrainer(
                vocab_size=120, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
            ),
        )
        built.post_processor = processors.TemplateProcessing(
            "<s> $A </s>", "<s> $A </s> $B </s>", [("<s>", 0), ("</s>", 2)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=built, model_max_length=30, pad_token="<pad>", bos_token="<s>", eos_token="</s>",
        cls_token="<s>", sep_token="</s>", unk_token="<unk>", mask_token="<mask>",
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


KINDS = ("wordpiece", "bpe", "unigram")


@pytest.fixture(scope="module")
def tokenizers():
    return {kind: trained(kind) for kind in KINDS}


def trimmed(tokenizer, texts=TEXTS, every=False):
    torch.manual_seed(0)
    make = roberta if tokenizer.pad_token_id == 1 else tiny_classifier  # whose padding is 0
    model = make(len(tokenizer)).eval()
    definition = json.loads(tokenizer.backend_tokenizer.to_str())
    use = count_tokens(tokenizer, in_blocks(list(texts), None), 30, "tiny")
    found = trim(model, tokenizer, definition, use, "tiny", every)
    return model, found


def reader(found):
    built = Tokenizer.from_str(json.dumps(found.definition))
    built.encode_special_tokens = True
    return built


@pytest.mark.parametrize("kind", KINDS)
def test_texts_of_kept_tokens_have_the_same_tokens_and_logits(kind, tokenizers):
    tokenizer = tokenizers[kind]
    model, found = trimmed(tokenizer)
    assert len(found.old_ids) < len(tokenizer)
    assert found.model.get_input_embeddings().weight.shape[0] == len(found.old_ids)
    texts = [*TEXTS, " ".join(TEXTS[:2]), "great the is movie"]
    before, _ = encode(tokenizer, [texts], [10**9] * len(texts))
    for old, text in zip(before, texts, strict=True):
        mapped = found.new_ids[old.ids]
        if (mapped < 0).any():
            continue
        new = reader(found).encode(text)
        assert new.ids == mapped.tolist()
        ids = [torch.tensor([row[:30]]) for row in (old.ids, new.ids)]
        with torch.no_grad():
            logits = [part(input_ids=row).logits for part, row in zip((model, found.model), ids, strict=True)]
        torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_all_tokens_in_the_order_of_their_use(kind, tokenizers):
    tokenizer = tokenizers[kind]
    model, found = trimmed(tokenizer, every=True)
    assert sorted(found.old_ids) == list(range(len(tokenizer)))
    counts = count_tokens(tokenizer, in_blocks(list(TEXTS), None), 30, "tiny").counts
    held = {tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}
    others = [old for old in found.old_ids if old not in held]
    assert (np.diff(counts[others]) <= 0).all()
    assert counts[others[0]] > counts[others[-1]]
    texts = [*TEXTS, *OTHERS.split(), "☃ xyz"]
    before, _ = encode(tokenizer, [texts], [10**9] * len(texts))
    for old, text in zip(before, texts, strict=True):
        new = reader(found).encode(text)
        assert found.old_ids[new.ids].tolist() == old.ids
        with torch.no_grad():
            logits = [
                part(input_ids=torch.tensor([row[:30]])).logits
                for part, row in ((model, old.ids), (found.model, new.ids))
            ]
        torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=1e-6)


@pytest.mark.e2e
def test_the_padding_token_may_have_a_high_id():
    """As in ModernBERT, whose special tokens come last: its embeddings know it by its new id then."""
    built = Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.train_from_iterator([*TEXTS, OTHERS] * 20, trainers.BpeTrainer(vocab_size=300, show_progress=False))
    built.add_special_tokens(SPECIAL)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=built, model_max_length=30, pad_token="<pad>", unk_token="<unk>"
    )
    padding = tokenizer.pad_token_id
    model = tiny_classifier(len(tokenizer), pad_token_id=padding)
    use = count_tokens(tokenizer, in_blocks(list(TEXTS), None), 30, "tiny")
    found = trim(model, tokenizer, json.loads(built.to_str()), use, "tiny")
    new = int(found.new_ids[padding])
    assert padding == len(tokenizer) - 4 > len(found.old_ids) > new
    assert found.model.get_input_embeddings().padding_idx == found.model.config.pad_token_id == new
    graph = to_onnx(found.model, input_names(tokenizer), "tiny")
    assert check_shapes(found.model, graph, tokenizer, "tiny", 1e-4) < 1e-4


def test_ids_may_have_gaps(tokenizers):
    tokenizer = tokenizers["bpe"]
    definition = json.loads(tokenizer.backend_tokenizer.to_str())
    definition["model"]["vocab"]["a"] = 1000
    far = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(definition)))
    use = count_tokens(far, in_blocks(["a", *TEXTS], None), 30, "tiny")
    assert len(use.counts) == 1001 > len(far)
    assert use.counts[1000] > 0


LETTERS = st.text(alphabet="thmoviesrwzx .'é中", max_size=40)
WORDS_OF = st.lists(
    st.sampled_from([*" ".join(TEXTS).split(), *OTHERS.split(), "☃", "Ünïcode"]), max_size=12
).map(" ".join)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=150)
@given(text=LETTERS | WORDS_OF)
@pytest.mark.e2e
def test_any_text_has_the_same_tokens_if_all_are_kept(kind, text, tokenizers):
    tokenizer = tokenizers[kind]
    if kind not in _FOUND:
        _FOUND[kind] = trimmed(tokenizer)[1]
    found = _FOUND[kind]
    (old,), _ = encode(tokenizer, [[text]], [10**9])
    mapped, new = found.new_ids[old.ids], reader(found).encode(text)
    if (mapped >= 0).all():
        assert new.ids == mapped.tolist()
    unknown = tokenizer.unk_token
    assert new.tokens.count(unknown) <= old.tokens.count(unknown)  # all characters are kept


_FOUND = {}


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_of_other_tokens_is_still_written(kind, tokenizers):
    _, found = trimmed(tokenizers[kind])
    (old,), _ = encode(tokenizers[kind], [["jazz wizard broker zebra"]], [99])
    new = reader(found).encode("jazz wizard broker zebra")
    assert (found.new_ids[old.ids] < 0).any()
    assert len(new.ids) > len(old.ids)


def test_the_cheapest_piece_stays_as_it_decides_what_an_unknown_character_costs(tokenizers):
    definition = json.loads(tokenizers["unigram"].backend_tokenizer.to_str())
    _, found = trimmed(tokenizers["unigram"])
    lowest = [min(score for _, score in part["model"]["vocab"]) for part in (definition, found.definition)]
    assert lowest[0] == lowest[1]


def test_special_tokens_keep_their_ids_where_they_can(tokenizers):
    assert _order([2, 5, 7, 9], {2, 5, 9}).tolist() == [5, 7, 2, 9]
    model, found = trimmed(tokenizers["bpe"])
    assert found.model.config.pad_token_id == model.config.pad_token_id == 1


def test_kinds_that_cannot_be_trimmed():
    for definition in (
        {"model": {"type": "WordLevel", "vocab": {}}, "added_tokens": []},
        {
            "model": {"type": "BPE", "end_of_word_suffix": "</w>", "vocab": {}, "merges": []},
            "added_tokens": [],
        },
    ):
        with pytest.raises(
            InputError,
            match=r"kind .* cannot be left out or put in another order; leave --trim-vocabulary and",
        ):
            tokens_of(definition, "model")


def test_files_of_texts(tmp_path):
    plain_file, table = tmp_path / "texts.txt", tmp_path / "texts.csv"
    plain_file.write_text("the movie\n\nis great\n", encoding="utf-8")
    table.write_text("text,other\nthe movie,1\nis great,2\n", encoding="utf-8")
    assert [texts for texts, _ in text_parts(plain_file, None, None)] == [["the movie", "is great"]]
    assert [texts for texts, _ in text_parts(table, None, None)] == [["the movie", "is great"]]
    plain_file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="the file is not UTF-8"):
        list(text_parts(plain_file, None, None))


@pytest.mark.e2e
def test_a_trimmed_folder_tells_what_changed(save_model, tokenizer, table_file, tmp_path):
    from augpro.export.exporting import run_export
    from augpro.export.options import ExportConfig
    from augpro.export.plan import make_export_plan
    from augpro_runtime import Classifier

    folder, texts = save_model(tokenizer, layers=2, seed=1), tmp_path / "some.txt"
    texts.write_text("\n".join(TEXTS[:4]), encoding="utf-8")
    config = ExportConfig(
        model=str(folder),
        out=tmp_path / "e",
        data=str(table_file),
        trim_vocabulary=True,
        texts=texts,
        timing=False,
    )
    result = run_export(make_export_plan(config))
    assert 0 < result.parity.retokenized < 8
    assert result.sizes.kept_tokens < result.sizes.tokens == len(tokenizer)
    model = ModelSource(str(folder)).load_trained_classifier().eval()
    rows = tokenizer(TEXTS[:4], padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits = model(**rows).logits.numpy()
    np.testing.assert_allclose(Classifier.load(tmp_path / "e").logits(TEXTS[:4]), logits, atol=1e-4)
    assert "tokens are kept" in (tmp_path / "e" / "export.md").read_text()
    assert NAMES["id2label"][1] in Classifier.load(tmp_path / "e").labels
