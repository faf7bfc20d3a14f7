"""A model in so many bytes: it fits, and what texts often have is kept best."""

import gzip
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from augpro.errors import InputError
from augpro.export import int8 as int8_module
from augpro.export.budget import compressed, fit
from augpro.export.exporting import run_export
from augpro.export.graph import session_of
from augpro.export.int8 import SCALE, WHOLE, to_int8
from augpro.export.options import ExportConfig
from augpro.export.plan import make_export_plan
from augpro.testing import TEXTS
from augpro_runtime import Classifier

TOKENS, WIDTH = 400, 96
COUNTS = np.array([1000] * 100 + [30] * 100 + [1] * 100 + [0] * 100)


def lookup(values, shape=("batch", "length")):
    """A model that looks tokens up."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "input_ids"], ["logits"], name="lookup")], "lookup",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [*shape, values.shape[1]])],
        [numpy_helper.from_array(values, "table")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def looked_up(proto, ids):
    return session_of(proto.SerializeToString()).run(["logits"], {"input_ids": np.array(ids)})[0]


def fitted(exact, most):
    """The model in the file of so many bytes."""
    return onnx.load_from_string(gzip.decompress(fit(to_int8(exact), exact, COUNTS, most, "tiny")))


@pytest.fixture
def exact():
    return lookup(np.random.default_rng(0).normal(size=(TOKENS, WIDTH)).astype(np.float32))


def errors(proto, exact):
    """Mean squared error of the four groups of tokens, relative to their values."""
    ids = [list(range(TOKENS))]
    found, wanted = looked_up(proto, ids)[0], looked_up(exact, ids)[0]
    parts = ((found - wanted) ** 2).mean(axis=1) / (wanted**2).mean(axis=1)
    return parts.reshape(4, -1).mean(axis=1)


def test_it_fits_and_rare_tokens_pay_for_it(exact):
    whole = len(compressed(to_int8(exact).SerializeToString()))
    before = np.zeros(4)
    for part in (0.9, 0.75, 0.6):
        most = int(part * whole)
        small = fitted(exact, most)
        size = len(compressed(small.SerializeToString()))
        assert 0.97 * most < size <= most
        found = errors(small, exact)
        assert (np.diff(found) > 0).all()
        assert (found >= before).all()
        before = found
    # Errors are as small as the tokens are frequent: 30.3 / 1.3 times, within what the coarsest whole numbers allow.
    ratio = errors(fitted(exact, int(0.7 * whole)), exact)
    assert ratio[2] / ratio[1] == pytest.approx(30.3 / 1.3, rel=0.2)


def test_a_model_that_fits_is_rounded_as_finely_as_it_can_be(exact):
    most = len(compressed(to_int8(exact).SerializeToString()))
    small = fitted(exact, most)
    assert errors(small, exact).max() < 2e-4


def test_rows_of_zeros_and_single_large_values_are_kept(exact):
    values = numpy_helper.to_array(exact.graph.initializer[0]).copy()
    values[0], values[1, 3], values[399] = 0, 1000, 1e-9
    exact = lookup(values)
    small = fitted(exact, 25_000)
    found = looked_up(small, [[0, 1, 399]])[0]
    assert not found[0].any()
    assert found[1, 3] == pytest.approx(1000, rel=1e-3)
    assert np.abs(found[2]).max() < 1e-4


def test_what_cannot_be_made_is_told(exact):
    with pytest.raises(
        InputError, match=r"tiny: the model alone takes 0\.0\d*[1-9]\d* MB .* more --max-megabytes"
    ):
        fitted(exact, 100)


@pytest.mark.parametrize("shape", [("length",), ("batch", "length"), ("batch", "length", "more")])
def test_a_rounded_table_is_looked_up_by_indices_of_any_shape(shape, exact):
    table = numpy_helper.to_array(exact.graph.initializer[0])
    ids = np.arange(24).reshape((24,) if len(shape) == 1 else (4, 6) if len(shape) == 2 else (2, 3, 4))
    found = looked_up(to_int8(lookup(table, shape)), ids)
    assert found.shape == (*ids.shape, WIDTH)
    np.testing.assert_allclose(found, table[ids], atol=0.02)


@pytest.mark.parametrize("width", [64, 96, 50])
def test_each_block_of_a_table_has_its_scale(width):
    values = np.ones((TOKENS, width), dtype=np.float32)
    values[:, :32] *= 1000
    small = to_int8(lookup(values))
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in small.graph.initializer}
    blocks = width // 32 if width % 32 == 0 else 1
    assert tensors["table" + SCALE].shape == (TOKENS, blocks, 1)
    assert tensors["table" + WHOLE].shape == (TOKENS, blocks, width // blocks)


@pytest.mark.e2e
@pytest.mark.parametrize("trim", [False, True])
def test_the_folder_is_compressed_and_answers(teacher_folder, table_file, tmp_path, monkeypatch, trim):
    monkeypatch.setattr(int8_module, "_SMALL", 64)
    answers = []
    for name in ("one", "two"):
        given = {
            "model": str(teacher_folder),
            "out": tmp_path / name,
            "timing": False,
            "data": str(table_file),
        }
        options = {"int8": True, "max_megabytes": 0.1, "trim_vocabulary": trim}
        result = run_export(make_export_plan(ExportConfig(**given | options)))
        assert result.parity.agreement == 1.0
        answers.append(Classifier.load(tmp_path / name).logits(TEXTS))
    files = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert set(files) == {"model.onnx.gz", "tokenizer.json.gz", "augpro.json", "export.json", "export.md"}
    assert sum(len(files[name]) for name in ("model.onnx.gz", "tokenizer.json.gz")) <= 100_000
    onnx.checker.check_model(onnx.load_from_string(gzip.decompress(files["model.onnx.gz"])))
    assert "[PAD]" in json.loads(gzip.decompress(files["tokenizer.json.gz"]))["model"]["vocab"]
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    np.testing.assert_array_equal(*answers)
    assert "int8 model, compressed" in files["export.md"].decode()
