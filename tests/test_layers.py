"""A student that is cut from a model is the same model when it is saved and loaded again, or it is refused."""

import tempfile

import pytest
import torch
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BartConfig,
    BertConfig,
    DebertaV2Config,
    DiffLlamaConfig,
    DistilBertConfig,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoConfig,
    LlamaConfig,
    MobileBertConfig,
    ModernBertConfig,
    Qwen3Config,
    RobertaConfig,
    SmolLM3Config,
    XLMConfig,
    XLNetConfig,
)

from augpro.errors import InputError
from augpro.models.layers import encoder_layers
from augpro.models.source import ModelSource, load_student
from augpro.tasks import Task
from common import LABELS

TASK = Task("reviews", "single_label", "accuracy", LABELS)
VOCABULARY = 50
SMALL = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2,
         "intermediate_size": 16, "max_position_embeddings": 40, "pad_token_id": 0}  # fmt: skip
# Large weights: what a layer has because of its place must be seen in the logits.
LARGE = {"initializer_range": 0.4}
DECODER = SMALL | LARGE | {"num_key_value_heads": 2, "head_dim": 8, "eos_token_id": 1, "bos_token_id": 2}
GPT2 = {"vocab_size": VOCABULARY, "n_embd": 16, "n_layer": 4, "n_head": 2, "n_positions": 40,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1, **LARGE}  # fmt: skip
NEO = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_layers": 4, "num_heads": 2, "window_size": 3,
       "pad_token_id": 0, "max_position_embeddings": 40, "attention_types": [[["global", "local"], 2]],
       **LARGE}  # fmt: skip
XLM = {
    "vocab_size": VOCABULARY,
    "emb_dim": 16,
    "n_layers": 4,
    "n_heads": 2,
    "pad_token_id": 0,
    "init_std": 0.4,
}


@pytest.fixture
def saved(tmp_path):
    """Save a small classifier of a configuration; returns where it is."""

    def save(config):
        torch.manual_seed(0)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "whole")
        return ModelSource(str(tmp_path / "whole"))

    return save


def logits_of(model):
    """Its answers to two rows of different lengths."""
    ids = torch.randint(3, VOCABULARY, (2, 20), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    ids[1, 13:], mask[1, 13:] = model.config.pad_token_id, 0
    with torch.no_grad():
        return model.eval()(input_ids=ids, attention_mask=mask).logits


# --- which layers ---


@pytest.mark.parametrize("keep", [[0, 2], [2, 0], [1], [0, 1, 2]])
def test_the_kept_layers_are_the_right_ones_in_order(keep, teacher_folder):
    source = ModelSource(str(teacher_folder))
    whole, model = source.load_classifier(), load_student(source, TASK, keep)
    assert model.config.num_hidden_layers == len(model.bert.encoder.layer) == len(keep)
    for ours, number in zip(model.bert.encoder.layer, keep, strict=True):
        theirs = whole.bert.encoder.layer[number].state_dict()
        assert all(torch.equal(value, theirs[name]) for name, value in ours.state_dict().items())
    apart = {name: value for name, value in model.state_dict().items() if ".encoder.layer." not in name}
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in apart.items())


@pytest.mark.parametrize("layer", [3, -1, 99])
def test_a_layer_that_is_not_there(layer, teacher_folder):
    with pytest.raises(InputError, match=rf"--student-layers {layer}: the model has layers 0 to 2"):
        load_student(ModelSource(str(teacher_folder)), TASK, layers=[0, layer])


def test_a_layer_named_twice(teacher_folder):
    with pytest.raises(InputError, match="--student-layers 0,1,0: a layer is named twice"):
        load_student(ModelSource(str(teacher_folder)), TASK, (0, 1, 0))


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (
            AlbertConfig(**SMALL, embedding_size=8),
            "cannot find the 4 layers of AlbertForSequenceClassification",
        ),
        (
            XLMConfig(**XLM),
            "XLMForSequenceClassification cut to these layers",
        ),  # four lists, one for each part of a layer
    ],
)
def test_a_model_whose_layers_cannot_be_cut(config, found, saved):
    with pytest.raises(InputError, match=found):
        load_student(saved(config), TASK, [0, 1])


# --- the same when it is loaded ---


