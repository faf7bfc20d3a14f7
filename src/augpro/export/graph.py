"""A classifier as an ONNX graph, which is compared with PyTorch at three shapes before anything is written."""

import contextlib
import io
import logging
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from augpro.errors import InputError
from augpro.models.finite import check_finite

SHAPES = ((1, 5), (3, 16), (2, 33))  # rows and tokens
TOLERANCE = 1e-3  # logits; rounding is about 1e-5
_MOST_BYTES = 2**31 - 1  # of a protocol buffer, which is one file


class _Logits(torch.nn.Module):
    """A classifier with its inputs by position and nothing but logits as its output."""

    def __init__(self, model: PreTrainedModel, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: Tensor) -> Tensor:
        """Logits, [B, C]."""
        logits: Tensor = self.model(**dict(zip(self.names, inputs, strict=True))).logits
        return logits


def input_names(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """The inputs that the model gets, as :meth:`augpro.tokens.TokenBatch.model_inputs`."""
    types = ("token_type_ids",) if "token_type_ids" in tokenizer.model_input_names else ()
    return ("input_ids", "attention_mask", *types)


def to_onnx(model: PreTrainedModel, names: tuple[str, ...], name: str) -> Any:
    """The model as an ``onnx.ModelProto`` whose rows and tokens are free.

    Args:
        model: a classifier, on the CPU in float32.
        names: its inputs.
        name: of the model, for messages.

    Raises:
        InputError: if PyTorch cannot export this kind of model, or the file would be too large.
    """
    size = sum(part.numel() * part.element_size() for part in model.parameters())
    if size > _MOST_BYTES:
        raise InputError(
            f"{name}: its weights take {size / 1e9:.1f} GB, and an ONNX file holds 2; export a student."
        )
    rows, tokens = torch.export.Dim("batch"), torch.export.Dim("length")
    example = tuple(torch.ones(2, 7, dtype=torch.int64) for _ in names)
    model.eval()
    model.config.use_cache = False
    try:
        with quiet():
            program = torch.onnx.export(
                _Logits(model, names).eval(), example, dynamo=True, verbose=False, input_names=list(names),
                output_names=["logits"], dynamic_shapes=(tuple({0: rows, 1: tokens} for _ in names),),
            )  # fmt: skip
    except Exception as error:  # of the exporter, whose errors have no common base
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{name}: PyTorch cannot export this kind of model ({model.config.model_type}) to ONNX ({reason}); "
            "distil a student of another kind, such as BERT."
        ) from error
    assert program is not None  # as no file was named
    proto = program.model_proto
    _strip(proto)
    return proto


@contextlib.contextmanager
def quiet() -> Any:
    """The exporter's advice about its own inside is not for the user."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _strip(proto: Any) -> None:
    """Remove what the exporter notes for its developers, such as paths of source files."""
    graph = proto.graph
    for part in (
        proto,
        graph,
        *graph.node,
        *graph.initializer,
        *graph.input,
        *graph.output,
        *graph.value_info,
    ):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def check_shapes(
    model: PreTrainedModel, proto: Any, tokenizer: PreTrainedTokenizerBase, name: str, tolerance: float
) -> float:
    """Run both at three shapes, with padding; returns the largest difference of logits.

    Raises:
        InputError: if it is above ``tolerance``, or the logits are not finite.
    """
    names = input_names(tokenizer)
    session = session_of(proto.SerializeToString())
    largest = 0.0
    for inputs in _examples(model, tokenizer, names):
        with torch.inference_mode():
            logits = model(**inputs).logits
        check_finite(logits, name, model)
        expected = logits.numpy()
        found = session.run(["logits"], {key: value.numpy() for key, value in inputs.items()})[0]
        largest = max(largest, difference(found, expected))
    if not largest <= tolerance:
        raise InputError(
            f"{name}: the exported model answers otherwise than PyTorch (logits differ by {largest:.3g}); "
            "distil a student of another kind, such as BERT."
        )
    return largest


def _examples(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, names: tuple[str, ...]
) -> list[dict[str, Tensor]]:
    draw = torch.Generator().manual_seed(0)
    size = vocabulary_size(model)
    limit = min(int(tokenizer.model_max_length), SHAPES[-1][1])
    found = []
    for rows, tokens in ((rows, min(tokens, limit)) for rows, tokens in SHAPES):
        ids = torch.randint(0, size, (rows, tokens), generator=draw)
        padding = int(getattr(model.config.get_text_config(), "pad_token_id", None) or 0)
        ids[ids == padding] = (padding + 1) % size
        mask = torch.ones_like(ids)
        if getattr(model.config, "eos_token_id", None) is not None and model.config.is_encoder_decoder:
            ids[ids == model.config.eos_token_id] = (model.config.eos_token_id + 1) % size
            ids[:, tokens - 3] = model.config.eos_token_id  # where it answers
        if rows > 1:
            ids[0, tokens - 2 :], mask[0, tokens - 2 :] = padding, 0
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
        found.append({key: inputs[key] for key in names})
    return found


def vocabulary_size(model: PreTrainedModel) -> int:
    """Rows of the word embeddings, V."""
    return int(model.get_input_embeddings().get_parameter("weight").shape[0])


def session_of(model: bytes, threads: int = 0) -> Any:
    """An ONNX Runtime session on the CPU; all cores if ``threads`` is 0."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def difference(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest difference of two arrays; infinite if one holds nan."""
    if not found.size:
        return 0.0
    largest = float(np.abs(found.astype(np.float64) - expected).max())
    return largest if np.isfinite(largest) else float("inf")
