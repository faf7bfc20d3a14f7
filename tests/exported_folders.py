"""Small exported folders that need no PyTorch: a table of token values, summed over the tokens of a text."""

import gzip
import hashlib
import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from augpro.calibration.record import CalibrationRecord
from augpro.testing import WORDS, tiny_tokenizer
from augpro_runtime import Manifest
from augpro_runtime.folder import MANIFEST, MODEL, PACKED, TOKENIZER

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def token_values(size, classes=2, seed=0):
    """Logits that each token adds, [V, C]."""
    return np.random.default_rng(seed).normal(size=(size, classes)).astype(np.float32)


def sum_model(values):
    """The sum of the tokens' values, and a tenth for each token of the second text."""
    nodes = [
        helper.make_node("Gather", ["values", "input_ids"], ["each"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["token_type_ids"], ["types"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["types", "tenth"], ["second"]),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide_mask"]),
        helper.make_node("Unsqueeze", ["second", "last"], ["wide_second"]),
        helper.make_node("Add", ["each", "wide_second"], ["with_types"]),
        helper.make_node("Mul", ["with_types", "wide_mask"], ["present"]),
        helper.make_node("ReduceSum", ["present", "middle"], ["logits"], keepdims=0),
    ]
    constants = {
        "values": values, "tenth": np.float32(0.1), "last": np.array([2]), "middle": np.array([1]),
    }  # fmt: skip
    graph = helper.make_graph(
        nodes, "sum",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"]) for name in INPUTS],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", values.shape[1]])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def write_exported(folder, tokenizer=None, labels=("negative", "positive"), values=None, **said):
    """An exported folder; ``said`` changes its manifest. Returns the folder and the tokens' values."""
    tokenizer = tokenizer or tiny_tokenizer(WORDS)
    values = token_values(len(tokenizer), len(labels)) if values is None else values
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(sum_model(values), folder / MODEL)
    (folder / TOKENIZER).write_text(tokenizer.backend_tokenizer.to_str(), encoding="utf-8")
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (MODEL, TOKENIZER)}
    special = [token for token in tokenizer.all_special_ids if token != tokenizer.unk_token_id]
    manifest = Manifest(
        **{
            "labels": tuple(labels), "problem_type": "single_label", "pair": None, "max_tokens": 12,
            "pad_id": tokenizer.pad_token_id, "special_ids": tuple(special), "unknown_id": tokenizer.unk_token_id,
            "same_length": False, "inputs": INPUTS, "files": files,
        } | said
    )  # fmt: skip
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return folder, values


def pack(folder):
    """Compress the files of an exported folder."""
    for name in (MODEL, TOKENIZER):
        (folder / (name + PACKED)).write_bytes(gzip.compress((folder / name).read_bytes()))
        (folder / name).unlink()
    seal(folder)


def seal(folder):
    """Note the files of the folder as they are now."""
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MANIFEST}
    rewrite(folder, files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()})


def rewrite(folder, **said):
    """Change the manifest as an export would have written it."""
    content = json.loads((folder / MANIFEST).read_text(encoding="utf-8")) | said
    content.pop("checksum")
    (folder / MANIFEST).write_text(Manifest(**content).to_json(), encoding="utf-8")


def calibrated(temperature, threshold):
    """The record of a calibration with these two numbers."""
    return CalibrationRecord(
        temperature=temperature, threshold=threshold, agree=0.9, confidence=0.95, coverage=0.5, rows=100,
        fitted_rows=25, teacher="teacher", data="data", method="fixed sequence", ece_before=0.1, ece_after=0.1,
        agreement=0.8, chosen=None, plain=None, bins_before=(), bins_after=(), curve=(),
    )  # fmt: skip
