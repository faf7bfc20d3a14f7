"""What the processes of one run tell each other: new candidates and counts."""

from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from augpro.models import processes
from augpro.tokens import TokenBatch, padded

Counts = TypeVar("Counts")


def every_candidate(
    rows: TokenBatch, logits: Tensor, copies: Tensor, pad_id: int
) -> tuple[TokenBatch, Tensor]:
    """New candidates of all processes in place of this one's, so that all keep the same; each text once.

    Args:
        rows: of this process, [N, T]; N and T may differ between processes.
        logits: the teacher's, [N, C].
        copies: number of each text among those of its row, int64 [N].
        pad_id: for shorter rows.

    Returns:
        Rows, without texts, and logits, in the order of the copies.
    """
    count, length = (processes.largest(size, logits.device) for size in rows.ids.shape)
    more = count - len(logits)
    longer = padded(rows, length, pad_id)
    tensors = {
        name: processes.gather(F.pad(value, (0, 0, 0, more) if value.ndim == 2 else (0, more), value=-1))
        for name, value in (longer.tensors() | {"logits": logits, "copies": copies}).items()
    }
    found: dict[tuple[int, int], int] = {}
    for place, key in enumerate(zip(tensors["copies"].tolist(), tensors["row_ids"].tolist(), strict=True)):
        if key[1] >= 0:  # no filling
            found.setdefault(key, place)
    kept = torch.tensor([found[key] for key in sorted(found)], dtype=torch.int64, device=logits.device)
    whole = {name: value[kept] for name, value in tensors.items()}
    logits = whole.pop("logits")
    del whole["copies"]
    return replace(rows, texts=None, **whole), logits


def summed(counts: Counts, device: torch.device) -> Counts:
    """Counts of all processes together: a dataclass of whole numbers."""
    if processes.count() == 1:
        return counts
    names = [field.name for field in fields(counts)]  # type: ignore[arg-type]
    own = torch.tensor([[int(getattr(counts, name)) for name in names]], device=device)
    every: Any = processes.gather(own).sum(0).tolist()
    return type(counts)(**dict(zip(names, every, strict=True)))
