"""Methods that rewrite text: WordNet's files, EDA's operations, and tiny models that fill masks and translate."""

import io
import json
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from scipy.stats import chisquare
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForMaskedLM,
    LogitsProcessorList,
    MarianConfig,
    MarianMTModel,
    PreTrainedTokenizerFast,
)

from augpro.augment import wordnet as wordnet_module
from augpro.augment.base import AugmentContext, EmbeddingSpace
from augpro.augment.masked import Filler, MaskedLM, splice
from augpro.augment.text import EDA, TextAugmenter, sample
from augpro.augment.translate import BackTranslation, RowSampler, Translator
from augpro.augment.wordnet import WordNet, find_wordnet
from augpro.draws import Draws
from augpro.errors import InputError
from augpro.models import ModelSource
from augpro.tokens import tokenize
from augpro.vocabulary import CONTINUATION, WORD_START, Vocabulary
from conftest import TEXTS, WORDS, wordpiece

OTHERS = [*TEXTS[7:], *TEXTS[:7]]  # second texts
ROWS = torch.arange(len(TEXTS))


# --- contexts --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def space(tokenizer):
    return EmbeddingSpace(torch.zeros(len(tokenizer), 4), Vocabulary(tokenizer, len(tokenizer)))


@pytest.fixture(scope="module")
def loaded():
    """What methods have loaded, shared by the tests of this file."""
    return {}


@pytest.fixture
def context(space, loaded):
    def make(table=None, seed=0, copy=0, space=space):
        return AugmentContext(Draws(seed, copy), space, table, loaded=loaded)

    return make


# --- WordNet ---------------------------------------------------------------------------------------------

MANY = [f"word{number}" for number in range(17)]  # the file has this number in hexadecimal
SYNSETS = {
    "noun": [
        ["movie", "film", "picture", "motion_picture"], ["film", "Coating"], ["goose"], ["goose", "silly_bird"],
        ["server", "host"], ["bill", "invoice"], ["plot", "story"], ["actor", "player"], ["price", "cost"],
        ["team", "squad"], ["page", "sheet"], ["refund", "repayment"], MANY,
    ],
    "verb": [["film", "shoot"], ["work", "run"], ["is", "exist"]],
    "adj": [["good", "well-grounded"], ["great", "outstanding"], ["galore(ip)", "abounding"], ["awful", "dire"]],
    "adv": [["again", "anew"]],
}  # fmt: skip
IRREGULAR = {"noun": {"geese": "goose"}, "adj": {"better": "good well"}}
POS_LETTER = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}


def write_wordnet(folder: Path) -> Path:
    """A database in the format of wndb(5WN), with true byte offsets."""
    folder.mkdir(parents=True)
    for pos, synsets in SYNSETS.items():
        data, senses = "  1 This software and database is being provided to you  \n", {}
        for words in synsets:
            for word in words:
                senses.setdefault(word.split("(")[0].lower(), []).append(f"{len(data):08d}")
            listed = " ".join(f"{word} 0" for word in words)
            pointers = "001 @ 00000000 n 0000 " if pos == "noun" else "000 "
            head = f"{len(data):08d} 04 {POS_LETTER[pos]} {len(words):02x}"
            data += f"{head} {listed} {pointers}| a gloss; of film 9 \n"
        index = "  1 This software and database is being provided to you  \n"
        for word, offsets in sorted(senses.items()):
            pointers = "2 @ ~" if pos == "noun" else "0"
            index += (
                f"{word} {POS_LETTER[pos]} {len(offsets)} {pointers} {len(offsets)} 1 {' '.join(offsets)}  \n"
            )
        (folder / f"data.{pos}").write_text(data)
        (folder / f"index.{pos}").write_text(index)
        (folder / f"{pos}.exc").write_text(
            "".join(f"{word} {base}\n" for word, base in IRREGULAR.get(pos, {}).items())
        )
    return folder


@pytest.fixture(scope="module")
def wordnet_folder(tmp_path_factory):
    return write_wordnet(tmp_path_factory.mktemp("wordnet") / "dict")


@pytest.fixture
def wordnet(wordnet_folder, monkeypatch):
    """WordNet is found in the small database."""
    monkeypatch.setenv("WNSEARCHDIR", str(wordnet_folder))
    return WordNet(wordnet_folder)


