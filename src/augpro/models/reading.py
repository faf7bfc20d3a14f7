"""Inference over whole tables of rows, without gradients."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from augpro.models.memory import RowsAtOnce
from augpro.models.padding import reads_padding
from augpro.tokens import TokenBatch, TokenTable

ROWS_AT_ONCE = 128  # inference batch size; larger ones need more memory and are hardly faster


def predict_logits(
    model: PreTrainedModel, table: TokenTable, batch_size: int = ROWS_AT_ONCE, what: str = "predicting"
) -> Tensor:
    """Logits of every row, on the CPU, [rows, C]; rows are sorted by length to save padding.

    Args:
        model: a sequence classifier; it runs without dropout, and its mode is restored.
        table: rows in the model's tokens.
        batch_size: rows per batch.
        what: name of the progress bar, which is shown after two seconds.
    """
    training = model.training
    model.eval()
    unpadded = reads_padding(model.config)
    logits = over_rows(table, lambda batch: run_logits(model, batch), batch_size, what, unpadded)
    model.train(training)
    return logits


def fastest_device() -> torch.device:
    """The accelerator if there is one, else the CPU; a build for accelerators alone does not count as one."""
    available = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return available or torch.device("cpu")


def autocast(device: torch.device, half: torch.dtype | None) -> torch.autocast:
    """Mixed precision as in the Trainer, in bfloat16 or float16; disabled if ``half`` is None."""
    return torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None)


def run_logits(model: PreTrainedModel, batch: TokenBatch) -> Tensor:
    """Logits of one batch, [B, C], in the model's current mode."""
    logits: Tensor = model(**batch.to(model.device).model_inputs()).logits
    return logits


def over_rows(
    table: TokenTable,
    run: Callable[[TokenBatch], Tensor],
    batch_size: int = ROWS_AT_ONCE,
    what: str = "reading",
    unpadded: bool = False,
) -> Tensor:
    """The results of ``run`` for every row, [rows, ...], as float32 on the CPU, without gradients.

    Args:
        table: the rows; they are sorted by length.
        run: maps a batch of B rows on the CPU to a tensor [B, ...].
        batch_size: rows per batch; fewer if memory runs out.
        what: name of the progress bar.
        unpadded: whether each batch has only rows of one length.
    """
    order = np.argsort(table.lengths, kind="stable")
    memory = RowsAtOnce(what)
    alike = np.split(order, np.flatnonzero(np.diff(table.lengths[order])) + 1) if unpadded else [order]
    batches = [
        rows[start : start + batch_size] for rows in alike for start in range(0, len(rows), batch_size)
    ]
    parts: list[Tensor] = []
    with torch.inference_mode():
        for rows in tqdm(batches, desc=what, delay=2, leave=False):
            parts += memory.parts(len(rows), lambda part: run(table.batch(rows[part])).float().cpu())  # noqa: B023
    result = torch.empty(len(order), *parts[0].shape[1:])
    result[torch.from_numpy(order)] = torch.cat(parts)
    return result


def mean_states(body: Any, table: TokenTable, what: str) -> Tensor:
    """Mean of the last hidden states over the tokens of each row, without padding, [rows, D].

    A row without tokens has zeros.

    Args:
        body: a Hugging Face model without a head; its mode is not changed.
        table: rows in the model's tokens.
        what: name of the progress bar.
    """

    def run(batch: TokenBatch) -> Tensor:
        batch = batch.to(body.device)
        states = body(**batch.model_inputs()).last_hidden_state.float()
        present = batch.mask[..., None].float()
        mean: Tensor = (states * present).sum(1) / present.sum(1).clamp(min=1)
        return mean

    return over_rows(table, run, what=what, unpadded=reads_padding(body.config))
