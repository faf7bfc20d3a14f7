"""Small models, tokenizers and tables made in memory, and no network: every test runs anywhere."""

import csv
import gc
import os
import shutil
import socket
from pathlib import Path

import pytest
import torch
from transformers import BartConfig

from augpro.augment.base import AugmentContext, EmbeddingSpace, Store
from augpro.augment.wordnet import WordNet
from augpro.row_random import RowRandom
from augpro.testing import TEXTS, WORDS
from augpro.testing import tiny_classifier as tiny_bert
from augpro.testing import tiny_tokenizer as wordpiece
from augpro.tokens import tokenize
from augpro.vocabulary import Vocabulary
from shard_cases import augmented, write_rows
from text_sources import save_masked_lm, save_translator, tiny_config, write_wordnet

torch.set_num_threads(1)  # tiny models: threads cost more than they bring, and the suite may share its cores
os.environ.setdefault("OMP_NUM_THREADS", "1")  # so too in the processes that tests start

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
    gc.enable()
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
    from augpro.distillation.plan import make_plan

    def build(teacher=None, **options):
        given = {"data": str(table_file), "teacher": str(teacher or teacher_folder), "student": str(teacher_folder),
                 "augment": "none", "batch_size": 4, "out": tmp_path}  # fmt: skip
        return make_plan(DistillConfig(**given | options))

    return build


@pytest.fixture
def refused(table_file, tmp_path, planned):
    """That a model is refused before anything is loaded: as teacher, when it is scored, and as a start."""
    from augpro.config import EvaluateConfig, FinetuneConfig
    from augpro.distillation.plan import make_plan
    from augpro.distillation.scoring import evaluate_model
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
        return AugmentContext(RowRandom(seed, copy), space, table, store=Store(loaded))

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


# --- augmented rows on disk ---


@pytest.fixture(scope="session")
def rows_folder(tmp_path_factory):
    """520 rows to train on, and 20 that are kept apart."""
    folder = tmp_path_factory.mktemp("rows")
    write_rows(folder / "train.jsonl")
    labels = ["positive", "negative"] * 10
    lines = [f"{text} today,{label}" for text, label in zip(TEXTS, labels, strict=True)]
    (folder / "validation.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    return folder


@pytest.fixture(scope="session")
def augment_given(rows_folder, save_model, tokenizer):
    """Options of ``augpro augment`` for two shards."""
    student = save_model(tokenizer, layers=1, seed=3)
    given = {"data": str(rows_folder), "student": str(student), "augment": "augpro-mix"}
    return given | {"copies": 2, "shard_rows": 200}


@pytest.fixture(scope="session")
def both_classes(save_model, tokenizer):
    """A teacher that gives each of its classes to about half of the rows."""
    return save_model(tokenizer, layers=1, seed=4)


@pytest.fixture(scope="session")
def plain_set(augment_given, tmp_path_factory):
    """Augmented rows without labels."""
    folder = tmp_path_factory.mktemp("plain") / "set"
    augmented(augment_given, folder)
    return folder


@pytest.fixture(scope="session")
def labelled_set(augment_given, both_classes, tmp_path_factory):
    """The same rows with a teacher's labels."""
    folder = tmp_path_factory.mktemp("labelled") / "set"
    augmented(augment_given, folder, teacher=str(both_classes))
    return folder


@pytest.fixture
def copied_set(plain_set, tmp_path):
    """A copy of the rows without labels."""
    return Path(shutil.copytree(plain_set, tmp_path / "copy"))