@pytest.fixture
def no_wordnet(monkeypatch):
    monkeypatch.setattr(wordnet_module, "wordnet_places", lambda: iter([]))


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("movie", ("film", "picture", "motion picture")),
        ("film", ("movie", "picture", "motion picture", "Coating", "shoot")),  # two nouns, then a verb
        ("coating", ("film",)),  # itself is left out, whatever its case
        ("geese", ("goose", "silly bird")),  # irregular
        ("galore", ("abounding",)),  # its marker is cut off
        ("abounding", ("galore",)),
        ("better", ("good", "well-grounded")),  # one base is in the database, the other is not
        ("works", ("work", "run")),
        ("working", ("work", "run")),
        ("filmed", ("film", "shoot")),
        ("pages", ("page", "sheet")),
        ("greatest", ("great", "outstanding")),
        ("again", ("anew",)),
        ("word3", (*MANY[:3], *MANY[4:])),
        ("this", ()),  # a word of the licence's lines
        ("zebra", ()),
    ],
)
def test_synonyms_are_read_from_wordnets_files(wordnet, word, expected):
    assert wordnet.synonyms(word) == expected


def test_wordnet_is_found_where_it_may_be(wordnet_folder, tmp_path, monkeypatch):
    for name in ("WNSEARCHDIR", "WNHOME", "NLTK_DATA"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "WordNet").mkdir()
    (tmp_path / "WordNet" / "dict").symlink_to(wordnet_folder)
    (tmp_path / "data" / "corpora").mkdir(parents=True)
    (tmp_path / "data" / "corpora" / "wordnet").symlink_to(wordnet_folder)
    (tmp_path / "zipped" / "corpora").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "zipped" / "corpora" / "wordnet.zip", "w") as file:
        for path in wordnet_folder.iterdir():
            file.write(path, f"wordnet/{path.name}")
    for name, value in {
        "WNSEARCHDIR": wordnet_folder, "WNHOME": tmp_path / "WordNet", "NLTK_DATA": f"/none:{tmp_path / 'data'}",
    }.items():  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setenv(name, str(value))
            assert str(tmp_path.parent) in str(find_wordnet()), name
            assert WordNet.load().synonyms("again") == ("anew",), name
    monkeypatch.setenv("NLTK_DATA", str(tmp_path / "zipped"))
    assert WordNet.load().synonyms("movie") == ("film", "picture", "motion picture")


def test_missing_wordnet_is_told_with_the_mend(wordnet_folder, tmp_path, monkeypatch):
    broken = tmp_path / "broken"
    write_wordnet(broken)
    (broken / "data.verb").unlink()
    monkeypatch.setattr(wordnet_module, "wordnet_places", lambda: iter([broken, wordnet_folder]))
    assert find_wordnet() == wordnet_folder
    monkeypatch.setattr(wordnet_module, "wordnet_places", lambda: iter([broken]))
    for method in (EDA(), EDA(synonym=0.0), EDA(insertion=0.0)):
        with pytest.raises(
            InputError, match=r"WordNet.*apt-get install wordnet-base.*nltk\.downloader.*WNSEARCHDIR"
        ):
            method.check()
    EDA(synonym=0.0, insertion=0.0).check()  # needs none


@pytest.mark.skipif(
    not Path("/usr/share/wordnet/data.noun").is_file(), reason="Debian's WordNet is not installed"
)
def test_debians_wordnet():
    wordnet = WordNet(Path("/usr/share/wordnet"))
    assert {"movie", "picture", "celluloid"} <= set(wordnet.synonyms("films"))
    assert wordnet.synonyms("galore") == ("abounding",)
    assert "goof" in wordnet.synonyms("geese")


# --- every text method: what becomes of its texts --------------------------------------------------------


@dataclass(frozen=True)
class Told(TextAugmenter):
    """Returns the texts that it is given."""

    name: ClassVar[str] = "told"
    answer: tuple[tuple[str, ...], ...] = ()

    def rewrite(self, columns, row_ids, context):
        assert [len(column) for column in columns] == [len(row_ids)] * len(columns)
        return [list(column) for column in self.answer]


