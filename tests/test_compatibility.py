"""A model, its tokenizer and its weights that do not belong together are told by the plan, in one sentence."""

import json

import pytest
import torch
from tokenizers import Regex, normalizers, processors
from transformers import GPT2Config, GPT2ForSequenceClassification

from augpro.config import EvaluateConfig
from augpro.distillation.scoring import evaluate_model
from augpro.errors import InputError
from augpro.models.reading import predict_logits
from augpro.models.source import ModelSource, load_student
from augpro.tokens import max_length, tokenize
from common import WORDS, tiny_bert, wordpiece
from tiny_models import NAMES, edit, gpt2, llama, plain, roberta, told_of

# --- the tokenizer reads the text ---


@pytest.mark.e2e
def test_a_folder_without_a_tokenizer_is_refused(save, refused, tokenizer):
    refused(save(tiny_bert(len(tokenizer)), None), r"this folder has no tokenizer; .*save_pretrained")
    gpt2 = GPT2ForSequenceClassification(
        GPT2Config(vocab_size=60, n_embd=16, n_layer=2, n_head=2, pad_token_id=1)
    )
    refused(save(gpt2, None, "gpt2"), "this folder has no tokenizer")


def test_a_tokenizer_of_far_fewer_tokens_is_refused(save, refused, tokenizer):
    refused(
        save(tiny_bert(3 * len(tokenizer)), tokenizer),
        rf"has {len(tokenizer)} tokens, its config.json {3 * len(tokenizer)}",
    )
    padded = save(tiny_bert(len(tokenizer) + 30), tokenizer, "padded")  # a padded vocabulary is usual
    assert ModelSource(str(padded)).load_tokenizer()


@pytest.fixture
def strangers(save):
    """A model and a tokenizer that knows none of the words of the data, nor all of its letters."""
    tokenizer = wordpiece([f"word{number}" for number in range(len(WORDS))], ["##q"])
    tokenizer = tokenizer.train_new_from_iterator(["zzz qqq"], 60)
    tokenizer.model_max_length = 32
    return save(tiny_bert(len(tokenizer), layers=3), tokenizer)


@pytest.mark.e2e
def test_most_of_the_text_must_be_known(strangers, refused):
    refused(
        strangers, r"the \w+: \d+\.\d% of the tokens of all \d+ rows are unknown .* --allow-unknown-tokens"
    )


def test_the_share_of_unknown_tokens_is_told(strangers, planned, table_file, caplog):
    notes = planned(teacher=strangers, allow_unknown_tokens=True).data.notes
    assert [note for note in notes if "that its tokenizer" in note or "unknown" in note] == [
        f"{strangers}, the teacher: 100.0% of the tokens of all 28 rows are unknown to its tokenizer",
        f"{strangers}, the teacher: 100.0% of all 28 rows have no token that its tokenizer knows",
    ]
    evaluate_model(EvaluateConfig(data=str(table_file), model=str(strangers), allow_unknown_tokens=True))
    assert "the model: 100.0% of the tokens of all 8 rows are unknown" in caplog.text


def test_a_few_unknown_words_are_a_note_for_both_models_at_once(
    planned, table_file, teacher_folder, tmp_path
):
    assert not told_of(planned(), "unknown")
    path = table_file / "train.csv"
    path.write_text(path.read_text() + "漢 漢 漢 漢,negative\n")
    both = f"{teacher_folder}, the student, and {teacher_folder}, the teacher"
    (note,) = told_of(planned(student_layers=(0, 1, 2)), "unknown")
    assert (
        note
        == f"{teacher_folder}, the student: 3.1% of the tokens of all 29 rows are unknown to its tokenizer"
    )
    other = ModelSource(str(teacher_folder))
    assert both
    assert other


def test_rows_without_a_token_are_told(planned, save, table_file):
    """A decoder's tokenizer may give nothing at all for a text."""
    tokenizer = plain()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B:1")
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex("[^a-z ]"), ""), normalizers.BertNormalizer()]
    )
    teacher = save(gpt2(len(tokenizer)), tokenizer)
    path = table_file / "train.csv"
    path.write_text(path.read_text() + "漢 漢,negative\n")
    assert f"{teacher}, the teacher: 3.4% of all 29 rows have no token that its tokenizer knows" in told_of(
        planned(teacher=teacher), "have no token"
    )
    model, own = (
        ModelSource(str(teacher)).load_trained_classifier(),
        ModelSource(str(teacher)).load_tokenizer(),
    )
    rows = ["漢", "good film"]
    alone = torch.cat([predict_logits(model, tokenize(own, [row])) for row in rows])
    torch.testing.assert_close(predict_logits(model, tokenize(own, rows)), alone)


