"""Where models come from, what is cut from them, and what is not run."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    GPT2Config,
    GPT2ForSequenceClassification,
    ModernBertConfig,
    RobertaConfig,
)

from augpro.errors import InputError
from augpro.models import source as models
from augpro.models.held import HeldModel
from augpro.models.reading import fastest_device, predict_logits
from augpro.models.source import ModelSource, dropout_rates, load_student
from augpro.tasks import Task
from augpro.tokens import tokenize
from common import LABELS, tiny_bert, wordpiece

TASK = Task("reviews", "single_label", "accuracy", LABELS)
THREE = Task("intents", "single_label", "accuracy", ("buy", "sell", "hold"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory, tokenizer):
    """A folder with an encoder that has no classification head."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32, initializer_range=0.4,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


# --- loading ---


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "a/b/c"])
def test_a_missing_folder_is_named(name):
    with pytest.raises(InputError, match=rf"{name}: no such model folder"):
        ModelSource(name).load_config()


def test_a_folder_that_holds_no_model_is_named(tmp_path):
    with pytest.raises(InputError, match=r"in this folder .*config\.json"):
        ModelSource(str(tmp_path)).load_config()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_becomes_float32(dtype, tokenizer, tmp_path):
    tiny_bert(len(tokenizer)).to(dtype).save_pretrained(tmp_path / "half")
    model = ModelSource(str(tmp_path / "half")).load_classifier()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    model.save_pretrained(tmp_path / "again")
    again = ModelSource(str(tmp_path / "again")).load_config()
    assert again.dtype == torch.float32


@pytest.mark.parametrize("trusted", [False, True])
def test_trust_is_passed_on_as_it_was_given(trusted, teacher_folder, monkeypatch):
    seen = []
    for loader in ("AutoConfig", "AutoTokenizer", "AutoModelForSequenceClassification"):
        real = getattr(models, loader)

        def record(path, *, trust_remote_code, real=real, **options):
            seen.append(trust_remote_code)
            return real.from_pretrained(path, **options)

        monkeypatch.setattr(models, loader, SimpleNamespace(from_pretrained=record))
    source = ModelSource(str(teacher_folder), trusted)
    source.load_config()
    source.load_tokenizer()
    source.load_classifier()
    assert seen == [trusted] * 4  # the tokenizer asks for the configuration too
    assert ModelSource("x").trust_remote_code is False


def test_code_beside_a_model_is_not_run(teacher_folder, tmp_path):
    folder, marker = shutil.copytree(teacher_folder, tmp_path / "model"), tmp_path / "it ran"
    (folder / "theirs.py").write_text(f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "theirs", "auto_map": {"AutoConfig": "theirs.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="code of its own, which is run only with --trust-remote-code"):
        ModelSource(str(folder)).load_classifier()
    assert not marker.exists()


def test_a_model_without_a_trained_head_is_no_teacher(teacher_folder, tmp_path):
    BertModel.from_pretrained(teacher_folder).save_pretrained(tmp_path / "headless")
    source = ModelSource(str(tmp_path / "headless"))
    assert source.load_classifier().config.num_labels == 2  # the start of a student
    with pytest.raises(InputError, match=r"not a trained classifier \(classifier\.\w+ is missing\)"):
        source.load_trained_classifier()
    whole = ModelSource(str(teacher_folder)).load_trained_classifier()
    assert torch.equal(whole.classifier.weight, source_head(teacher_folder))


def source_head(folder):
    return load_file(folder / "model.safetensors")["classifier.weight"]


def test_weights_that_are_cut_off_are_named(teacher_folder, tmp_path):
    folder = shutil.copytree(teacher_folder, tmp_path / "model")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot load a model in this folder"):
        ModelSource(str(folder)).load_trained_classifier()


# --- students ---


def test_a_decoder_is_padded_as_its_configuration_says(tokenizer, tmp_path):
    """It answers at the last token that is no padding, so that a row must not depend on its batch."""
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=2, n_head=2, n_positions=32,
                        pad_token_id=tokenizer.sep_token_id)  # fmt: skip
    torch.manual_seed(0)
    GPT2ForSequenceClassification(config).save_pretrained(tmp_path)
    wordpiece(["good", "bad"]).save_pretrained(tmp_path)
    bare = json.loads((tmp_path / "tokenizer_config.json").read_text())
    bare.pop("pad_token")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(bare))
    loaded = ModelSource(str(tmp_path)).load_tokenizer()
    assert loaded.pad_token_id == tokenizer.sep_token_id
    model = ModelSource(str(tmp_path)).load_trained_classifier().eval()
    texts = ["good", "good bad good bad"]
    together = predict_logits(model, tokenize(loaded, texts))
    torch.testing.assert_close(together[:1], predict_logits(model, tokenize(loaded, texts[:1])))


