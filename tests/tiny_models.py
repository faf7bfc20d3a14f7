"""Tiny models of every kind that the installed library can classify texts with, and folders of them."""

import json
from typing import Any

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    MPNetConfig,
    MPNetForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING as CLASSIFIERS

from augpro.models.padding import agree_on_padding
from common import LABELS, WORDS, wordpiece

POSITIONS = 64
VOCABULARY = 120
# One value for every name under which configurations have it.
_SIZES = {
    16: "hidden_size d_model embedding_size kv_lora_rank q_lora_rank d_latents moe_intermediate_size "
        "pronunciation_embed_dim shape_embed_dim entity_emb_size",
    32: "intermediate_size encoder_ffn_dim decoder_ffn_dim ffn_dim d_ff shared_expert_intermediate_size "
        "feed_forward_size d_inner dff",
    2: "num_hidden_layers num_layers encoder_layers decoder_layers num_decoder_layers num_attention_heads num_heads "
       "num_key_value_heads encoder_attention_heads decoder_attention_heads num_local_experts n_routed_experts "
       "num_experts type_vocab_size num_cross_attention_heads num_self_attention_heads",
    1: "num_experts_per_tok n_group topk_group first_k_dense_replace",
    8: "head_dim d_kv qk_nope_head_dim v_head_dim qk_rope_head_dim global_head_dim "
       "attention_window chunk_size num_latents",
    POSITIONS: "max_position_embeddings max_2d_position_embeddings",
    100: "pronunciation_vocab_size shape_vocab_size entity_vocab_size",
}  # fmt: skip
# What is a kind's own.
_LINEAR = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
}
_ROPE = {"rope_type": "default", "rope_theta": 1e4}
_OWN: dict[str, dict[str, Any]] = {
    "cohere_compass_text": {"rope_parameters": {"sliding_attention": _ROPE, "full_attention": _ROPE}},
    "funnel": {"block_sizes": [1, 1], "num_decoder_layers": 1},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 4},
    "jamba": {"attn_layer_offset": 1, "attn_layer_period": 2, "use_mamba_kernels": False, "mamba_dt_rank": 4},
    "layoutlmv3": {"coordinate_size": 2, "shape_size": 4, "visual_embed": False},
    "lilt": {"hidden_size": 24},
    "ministral3": {"pad_token_id": 0},
    "mistral4": {"pad_token_id": 0, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4},
    "qwen3_5_text": _LINEAR,
    "qwen3_next": _LINEAR,
    "reformer": {"axial_pos_embds_dim": (8, 8), "axial_pos_shape": (8, 8), "attention_head_size": 8,
                 "attn_layers": ["local", "lsh"]},
    "t5": {"decoder_start_token_id": 0},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"num_hidden_layers": 3, "layers_block_type": ["linear_attention", "hybrid", "hybrid"]},
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid"]},
}  # fmt: skip
SKIPPED = {
    "canine": "reads characters, not tokens: its tokenizer is no fast one",
    "layoutlmv2": "needs a library for pictures",
    "mra": "its attention needs a GPU; without one its answer is the same for all texts",
}


def kinds() -> list[str]:
    """Model types that can be made."""
    return sorted({config.model_type for config in CLASSIFIERS} - SKIPPED.keys())


def tiny_config(config_class: type[PreTrainedConfig], **options: Any) -> PreTrainedConfig:
    """The configuration of a kind, in every size that it names."""
    default, named = config_class(), config_class.attribute_map
    sizes = {named.get(name, name): size for size, names in _SIZES.items() for name in names.split()}
    taken = {name: size for name, size in sizes.items() if name in vars(default)}
    of_parts = {name: getattr(default, name, None) for name in config_class.sub_configs}
    parts = {name: tiny_config(type(part)) for name, part in of_parts.items() if part is not None}
    if "vocab_size" in vars(default):
        taken["vocab_size"] = VOCABULARY
    return config_class(**{**taken, **parts, **_OWN.get(config_class.model_type, {}), **options})


def tiny_classifier(kind: str, tokenizer: PreTrainedTokenizerFast, **options: Any) -> PreTrainedModel:
    """A classifier of random weights, padded as its own configuration says, or else its tokenizer."""
    config = tiny_config(next(config for config in CLASSIFIERS if config.model_type == kind), **options)
    if config.is_encoder_decoder:
        config.eos_token_id = tokenizer.sep_token_id  # where it answers
    agree_on_padding(config, tokenizer, kind)
    torch.manual_seed(0)
    model = CLASSIFIERS[type(config)](config).eval()
    with torch.no_grad():
        for part in model.parameters():
            if part.dim() > 1:  # large weights, so that no answer is like another
                part.normal_(0.0, 0.2)
    return model


# --- folders ---

NAMES = {"id2label": dict(enumerate(LABELS)), "label2id": {name: place for place, name in enumerate(LABELS)}}
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
         "max_position_embeddings": 32, "initializer_range": 0.4, **NAMES}  # fmt: skip


def edit(path, **values):
    """Change a JSON file; None removes an entry."""
    content = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def plain(words=WORDS, limit=32):
    """A tokenizer for models without token types."""
    tokenizer = wordpiece(words)
    tokenizer.model_input_names, tokenizer.model_max_length = ["input_ids", "attention_mask"], limit
    return tokenizer


def gpt2(size, **options):
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=size, n_embd=16, n_layer=2, n_head=2, n_positions=32, initializer_range=0.4,
                        **{"pad_token_id": None, "eos_token_id": None} | NAMES | options)  # fmt: skip
    return GPT2ForSequenceClassification(config)


def llama(size, **options):
    torch.manual_seed(0)
    return LlamaForSequenceClassification(
        LlamaConfig(vocab_size=size, num_key_value_heads=2, **SMALL | options)
    )


def roberta(size, **options):
    torch.manual_seed(0)
    config = RobertaConfig(vocab_size=size, pad_token_id=1, type_vocab_size=1, **SMALL | options)
    return RobertaForSequenceClassification(config)


def wide_bert(vocabulary, seed=7, layers=3):
    """A teacher of another width."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=vocabulary, hidden_size=24, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32, initializer_range=0.4, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        id2label=dict(enumerate(LABELS)), label2id={name: row for row, name in enumerate(LABELS)},
    )  # fmt: skip
    return BertForSequenceClassification(config).eval()


def save_mpnet(folder):
    """Save an MPNet of five layers and a tokenizer of its own kind; returns the folder."""
    tokenizer = plain(WORDS[::-1])
    torch.manual_seed(0)
    config = MPNetConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=5, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=40, initializer_range=0.4, pad_token_id=0, bos_token_id=3, eos_token_id=4,
    )  # fmt: skip
    MPNetForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "special_tokens_map.json").write_text("{}")
    (folder / "vocab.txt").write_text("\n".join(tokenizer.get_vocab()))
    return folder


def told_of(plan, word):
    """Notes of a plan with a word."""
    return [note for note in plan.data.notes if word in note]
