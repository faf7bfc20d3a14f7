"""Tables, queries and the brute force that the tests of the projection share."""

import numpy as np
import torch

METRICS = ("cosine", "l2", "dot")
KINDS = ("random", "clustered", "duplicated", "zero rows", "integers", "signs")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_table(kind: str, size: int, width: int, generator: torch.Generator) -> torch.Tensor:
    table = torch.randn(size, width, generator=generator)
    if kind == "clustered":
        centre = torch.randint(0, max(1, size // 10), (size,), generator=generator)
        return table[centre] + 1e-4 * torch.randn(size, width, generator=generator)
    if kind == "duplicated":
        return table[torch.randint(0, max(1, size // 3), (size,), generator=generator)]
    if kind == "zero rows":
        return table * (torch.rand(size, 1, generator=generator) < 0.6)
    if kind == "integers":
        return torch.randint(-3, 4, (size, width), generator=generator).float()
    if kind == "signs":  # norms are powers of two where the width is a power of four: all is exact
        signs = torch.randint(0, 2, (size, width), generator=generator) * 2.0 - 1
        return signs * 2.0 ** torch.randint(-2, 3, (size, 1), generator=generator)
    return table


def make_queries(table: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """Random ones, tokens themselves, sums of two tokens, and zero vectors, in turn."""
    size, width = table.shape
    first, second = torch.randint(0, size, (2, count), generator=generator)
    queries = torch.randn(count, width, generator=generator)
    queries[1::4] = table[first][1::4]
    queries[2::4] = (table[first] + table[second])[2::4]
    queries[3::8] = 0.0
    return queries


def similarity(table: torch.Tensor, queries: torch.Tensor, metric: str) -> np.ndarray:
    """Definition of the three similarities in float64, [N, V]."""
    table, queries = table.double(), queries.double()
    if metric == "l2":
        return -torch.cdist(queries, table, compute_mode="donot_use_mm_for_euclid_dist").numpy()
    products = (queries[:, None, :] * table[None, :, :]).sum(-1)
    if metric == "cosine":
        norms = table.square().sum(1).sqrt()[None, :] * queries.square().sum(1).sqrt()[:, None]
        products = torch.where(norms > 0, products / norms.where(norms > 0, torch.ones(())), 0.0)
    return products.numpy()


def brute_force(table, queries, metric, groups=None, wanted=None, excluded=None, k=1) -> list[list[int]]:
    scores = similarity(table, queries, metric)
    ids = np.arange(len(table))
    result = []
    for row, score in enumerate(scores):
        allowed = np.ones(len(ids), bool) if groups is None else groups.numpy() == int(wanted[row])
        if excluded is not None:
            allowed &= ~np.isin(ids, excluded[row].numpy())
        order = np.lexsort((ids, -score))  # by score, then by id
        best = [int(i) for i in order if allowed[i]][:k]
        result.append(best + [-1] * (k - len(best)))
    return result
