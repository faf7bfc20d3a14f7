"""augpro-runtime: an exported folder answers as the numbers in it say, whatever the text, and at little cost."""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

import augpro_runtime
from augpro.testing import TEXTS
from augpro.tokens import encode
from augpro_runtime import Calibration, Classifier, Manifest, TextError
from augpro_runtime.texts import TextReader, is_local
from exported_folders import write_exported

MOVED = [*TEXTS[7:], *TEXTS[:7]]


def expected(tokenizer, values, texts, pairs=None, limit=12):
    """The sum of the tokens' values, from the tokens that augpro trains on."""
    columns = [texts] if pairs is None else [texts, pairs]
    found, _ = encode(tokenizer, columns, [limit] * len(texts))
    return np.array([values[row.ids].sum(0) + 0.1 * sum(row.type_ids) for row in found])


@pytest.mark.parametrize("pairs", [None, MOVED])
@pytest.mark.parametrize("threads", [1, None])
def test_logits_are_those_of_the_training_tokens_in_the_given_order(tokenizer, tmp_path, pairs, threads):
    folder, values = write_exported(tmp_path / "e", tokenizer)
    texts = [*TEXTS[:-2], "", "the [SEP] movie " * 30]
    classifier = Classifier.load(folder, threads=threads)
    one, many = classifier.logits(texts, pairs, batch_size=1), classifier.logits(texts, pairs, batch_size=7)
    np.testing.assert_allclose(one, expected(tokenizer, values, texts, pairs), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(one, many, rtol=1e-5, atol=1e-5)
    assert one.dtype == np.float32


def test_no_texts_give_no_answers(tmp_path):
    classifier = Classifier.load(write_exported(tmp_path / "e")[0])
    assert classifier.predict([]) == []
    assert classifier.logits([]).shape == (0, 2)


def test_an_answer_is_the_softmax_after_the_temperature(tmp_path):
    calibration = {"temperature": 4.0, "threshold": 0.7, "coverage": 0.5}
    folder, _ = write_exported(tmp_path / "e", calibration=calibration)
    classifier = Classifier.load(folder)
    logits = classifier.logits(TEXTS).astype(float)
    for row, answer in zip(logits, classifier.predict(TEXTS), strict=True):
        powers = [math.exp(value / 4.0) for value in row]
        assert answer.probabilities == pytest.approx([power / sum(powers) for power in powers])
        assert answer.label == classifier.labels[int(row.argmax())]
        assert answer.probability == max(answer.probabilities)
        assert answer.confident is (answer.probability >= 0.7)
    assert {answer.confident for answer in classifier.predict(TEXTS)} == {True, False}
    assert classifier.calibration == Calibration(4.0, 0.7)


@pytest.mark.parametrize(("calibration", "confident"), [
    (None, None), ({"temperature": 1.0, "threshold": None}, False), ({"temperature": 1.0, "threshold": 0.0}, True),
])  # fmt: skip
def test_confident_without_a_calibration_or_threshold(tmp_path, calibration, confident):
    folder, _ = write_exported(tmp_path / "e", calibration=calibration)
    assert {answer.confident for answer in Classifier.load(folder).predict(TEXTS)} == {confident}


def test_several_labels_and_scores(tmp_path):
    several, _ = write_exported(tmp_path / "several", labels=("a", "b", "c"), problem_type="multi_label")
    classifier = Classifier.load(several)
    logits = classifier.logits(TEXTS)
    for row, answer in zip(logits, classifier.predict(TEXTS), strict=True):
        assert answer.label == tuple(
            name for name, value in zip(classifier.labels, row, strict=True) if value > 0
        )
        assert answer.probabilities == pytest.approx(
            [1 / (1 + math.exp(-value)) for value in row.astype(float)]
        )
    score, _ = write_exported(tmp_path / "score", labels=("score",), problem_type="regression")
    classifier = Classifier.load(score)
    answers = classifier.predict(TEXTS)
    assert [answer.label for answer in answers] == classifier.logits(TEXTS)[:, 0].tolist()
    assert all(answer.probabilities == () and math.isnan(answer.probability) for answer in answers)


def test_texts_of_one_length_share_a_batch_where_padding_is_read(tmp_path, monkeypatch):
    folder, _ = write_exported(tmp_path / "e", same_length=True)
    classifier, lengths = Classifier.load(folder), []
    run = classifier._run
    monkeypatch.setattr(
        classifier, "_run", lambda ids, types: (lengths.append(set(map(len, ids))), run(ids, types))[1]
    )
    classifier.logits(TEXTS)
    assert all(len(found) == 1 for found in lengths)
    assert 1 < len(lengths) < len(TEXTS)


# --- unusual input ---


@pytest.mark.parametrize(("arguments", "told"), [
    (("one text",), "texts is one string; give a list"),
    ((b"bytes",), "texts is one string"),
    ((3,), "texts is int"),
    ((["a", None],), r"texts\[1\] is NoneType, not a string"),
    ((["a", float("nan")],), r"texts\[1\] is float"),
    ((["fine", "a\ud800b"],), r"texts\[1\] has half of a surrogate pair as its character 2"),
    ((["a"], ["b", "c"]), "1 texts and 2 pairs"),
    ((["a"], "b"), "pairs is one string"),
    ((["a"], [None]), r"pairs\[0\] is NoneType"),
    ((["a"], None, 0), "batch_size=0"),
])  # fmt: skip
def test_what_is_no_text_is_told(tmp_path, arguments, told):
    classifier = Classifier.load(write_exported(tmp_path / "e")[0])
    with pytest.raises(TextError, match=told):
        classifier.predict(*arguments)


def test_pairs_where_none_are_expected_and_none_where_they_are(tmp_path):
    single, pair = (write_exported(tmp_path / name, pair=name == "pair")[0] for name in ("single", "pair"))
    with pytest.raises(TextError, match="reads single texts; leave pairs out"):
        Classifier.load(single).predict(["a"], ["b"])
    with pytest.raises(TextError, match="reads text pairs; give their second texts"):
        Classifier.load(pair).predict(["a"])
    with pytest.raises(TextError, match="threads=0"):
        Classifier.load(single, threads=0)


def test_a_text_of_a_million_characters_is_quick_and_the_same(tokenizer, tmp_path):
    folder, values = write_exported(tmp_path / "e", tokenizer)
    classifier = Classifier.load(folder, threads=1)
    texts = ["the movie is great " * 55_000, "中" * 1_000_000, "slow,bad." * 120_000]
    started = time.process_time()
    found = classifier.logits(texts)
    assert time.process_time() - started < 2
    short = [text[:5000] for text in texts]
    np.testing.assert_allclose(found, expected(tokenizer, values, short), rtol=1e-5, atol=1e-5)


PIECES = st.lists(
    st.sampled_from(["the", "movie", " ", "  ", "\t", "é", "e\u0301", "\u0301", "中", ".", "'", "'s", "ﬁ", "aa"]),
    max_size=60,
)  # fmt: skip


def byte_level():
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), ("a", "a"), ("Ġ", "the"), ("Ġ", "Ġ")]
    vocabulary = [*letters, *("".join(merge) for merge in merges)]
    built = Tokenizer(models.BPE({token: place for place, token in enumerate(vocabulary)}, merges))
    built.normalizer = normalizers.NFC()
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return built.to_str()


