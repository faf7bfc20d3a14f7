"""What the text methods read from outside, small: WordNet's files, and models that fill masks and translate."""

from pathlib import Path

import torch
from transformers import (
    BartForConditionalGeneration,
    BertConfig,
    BertForMaskedLM,
    MarianConfig,
    MarianMTModel,
)

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


def save_masked_lm(folder, tokenizer, dtype=torch.float32):
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32, initializer_range=0.4, hidden_dropout_prob=0.5,
    )  # fmt: skip
    BertForMaskedLM(config).to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_translator(folder, tokenizer, config, ends, **generation):
    torch.manual_seed(6)
    model = (MarianMTModel if isinstance(config, MarianConfig) else BartForConditionalGeneration)(config)
    model.final_logits_bias[:, config.eos_token_id] = ends  # some translations end, some do not
    model.generation_config.update(**generation)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_config(kind, vocabulary, pad, end, start):
    """The config of an encoder-decoder."""
    return kind(
        vocab_size=vocabulary, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=32,
        pad_token_id=pad, bos_token_id=None, eos_token_id=end, decoder_start_token_id=start, init_std=0.4,
        dropout=0.5,
    )  # fmt: skip


def rows_of(batch):
    """Tokens of every row, padding apart."""
    return [ids[mask.bool()].tolist() for ids, mask in zip(batch.ids, batch.mask, strict=True)]
