"""Latency and throughput of models at some shapes, and the time until the first answer of a new process."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from augpro.errors import InputError

BATCHES, LENGTHS = (1, 32), (16, 64, 256)
_SECONDS, _LEAST, _MOST = 0.3, 3, 200  # of one measurement: time, and repetitions
_ANSWER = "hello"

_RUNTIME = (
    "import sys; from augpro_runtime import Classifier; Classifier.load(sys.argv[1]).predict([sys.argv[2]])"
)
_PYTORCH = (
    "import sys, torch; from transformers import AutoModelForSequenceClassification as Model, AutoTokenizer;"
    "trusted = {'trust_remote_code': sys.argv[3] == 'True'};"
    "tokenizer = AutoTokenizer.from_pretrained(sys.argv[1], **trusted);"
    "model = Model.from_pretrained(sys.argv[1], **trusted).eval();"
    "model(**tokenizer([sys.argv[2]], return_tensors='pt'))"
)


@dataclass(frozen=True)
class Speed:
    """One model at one shape.

    Attributes:
        model: its name in the table.
        batch: texts at once.
        length: tokens of each.
        milliseconds: median time of a batch.
    """

    model: str
    batch: int
    length: int
    milliseconds: float

    @property
    def texts_per_second(self) -> float:
        """Throughput."""
        return 1000 * self.batch / self.milliseconds


Run = Callable[[dict[str, np.ndarray]], object]


def torch_run(model: PreTrainedModel) -> Run:
    """Runs a PyTorch classifier."""

    def run(inputs: dict[str, np.ndarray]) -> object:
        with torch.inference_mode():
            return model(**{name: torch.from_numpy(value) for name, value in inputs.items()}).logits

    return run


def onnx_run(session: Any) -> Run:
    """Runs an ONNX Runtime session."""
    return lambda inputs: session.run(["logits"], inputs)


def measure(runs: dict[str, tuple[Run, tuple[str, ...], int]], limit: int) -> list[Speed]:
    """Time every model at every shape.

    Args:
        runs: for each name what runs it, its inputs, and its number of tokens.
        limit: maximum length of a text; longer shapes are left out.
    """
    shapes = [(batch, length) for batch, length in product(BATCHES, LENGTHS) if length <= limit]
    cells = [(name, *shape) for shape in shapes for name in runs]
    found = []
    for name, batch, length in tqdm(cells, desc="timing", delay=2, leave=False):
        run, names, size = runs[name]
        draw = np.random.default_rng(0)
        every = {
            "input_ids": draw.integers(0, size, (batch, length)),
            "attention_mask": np.ones((batch, length), dtype=np.int64),
            "token_type_ids": np.zeros((batch, length), dtype=np.int64),
        }
        found.append(Speed(name, batch, length, _median(run, {key: every[key] for key in names})))
    return found


def _median(run: Run, inputs: dict[str, np.ndarray]) -> float:
    """Milliseconds of a run, after one that is not counted."""
    run(inputs)
    times: list[float] = []
    while len(times) < _LEAST or (sum(times) < _SECONDS and len(times) < _MOST):
        started = time.perf_counter()
        run(inputs)
        times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times)


def cold_start(folder: str, exported: bool, trust_remote_code: bool = False) -> float:
    """Seconds from the start of a Python process to its end after one answer, the faster of two.

    Args:
        folder: of the classifier.
        exported: whether augpro-runtime loads it, else transformers.
        trust_remote_code: whether code that comes with it may run.

    Raises:
        InputError: if the process fails.
    """
    code = _RUNTIME if exported else _PYTORCH
    command = [sys.executable, "-c", code, folder, _ANSWER, str(trust_remote_code)]
    times = []
    for _ in range(2):
        started = time.perf_counter()
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        times.append(time.perf_counter() - started)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise InputError(
                f"{folder}: cannot be started ({reason}); leave the measurement out by --no-timing."
            )
    return min(times)