@pytest.mark.e2e
@pytest.mark.parametrize(
    "config",
    [
        BertConfig(**SMALL, **LARGE),
        RobertaConfig(**SMALL, **LARGE),
        DebertaV2Config(**SMALL, **LARGE, relative_attention=True, pos_att_type=["p2c", "c2p"]),
        DistilBertConfig(vocab_size=VOCABULARY, dim=16, n_layers=4, n_heads=2, hidden_dim=16, initializer_range=0.4),
        XLNetConfig(vocab_size=VOCABULARY, d_model=16, n_layer=4, n_head=2, d_inner=16, initializer_range=0.4),
        GPT2Config(**GPT2),
        GPTNeoConfig(**NEO),
        LlamaConfig(**DECODER),
        MobileBertConfig(**SMALL | {"num_attention_heads": 4}, **LARGE, embedding_size=16, intra_bottleneck_size=16,
                         true_hidden_size=16),
        Qwen3Config(**DECODER),
        Gemma3TextConfig(**DECODER, sliding_window=3, layer_types=["sliding_attention", "full_attention"] * 2),
        SmolLM3Config(**DECODER, no_rope_layers=[1, 1, 1, 0]),
    ],
    ids=lambda config: config.model_type,
)  # fmt: skip
def test_a_cut_model_is_the_same_after_saving(config, saved, tmp_path):
    """Also where layers differ by their place, which the configuration must then say of the kept ones."""
    student = load_student(saved(config), TASK, [1, 3])
    student.save_pretrained(tmp_path / "cut")
    again = ModelSource(str(tmp_path / "cut")).load_trained_classifier()
    torch.testing.assert_close(logits_of(again), logits_of(student), rtol=1e-4, atol=1e-5)
    whole = ModelSource(str(tmp_path / "whole")).load_trained_classifier()
    assert (logits_of(student) - logits_of(whole)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("config", "layers", "reason"),
    [
        (GPT2Config(**GPT2, scale_attn_by_inverse_layer_idx=True), (1, 3), "gives other logits"),
        (
            DiffLlamaConfig(**DECODER),
            (0, 2),
            "gives other logits",
        ),  # a constant that falls with the layer's number
        (
            ModernBertConfig(**SMALL, **LARGE),
            (1, 2),
            "gives other logits",
        ),  # the first layer alone has no norm
        (
            ModernBertConfig(**SMALL, **LARGE),
            (2, 0),
            r"cannot be saved, loaded and run \(not a trained classifier \(.*attn_norm\.weight is missing\)\)",
        ),
    ],
)
def test_a_cut_that_would_load_as_another_model_is_refused(config, layers, reason, saved):
    option = f"--student-layers {layers[0]},{layers[1]}"
    with pytest.raises(InputError, match=rf"{option}: a \w+ cut to these layers {reason}.*; keep its first"):
        load_student(saved(config), TASK, layers)


@pytest.mark.parametrize(
    "config",
    [GPT2Config(**GPT2, scale_attn_by_inverse_layer_idx=True), ModernBertConfig(**SMALL, **LARGE)],
    ids=lambda config: config.model_type,
)
def test_the_first_layers_of_such_a_model_can_be_kept(config, saved):
    assert len(encoder_layers(load_student(saved(config), TASK, [0, 1]))) == 2


def test_an_encoder_with_a_decoder_is_cut_in_its_encoder(saved):
    """It answers at the end of the text, of which there must be one in the rows that it is tried on."""
    config = BartConfig(vocab_size=VOCABULARY, d_model=16, encoder_layers=4, decoder_layers=2, encoder_ffn_dim=16,
                        decoder_ffn_dim=16, encoder_attention_heads=2, decoder_attention_heads=2,
                        max_position_embeddings=40)  # fmt: skip
    student = load_student(saved(config), TASK, [0, 3])
    assert (len(student.model.encoder.layers), len(student.model.decoder.layers)) == (2, 2)


def test_only_lists_with_an_entry_for_each_layer_are_cut(saved):
    """Two tokens that end a text, in a model of two layers, are not one for each layer."""
    ends = DECODER | {"num_hidden_layers": 2, "eos_token_id": [1, 3]}
    student = load_student(saved(SmolLM3Config(**ends, no_rope_layers=[0, 1])), TASK, [1])
    assert student.config.eos_token_id == [1, 3]
    assert student.config.no_rope_layers == [1]


def test_a_cut_decoder_still_answers(saved):
    """A decoder's layers know their number, by which they find their place in the cache."""
    model = load_student(saved(LlamaConfig(**DECODER)), TASK, [0, 3]).eval()
    ids = torch.tensor([[4, 5, 6]])
    with torch.no_grad():
        assert torch.equal(model(ids, use_cache=True).logits, model(ids, use_cache=False).logits)
    assert [layer.self_attn.layer_idx for layer in model.model.layers] == [0, 1]


def test_trying_leaves_no_trace(teacher_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = torch.get_rng_state()
    student = load_student(ModelSource(str(teacher_folder)), TASK, [0, 2])
    assert torch.equal(torch.get_rng_state(), before)
    assert not list(tmp_path.iterdir())
    assert not student.training
    assert all(parameter.requires_grad for parameter in student.parameters())
    assert not any(parameter.is_inference() for parameter in student.parameters())


def test_no_room_for_the_trial_is_no_fault_of_the_model(teacher_folder, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("transformers.PreTrainedModel.save_pretrained", full)
    with pytest.raises(InputError, match=r"No space left on device.*set TMPDIR"):
        load_student(ModelSource(str(teacher_folder)), TASK, [0, 2])


def test_a_model_that_is_not_cut_is_not_tried(teacher_folder, monkeypatch):
    monkeypatch.setattr("transformers.PreTrainedModel.save_pretrained", None)
    assert load_student(ModelSource(str(teacher_folder)), TASK).config.num_hidden_layers == 3
