"""For authors of methods: the contract that every augmenter keeps, and tiny models to try a method on."""

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from augpro.augment import AugmentContext, Augmenter, EmbeddingSpace, TrainingState, VirtualRows
from augpro.augment.methods.replace import TokenReplacement
from augpro.losses import Objective
from augpro.row_random import RowRandom
from augpro.tokens import TokenBatch, TokenTable, tokenize
from augpro.vocabulary import BANNED, Vocabulary

WORDS = [
    "the", "a", "my", "your", "movie", "film", "app", "server", "invoice", "is", "was", "looks", "feels",
    "good", "great", "fine", "bad", "awful", "slow", "broken", "very", "quite", "not", "never", "again",
    "today", "please", "refund", "help", "work", "works", "plot", "actor", "price", "bill", "team", "page",
]  # fmt: skip
PIECES = ["##s", "##ing", "##ed", "##er", "##ly", "##able", "##un", "##x"]
SPECIALS = ["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXTS = [
    "the movie is great", "my server is broken again", "the plot feels slow", "your app works fine today",
    "a very good film", "the invoice was not good", "please help my team", "this bill is awful",
    "the actor was quite good", "never again", "the page looks great", "slow and broken app",
    "my refund works", "not a bad film", "the price is fine", "your team is great", "the bill feels very bad",
    "a good plot works", "the server never works", "quite awful movie",
]  # fmt: skip


def tiny_tokenizer(words: Sequence[str] = WORDS, pieces: Sequence[str] = PIECES) -> PreTrainedTokenizerFast:
    """A tokenizer as BERT's with these words and continuation pieces, and all letters; 32 tokens at most."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    single = [letter for letter in letters if letter not in words]
    inside = [f"##{letter}" for letter in letters if f"##{letter}" not in pieces]
    vocabulary = [*SPECIALS, *words, *single, *pieces, *inside, "."]
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


def tiny_classifier(
    vocabulary: int,
    labels: Sequence[str] = ("negative", "positive"),
    layers: int = 2,
    seed: int = 0,
    dropout: float = 0.0,
    **options: Any,
) -> Any:
    """A BERT classifier with large random weights, so that its answers differ from text to text.

    Args:
        vocabulary: tokens.
        labels: names of the classes; none for a score.
        layers: of the encoder.
        seed: of the weights.
        dropout: in training.
        **options: more of ``transformers.BertConfig``.
    """
    torch.manual_seed(seed)
    names = dict(enumerate(labels)) or {0: "score"}
    config = BertConfig(
        vocab_size=vocabulary, hidden_size=16, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
        initializer_range=0.4, id2label=names, label2id={v: k for k, v in names.items()}, **options,
    )  # fmt: skip
    return BertForSequenceClassification(config).eval()


def check_augmenter(method: Augmenter) -> None:
    """Check that a method keeps the contract of all methods, on twenty pairs of texts and tiny models.

    The same seed gives the same rows and another seed others; a row does not depend on its batch; the input, the
    student and the global random state stay as they are; methods that replace tokens keep shape and special tokens
    and produce none; it is a value, whose parameters are JSON.

    Args:
        method: with its options; what it needs from outside (a model, a word list) must be to be had.

    Raises:
        AssertionError: with one sentence that says what does not hold.

    Example:
        >>> from augpro.augment import Random
        >>> check_augmenter(Random(replace_fraction=0.5))
    """
    bench = _Bench.build()
    for check in (
        _is_a_value,
        _follows_its_draws,
        _rows_are_by_themselves,
        _changes_nothing_else,
        _keeps_tokens,
    ):
        check(method, bench)


@dataclass
class _Bench:
    """What methods are tried on."""

    rows: TokenTable
    student: Any
    teacher: Any
    space: EmbeddingSpace
    logits: Tensor

    @classmethod
    def build(cls) -> "_Bench":
        tokenizer = tiny_tokenizer()
        student, teacher = (tiny_classifier(len(tokenizer), layers=n, seed=n) for n in (2, 3))
        rows = tokenize(tokenizer, TEXTS, [*TEXTS[7:], *TEXTS[:7]])
        logits = torch.randn(len(rows), 2, generator=torch.Generator().manual_seed(0)) * 3
        table = student.get_input_embeddings().get_parameter("weight")
        return cls(
            rows, student, teacher, EmbeddingSpace(table, Vocabulary(tokenizer, len(tokenizer))), logits
        )

    def context(self, row_ids: Sequence[int], seed: int = 0, draw: int = 0) -> AugmentContext:
        """Everything that a method may look at."""
        state = TrainingState(
            self.student, Objective("single_label").kd, self.logits[list(row_ids)],
            lambda rows: self.teacher(**rows.model_inputs()).logits.detach(), self.teacher,
        )  # fmt: skip
        return AugmentContext(RowRandom(seed, draw), self.space, self.rows, self.logits.argmax(1), state)

    def made(
        self, method: Augmenter, row_ids: Sequence[int] = range(20), seed: int = 0, draw: int = 0
    ) -> list[list[float]]:
        """What each row becomes: its tokens, or the student's logits for it."""
        made = method(self.rows.batch(row_ids), self.context(row_ids, seed, draw))
        if isinstance(made, VirtualRows):
            with torch.no_grad():
                found: list[list[float]] = made.run(self.student).tolist()
            return found
        return [ids[mask > 0].tolist() for ids, mask in zip(made.ids, made.mask, strict=True)]


