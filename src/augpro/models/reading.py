"""Models that read whole tables of rows, without gradients."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from augpro.models.padding import reads_padding
from augpro.tokens import TokenBatch, TokenTable

ROWS_AT_ONCE = 128  # of a pass without a gradient: more rows take memory and are hardly read faster


def predict_logits(
    model: PreTrainedModel, table: TokenTable, batch_size: int = ROWS_AT_ONCE, what: str = "predicting"
) -> Tensor:
    """Logits of every row, on the CPU, [rows, C]; rows run in order of length, so little is padded.

    Args:
        model: a sequence classifier; it is run without dropout and left in the mode it was in.
        table: its own tokens.
        batch_size: rows at once.
        what: name of the progress bar, shown when it takes more than two seconds.
    """
    training = model.training
    model.eval()
    apart = reads_padding(model.config)
    logits = over_rows(table, lambda batch: run_logits(model, batch), batch_size, what, apart)
    model.train(training)
    return logits


def autocast(device: torch.device, half: torch.dtype | None) -> torch.autocast:
    """Mixed precision as a Trainer's, in bfloat16 or float16; none where ``half`` is None."""
    return torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None)


def run_logits(model: PreTrainedModel, batch: TokenBatch) -> Tensor:
    """Logits of one batch, [B, C], with the model in the mode that it is in."""
    logits: Tensor = model(**batch.to(model.device).model_inputs()).logits
    return logits


def over_rows(
    table: TokenTable,
    run: Callable[[TokenBatch], Tensor],
    batch_size: int = ROWS_AT_ONCE,
    what: str = "reading",
    unpadded: bool = False,
) -> Tensor:
    """What ``run`` gives for every row, [rows, ...], as float32 on the CPU, without gradients.

    Args:
        table: the rows; they run in order of length.
        run: from a batch on the CPU, of B rows, to a tensor [B, ...].
        batch_size: rows at once.
        what: name of the progress bar.
        unpadded: whether only rows of one length are read at once.
    """
    order = np.argsort(table.lengths, kind="stable")
    alike = np.split(order, np.flatnonzero(np.diff(table.lengths[order])) + 1) if unpadded else [order]
    batches = [
        rows[start : start + batch_size] for rows in alike for start in range(0, len(rows), batch_size)
    ]
    parts = []
    with torch.inference_mode():
        for rows in tqdm(batches, desc=what, delay=2, leave=False):
            parts.append(run(table.batch(rows)).float().cpu())
    result = torch.empty(len(order), *parts[0].shape[1:])
    result[torch.from_numpy(order)] = torch.cat(parts)
    return result


def mean_states(body: Any, table: TokenTable, what: str) -> Tensor:
    """Mean of the last hidden states over the tokens of each row, padding left out, [rows, D].

    A row without tokens has zeros.

    Args:
        body: a Hugging Face model without a head, in the mode in which it shall read.
        table: its own tokens.
        what: name of the progress bar.
    """

    def run(batch: TokenBatch) -> Tensor:
        batch = batch.to(body.device)
        states = body(**batch.model_inputs()).last_hidden_state.float()
        present = batch.mask[..., None].float()
        found: Tensor = (states * present).sum(1) / present.sum(1).clamp(min=1)
        return found

    return over_rows(table, run, what=what, unpadded=reads_padding(body.config))