def test_only_the_word_embeddings_are_frozen(teacher_folder):
    student = load_student(ModelSource(str(teacher_folder)), TASK, freeze_embeddings=True)
    frozen = [name for name, parameter in student.named_parameters() if not parameter.requires_grad]
    assert frozen == ["bert.embeddings.word_embeddings.weight"]
    free = load_student(ModelSource(str(teacher_folder)), TASK)
    assert all(parameter.requires_grad for parameter in free.parameters())


def test_a_new_head_belongs_to_its_seed(encoder):
    def head(seed):
        return load_student(ModelSource(str(encoder)), THREE, seed=seed).classifier.weight

    before = torch.get_rng_state()
    first = head(1)
    assert torch.equal(torch.get_rng_state(), before), "the global random numbers moved on"
    torch.manual_seed(1234)
    assert torch.equal(first, head(1))
    assert not torch.equal(first, head(2))
    assert first.shape == (3, 16)


def test_a_head_of_another_width_is_made_anew_by_the_seed(teacher_folder):
    one, same, other = (
        load_student(ModelSource(str(teacher_folder)), THREE, seed=seed).classifier.weight
        for seed in (1, 1, 2)
    )
    assert one.shape == (3, 16)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_fitting_head_is_kept(teacher_folder):
    whole = ModelSource(str(teacher_folder)).load_classifier()
    student = load_student(ModelSource(str(teacher_folder)), TASK, seed=5)
    assert torch.equal(student.classifier.weight, whole.classifier.weight)


@pytest.mark.parametrize(
    ("task", "names", "kind"),
    [
        (THREE, {0: "buy", 1: "sell", 2: "hold"}, "single_label_classification"),
        (Task("t", "multi_label", "micro_f1", ("x", "y")), {0: "x", 1: "y"}, "multi_label_classification"),
        (Task("t", "regression", "pearson"), {0: "score"}, "regression"),
    ],
)
def test_the_saved_config_names_the_labels(task, names, kind, encoder, tmp_path):
    load_student(ModelSource(str(encoder)), task).save_pretrained(tmp_path)
    config = ModelSource(str(tmp_path)).load_config()
    assert config.id2label == names
    assert config.label2id == {name: index for index, name in names.items()}
    assert config.problem_type == kind
    assert config.num_labels == task.outputs


def test_a_build_for_an_accelerator_that_is_not_there_computes_on_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda *_: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert fastest_device() == torch.device("cpu")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert fastest_device() == torch.device("cuda")


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize(("asked", "found"), [(0.0, 0.0), (0.3, 0.3), (None, 0.1)])
def test_the_dropout_of_a_student(asked, found, held, tokenizer, save_model):
    source = ModelSource(str(save_model(tokenizer, layers=2, dropout=0.1)))
    if held:
        source = HeldModel("held", model=source.load_classifier(), tokenizer=tokenizer)
    student = load_student(source, TASK, [1], dropout=asked)
    rates = {module.p for module in student.modules() if isinstance(module, torch.nn.Dropout)}
    assert rates == set(dropout_rates(student.config).values()) == {found}
    assert set(dropout_rates(source.load_config()).values()) == {0.1}  # as it was


def test_dropout_rates_are_found_by_their_names():
    names = {
        DistilBertConfig: {"dropout", "attention_dropout", "seq_classif_dropout", "qa_dropout"},
        GPT2Config: {"attn_pdrop", "embd_pdrop", "resid_pdrop", "summary_first_dropout"},
        ModernBertConfig: {"attention_dropout", "embedding_dropout", "mlp_dropout", "classifier_dropout"},
        RobertaConfig: {"hidden_dropout_prob", "attention_probs_dropout_prob"},
    }
    assert {kind: set(dropout_rates(kind())) for kind in names} == names