def test_new_texts_are_tokenized_as_the_students_are(tokenizer, context):
    table = tokenize(tokenizer, TEXTS, OTHERS, limit=12)
    told = (("my app", "not good " * 10, "   "), ("never again", "the film", "slow"))
    ctx = context(table)
    batch = table.batch([4, 0, 2])
    made = Told(told)(batch, ctx)
    expected = tokenize(
        tokenizer, ["my app", "not good " * 10, TEXTS[2]], ["never again", "the film", "slow"], 12
    )
    for key, value in vars(expected.batch([0, 1, 2])).items():
        if key != "row_ids":
            assert torch.equal(getattr(made, key), value), key
    assert made.row_ids.tolist() == [4, 0, 2]
    assert made.ids.shape == (3, 12)
    assert ctx.counts.rows == 3
    pairs = [(TEXTS[4], "my app"), (TEXTS[0], "not good " * 10), (OTHERS[4], "never again"),
             (OTHERS[0], "the film"), (OTHERS[2], "slow")]  # fmt: skip
    gone = sum((Counter(old.split()) - Counter(new.split())).total() for old, new in pairs)
    assert ctx.counts.changed == gone
    assert ctx.counts.editable == sum(
        len(column[row].split()) for column in (TEXTS, OTHERS) for row in (4, 0, 2)
    )


def test_a_text_method_needs_the_rows_texts(tokenizer, context):
    batch = tokenize(tokenizer, TEXTS).batch([0])
    for method in (EDA(), MaskedLM(), BackTranslation()):
        with pytest.raises(ValueError, match=f"{method.name} needs the training rows"):
            method(batch, context())


@pytest.fixture(params=["eda", "masked-lm", "back-translation"])
def method(request, wordnet, masked_lm, translator):
    return {
        "eda": lambda: EDA(0.4, 0.4, 0.4, 0.4),
        "masked-lm": lambda: MaskedLM(str(masked_lm), replace_fraction=0.5),
        "back-translation": lambda: BackTranslation(str(translator), str(translator), max_tokens=16),
    }[request.param]()


@pytest.fixture
def pairs(tokenizer):
    return tokenize(tokenizer, TEXTS, OTHERS)


def rows_of(batch):
    """Tokens of every row, padding apart."""
    return [ids[mask.bool()].tolist() for ids, mask in zip(batch.ids, batch.mask, strict=True)]


def test_same_seed_same_text_other_seed_or_copy_other_text(method, pairs, context):
    batch = pairs.batch(ROWS)
    first = rows_of(method(batch, context(pairs)))
    assert first == rows_of(method(batch, context(pairs)))
    assert first != rows_of(batch)
    for other in (context(pairs, seed=1), context(pairs, copy=1)):
        assert first != rows_of(method(batch, other))


def test_a_row_does_not_depend_on_its_batch(method, pairs, context):
    whole = rows_of(method(pairs.batch(ROWS), context(pairs)))
    for rows in ([0], [7, 3], list(range(19, 4, -1))):
        part = method(pairs.batch(rows), context(pairs))
        assert part.row_ids.tolist() == rows
        assert rows_of(part) == [whole[row] for row in rows]


def test_input_and_global_random_state_are_untouched(method, pairs, context):
    batch, state = pairs.batch(ROWS), torch.random.get_rng_state()
    before = {key: value.clone() for key, value in vars(batch).items()}
    method(batch, context(pairs))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(getattr(batch, key), value) for key, value in before.items())
    assert (pairs.texts, pairs.pairs) == (TEXTS, OTHERS)


def test_training_in_half_precision_gives_the_same_text(method, context):
    plain = method.rewrite([TEXTS], ROWS, context())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert method.rewrite([TEXTS], ROWS, context()) == plain


@pytest.mark.parametrize("method", ["eda", "back-translation"], indirect=True)
def test_both_texts_of_a_pair_change_from_the_original(method, context):
    """Not the second beside a changed first; for masked-lm see test_the_model_reads_both_original_texts."""
    one, two = method.rewrite([TEXTS, OTHERS], ROWS, context())
    assert (one, two) != (TEXTS, OTHERS)
    assert method.rewrite([TEXTS], ROWS, context()) == [one]
    assert method.rewrite([OTHERS, OTHERS], ROWS, context())[1] == two
    assert method.rewrite([TEXTS, TEXTS], ROWS, context())[1] != one, "both columns have the same draws"