def test_names_of_special_tokens_in_the_texts_are_told(planned, table_file):
    path = table_file / "train.csv"
    path.write_text(path.read_text() + "good [SEP] film,positive\n")
    (note,) = told_of(planned(), "special token")
    assert (
        "1 of 29 rows contain the name of a special token, such as '[SEP]', which is read as ordinary text"
        in note
    )


def test_a_sample_of_many_rows_is_read(planned, table_file, monkeypatch):
    monkeypatch.setattr("augpro.models.compatibility._SAMPLE", 10)
    path = table_file / "train.csv"
    path.write_text("\n".join(["text,label", *["漢,negative", "good,positive"] * 10]))
    (note,) = told_of(planned(), "unknown")
    assert "of the tokens of 10 of 28 rows are unknown" in note


# --- sizes ---


@pytest.mark.parametrize(
    ("build", "limit"),
    [(tiny_bert, 32), (roberta, 30), (gpt2, 32), (llama, 32)],
    ids=["bert", "roberta", "gpt2", "llama"],
)
@pytest.mark.parametrize("own", [int(1e30), 32, 20])
def test_no_row_is_longer_than_the_models_positions(build, limit, own, save):
    tokenizer = plain(limit=own)
    folder = save(build(len(tokenizer)), tokenizer)
    source = ModelSource(str(folder))
    loaded = source.load_tokenizer()
    most = min(limit, own)
    assert [max_length(loaded), max_length(loaded, 10), max_length(loaded, 500)] == [most, 10, most]
    table = tokenize(loaded, ["very " * 100])
    assert table.lengths.tolist() == [most]
    assert predict_logits(source.load_trained_classifier(), table).isfinite().all()


def test_an_added_token_without_an_embedding_is_refused(save, refused, tokenizer):
    size, more = len(tokenizer), plain()
    more.add_tokens(["brandname"])
    resize = rf"call model.resize_token_embeddings\({size + 1}\)"
    refused(
        save(tiny_bert(size), more),
        rf"'brandname' .* {size}, and the model has embeddings for {size} .* {resize}",
    )


@pytest.mark.e2e
@pytest.mark.parametrize("sharded", [False, True])
def test_weights_of_another_configuration_are_refused(sharded, save, refused, planned, tokenizer):
    size = len(tokenizer)
    model = tiny_bert(size, labels=("a", "b", "c"), layers=3)
    folder = save(model, tokenizer, max_shard_size="20KB" if sharded else "1GB")
    assert (folder / "model.safetensors.index.json").is_file() == sharded
    edit(folder / "config.json", **json.loads(json.dumps(NAMES)))
    refused(folder, r"classifier\.bias is 3 in its weights, but 2 by its config\.json", start=False)
    assert planned(student=str(folder))  # a start gets a head of its own
    edit(folder / "config.json", vocab_size=size + 1)
    refused(
        folder, rf"word_embeddings\.weight is {size} x 16 in its weights, but {size + 1} x 16 by its config"
    )
    student = ModelSource(str(folder))
    with pytest.raises(
        InputError, match=r"word_embeddings\.weight is"
    ):  # a hub model's header is read when it is loaded
        load_student(student, planned().task)


def test_weights_that_are_missing_are_told_by_the_plan(save, refused, tokenizer):
    folder = save(tiny_bert(len(tokenizer), layers=3), tokenizer, max_shard_size="20KB")
    next(folder.glob("model-00002*")).unlink()
    refused(folder, r"its model-00002-of-\d+\.safetensors cannot be read")
    (folder / "model.safetensors.index.json").unlink()
    refused(folder, r"its model\.safetensors cannot be read")


def test_classes_that_do_not_count_from_0_are_refused(save, refused, tokenizer):
    folder = save(tiny_bert(len(tokenizer), layers=3), tokenizer)
    edit(folder / "config.json", id2label={"1": "negative", "2": "positive"})
    refused(folder, r"id2label of its config\.json has no class 0; number its 2 classes from 0", start=False)


def test_a_problem_type_of_no_kind_is_refused(save, refused, tokenizer):
    folder = save(tiny_bert(len(tokenizer), layers=3), tokenizer)
    edit(folder / "config.json", problem_type="multiclass")
    refused(
        folder,
        r"problem_type 'multiclass' of its config\.json is not known; write one of single_label",
        start=False,
    )
