"""Small models, tokenizers and tables made in memory, and no network: every test runs anywhere."""

import csv
import gc
import socket
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BartConfig, BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from augpro.augment.base import AugmentContext, EmbeddingSpace
from augpro.augment.wordnet import WordNet
from augpro.draws import Draws
from augpro.tokens import tokenize
from augpro.vocabulary import Vocabulary
from text_sources import save_masked_lm, save_translator, tiny_config, write_wordnet

torch.set_num_threads(1)  # tiny models: threads cost more than they bring, and the suite may share its cores

WORDS = [
    "the",
    "a",
    "my",
    "your",
    "movie",
    "film",
    "app",
    "server",
    "invoice",
    "is",
    "was",
    "looks",
    "feels",
    "good",
    "great",
    "fine",
    "bad",
    "awful",
    "slow",
    "broken",
    "very",
    "quite",
    "not",
    "never",
    "again",
    "today",
    "please",
    "refund",
    "help",
    "work",
    "works",
    "plot",
    "actor",
    "price",
    "bill",
    "team",
    "page",
]
PIECES = ["##s", "##ing", "##ed", "##er", "##ly", "##able", "##un", "##x"]
SPECIALS = ["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# Of a `transformers.Trainer` that trains a tiny student for two epochs and writes nothing.
TRAINER = {
    "per_device_train_batch_size": 4, "num_train_epochs": 2, "learning_rate": 1e-2, "save_strategy": "no",
    "report_to": "none", "remove_unused_columns": False, "label_names": ["labels"], "disable_tqdm": True,
    "use_cpu": True, "seed": 5,
}  # fmt: skip
LABELS = ("negative", "positive")


@pytest.fixture(autouse=True, scope="session")
def quick_collection():
    """Every training ends by collecting garbage, which takes 0.5 s with all that the libraries have loaded."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Any attempt to open a connection beyond this machine's processes fails the test."""
    connect = socket.socket.connect

    def refuse(*_args, **_kwargs):
        raise ConnectionError("tests have no network")

    def local(self, address):
        return connect(self, address) if self.family == socket.AF_UNIX else refuse()

    monkeypatch.setattr(socket.socket, "connect", local)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def wordpiece(words: list[str], pieces: list[str] = PIECES) -> PreTrainedTokenizerFast:
    """A BERT-type tokenizer with exactly these words and continuation pieces (and all letters)."""
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    single = [c for c in letters if c not in words]
    vocabulary = [
        *SPECIALS,
        *words,
        *single,
        *pieces,
        *[f"##{c}" for c in letters if f"##{c}" not in pieces],
        ".",
    ]
    tokenizer = Tokenizer(models.WordPiece({t: i for i, t in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    ids = {token: vocabulary.index(token) for token in ("[CLS]", "[SEP]")}
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=list(ids.items())
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=32, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]", model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


def tiny_bert(
    vocabulary: int, labels=LABELS, layers: int = 2, seed: int = 0, dropout: float = 0.0, **options
):
    """A BERT classifier with large random weights, so that its answers differ from text to text."""
    torch.manual_seed(seed)
    names = dict(enumerate(labels)) or {0: "score"}
    config = BertConfig(
        vocab_size=vocabulary, hidden_size=16, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
        initializer_range=0.4, id2label=names, label2id={v: k for k, v in names.items()}, **options,
    )  # fmt: skip
    return BertForSequenceClassification(config).eval()


@pytest.fixture(scope="session")
def tokenizer():
    return wordpiece(WORDS)


@pytest.fixture(scope="session")
def other_tokenizer():
    """Another vocabulary: the same words in reverse order, so that equal ids mean other words."""
    return wordpiece(WORDS[::-1])


@pytest.fixture
def model(tokenizer):
    return tiny_bert(len(tokenizer))


@pytest.fixture(scope="session")
def save_model(tmp_path_factory):
    """Save a tiny classifier with its tokenizer; returns the folder."""

    def save(tokenizer, **options) -> Path:
        folder = tmp_path_factory.mktemp("model")
        tiny_bert(len(tokenizer), **options).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="session")
def teacher_folder(save_model, tokenizer):
    return save_model(tokenizer, layers=3, seed=1)


TEXTS = [
    "the movie is great", "my server is broken again", "the plot feels slow", "your app works fine today",
    "a very good film", "the invoice was not good", "please help my team", "this bill is awful",
    "the actor was quite good", "never again", "the page looks great", "slow and broken app",
    "my refund works", "not a bad film", "the price is fine", "your team is great", "the bill feels very bad",
    "a good plot works", "the server never works", "quite awful movie",
]  # fmt: skip
ANSWERS = [1, 0, 0, 1, 1, 0, 0, 0, 1, 0, 1, 0, 1, 1, 1, 1, 0, 1, 0, 0]
OTHERS = [*TEXTS[7:], *TEXTS[:7]]  # second texts
ROWS = torch.arange(len(TEXTS))


@pytest.fixture(scope="session")
def texts():
    return list(TEXTS)


@pytest.fixture
def table_file(tmp_path):
    """A 20-row CSV folder: train, validation."""
    folder = tmp_path / "reviews"
    folder.mkdir()
    for name, rows in {"train": range(20), "validation": range(8)}.items():
        with open(folder / f"{name}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            writer.writerows([[TEXTS[row], LABELS[ANSWERS[row]]] for row in rows])
    return folder


# --- models that do not fit ---


@pytest.fixture
def save(tmp_path):
    """Save a model and perhaps a tokenizer; returns the folder."""

    def build(model, tokenizer, name="model", **options):
        torch.manual_seed(0)
        model.save_pretrained(tmp_path / name, **options)
        if tokenizer is not None:
            tokenizer.save_pretrained(tmp_path / name)
        return tmp_path / name

    return build


@pytest.fixture
def planned(table_file, teacher_folder, tmp_path):
    """A plan for the teacher's own student, or with another teacher or another start."""
    from augpro.config import DistillConfig
    from augpro.distill.plan import make_plan

    def build(teacher=None, **options):
        given = {"teacher": str(teacher or teacher_folder), "student": str(teacher_folder), "augment": "none"}
        return make_plan(DistillConfig(data=str(table_file), out=tmp_path, batch_size=4, **(given | options)))

    return build


@pytest.fixture
def refused(table_file, tmp_path, planned):
    """That a model is refused before anything is loaded: as teacher, when it is scored, and as a start."""
    from augpro.config import EvaluateConfig, FinetuneConfig
    from augpro.distill.plan import make_plan
    from augpro.distill.scoring import evaluate_model
    from augpro.errors import InputError

    def check(folder, match, start=True):
        data, name = str(table_file), str(folder)
        runs = [
            lambda: planned(teacher=folder),
            lambda: evaluate_model(EvaluateConfig(data=data, model=name)),
        ]
        if start:
            config = FinetuneConfig(data=data, model=name, out=tmp_path, batch_size=4)
            runs += [lambda: planned(student=name), lambda: make_plan(config)]
        for run in runs:
            with pytest.raises(InputError, match=match):
                run()

    return check


# --- text methods ---


@pytest.fixture(scope="session")
def space(tokenizer):
    return EmbeddingSpace(torch.zeros(len(tokenizer), 4), Vocabulary(tokenizer, len(tokenizer)))


@pytest.fixture(scope="module")
def loaded():
    """What methods have loaded, shared by the tests of a file."""
    return {}


@pytest.fixture
def context(space, loaded):
    def make(table=None, seed=0, copy=0, space=space):
        return AugmentContext(Draws(seed, copy), space, table, loaded=loaded)

    return make


@pytest.fixture(scope="session")
def wordnet_folder(tmp_path_factory):
    return write_wordnet(tmp_path_factory.mktemp("wordnet") / "dict")


@pytest.fixture
def wordnet(wordnet_folder, monkeypatch):
    """WordNet is found in the small database."""
    monkeypatch.setenv("WNSEARCHDIR", str(wordnet_folder))
    return WordNet(wordnet_folder)


@pytest.fixture
def pairs(tokenizer):
    return tokenize(tokenizer, TEXTS, OTHERS)


@pytest.fixture(scope="session")
def masked_lm(tokenizer, tmp_path_factory):
    """A folder with a tiny masked language model of random weights."""
    return save_masked_lm(tmp_path_factory.mktemp("masked"), tokenizer)


@pytest.fixture(scope="session")
def translator(tokenizer, tmp_path_factory):
    """A folder with a tiny BART: a fast tokenizer, starts with its end token, wants four beams."""
    end = tokenizer.sep_token_id
    tokenizer = wordpiece(WORDS)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    config = tiny_config(BartConfig, len(tokenizer), tokenizer.pad_token_id, end, end)
    return save_translator(
        tmp_path_factory.mktemp("bart"), tokenizer, config, 3.0, num_beams=4, early_stopping=True,
        no_repeat_ngram_size=3, forced_eos_token_id=end, max_length=200,
        forced_bos_token_id=tokenizer.convert_tokens_to_ids("the"),
        suppress_tokens=[tokenizer.convert_tokens_to_ids("good")],
    )  # fmt: skip