def test_every_draw_has_a_name_of_its_own_in_each_column(method, context, monkeypatch):
    names, uniform = [], Draws.uniform

    def listen(self, name, row_ids, positions=1):
        names.append(name)
        return uniform(self, name, row_ids, positions)

    monkeypatch.setattr(Draws, "uniform", listen)
    method.rewrite([TEXTS[:3], OTHERS[:3]], ROWS[:3], context())
    expected = {
        "eda": ["eda0", "eda1"], "masked-lm": ["masked", "filled"],
        "back-translation": ["there0", "back0", "there1", "back1"],
    }  # fmt: skip
    assert names == expected[method.name]


# --- EDA -------------------------------------------------------------------------------------------------

ONLY = {"synonym": 0.0, "insertion": 0.0, "swap": 0.0, "deletion": 0.0}
STOP = ["the", "is", "and", "your"]
LONG = ["the", "movie", "is", "good", "and", "great", "server", "plot", "your", "actor", "price", "team"]
LEXICON = {word: set(others) for word, others in {
    "movie": ["film", "picture", "motion picture"], "good": ["well-grounded"], "great": ["outstanding"],
    "server": ["host"], "plot": ["story"], "actor": ["player"], "price": ["cost"], "team": ["squad"],
}.items()}  # fmt: skip


def eda(context, texts, seed=0, **options):
    return EDA(**{**ONLY, **options}).rewrite([texts], torch.arange(len(texts)), context(seed=seed))[0]


def is_part(short, long):
    """Whether the words of one list stand in the other in the same order."""
    rest = iter(long)
    return all(word in rest for word in short)


def test_no_operation_is_the_identity(pairs, context, no_wordnet):
    batch = pairs.batch(ROWS)
    assert torch.equal(EDA(**ONLY)(batch, context(pairs)).ids, batch.ids)


@pytest.mark.parametrize(("share", "count"), [(0.25, 3), (0.01, 1), (1.0, 8)])
def test_synonyms_replace_so_many_words_that_are_no_stop_words(wordnet, context, share, count):
    seen = Counter()
    for new in eda(context, [" ".join(LONG)] * 200, synonym=share):
        rest, changed = new.replace("motion picture", "motion_picture").split(), 0
        for old, word in zip(LONG, rest, strict=True):
            if word != old:
                changed += 1
                assert word.replace("_", " ") in LEXICON[old]
                seen[old] += 1
        assert changed == count
    assert set(seen) == set(LEXICON)
    assert chisquare(list(seen.values())).pvalue > 1e-3


def test_a_replaced_word_is_replaced_everywhere_in_its_case_and_punctuation(wordnet, context):
    (new,) = eda(context, ['"Great!" a GREAT, great zebra'], synonym=0.1)
    assert new == '"Outstanding!" a OUTSTANDING, outstanding zebra'
    kept = "a  zebra \n is"
    assert eda(context, [kept, "  ", "zebra"], synonym=1.0) == [kept, "  ", "zebra"]


@pytest.mark.parametrize(("share", "count"), [(0.25, 3), (0.01, 1), (1.0, 12)])
def test_insertion_puts_in_so_many_synonyms_anywhere(wordnet, context, share, count):
    places = Counter()
    for new in eda(context, [" ".join(LONG)] * 300, insertion=share):
        words = new.replace("motion picture", "motion_picture").split()
        assert len(words) == len(LONG) + count
        assert is_part(LONG, words)
        inserted = Counter(words) - Counter(LONG)
        assert {word.replace("_", " ") for word in inserted} <= set().union(*LEXICON.values())
        if count == 1:
            places[words.index(next(iter(inserted)))] += 1
    if count == 1:
        assert sorted(places) == list(range(len(LONG) + 1))
        assert chisquare(list(places.values())).pvalue > 1e-3