def unigram():
    pieces = [
        ("<unk>", 0.0),
        ("▁", -2.0),
        ("▁the", -3.0),
        *((letter, -5.0) for letter in "themovi.'s9a"),
        ("aa", -4.0),
    ]
    built = Tokenizer(models.Unigram(pieces, 0, False))
    built.normalizer = normalizers.NFKC()
    built.pre_tokenizer = pre_tokenizers.Metaspace()
    return built.to_str()


@pytest.mark.parametrize("kind", ["wordpiece", byte_level, unigram])
@settings(deadline=None, max_examples=60)
@given(pieces=PIECES)
def test_the_beginning_of_a_text_gives_the_tokens_of_the_whole(kind, pieces, tokenizer):
    definition = tokenizer.backend_tokenizer.to_str() if kind == "wordpiece" else kind()
    manifest = Manifest(("a",), "regression", None, 6, 0, (), None, False, ("input_ids",))
    reader = TextReader(definition, manifest)
    assert reader._cuts
    reader._beginning, reader._margin = 9, 4  # the smallest that holds what is joined here
    text = "".join(pieces)
    whole = Tokenizer.from_str(definition)
    whole.enable_truncation(6)
    assert reader.read([text], None)[0][0].tolist() == whole.encode(text).ids


def test_a_tokenizer_that_may_look_ahead_reads_whole_texts(tokenizer):
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    assert is_local(json.dumps(content))
    for change in (
        {"pre_tokenizer": None},
        {
            "pre_tokenizer": {
                "type": "Metaspace",
                "replacement": "▁",
                "prepend_scheme": "first",
                "split": False,
            }
        },
        {
            "pre_tokenizer": {
                "type": "Split",
                "pattern": {"Regex": "x"},
                "behavior": "Isolated",
                "invert": False,
            }
        },
        {
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [{"type": "Digits", "individual_digits": True}],
            }
        },
        {"normalizer": {"type": "Replace", "pattern": {"Regex": ".*end"}, "content": ""}},
    ):
        assert not is_local(json.dumps(content | change)), change


