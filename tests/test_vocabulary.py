"""Which tokens may be produced, and that what is produced is text for the tokenizer too."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from augpro.tokens import tokenize
from augpro.vocabulary import BANNED, CONTINUATION, WORD_START, Vocabulary
from common import WORDS, wordpiece

PLAY = [*WORDS, "play", "playing", "played", "look", "looked", "un", "do", "don", "it", "'", "?", "-", "<s1>"]
SENTENCES = [
    "the movie plays well and the playing is great", "my server looked broken, played again and is slow",
    "don't look again: it's the best-known player", "unplayable films aren't looking good today",
    "he looked at the looking glass and played on", "the player's team is playing better than they played",
]  # fmt: skip


@pytest.fixture(scope="module")
def words():
    return wordpiece(PLAY)


@pytest.fixture(scope="module")
def byte_bpe():
    """A GPT-2 type tokenizer, trained in memory; as GPT-2's own it has a token that marks pieces elsewhere."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=["<pad>", "<eos>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator([*SENTENCES * 3, *["##"] * 9], trainer)
    assert tokenizer.token_to_id("##") is not None
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", model_max_length=64
    )


def swap_within_groups(vocabulary, batch, seed: int, rate: float = 0.7):
    """Random tokens of the same group at random editable positions."""
    generator = torch.Generator().manual_seed(seed)
    ids = batch.ids.clone()
    chosen = vocabulary.editable(batch) & (torch.rand(ids.shape, generator=generator) < rate)
    for group in (WORD_START, CONTINUATION):
        candidates = torch.nonzero(vocabulary.groups == group)[:, 0]
        drawn = candidates[torch.randint(len(candidates), ids.shape, generator=generator)]
        ids = torch.where(chosen & (vocabulary.groups[ids] == group), drawn, ids)
    return ids


def test_groups_of_a_wordpiece_vocabulary(words):
    """Every token by its form: reserved ones never, ## pieces continue, all the rest start a word."""
    groups = Vocabulary(words, len(words)).groups
    for token, token_id in words.get_vocab().items():
        reserved = (token.startswith("[") and token.endswith("]")) or token == "<s1>"
        expected = BANNED if reserved else CONTINUATION if token.startswith("##") else WORD_START
        assert groups[token_id] == expected, token


def test_ids_that_the_tokenizer_does_not_know_are_banned(words):
    groups = Vocabulary(words, len(words) + 9).groups
    assert groups.shape == (len(words) + 9,)
    assert (groups[-9:] == BANNED).all()
    assert len(Vocabulary(words, 20).groups) == 20


def test_added_and_unreachable_tokens_are_banned():
    """An added token, a control character, and a cased word that the lower-casing tokenizer cannot give."""
    tokenizer = wordpiece([*WORDS, "Movie", "\x07", "caf\u00e9", "two words", "\ufffd"])
    tokenizer.add_tokens([AddedToken("brandname")])
    groups = Vocabulary(tokenizer, len(tokenizer)).groups
    for token in ("Movie", "\x07", "caf\u00e9", "two words", "\ufffd", "brandname"):
        assert groups[tokenizer.convert_tokens_to_ids(token)] == BANNED, token
    assert groups[tokenizer.convert_tokens_to_ids("movie")] == WORD_START


def test_editable_is_ordinary_text(words):
    batch = tokenize(words, ["good \u6f22 played", "fine"], ["slow", "not good"]).batch([0, 1])
    editable = Vocabulary(words, len(words)).editable(batch)
    tokens = [
        words.convert_ids_to_tokens(ids[row].tolist()) for ids, row in zip(batch.ids, editable, strict=True)
    ]
    assert tokens == [["good", "played", "slow"], ["fine", "not", "good"]]


def test_decode_gives_both_texts(words):
    vocabulary = Vocabulary(words, len(words))
    one = tokenize(words, ["The movie is looking good.", "fine"]).batch([1, 0])
    assert vocabulary.decode(one) == (["fine", "The movie is looking good."], None)
    assert vocabulary.decode(replace(one, texts=None)) == (["fine", "the movie is looking good."], None)
    two = tokenize(words, ["good", "my app"], ["slow team", "unplayed"]).batch([0, 1])
    assert vocabulary.decode(two) == vocabulary.decode(replace(two, texts=None))
    assert vocabulary.decode(two) == (["good", "my app"], ["slow team", "unplayed"])