@pytest.mark.parametrize(("share", "count"), [(0.25, 3), (0.01, 1)])
def test_swaps_exchange_so_many_pairs(context, no_wordnet, share, count):
    moved = Counter()
    for new in eda(context, [" ".join(LONG)] * 300, swap=share):
        words = new.split()
        assert sorted(words) == sorted(LONG)
        moved[sum(old != word for old, word in zip(LONG, words, strict=True))] += 1
    assert max(moved) == 2 * count
    assert moved[2 * count] > (
        299 if count == 1 else 60
    )  # three pairs are disjoint in 45 / 66 * 28 / 66 of the cases
    assert eda(context, ["alone", "two words"], swap=1.0) == ["alone", "two words"]  # exchanged twice
    assert eda(context, ["two words"], swap=0.5) == ["words two"]


def test_deletion_leaves_out_each_word_with_its_probability(context, no_wordnet):
    texts, kept = [" ".join(LONG)] * 2000, Counter()
    for new in eda(context, texts, deletion=0.2):
        assert is_part(new.split(), LONG)
        kept.update(new.split())
    for word in LONG:  # 5 standard deviations
        assert abs(kept[word] / len(texts) - 0.8) < 5 * (0.8 * 0.2 / len(texts)) ** 0.5, word
    last = Counter(eda(context, texts, deletion=1.0))
    assert set(last) == set(LONG)
    assert chisquare(list(last.values())).pvalue > 1e-3


def test_each_text_has_one_operation_and_all_are_as_frequent(wordnet, context):
    done = Counter()
    for new in eda(context, [" ".join(LONG)] * 1200, synonym=0.1, insertion=0.1, swap=0.1, deletion=0.6):
        words = new.replace("motion picture", "motion_picture").split()
        if len(words) > len(LONG):
            assert is_part(LONG, words)
            done["insertion"] += 1
        elif sorted(words) == sorted(LONG):
            done["swap"] += words != LONG
        elif is_part(words, LONG):
            done["deletion"] += 1
        else:
            assert sum(old != word for old, word in zip(LONG, words, strict=True)) == 1
            done["synonym"] += 1
    assert sum(done.values()) >= 1198  # a deletion may leave all words: 0.4 ** 12
    assert chisquare(list(done.values())).pvalue > 1e-3


@pytest.mark.parametrize("option", ONLY)
def test_every_share_changes_the_text(wordnet, context, option):
    texts = [" ".join(LONG)] * 20
    assert eda(context, texts, **{option: 0.1}) != eda(context, texts, **{option: 0.5})


def test_stop_words_are_no_candidates():
    """The words that the tests above take as stop words are, and the others are not."""
    assert set(STOP) <= ENGLISH_STOP_WORDS
    assert not set(LEXICON) & ENGLISH_STOP_WORDS


# --- sampling --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("top_k", "temperature"), [(6, 1.0), (6, 0.5), (3, 2.0), (50, 1.0)])
def test_samples_follow_the_softmax_of_the_highest_scores(top_k, temperature):
    scores = torch.tensor([0.3, -1.0, 1.2, -torch.inf, 0.9, 0.0, -0.4])
    draw = (torch.arange(20_000) + 0.5) / 20_000
    drawn = torch.bincount(sample(scores.expand(20_000, -1), top_k, temperature, draw), minlength=7)
    weight = (scores / temperature).exp()
    weight[scores < scores.sort(descending=True).values[min(top_k, 7) - 1]] = 0
    torch.testing.assert_close(drawn / 20_000, weight / weight.sum(), rtol=0, atol=2e-4)
    random = Draws(3).uniform("any", torch.arange(20_000))[:, 0]
    drawn = torch.bincount(sample(scores.expand(20_000, -1), top_k, temperature, random), minlength=7)
    possible = weight > 0
    assert drawn[~possible].sum() == 0
    expected = (weight / weight.sum() * 20_000)[possible].double()
    assert chisquare(drawn[possible], expected / expected.sum() * 20_000).pvalue > 1e-3


def test_sampling_at_the_ends():
    scores = torch.tensor([[1.0, 3.0, 2.0]] * 2 + [[-torch.inf] * 3])
    assert sample(scores, 1, 1.0, torch.tensor([0.0, 1 - 2.0**-24, 0.5]))[:2].tolist() == [1, 1]
    assert sample(scores, 3, 1.0, torch.tensor([0.0, 1 - 2.0**-24, 0.5]))[:2].tolist() == [1, 0]


