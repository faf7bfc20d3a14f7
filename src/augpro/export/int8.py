"""Weights as 8-bit integers, arithmetic in float32.

Weights of matrix products are rounded in blocks of 32, embeddings row by row, each with a scale of its own.
Activations stay in float32. So the answer to a text does not depend on the texts of its batch, as it would if
activations were rounded by a scale for the whole batch (dynamic quantization), and it agrees with PyTorch more often:
benchmarks/results/export.jsonl has both.
"""

import logging
from typing import Any

import numpy as np

_BLOCK = 32  # weights with one scale
_SMALL = 16_384  # numbers; smaller embeddings stay as they are


def to_int8(proto: Any) -> Any:
    """A copy of an ``onnx.ModelProto`` with small weights."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    _split_gemm(copy)
    _small_embeddings(copy)
    logging.disable(logging.INFO)  # a line for each node
    try:
        quantizer = MatMulNBitsQuantizer(copy, bits=8, block_size=_BLOCK, is_symmetric=True, accuracy_level=0)
        quantizer.process()
    finally:
        logging.disable(logging.NOTSET)
    return quantizer.model.model


def _split_gemm(proto: Any) -> None:
    """Write each product with a constant matrix and a bias as a product and a sum, which the quantizer knows."""
    from onnx import helper, numpy_helper

    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    nodes = []
    for node in proto.graph.node:
        said = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        plain = node.op_type == "Gemm" and said.get("transA", 0) == 0 and len(node.input) == 3
        scaled = said.get("alpha", 1.0) != 1.0 or said.get("beta", 1.0) != 1.0
        if not plain or scaled or node.input[1] not in constants:
            nodes.append(node)
            continue
        weight = numpy_helper.to_array(constants[node.input[1]])
        matrix, product = f"{node.output[0]}_matrix", f"{node.output[0]}_product"
        turned = np.ascontiguousarray(weight.T if said.get("transB", 0) else weight)
        proto.graph.initializer.append(numpy_helper.from_array(turned, matrix))
        nodes += [
            helper.make_node("MatMul", [node.input[0], matrix], [product], name=f"{node.name}_product"),
            helper.make_node("Add", [product, node.input[2]], list(node.output), name=f"{node.name}_sum"),
        ]
    _replace(proto, nodes)


def _small_embeddings(proto: Any) -> None:
    """Round each row of the embeddings by its own scale, and look up both."""
    from onnx import TensorProto, helper, numpy_helper

    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    nodes, done = [], set()
    for node in proto.graph.node:
        table = constants.get(node.input[0]) if node.op_type == "Gather" else None
        along = next((item.i for item in node.attribute if item.name == "axis"), 0)
        float_table = table is not None and table.data_type == TensorProto.FLOAT and len(table.dims) == 2
        if table is None or not float_table or along != 0 or np.prod(table.dims) < _SMALL:
            nodes.append(node)
            continue
        whole, scale, out = f"{table.name}_int8", f"{table.name}_scale", node.output[0]
        if table.name not in done:
            values = numpy_helper.to_array(table)
            scales = np.maximum(np.abs(values).max(axis=1, keepdims=True) / 127, np.finfo(np.float32).tiny)
            rounded = np.clip(np.rint(values / scales), -127, 127).astype(np.int8)
            proto.graph.initializer.append(numpy_helper.from_array(rounded, whole))
            proto.graph.initializer.append(numpy_helper.from_array(scales.astype(np.float32), scale))
            done.add(table.name)
        nodes += [
            helper.make_node("Gather", [whole, node.input[1]], [f"{out}_int8"], name=f"{node.name}_int8"),
            helper.make_node("Cast", [f"{out}_int8"], [f"{out}_whole"], to=TensorProto.FLOAT,
                             name=f"{node.name}_whole"),
            helper.make_node("Gather", [scale, node.input[1]], [f"{out}_scale"], name=f"{node.name}_scale"),
            helper.make_node("Mul", [f"{out}_whole", f"{out}_scale"], [out], name=f"{node.name}_value"),
        ]  # fmt: skip
    _replace(proto, nodes)


def _replace(proto: Any, nodes: list[Any]) -> None:
    """Put nodes in the place of the graph's, and leave out constants that no node reads any more."""
    graph = proto.graph
    kept = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    read = {name for node in kept for name in node.input} | {value.name for value in graph.output}
    constants = [tensor for tensor in graph.initializer if tensor.name in read]
    copies = [type(tensor).FromString(tensor.SerializeToString()) for tensor in constants]
    del graph.initializer[:]
    graph.initializer.extend(copies)