def _alike(one: list[list[float]], other: list[list[float]]) -> bool:
    """Equal tokens, or logits that differ by rounding alone."""
    return [len(row) for row in one] == [len(row) for row in other] and all(
        abs(x - y) <= 1e-5 * max(1.0, abs(x))
        for a, b in zip(one, other, strict=True)
        for x, y in zip(a, b, strict=True)
    )


def _is_a_value(method: Augmenter, bench: _Bench) -> None:
    assert copy.deepcopy(method) == method, "two methods with the same parameters must be equal"
    parameters = json.loads(json.dumps(method.parameters))
    assert list(parameters) == list(method.parameters), "parameters must be JSON: names and plain values"


def _follows_its_draws(method: Augmenter, bench: _Bench) -> None:
    first = bench.made(method)
    assert _alike(first, bench.made(method)), "the same seed must give the same rows"
    if not method.needs_student or method.makes_text:  # a gradient alone draws nothing
        assert not _alike(first, bench.made(method, seed=1)), "another seed must give other rows"
        assert not _alike(first, bench.made(method, draw=1)), "another copy must give other rows"


def _rows_are_by_themselves(method: Augmenter, bench: _Bench) -> None:
    bench.student.double()  # gradients are small
    whole = bench.made(method)
    for start, size in ((0, 1), (3, 2), (7, 13)):
        part = bench.made(method, range(start, start + size))
        assert _alike(part, whole[start : start + size]), (
            "a row must not depend on the other rows of its batch"
        )
    bench.student.float()


def _changes_nothing_else(method: Augmenter, bench: _Bench) -> None:
    batch = bench.rows.batch(range(20))
    before = {name: value.clone() for name, value in batch.tensors().items()}
    weights = {name: value.clone() for name, value in bench.student.state_dict().items()}
    state = torch.random.get_rng_state()
    method(batch, bench.context(range(20)))
    assert torch.equal(state, torch.random.get_rng_state()), (
        "random numbers must come from the context's draws alone"
    )
    for name, value in before.items():
        assert torch.equal(getattr(batch, name), value), (
            f"the batch that it is given must not change ({name})"
        )
    same = all(torch.equal(value, weights[name]) for name, value in bench.student.state_dict().items())
    assert same, "the student's weights must not change"
    assert all(p.grad is None for p in bench.student.parameters()), "no gradient must be left on the student"
    assert not bench.student.training, "the student's training flag must stay as it is"


def _keeps_tokens(method: Augmenter, bench: _Bench) -> None:
    batch = bench.rows.batch(range(20))
    made = method(batch, bench.context(range(20)))
    if not isinstance(made, TokenBatch):
        assert not method.makes_text, "a method that makes text must return a TokenBatch"
        return
    assert method.makes_text, "a method that returns a TokenBatch must say makes_text"
    assert torch.equal(made.row_ids, batch.row_ids), "each row must keep its row id"
    if isinstance(method, TokenReplacement):
        assert made.ids.shape == batch.ids.shape, "a method that replaces tokens must keep the shape"
        assert made.ids.dtype == batch.ids.dtype, "a method that replaces tokens must keep their type"
        frozen, changed = batch.segments < 0, made.ids != batch.ids
        assert not changed[frozen].any(), "special tokens and padding must stay"
        assert bool((bench.space.groups[made.ids[changed]] != BANNED).all()), (
            "no special token must be produced"
        )
        assert bool(changed.any()), "nothing was augmented"