# --- masked language model -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def masked_lm(tokenizer, tmp_path_factory):
    """A folder with a tiny masked language model of random weights."""
    return save_masked_lm(tmp_path_factory.mktemp("masked"), tokenizer)


def save_masked_lm(folder, tokenizer, dtype=torch.float32):
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32, initializer_range=0.4, hidden_dropout_prob=0.5,
    )  # fmt: skip
    BertForMaskedLM(config).to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def fill(context, masked_lm, columns, seed=0, **options):
    rows = torch.arange(len(columns[0]))
    return MaskedLM(str(masked_lm), **options).rewrite(columns, rows, context(seed=seed))


def test_filled_tokens_are_the_models_best_others_of_their_kind(masked_lm, tokenizer, context):
    """At top_k 1: an independent pass over the masked rows, row by row, without padding."""
    vocabulary = Vocabulary(tokenizer, len(tokenizer))
    model = BertForMaskedLM.from_pretrained(masked_lm).eval()
    batch = tokenize(tokenizer, TEXTS).batch(ROWS)
    share = 0.4
    filler = Filler.load(ModelSource(str(masked_lm)))
    filled = MaskedLM(str(masked_lm), replace_fraction=share, top_k=1).fill(batch, filler, context())
    chosen = (Draws(0).uniform("masked", ROWS, batch.ids.shape[1]) < share) & vocabulary.editable(batch)
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
    filled = method.fill(batch, Filler.load(ModelSource(str(masked_lm))), context())
    assert vocabulary.mismatch_rate(batch.with_ids(filled)) == 0
    assert (filled != batch.ids).sum() > 60


def test_a_token_with_no_other_of_its_kind_stays(masked_lm, tokenizer, context):
    filler = Filler.load(ModelSource(str(masked_lm)))
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


def test_all_but_the_replaced_word_is_kept_as_it_was_written(tokenizer):
    def spliced(*texts, **new):
        (ids,) = tokenizer(*[[text] for text in texts])["input_ids"]
        words = {
            tokenizer.convert_tokens_to_ids(old): tokenizer.convert_tokens_to_ids(to)
            for old, to in new.items()
        }
        return splice(list(texts), [words.get(token, token) for token in ids], tokenizer)

    text = "The  MOVIE \U0001f600 (caf\u00e9), was Good\tagain"
    assert spliced(text, movie="app", good="slow", the="my") == [
        "My  APP \U0001f600 (caf\u00e9), was Slow\tagain"
    ]
    assert spliced("good film", "Film, good", film="plot") == ["good plot", "Plot, good"]
    assert spliced("it works, works", works="work") == ["it work, work"]
    working = tokenizer("unworkable working")["input_ids"]
    again = [tokenizer.convert_tokens_to_ids("##ed") if token == tokenizer.convert_tokens_to_ids("##ing") else token
             for token in working]  # fmt: skip
    assert splice(["Unworkable  WORKING"], again, tokenizer) == ["Unworkable  WORKED"]


@pytest.mark.parametrize("family", ["byte", "metaspace"])
def test_words_are_put_in_with_any_kind_of_tokenizer(family):
    """Byte-BPE and SentencePiece count the space before a word to its token."""
    if family == "byte":
        inner = Tokenizer(models.BPE())
        inner.pre_tokenizer, inner.decoder = (
            pre_tokenizers.ByteLevel(False, trim_offsets=False),
            decoders.ByteLevel(),
        )
        trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                      show_progress=False)  # fmt: skip
    else:
        inner = Tokenizer(models.BPE())
        inner.pre_tokenizer, inner.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        trainer = trainers.BpeTrainer(vocab_size=200, show_progress=False)
    inner.train_from_iterator(["a movie was good", "the film was slow"] * 20, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner)
    text = "the  movie was good"
    ids, new = tokenizer(text)["input_ids"], tokenizer("the  film was slow")["input_ids"]
    assert len(ids) == len(new)
    assert splice([text], new, tokenizer) == ["the  film was slow"]
    assert splice([text], ids, tokenizer) == [text]


