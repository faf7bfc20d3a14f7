"""Weights as 8-bit integers in the file, arithmetic in float32.

Weights are rounded in blocks of 32 that are summed in a product, each with a 16-bit scale of its own. Those of layers
become float32 again once, when ONNX Runtime loads the file and computes what is constant; embeddings stay small in
memory too, and only the rows that are looked up are multiplied by their scales. Activations stay in float32. So the
answer to a text does not depend on the texts of its batch, as it would if activations were rounded by a scale for the
whole batch (dynamic quantization), and it agrees with PyTorch more often: benchmarks/results/export.jsonl has both.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 127  # a weight becomes a whole number from -127 to 127
WHOLE, SCALE, SHAPE = "_int8", "_scale", "_shape"  # ends of the names of what stands for a weight
_BLOCK = 32  # weights with one scale
_SMALL = 16_384  # numbers; smaller weights stay as they are


def to_int8(proto: Any) -> Any:
    """A copy of an ``onnx.ModelProto`` with small weights."""
    copy = type(proto)()
    copy.CopyFrom(proto)
    graph = copy.graph
    large = {tensor.name: tensor for tensor in graph.initializer if _is_large(tensor)}
    read = {name for node in graph.node if _table(node) not in large for name in node.input}
    by_rows = {node.input[1] for node in graph.node if _sums_rows(node)}
    nodes, constants = [], [tensor for tensor in graph.initializer if tensor.name not in large]
    for name, tensor in large.items():
        constants += _parts(tensor, name not in read, 0 if name in by_rows else 1)
        if name in read:
            nodes += _float_again(name, name + WHOLE, name + SCALE, name + SHAPE)
    for node in graph.node:
        nodes += _lookup(node) if _table(node) in large.keys() - read else [node]
    _replace(graph.node, nodes)
    _replace(graph.initializer, constants)
    return copy


def _is_large(tensor: Any) -> bool:
    from onnx import TensorProto

    matrix = tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2
    return bool(matrix and np.prod(tensor.dims) >= _SMALL)


def _table(node: Any) -> str | None:
    """The matrix of which a node looks rows up."""
    along = next((item.i for item in node.attribute if item.name == "axis"), 0)
    return str(node.input[0]) if node.op_type == "Gather" and along == 0 else None


def _sums_rows(node: Any) -> bool:
    """Whether a node multiplies by a matrix, [inputs, outputs]."""
    turned = any(item.name == "transB" and item.i for item in node.attribute)
    return node.op_type in ("MatMul", "Gemm") and not turned


def _parts(tensor: Any, is_table: bool, axis: int) -> list[Any]:
    """Whole numbers in blocks along an axis, which becomes two, their scales, and what shape they get again."""
    from onnx import numpy_helper

    values = numpy_helper.to_array(tensor)
    length = values.shape[axis]
    split = (-1, _BLOCK if length % _BLOCK == 0 else length)
    blocks = values.reshape(*values.shape[:axis], *split, *values.shape[axis + 1 :])
    whole, scales = rounded(blocks, np.abs(blocks).max(axis=axis + 1, keepdims=True) / MOST)
    shape = np.array(values.shape[1:] if is_table else values.shape, dtype=np.int64)
    found = ((WHOLE, whole), (SCALE, scales), (SHAPE, shape))
    return [numpy_helper.from_array(content, tensor.name + end) for end, content in found]


def rounded(
    values: NDArray[np.float32], scales: NDArray[Any]
) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """The nearest whole numbers of values, in units of the nearest scales of 16 bits."""
    short = np.maximum(scales, np.finfo(np.float16).tiny).astype(np.float16)
    return np.clip(np.rint(values / short.astype(np.float32)), -MOST, MOST).astype(np.int8), short


def _lookup(node: Any) -> list[Any]:
    """Nodes that look rows up in whole numbers and scales, and give what the node gave."""
    from onnx import helper

    (table, index), out = node.input, node.output[0]
    ends = ("_rows", "_whole", "_short", "_all")
    rows, whole, short, shape = (out + end for end in ends)
    return [
        helper.make_node("Gather", [table + WHOLE, index], [whole]),
        helper.make_node("Gather", [table + SCALE, index], [short]),
        helper.make_node("Shape", [index], [rows]),
        helper.make_node("Concat", [rows, table + SHAPE], [shape], axis=0),
        *_float_again(out, whole, short, shape),
    ]


def _float_again(out: str, whole: str, short: str, shape: str) -> list[Any]:
    """Nodes that multiply whole numbers by their scales."""
    from onnx import TensorProto, helper

    number, scale, blocks = (out + end for end in ("_number", "_float", "_blocks"))
    return [
        helper.make_node("Cast", [whole], [number], to=TensorProto.FLOAT),
        helper.make_node("Cast", [short], [scale], to=TensorProto.FLOAT),
        helper.make_node("Mul", [number, scale], [blocks]),
        helper.make_node("Reshape", [blocks, shape], [out]),
    ]


def _replace(field: Any, content: list[Any]) -> None:
    """Give a repeated field other content, some of which may be its own."""
    kept = [type(item).FromString(item.SerializeToString()) for item in content]
    del field[:]
    field.extend(kept)