def test_decode_leaves_spaces_that_keep_tokens_apart():
    """A tokenizer that was saved to clean spaces up would write "do n't" as "don't", which is other tokens."""
    tidy = wordpiece(PLAY)
    tidy.clean_up_tokenization_spaces = True
    batch = replace(tokenize(tidy, ["the players do n't look broken"]).batch([0]), texts=None)
    assert "don't" in tidy.decode(batch.ids[0].tolist(), skip_special_tokens=True)
    vocabulary = Vocabulary(tidy, len(tidy))
    assert vocabulary.decode(batch)[0] == ["the players do n ' t look broken"]
    assert vocabulary.mismatch_rate(batch) == 0.0


def test_only_pieces_that_spell_another_tokenization_are_given_back(words):
    vocabulary = Vocabulary(words, len(words))

    def ids(*tokens):
        return words.convert_tokens_to_ids(["[CLS]", *tokens, "[SEP]"])

    batch = tokenize(words, ["the looks working fine app", "helps helped"]).batch([0])
    assert batch.ids.tolist() == [ids("the", "looks", "work", "##ing", "fine", "app")]
    cases = {
        ("the", "looks", "play", "##ing", "fine", "app"): ("work", "##ing"),  # "playing" is one token
        ("the", "looks", "play", "##er", "fine", "app"): ("play", "##er"),
        ("the", "looks", "work", "##ed", "fine", "app"): ("work", "##ed"),
        ("the", "looks", "look", "##s", "fine", "app"): ("work", "##ing"),  # "looks" is one token
        ("the", "looks", ".", "##ing", "fine", "app"): ("work", "##ing"),  # a full stop ends a word
    }
    for changed, expected in cases.items():
        kept = vocabulary.keep_canonical(torch.tensor([ids(*changed)]), batch)
        assert kept.tolist() == [ids("the", "looks", *expected, "fine", "app")]
    # Only that word is given back: its neighbours, and the rows beside it, stay changed.
    changed = torch.tensor([ids("a", "very", "play", "##ing", "great", "film")])
    kept = vocabulary.keep_canonical(changed, batch)
    assert kept.tolist() == [ids("a", "very", "work", "##ing", "great", "film")]
    assert changed.tolist() == [ids("a", "very", "play", "##ing", "great", "film")]
    assert vocabulary.mismatch_rate(batch.with_ids(changed)) == 1.0


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), rate=st.sampled_from([0.2, 0.7, 1.0]), with_pairs=st.booleans())
@pytest.mark.e2e
def test_kept_swaps_are_canonical(words, texts, seed, rate, with_pairs):
    vocabulary = Vocabulary(words, len(words))
    first = [*texts[:5], "unplayed looking-glass, xylophones don't", "abler played works. never?", "lookable"]
    table = tokenize(words, first, first[::-1] if with_pairs else None, limit=20)
    batch = table.batch(range(len(first)))
    ids = swap_within_groups(vocabulary, batch, seed, rate)
    kept = vocabulary.keep_canonical(ids, batch)
    assert vocabulary.mismatch_rate(batch.with_ids(kept)) == 0.0
    # Every position holds what was proposed or what was there before, and whole words stand or fall.
    assert ((kept == ids) | (kept == batch.ids)).all()
    alone = (vocabulary.groups[batch.ids] == WORD_START) & (
        vocabulary.groups[batch.ids.roll(-1, 1)] != CONTINUATION
    )
    assert torch.equal(kept[alone], ids[alone])


def test_the_swaps_need_mending(words, texts):
    """Without keep_canonical the property above does not hold."""
    vocabulary = Vocabulary(words, len(words))
    batch = tokenize(words, ["unplayed xylophones abler"] * 30).batch(range(30))
    ids = swap_within_groups(vocabulary, batch, 0)
    assert vocabulary.mismatch_rate(batch.with_ids(ids)) > 0.1
    assert vocabulary.mismatch_rate(batch) == 0.0


def test_groups_of_a_byte_bpe_vocabulary(byte_bpe):
    groups = Vocabulary(byte_bpe, len(byte_bpe)).groups
    checked = 0
    for token, token_id in byte_bpe.get_vocab().items():
        text = byte_bpe.decode([token_id])
        if token in ("<pad>", "<eos>") or "\ufffd" in text or not text.strip():
            assert groups[token_id] == BANNED, token
        elif token.startswith("\u0120"):  # the space before a word
            assert text.startswith(" ")
            # A piece that only lives inside longer words may be no word of its own.
            single = byte_bpe(text, add_special_tokens=False)["input_ids"] == [token_id]
            assert groups[token_id] == (WORD_START if single else BANNED), token
            checked += single
        else:
            assert groups[token_id] == CONTINUATION, token
    assert checked > 10


