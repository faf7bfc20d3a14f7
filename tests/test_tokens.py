"""Token tables and padded batches, against the tokenizer called directly."""

import dataclasses

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from augpro.tokens import SPECIAL, max_length, tokenize
from common import wordpiece

PAIRS = ["not good", "your server is slow today", "fine", "again and again"]


def padded(tokenizer, texts, pairs=None):
    arguments = [texts] if pairs is None else [texts, pairs]
    return tokenizer(*arguments, padding=True, return_tensors="pt")


@pytest.mark.parametrize("with_pairs", [False, True])
def test_a_batch_is_what_the_tokenizer_makes(tokenizer, texts, with_pairs):
    first, second = texts[:4], PAIRS if with_pairs else None
    batch = tokenize(tokenizer, first, second).batch(range(4))
    direct = padded(tokenizer, first, second)
    assert torch.equal(batch.ids, direct["input_ids"])
    assert torch.equal(batch.mask, direct["attention_mask"])
    assert torch.equal(batch.type_ids, direct["token_type_ids"])
    assert set(batch.model_inputs()) == set(direct)
    expected = [[SPECIAL if s is None else s for s in direct.sequence_ids(row)] for row in range(4)]
    assert batch.segments.tolist() == expected
    assert bool((batch.segments == 1).any()) == with_pairs
    assert batch.row_ids.tolist() == [0, 1, 2, 3]
    assert {t.dtype for t in (batch.ids, batch.mask, batch.segments, batch.row_ids, batch.type_ids)} == {
        torch.int64
    }


def test_model_without_token_types(texts):
    tokenizer = wordpiece(["the", "a", "movie", "is", "great"])
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    batch = tokenize(tokenizer, texts[:2], PAIRS[:2]).batch([0, 1])
    assert batch.type_ids is None
    assert set(batch.model_inputs()) == {"input_ids", "attention_mask"}
    assert bool((batch.segments == 1).any())
    assert batch.to("cpu").type_ids is None


def test_rows_come_in_the_order_asked_for(tokenizer, texts):
    table = tokenize(tokenizer, texts)
    rows = [7, 0, 7, 19]
    batch = table.batch(rows)
    assert torch.equal(batch.ids, padded(tokenizer, [texts[row] for row in rows])["input_ids"])
    assert batch.row_ids.tolist() == rows
    for same in (np.array(rows), torch.tensor(rows)):
        assert torch.equal(table.batch(same).ids, batch.ids)


def test_a_batch_is_as_long_as_its_own_longest_row(tokenizer):
    table = tokenize(tokenizer, ["good", "the movie is great today", ""])
    assert table.lengths.tolist() == [3, 7, 2]
    assert len(table) == 3
    assert table.batch([0]).ids.shape == (1, 3)
    batch = table.batch([2, 1, 0])
    assert batch.mask.sum(1).tolist() == [2, 7, 3]
    empty = torch.tensor(tokenizer("")["input_ids"] + [tokenizer.pad_token_id] * 5)
    assert torch.equal(batch.ids[0], empty)
    assert batch.segments[0].tolist() == [SPECIAL] * 7


def test_padding_id_is_the_tokenizers():
    tokenizer = wordpiece(["the", "a", "movie", "is", "great"])
    tokenizer.pad_token = "[unused1]"
    assert tokenizer.pad_token_id not in (0, None)
    batch = tokenize(tokenizer, ["great", "the movie is great"]).batch([0, 1])
    assert batch.ids[0, 3:].tolist() == [tokenizer.pad_token_id] * 3


@pytest.mark.parametrize("with_pairs", [False, True])
def test_long_rows_are_cut_as_the_tokenizer_cuts_them_and_counted(tokenizer, with_pairs):
    first = ["the movie is great", "good", "my server is slow and broken again today"]
    second = ["not good", "fine", "never"] if with_pairs else None
    whole = tokenize(tokenizer, first, second)
    assert whole.truncated == 0
    exact = int(whole.lengths[0])
    at_limit = tokenize(tokenizer, first, second, exact)
    assert at_limit.truncated == 1  # a row of exactly the limit is whole
    assert tokenize(tokenizer, first, second, exact - 1).truncated == 2
    arguments = [first] if second is None else [first, second]
    direct = tokenizer(*arguments, truncation=True, max_length=exact)["input_ids"]
    assert [at_limit.batch([row]).ids[0].tolist() for row in range(3)] == direct
    assert at_limit.lengths.max() == exact
    # The tokenizer is left as it was: its truncation is not switched on for the next call.
    assert len(tokenizer(*[column[2] for column in arguments])["input_ids"]) == whole.lengths[2] > exact


