"""Filled masks: a tiny masked language model against an independent pass, and how its words are put in."""

from collections import Counter

import pytest
import torch
from scipy.stats import chisquare
from transformers import BertForMaskedLM

from augpro.augment.base import EmbeddingSpace
from augpro.augment.methods.masked import MaskedLanguageModel, MaskedLM
from augpro.errors import InputError
from augpro.models.source import ModelSource
from augpro.row_random import RowRandom
from augpro.tokens import tokenize
from augpro.vocabulary import CONTINUATION, WORD_START, Vocabulary
from common import OTHERS, ROWS, TEXTS, WORDS, wordpiece
from text_sources import rows_of, save_masked_lm


def fill(context, masked_lm, columns, seed=0, **options):
    rows = torch.arange(len(columns[0]))
    return MaskedLM(str(masked_lm), **options).rewrite(columns, rows, context(seed=seed))


def test_filled_tokens_are_the_models_best_others_of_their_kind(masked_lm, tokenizer, context):
    """At top_k 1: an independent pass over the masked rows, row by row, without padding."""
    vocabulary = Vocabulary(tokenizer, len(tokenizer))
    model = BertForMaskedLM.from_pretrained(masked_lm).eval()
    batch = tokenize(tokenizer, TEXTS).batch(ROWS)
    share = 0.4
    filler = MaskedLanguageModel.load(ModelSource(str(masked_lm)))
    filled = MaskedLM(str(masked_lm), replace_fraction=share, top_k=1).fill(batch, filler, context())
    chosen = (RowRandom(0).uniform("masked", ROWS, batch.ids.shape[1]) < share) & vocabulary.editable(batch)
    changed = 0
    for row in range(len(TEXTS)):
        ids = batch.ids[row][batch.mask[row].bool()]
        masked = ids.masked_fill(chosen[row, : len(ids)], tokenizer.mask_token_id)
        with torch.no_grad():
            scores = model(masked[None]).logits[0]
        for position, own in enumerate(ids.tolist()):
            new = int(filled[row, position])
            if not chosen[row, position]:
                assert new == own
                continue
            alone = vocabulary.groups[ids[position : position + 2]].tolist()[1:] != [CONTINUATION]
            if vocabulary.groups[own] == WORD_START and alone:
                assert new != own
            if new != own:  # the same again only where the whole word would be cut differently
                allowed = (vocabulary.groups == vocabulary.groups[own]) & (
                    torch.arange(len(tokenizer)) != own
                )
                assert new == int(scores[position].masked_fill(~allowed, -torch.inf).argmax())
                changed += 1
    assert changed > 0.8 * int(chosen.sum()) > 15


def test_filled_words_are_whole_words_of_the_models_tokenizer(masked_lm, tokenizer, context):
    vocabulary = Vocabulary(tokenizer, len(tokenizer))
    batch = tokenize(tokenizer, ["this and that", "unplayed xylophones", "workable servers"] * 20).batch(
        range(60)
    )
    method = MaskedLM(str(masked_lm), replace_fraction=0.5, temperature=5.0)
    filled = method.fill(batch, MaskedLanguageModel.load(ModelSource(str(masked_lm))), context())
    assert vocabulary.mismatch_rate(batch.with_ids(filled)) == 0
    assert (filled != batch.ids).sum() > 60


def test_a_token_with_no_other_of_its_kind_stays(masked_lm, tokenizer, context):
    filler = MaskedLanguageModel.load(ModelSource(str(masked_lm)))
    movie = tokenizer.convert_tokens_to_ids("movie")
    filler.vocabulary.groups[movie] = 2  # a kind of its own
    batch = tokenize(tokenizer, ["good movie"]).batch([0])
    (before,), (after,) = (
        batch.ids,
        MaskedLM(str(masked_lm), replace_fraction=1.0).fill(batch, filler, context()),
    )
    assert (after == before).tolist() == [True, False, True, True]


@pytest.mark.parametrize("share", [0.15, 0.5])
def test_the_share_of_replaced_words(masked_lm, context, share):
    words = ["the", "movie", "is", "good", "my", "server", "was", "slow", "again", "today"]
    (filled,) = fill(context, masked_lm, [[" ".join(words)] * 400], replace_fraction=share)
    changed = 0
    for new in filled:
        assert "[" not in new
        changed += sum(old != word for old, word in zip(words, new.split(), strict=True))
    places = 400 * len(words)  # 5 standard deviations
    assert abs(changed / places - share) < 5 * (share * (1 - share) / places) ** 0.5
    assert len(set(filled)) > 100, "not sampled"


