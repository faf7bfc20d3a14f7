"""augpro-runtime: a folder that is missing, damaged or compressed is one sentence, or the same answers."""

import numpy as np
import pytest

from augpro.testing import TEXTS
from augpro_runtime import Classifier, FolderError
from augpro_runtime import folder as folder_module
from augpro_runtime.folder import MANIFEST, MODEL, TOKENIZER
from exported_folders import pack, rewrite, seal, token_values, write_exported


@pytest.fixture
def folder(tmp_path):
    return write_exported(tmp_path / "exported")[0]


def test_a_folder_that_is_missing_or_foreign(tmp_path, teacher_folder):
    for path in (tmp_path / "nothing", tmp_path, teacher_folder):
        with pytest.raises(FolderError, match=r"no exported model here .* augpro export --model"):
            Classifier.load(path)


@pytest.mark.parametrize("name", [MANIFEST, MODEL, TOKENIZER])
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "gone", "binary"])
def test_damage_is_one_sentence(folder, name, damage):
    path = folder / name
    content = path.read_bytes()
    middle = len(content) // 2
    new = {
        "cut": content[:middle], "empty": b"", "binary": b"\xff\xfe" + content,
        "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
    }  # fmt: skip
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(new[damage])
    with pytest.raises(FolderError) as caught:
        Classifier.load(folder)
    told = str(caught.value)
    assert name in told
    assert "\n" not in told
    assert told.endswith(".")


@pytest.mark.parametrize(("said", "told"), [
    ({"format": 2}, "format 2, this version of augpro-runtime reads 1"),
    ({"labels": ()}, "labels or its problem type are missing"),
    ({"problem_type": "ranking"}, "problem type"),
    ({"calibration": {"temperature": 0.0, "threshold": 0.5}}, "temperature 0.0 is not above 0"),
    ({"calibration": {"temperature": 1.0, "threshold": 1.5}}, r"threshold 1.5 is not in \[0, 1\]"),
    ({"calibration": {"threshold": 0.5}}, "temperature"),
])  # fmt: skip
def test_a_manifest_that_does_not_fit(folder, said, told):
    rewrite(folder, **said)
    with pytest.raises(FolderError, match=told):
        Classifier.load(folder)


def test_a_model_that_cannot_be_run(folder):
    (folder / MODEL).write_bytes(b"no model")
    seal(folder)
    with pytest.raises(FolderError, match="cannot be run with onnxruntime"):
        Classifier.load(folder)


def test_compressed_files(folder):
    plain = Classifier.load(folder).logits(TEXTS)
    pack(folder)
    assert not (folder / MODEL).exists()
    np.testing.assert_array_equal(Classifier.load(folder).logits(TEXTS), plain)


@pytest.mark.parametrize("damage", ["cut", "foreign", "gone", "flipped"])
def test_a_damaged_compressed_file_is_one_sentence(folder, damage):
    pack(folder)
    path = folder / (MODEL + ".gz")
    content = path.read_bytes()
    if damage in ("cut", "foreign"):  # so written, and with the right checksum
        path.write_bytes(content[:-20] if damage == "cut" else b"no gzip file")
        seal(folder)
    elif damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])
    told = {
        "cut": "ends too early",
        "foreign": "no gzip file",
        "gone": "cannot be read",
        "flipped": "SHA-256 differs",
    }
    with pytest.raises(FolderError, match=rf"model\.onnx\.gz: .*{told[damage]}.*\.$"):
        Classifier.load(folder)


def test_a_file_that_would_fill_the_memory_is_refused(folder, monkeypatch):
    pack(folder)
    monkeypatch.setattr(folder_module, "_MOST_BYTES", 100)
    with pytest.raises(FolderError, match="holds more than"):
        Classifier.load(folder)


def test_logits_that_are_not_numbers(tmp_path, tokenizer):
    values = token_values(len(tokenizer))
    values[tokenizer.convert_tokens_to_ids("broken")] = np.nan
    folder, _ = write_exported(tmp_path / "e", tokenizer, values=values)
    classifier = Classifier.load(folder)
    with pytest.raises(FolderError, match=r"texts\[1\] are not numbers"):
        classifier.predict(["fine", "my server is broken"])