def test_a_special_token_in_a_text_is_an_unknown_word(tmp_path):
    """Unigram models know their special tokens as pieces, and find them in texts."""
    definition = json.loads(unigram())
    definition["model"]["vocab"].append(["<s>", -1.0])
    place = len(definition["model"]["vocab"]) - 1
    said = {"labels": ("a",), "problem_type": "regression", "pair": None, "max_tokens": 9, "pad_id": 0}
    more = {"same_length": False, "inputs": ("input_ids",), "special_ids": (place,)}
    raw, fixed = (
        TextReader(json.dumps(definition), Manifest(**said, **more, unknown_id=unknown))
        for unknown in (None, 0)
    )
    assert place in raw.read(["the <s>"], None)[0][0]
    assert fixed.read(["the <s>"], None)[0][0].tolist() == [
        0 if token == place else token for token in raw.read(["the <s>"], None)[0][0]
    ]


# --- what it costs ---

PATHS = os.pathsep.join(str(Path(package.__file__).parents[1]) for package in (augpro_runtime,))


def test_it_stands_alone_and_starts_quickly(tmp_path):
    """Neither augpro nor what it needs is loaded; most of the time is spent on onnxruntime and numpy."""
    folder, _ = write_exported(tmp_path / "e")
    code = (
        f"import sys; from augpro_runtime import Classifier; Classifier.load({str(folder)!r}).predict(['hello']);"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": PATHS},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    loaded = set(done.stdout.split())
    assert not loaded & {"augpro", "torch", "transformers", "scipy", "sklearn", "pandas", "onnx", "pydantic"}
    assert {"onnxruntime", "tokenizers", "numpy"} <= loaded


def test_it_imports_nothing_but_its_three_dependencies():
    import ast
    import tomllib

    source = Path(augpro_runtime.__file__).parent
    project = tomllib.loads((source.parents[1] / "pyproject.toml").read_text())["project"]
    needed = {name.split(">")[0] for name in project["dependencies"]}
    assert len(needed) <= 4
    for path in source.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else (
                [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            )  # fmt: skip
            for name in (name.split(".")[0] for name in names):
                assert name in needed | {"augpro_runtime"} | sys.stdlib_module_names, f"{path.name}: {name}"


def test_every_public_name_is_documented():
    for name in augpro_runtime.__all__:
        assert getattr(augpro_runtime, name).__doc__, name
