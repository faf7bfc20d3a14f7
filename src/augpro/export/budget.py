"""An int8 model in so many bytes: what texts seldom have is rounded more coarsely, and the files are compressed.

Whole numbers whose root mean square is L take about log2(4.13 L) bits after compression, and rounding to them adds an
error of 1 / (12 L²) to an embedding. A token matters as often as texts have it. So for a given size the errors of all
tokens together are least where L² is proportional to how often a token is seen (reverse water-filling: Cover and
Thomas, Elements of Information Theory, 2006, section 10.3). One number is left, the level of a token seen once, and
it is searched for. Tokens in the order of their use share a Huffman code with those that are rounded alike.
"""

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from augpro.errors import InputError
from augpro.export.int8 import MOST, SCALE, WHOLE, rounded

_UNSEEN = 0.3  # times that a token is taken to be seen which no text has
_COARSEST = 0.5  # level: most numbers of a row are 0 then
_STEPS = 12  # halvings of the logarithm of the level of a token seen once
_LEVELS = (1e-3, 1e3)  # between which it is searched for


def compressed(content: bytes, text: bool = False) -> bytes:
    """As a gzip file, the same bytes each time; rounded weights have no repetitions to look for, text has."""
    packer = zlib.compressobj(
        9, zlib.DEFLATED, 31, 9, zlib.Z_DEFAULT_STRATEGY if text else zlib.Z_HUFFMAN_ONLY
    )
    return packer.compress(content) + packer.flush()


def fit(proto: Any, exact: Any, counts: NDArray[np.int64], most: int, name: str) -> bytes:
    """The compressed file of an int8 model, with at most so many bytes.

    Args:
        proto: of :func:`augpro.export.int8.to_int8`; it is changed to what the file holds.
        exact: the same model in float32.
        counts: how often each token was seen, [V].
        most: bytes.
        name: of the model, for messages.

    Raises:
        InputError: if it cannot be made as small as that.
    """
    content = compressed(proto.SerializeToString())
    if len(content) <= most:
        return content
    looked_up = {node.input[0] for node in proto.graph.node if node.op_type == "Gather"}
    tables = [
        _Table(tensor, proto, exact)
        for tensor in proto.graph.initializer
        if tensor.name in looked_up and tensor.name.endswith(WHOLE) and tensor.dims[0] == len(counts)
    ]
    seen = np.sqrt(counts + _UNSEEN)

    def rounded_to(level: float) -> bytes:
        for table in tables:
            table.round(np.maximum(_COARSEST, level * seen))
        return compressed(proto.SerializeToString())

    low, high = np.log(_LEVELS)
    content = rounded_to(np.exp(high))
    if len(content) <= most:
        return content
    least = rounded_to(np.exp(low))
    if len(least) > most:
        raise InputError(
            f"{name}: the model alone takes {len(least) / 1e6:.3g} MB with the coarsest embeddings; give more "
            "--max-megabytes, --trim-vocabulary, or a student with fewer layers."
        )
    for _ in tqdm(range(_STEPS), desc="fitting", leave=False):
        middle = (low + high) / 2
        low, high = (middle, high) if len(rounded_to(np.exp(middle))) <= most else (low, middle)
    return rounded_to(np.exp(low))


class _Table:
    """Word embeddings, and where their rounded values and scales stand in the model."""

    def __init__(self, whole: Any, proto: Any, exact: Any) -> None:
        name = whole.name.removesuffix(WHOLE)
        constants = {tensor.name: tensor for tensor in (*exact.graph.initializer, *proto.graph.initializer)}
        self.whole, self.scale = whole, constants[name + SCALE]
        self.values = _array(constants[name])[:, None, :]  # one block for each row
        self.size = np.sqrt(np.square(self.values).mean(axis=2, keepdims=True))
        self.finest = np.abs(self.values).max(axis=2, keepdims=True) / MOST

    def round(self, levels: NDArray[np.float64]) -> None:
        """Round each row so that the root mean square of its whole numbers is its level, [V]."""
        scales = np.maximum(self.finest, self.size / levels[:, None, None])
        whole, short = rounded(self.values, scales)
        _set(self.whole, whole)
        _set(self.scale, short)


def _array(tensor: Any) -> NDArray[Any]:
    from onnx import numpy_helper

    return np.asarray(numpy_helper.to_array(tensor))


def _set(tensor: Any, values: NDArray[Any]) -> None:
    from onnx import numpy_helper

    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