def test_what_the_filling_needs_is_told(masked_lm, teacher_folder, tmp_path):
    with pytest.raises(InputError, match=r"--augment-option model=\S+"):
        MaskedLM().check()
    with pytest.raises(InputError, match="no such model folder"):
        MaskedLM(str(tmp_path / "none")).check()
    MaskedLM(str(masked_lm)).check()
    with pytest.raises(InputError, match=r"no trained masked language model \(cls"):
        ModelSource(str(teacher_folder)).load_masked_lm()
    bare = wordpiece(WORDS)
    bare.mask_token = None
    save_masked_lm(tmp_path / "bare", bare)
    with pytest.raises(InputError, match="no mask token"):
        MaskedLM(str(tmp_path / "bare")).check()


def test_a_model_in_half_precision_runs_in_float32(tokenizer, tmp_path, context):
    folder = save_masked_lm(tmp_path / "half", tokenizer, torch.bfloat16)
    assert ModelSource(str(folder)).load_masked_lm().dtype == torch.float32


# --- back-translation ------------------------------------------------------------------------------------


def save_translator(folder, tokenizer, config, ends, **generation):
    torch.manual_seed(6)
    model = (MarianMTModel if isinstance(config, MarianConfig) else BartForConditionalGeneration)(config)
    model.final_logits_bias[:, config.eos_token_id] = ends  # some translations end, some do not
    model.generation_config.update(**generation)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny(kind, vocabulary, pad, end, start):
    return kind(
        vocab_size=vocabulary, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=32,
        pad_token_id=pad, bos_token_id=None, eos_token_id=end, decoder_start_token_id=start, init_std=0.4,
        dropout=0.5,
    )  # fmt: skip


@pytest.fixture(scope="module")
def translator(tokenizer, tmp_path_factory):
    """A folder with a tiny BART: a fast tokenizer, starts with its end token, wants four beams."""
    end = tokenizer.sep_token_id
    tokenizer = wordpiece(WORDS)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    config = tiny(BartConfig, len(tokenizer), tokenizer.pad_token_id, end, end)
    return save_translator(
        tmp_path_factory.mktemp("bart"), tokenizer, config, 3.0, num_beams=4, early_stopping=True,
        no_repeat_ngram_size=3, forced_eos_token_id=end, max_length=200,
        forced_bos_token_id=tokenizer.convert_tokens_to_ids("the"),
        suppress_tokens=[tokenizer.convert_tokens_to_ids("good")],
    )  # fmt: skip


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
    return save_translator(
        folder, AutoTokenizer.from_pretrained(folder), tiny(MarianConfig, len(words), pad, 0, pad), 5.0, num_beams=4,
        max_length=512, bad_words_ids=[[pad]], forced_eos_token_id=0, renormalize_logits=True,
    )  # fmt: skip


def back(context, folder, columns, seed=0, **options):
    method = BackTranslation(str(folder), str(folder), **{"max_tokens": 16, **options})
    return method.rewrite(columns, torch.arange(len(columns[0])), context(seed=seed))


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
    draws = Draws(1).uniform("there0", torch.arange(3000), 2)
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
    with pytest.raises(InputError, match="bert is no encoder-decoder"):
        BackTranslation(str(marian), str(masked_lm)).check()

    endless = save_translator(
        tmp_path / "endless", AutoTokenizer.from_pretrained(translator), BartConfig.from_pretrained(translator), 0.0,
        eos_token_id=None, forced_eos_token_id=None,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"generation_config\.json has no eos_token_id"):
        Translator.load(ModelSource(str(endless)))

    def missing(*_args, **_kwargs):
        raise ImportError("\nMarianTokenizer requires the SentencePiece library but it was not found")

    with monkeypatch.context() as patch:
        patch.setattr(AutoTokenizer, "from_pretrained", missing)
        with pytest.raises(InputError, match=r"pip install 'augpro\[translation\]'"):
            ModelSource(str(marian)).load_seq2seq()
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(InputError, match=r"sentencepiece; run: pip install 'augpro\[translation\]'"):
        BackTranslation(str(marian), str(marian)).check()
    BackTranslation(str(translator), str(translator)).check()  # has a fast tokenizer