def test_limit_is_the_smaller_of_both(tokenizer):
    assert max_length(tokenizer) == tokenizer.model_max_length == 32
    assert max_length(tokenizer, 8) == 8
    assert max_length(tokenizer, 1000) == 32
    assert tokenize(tokenizer, ["good " * 100]).lengths.tolist() == [32]
    unlimited = wordpiece(["a"])
    unlimited.model_max_length = int(1e30)
    assert max_length(unlimited) == 512
    assert max_length(unlimited, 2000) == 2000
    unlimited.model_max_length = 8192  # a long-context model is not cut at 512
    assert max_length(unlimited) == 8192


@pytest.mark.parametrize("typed", ["[SEP]", "[CLS]", "[MASK]", "[PAD]"])
def test_a_special_token_typed_in_a_text_is_text(tokenizer, typed):
    batch = tokenize(tokenizer, [f"good {typed} film"]).batch([0])
    assert tokenizer.convert_tokens_to_ids(typed) not in batch.ids[0, 1:-1]
    letters = list(typed[1:-1].lower())
    pieces = [letters[0], *(f"##{letter}" for letter in letters[1:])]
    expected = ["[CLS]", "good", "[UNK]", *pieces, "[UNK]", "film", "[SEP]"]  # no token has a bracket
    assert tokenizer.convert_ids_to_tokens(batch.ids[0].tolist()) == expected
    assert batch.segments.tolist() == [[-1, *[0] * (len(expected) - 2), -1]]


@pytest.mark.parametrize("unknown", ["<unk>", None])
def test_a_vocabulary_that_has_a_special_token_as_a_piece(unknown):
    """SentencePiece's Unigram finds "</s>" among its pieces; a second end would move the answer of T5."""
    pieces = ["<pad>", "</s>", "<unk>", "\u2581good", "\u2581film", "\u2581"]
    inner = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=2))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    names = {"unk_token": unknown} if unknown else {}
    own = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", **names)
    batch = tokenize(own, ["good </s> film"]).batch([0])
    assert batch.ids.tolist() == [[3, 5, 2 if unknown else 1, 4, 1]]
    assert batch.segments.tolist() == [[0, 0, 0 if unknown else -1, 0, -1]]


def test_an_unknown_word_belongs_to_its_text(tokenizer):
    batch = tokenize(tokenizer, ["good 漢 film"], ["漢 fine"]).batch([0])
    assert batch.ids[0, 2] == batch.ids[0, 5] == tokenizer.unk_token_id
    assert batch.segments.tolist() == [[-1, 0, 0, 0, -1, 1, 1, -1]]


def test_no_rows(tokenizer):
    assert tokenize(tokenizer, ["good"]).batch([]).ids.shape == (0, 1)
    assert len(tokenize(tokenizer, [])) == 0


def test_slow_tokenizer_is_refused(tokenizer):
    class Slow:
        is_fast = False

    with pytest.raises(ValueError, match="Slow is a slow tokenizer"):
        tokenize(Slow(), ["good"])


def test_with_ids_changes_nothing_else(tokenizer, texts):
    batch = tokenize(tokenizer, texts[:3]).batch([0, 1, 2])
    other = batch.with_ids(batch.ids + 1)
    assert torch.equal(other.ids, batch.ids + 1)
    assert all(getattr(other, n) is getattr(batch, n) for n in ("mask", "segments", "row_ids", "type_ids"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch.ids = other.ids


@pytest.mark.parametrize(("most", "sizes"), [(20, [20]), (19, [10, 10]), (7, [7, 7, 6]), (1, [1] * 20)])
def test_parts_are_the_same_rows_in_equal_shares(most, sizes, tokenizer, texts):
    batch = tokenize(tokenizer, texts, texts[::-1]).batch(range(20))
    parts = list(batch.parts(most))
    assert [len(part.ids) for part in parts] == sizes
    for name, value in batch.tensors().items():
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), value)
    assert sum((part.texts for part in parts), ()) == batch.texts