def test_a_marker_of_another_family_is_an_ordinary_token():
    tokenizer = wordpiece([*PLAY, "\u0120", "\u2581"])
    groups = Vocabulary(tokenizer, len(tokenizer)).groups
    starts, pieces = (
        tokenizer.convert_tokens_to_ids(tokens) for tokens in (["play", "look"], ["##ing", "##s"])
    )
    assert (groups[starts] == WORD_START).all()
    assert (groups[pieces] == CONTINUATION).all()


def test_words_that_are_known_are_forgotten_before_they_fill_the_memory(words, monkeypatch):
    monkeypatch.setattr("augpro.vocabulary._KNOWN_WORDS", 3)
    small, vocabulary = Vocabulary(words, len(words)), Vocabulary(words, len(words))
    batch = tokenize(words, SENTENCES).batch(range(len(SENTENCES)))
    for seed in range(20):
        ids = swap_within_groups(vocabulary, batch, seed)
        kept = small.keep_canonical(ids, batch)
        monkeypatch.setattr("augpro.vocabulary._KNOWN_WORDS", 10**6)
        assert torch.equal(kept, vocabulary.keep_canonical(ids, batch))
        monkeypatch.setattr("augpro.vocabulary._KNOWN_WORDS", 3)
    assert len(small._canonical) < len(vocabulary._canonical) / 2


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), rate=st.sampled_from([0.2, 0.7, 1.0]))
@pytest.mark.e2e
def test_byte_bpe_swaps_are_canonical(byte_bpe, seed, rate):
    vocabulary = Vocabulary(byte_bpe, len(byte_bpe))
    batch = tokenize(byte_bpe, SENTENCES).batch(range(len(SENTENCES)))
    assert vocabulary.decode(batch)[0] == SENTENCES
    ids = swap_within_groups(vocabulary, batch, seed, rate)
    kept = vocabulary.keep_canonical(ids, batch)
    assert vocabulary.mismatch_rate(batch.with_ids(kept)) == 0.0
    assert ((kept == ids) | (kept == batch.ids)).all()


def test_reserved_forms_are_banned_even_as_ordinary_tokens(byte_bpe):
    """Without a space before them they look like continuations, which are not tried one by one."""
    definition = json.loads(byte_bpe.backend_tokenizer.to_str())
    reserved = ["<extra_id_0>", "<s7>", "[unused3]", "[MASK]"]
    for token in [*reserved, "<a", "[x]"]:
        definition["model"]["vocab"][token] = len(definition["model"]["vocab"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(definition)))
    groups = Vocabulary(tokenizer, len(tokenizer)).groups
    assert {int(groups[tokenizer.convert_tokens_to_ids(token)]) for token in reserved} == {BANNED}
    assert {int(groups[tokenizer.convert_tokens_to_ids(token)]) for token in ("<a", "[x]")} == {CONTINUATION}


def test_the_first_word_may_change_after_a_special_token(byte_bpe):
    """RoBERTa's tokenizer writes it as it writes a continuation, and puts a special token before it."""
    backend = Tokenizer.from_str(byte_bpe.backend_tokenizer.to_str())
    backend.post_processor = processors.RobertaProcessing(("<eos>", 1), ("<pad>", 0))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", cls_token="<pad>", sep_token="<eos>", model_max_length=64
    )
    vocabulary = Vocabulary(tokenizer, len(tokenizer))
    batch = tokenize(tokenizer, SENTENCES, SENTENCES[::-1]).batch(range(len(SENTENCES)))
    ids = swap_within_groups(vocabulary, batch, 0, rate=0.5)
    kept = vocabulary.keep_canonical(ids, batch)
    first = batch.segments[:, 1:] != batch.segments[:, :-1]
    changed = (kept != batch.ids)[:, 1:][first & (batch.segments[:, 1:] >= 0)]
    assert changed.float().mean() > 0.1
    assert vocabulary.mismatch_rate(batch.with_ids(kept)) == 0.0


def test_byte_bpe_swaps_change_something(byte_bpe):
    vocabulary = Vocabulary(byte_bpe, len(byte_bpe))
    batch = tokenize(byte_bpe, SENTENCES).batch(range(len(SENTENCES)))
    ids = swap_within_groups(vocabulary, batch, 0)
    kept = vocabulary.keep_canonical(ids, batch)
    assert vocabulary.mismatch_rate(batch.with_ids(ids)) > 0.1
    assert (kept != batch.ids).float().mean() > 0.05
