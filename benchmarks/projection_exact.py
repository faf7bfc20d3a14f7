"""Projection against brute force on MiniLM's embedding table: identical ids, ties included, every metric.

    python benchmarks/projection_exact.py --results benchmarks/results/projection_exact.jsonl

Queries are mixes of the tokens of the embedded helpdesk messages (parents excluded, weights 0.5 and 0.9), steps
from tokens in random directions, copies of table rows, and zero vectors. Brute force is the float64 score of every
candidate: ``torch.cdist`` for L2, the full matrix for cosine and dot product; ties go to the lowest id.
"""

import argparse
import json
from pathlib import Path

import torch

from augpro import DataSpec, load_data
from augpro.models.source import ModelSource
from augpro.projection import Projection
from augpro.results.environment import library_versions, machine_facts
from augpro.tokens import tokenize
from augpro.vocabulary import WORD_START, Vocabulary

SEED = 0


def brute_force(table, groups, metric, queries, excluded):
    """Lowest id among the candidates of the largest float64 score."""
    table, queries = table.double(), queries.double()
    if metric == "l2":
        scores = -torch.cdist(queries, table, compute_mode="donot_use_mm_for_euclid_dist")
    elif metric == "cosine":
        scores = queries @ torch.nn.functional.normalize(table, dim=1).T
    else:
        scores = queries @ table.T
    scores[:, groups != WORD_START] = -torch.inf
    scores.scatter_(
        1,
        excluded.clamp_min(0),
        torch.where(excluded >= 0, -torch.inf, scores.gather(1, excluded.clamp_min(0))),
    )
    best = scores.amax(1, keepdim=True)
    # Scores whose float64 values differ only by rounding are one score in exact arithmetic.
    return (scores >= best - 1e-13 * best.abs().clamp_min(1)).int().argmax(1)


def make_queries(table, ids, generator):
    """Queries and the ids that each must not get, by kind."""
    own = ids[torch.randint(len(ids), (1500,), generator=generator)]
    other = ids[torch.randint(len(ids), (1500,), generator=generator)]
    noise = torch.nn.functional.normalize(torch.randn(1500, table.shape[1], generator=generator), dim=1)
    nothing = torch.full((1500, 2), -1)
    return {
        "mix 0.5, parents out": (0.5 * table[own] + 0.5 * table[other], torch.stack([own, other], 1)),
        "mix 0.9, parents out": (0.9 * table[own] + 0.1 * table[other], torch.stack([own, other], 1)),
        "mix 0.5, parents in": (0.5 * table[own] + 0.5 * table[other], nothing),
        "random step of 3": (table[own] + 3 * noise, nothing),
        "table rows": (table[own], nothing),
        "zero vectors": (torch.zeros(50, table.shape[1]), nothing[:50]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, required=True)
    args = parser.parse_args()
    source = ModelSource("minilm")
    tokenizer = source.load_tokenizer()
    table = source.load_classifier().get_input_embeddings().weight.detach()
    # Exact duplicates make real ties, which a pretrained table does not have.
    table = torch.cat([table, table[2000:2100]])
    vocabulary = Vocabulary(tokenizer, len(table))
    groups = vocabulary.groups.clone()
    groups[-100:] = groups[2000:2100]
    flat = torch.from_numpy(
        tokenize(tokenizer, load_data(DataSpec("helpdesk")).splits["train"].texts).flat[0]
    ).long()
    ids = flat[groups[flat] == WORD_START]
    generator = torch.Generator().manual_seed(SEED)
    with open(args.results, "w") as file:
        for metric in ("cosine", "l2", "dot"):
            projection = Projection(table, groups, metric)
            for kind, (queries, excluded) in make_queries(table, ids, generator).items():
                found = projection.nearest(queries, excluded=excluded)[:, 0]
                expected = torch.cat(
                    [
                        brute_force(table, groups, metric, queries[i : i + 100], excluded[i : i + 100])
                        for i in range(0, len(queries), 100)
                    ]
                )
                row = {
                    "metric": metric, "queries": kind, "count": len(queries),
                    "different": int((found != expected).sum()), "seed": SEED,
                    "vocabulary": len(table), "width": table.shape[1],
                }  # fmt: skip
                print(row, flush=True)
                file.write(
                    json.dumps({**row, "versions": library_versions(), "machine": machine_facts()}) + "\n"
                )


if __name__ == "__main__":
    main()