def test_replaced_words_stay_words_and_are_sampled_among_top_k(masked_lm, context):
    (filled,) = fill(context, masked_lm, [["movie"] * 300], replace_fraction=1.0, top_k=4)
    assert len(set(filled)) == 4
    assert "movie" not in filled
    (flat,) = fill(context, masked_lm, [["movie"] * 300], replace_fraction=1.0, top_k=4, temperature=1e3)
    assert chisquare(list(Counter(flat).values())).pvalue > 1e-3
    (any_word,) = fill(
        context, masked_lm, [["movie"] * 600], replace_fraction=1.0, top_k=1000, temperature=1e3
    )
    assert len(set(any_word)) > 50
    assert "movie" not in any_word
    (sharp,) = fill(context, masked_lm, [["movie"] * 300], replace_fraction=1.0, top_k=4, temperature=1e-3)
    assert len(set(sharp)) == 1


@pytest.mark.parametrize(
    "option",
    [{"replace_fraction": 0.2}, {"top_k": 2}, {"temperature": 0.1}],
    ids=lambda option: next(iter(option)),
)
def test_every_parameter_of_the_filling_changes_the_texts(masked_lm, context, option):
    assert fill(context, masked_lm, [TEXTS], replace_fraction=0.6) != fill(
        context, masked_lm, [TEXTS], **{"replace_fraction": 0.6, **option}
    )


def test_the_size_of_the_models_batch_does_not_matter(masked_lm, context):
    one = fill(context, masked_lm, [TEXTS, OTHERS], replace_fraction=0.5, batch_size=1)
    assert one == fill(context, masked_lm, [TEXTS, OTHERS], replace_fraction=0.5, batch_size=64)


def test_the_model_reads_both_original_texts(masked_lm, tokenizer, context, loaded):
    method = MaskedLM(str(masked_lm), replace_fraction=0.5)
    method.rewrite([TEXTS[:1]], ROWS[:1], context())  # loads the model
    model, seen = loaded[(method.name, method.model)].model, []
    hook = model.register_forward_pre_hook(
        lambda _module, _args, inputs: seen.append(inputs), with_kwargs=True
    )
    one, two = method.rewrite([TEXTS, OTHERS], ROWS, context())
    hook.remove()
    assert one != TEXTS
    assert two != OTHERS
    (inputs,) = seen
    batch = tokenize(tokenizer, TEXTS, OTHERS).batch(ROWS)
    expected = sorted(rows_of(batch), key=len)  # rows of like length run together
    rows = [ids[mask.bool()] for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)]
    masks = 0
    for row, original in zip(rows, expected, strict=True):
        masked = row == tokenizer.mask_token_id
        assert torch.equal(row[~masked], torch.tensor(original)[~masked])
        masks += int(masked.sum())
    assert 0.4 < masks / sum(len(row) - 3 for row in rows) < 0.6
    assert model.training is False
    assert (next(model.parameters()).device, next(model.parameters()).dtype) == (ROWS.device, torch.float32)


def test_the_student_may_have_another_tokenizer(masked_lm, tokenizer, other_tokenizer, context):
    space = EmbeddingSpace(torch.zeros(len(tokenizer), 4), Vocabulary(other_tokenizer, len(other_tokenizer)))
    table = tokenize(other_tokenizer, TEXTS)
    method = MaskedLM(str(masked_lm), replace_fraction=0.5)
    ctx = context(table, space=space)
    made = method(table.batch(ROWS), ctx)
    (texts,) = method.rewrite([TEXTS], ROWS, context())
    assert rows_of(made) == other_tokenizer(texts)["input_ids"]
    assert rows_of(made) != tokenizer(texts)["input_ids"]
    assert 0.2 < ctx.counts.shares()["changed"] < 0.6


def test_a_text_that_the_model_cannot_read_whole_stays(masked_lm, context):
    long, longest = (
        "good movie " * 16,
        "the film " * 15,
    )  # 34 and 32 tokens with [CLS] and [SEP]; the limit is 32
    new = fill(context, masked_lm, [[long, "good movie", longest]], replace_fraction=1.0)[0]
    assert new[0] == long
    assert new[1] != "good movie"
    assert "the" not in new[2].split()
    one, two = fill(context, masked_lm, [["good movie", "fine"], [longest, "slow"]], replace_fraction=1.0)
    assert (one[0], two[0]) == ("good movie", longest)
    assert (one[1], two[1]) != ("fine", "slow")


def test_what_the_filling_needs_is_told(masked_lm, teacher_folder, tmp_path):
    with pytest.raises(InputError, match=r"--augment-option model=\S+"):
        MaskedLM().check()
    with pytest.raises(InputError, match="no such model folder"):
        MaskedLM(str(tmp_path / "none")).check()
    MaskedLM(str(masked_lm)).check()
    with pytest.raises(InputError, match=r"not a trained masked language model \(cls"):
        ModelSource(str(teacher_folder)).load_masked_lm()
    bare = wordpiece(WORDS)
    bare.mask_token = None
    save_masked_lm(tmp_path / "bare", bare)
    with pytest.raises(InputError, match="no mask token"):
        MaskedLM(str(tmp_path / "bare")).check()


def test_a_model_in_half_precision_runs_in_float32(tokenizer, tmp_path, context):
    folder = save_masked_lm(tmp_path / "half", tokenizer, torch.bfloat16)
    assert ModelSource(str(folder)).load_masked_lm().dtype == torch.float32
