"""Speed and memory of the projection, beside a full matrix product and faiss."""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from speed_common import Results, environment, rounds, run_json, seconds
from torch import Tensor
from torch.nn.functional import normalize

from augpro import DataSpec, load_data
from augpro.augment import AugmentContext, EmbeddingSpace, Mix
from augpro.models.source import ModelSource
from augpro.projection import Projection
from augpro.projection.neighbours import mix
from augpro.row_random import RowRandom
from augpro.tokens import tokenize
from augpro.training.meter import Meter
from augpro.vocabulary import Vocabulary

COUNT = 8192
NEIGHBOURS = Path(__file__).parent / "neighbours"


def embedding_table(model: str = "minilm") -> Tensor:
    """A model's word embeddings; MiniLM's are [30522, 384]."""
    return ModelSource(model).load_classifier().get_input_embeddings().weight.detach().clone()


def mixes(data: Path, table: Tensor, model: str = "minilm") -> tuple[Tensor, Tensor]:
    """Parents as augpro-mix meets them in 1,000 rows, copy after copy."""
    tokenizer = ModelSource(model).load_tokenizer()
    rows = tokenize(tokenizer, load_data(DataSpec(str(data))).splits["train"].texts[:1000])
    space = EmbeddingSpace(table, Vocabulary(tokenizer, len(table)))
    batch, pairs = rows.batch(range(1000)), []
    for copy in range(3):
        context = AugmentContext(RowRandom(0, copy), space, rows)
        chosen = Mix().move(batch, space.vocabulary.editable(batch), context, space.projection("cosine"))
        pairs.append(torch.stack([chosen.own, chosen.other]))
    own, other = torch.cat(pairs, 1)[:, :COUNT]
    return own.contiguous(), other.contiguous()


def full_matrix(units: Tensor, queries: Tensor, excluded: Tensor, block: int) -> Tensor:
    """What one writes without thinking about speed: a float32 product with the whole table, and argmax."""
    found = []
    for query, bars in zip(queries.split(block), excluded.split(block), strict=True):
        scores = query @ units.T
        scores.scatter_(1, bars, -torch.inf)
        found.append(scores.argmax(1))
    return torch.cat(found)


def best_block(units: Tensor, queries: Tensor, excluded: Tensor) -> int:
    """The block size that suits the full matrix best here."""
    sizes = (512, 2048, COUNT) if units.is_cuda else (32, 128, 512)
    few = queries[: sizes[-1]], excluded[: sizes[-1]]
    full_matrix(units, *few, sizes[1])
    return min(sizes, key=lambda size: seconds(lambda: full_matrix(units, *few, size)))


def limits(results: Results, device: str) -> None:
    """What the machine can do at most: matrix products and a copy, in this very run."""
    a, b = torch.randn(2, 1024, 1024, device=device)
    big = torch.randn(64 * 2**20, device=device)
    target = torch.empty_like(big)
    a16, b16 = a.bfloat16(), b.bfloat16()
    spent = rounds(
        {"float32": lambda: a @ b, "bfloat16": lambda: a16 @ b16, "copy": lambda: target.copy_(big)}
    )
    best = {name: min(values) for name, values in spent.items()}
    results.add("limits of the machine", float32_gflops=2 * 1024**3 / best["float32"] / 1e9,
                bfloat16_gflops=2 * 1024**3 / best["bfloat16"] / 1e9,
                copy_gb_a_second=2 * big.numel() * 4 / best["copy"] / 1e9)  # fmt: skip


def compare(
    args: argparse.Namespace,
    results: Results,
    what: str,
    table: Tensor,
    pairs: tuple[Tensor, Tensor],
    wanted: dict[str, str],
    full_queries: int,
) -> None:
    """Ours, the full matrix and faiss on the same mixes; the last two on the first of them if they are slow."""
    own, other = pairs
    queries, excluded = mix(table[own], table[other], 0.5), torch.stack([own, other], 1)
    units = normalize(table, dim=1)
    projection = Projection(table)
    built = seconds(lambda: projection.nearest_mix(own, other, 0.5)) - seconds(
        lambda: projection.nearest_mix(own, other, 0.5)
    )
    some = queries[:full_queries], excluded[:full_queries]
    block = best_block(units, *some)
    before = projection.work.in_full, projection.work.distinct
    ids = projection.nearest_mix(own, other, 0.5)[:, 0]
    in_full = (projection.work.in_full - before[0]) / (projection.work.distinct - before[1])
    same = float((ids[:full_queries] == full_matrix(units, *some, block)).float().mean())
    # A GPU adds a row's products up in another order for each shape, so float32 may settle a near tie otherwise.
    assert same == 1 or table.is_cuda, "ids differ"
    spent = rounds({"ours": lambda: projection.nearest_mix(own, other, 0.5),
                    "full": lambda: full_matrix(units, *some, block)})  # fmt: skip
    scale = len(own) / full_queries
    full = [value * scale for value in spent["full"]]
    facts = {
        "positions": len(own),
        "vocabulary": len(table),
        "width": table.shape[1],
        "searched_in_full": in_full,
        "device": table.device.type,
    }
    results.ratio(what, "torch, float32 full matrix and argmax", wanted["full"], spent["ours"], full,
                  identical_ids=same, build_seconds=built, full_queries=full_queries, **facts)  # fmt: skip
    saved = (statistics.median(full) - statistics.median(spent["ours"])) / len(own)
    results.add(f"{what}: positions until the lists have paid for themselves",
                value=round(built / saved) if saved > 0 else "never",
                wanted=wanted["even"], against="full matrix")  # fmt: skip
    python = environment(args.environments, "faiss", NEIGHBOURS) if args.environments else None
    if python is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        np.savez(
            Path(folder) / "in.npz", table=units.numpy(), queries=some[0].numpy(), excluded=some[1].numpy()
        )
        ours, theirs = [], []
        for _ in range(3):
            found = run_json(python, NEIGHBOURS / "faiss_flat.py", Path(folder) / "in.npz")
            theirs.append(found["seconds"] * scale)
            ours.append(min(rounds({"ours": lambda: projection.nearest_mix(own, other, 0.5)}, 3)["ours"]))
            same = float((torch.tensor(found["ids"]) == ids[:full_queries]).float().mean())
    results.ratio(what, "faiss-cpu IndexFlatIP, k = 3", wanted["faiss"], ours, theirs, identical_ids=same,
                  threads=found["threads"], faiss=found["version"], **facts)  # fmt: skip


def projection(args: argparse.Namespace, results: Results) -> None:
    limits(results, args.device)
    table = embedding_table(args.model)
    wanted = {"full": "100", "faiss": "60", "even": "at most 10,000"}
    if args.device != "cpu":  # the bounds are those of processors; a GPU has none yet
        wanted = dict.fromkeys(wanted, "-")
    own, other = (ids.to(args.device) for ids in mixes(args.data, table, args.model))
    compare(args, results, "AugPro-Mix projection", table.to(args.device), (own, other), wanted, COUNT)


def large_vocabulary(args: argparse.Namespace, results: Results) -> None:
    """A table of 250,000: clusters of 20, as far apart as MiniLM's words and their neighbours."""
    generator = torch.Generator().manual_seed(0)
    centres = normalize(torch.randn(12_500, 384, generator=generator), dim=1)
    noise = normalize(torch.randn(250_000, 384, generator=generator), dim=1)
    table = centres.repeat_interleave(20, 0) + noise
    occurring = torch.randperm(len(table), generator=generator)[:3000]
    own, other = occurring[torch.randint(0, 3000, (2, COUNT), generator=generator)]
    wanted = {"full": "300", "faiss": "300", "even": "-"}
    compare(args, results, "the same, 250,000 tokens", table, (own, other), wanted, 512)


def steps(args: argparse.Namespace, results: Results) -> None:
    """Steps of length 3 from tokens of SST-2 in random directions, the own token barred."""
    table = embedding_table()
    own = mixes(args.data, table)[0][:2048]
    way = normalize(torch.randn(len(own), table.shape[1], generator=torch.Generator().manual_seed(0)), dim=1)
    queries, excluded, units = table[own] + 3 * way, own[:, None], normalize(table, dim=1)
    searched, block = Projection(table), best_block(units, queries, excluded)
    ids = searched.nearest(queries, excluded=excluded)[:, 0]
    assert torch.equal(ids, full_matrix(units, queries, excluded, block)), "ids differ"
    spent = rounds({"ours": lambda: searched.nearest(queries, excluded=excluded),
                    "full": lambda: full_matrix(units, queries, excluded, block)}, 5)  # fmt: skip
    gflops = 2 * len(own) * table.numel() / statistics.median(spent["ours"]) / 1e9
    against = "torch, float32 full matrix and argmax"
    results.ratio("AugPro-FGSM projection", against, "3", spent["ours"], spent["full"],
                  identical_ids=True, positions=len(own), ours_gflops=gflops)  # fmt: skip


def memory(args: argparse.Namespace, results: Results) -> None:
    """Peak resident memory over that before, in a process of its own, the lists built beforehand."""
    for kind in ("mix", "step"):
        found = run_json(sys.executable, Path(__file__), args.data, kind)
        results.add(f"peak extra memory of 100,000 positions, {kind}", value=f"{found['mib']:.0f} MiB",
                    wanted="at most 256 MiB", lists_mib=found["lists_mib"])  # fmt: skip


def measure_memory(data: Path, kind: str) -> dict[str, float]:
    table = embedding_table()
    own, other = (ids.repeat(13)[:100_000] for ids in mixes(data, table))
    searched = Projection(table)
    weights = torch.rand(len(own), generator=torch.Generator().manual_seed(0))  # all mixes are different ones
    searched.nearest_mix(own, other, weights)
    lists = searched._lists[0]
    stored = sum(getattr(lists, name).nbytes for name in ("columns", "scores", "rows"))
    queries = table[own] if kind == "step" else None
    meter = Meter()
    with meter.phase("before"):
        pass
    with meter.phase("search"):
        if queries is None:
            searched.nearest_mix(own, other, weights)
        else:
            searched.nearest(queries, excluded=own[:, None])
    return {"mib": meter.peak_mib["search"] - meter.peak_mib["before"], "lists_mib": stored / 2**20}


def scaling(args: argparse.Namespace, results: Results) -> None:
    """Microseconds a position against vocabulary, width, positions and threads; mixes of 2,000 tokens."""

    def measure(size: int = 30_000, width: int = 384, count: int = COUNT) -> dict[str, float]:
        generator = torch.Generator().manual_seed(0)
        centres = normalize(torch.randn(size // 20, width, generator=generator), dim=1)
        table = centres.repeat_interleave(20, 0) + normalize(
            torch.randn(size, width, generator=generator), dim=1
        )
        occurring = torch.randperm(len(table), generator=generator)[:2000]
        own, other = occurring[torch.randint(0, len(occurring), (2, count), generator=generator)]
        searched = Projection(table)
        queries = mix(table[own], table[other], 0.5)[:256]
        spent = rounds({"mix": lambda: searched.nearest_mix(own, other, 0.5),
                        "step": lambda: searched.nearest(queries)}, 3)  # fmt: skip
        return {"mix_us": 1e6 * statistics.median(spent["mix"]) / count,
                "step_us": 1e6 * statistics.median(spent["step"]) / len(queries)}  # fmt: skip

    for size in (3_000, 30_000, 120_000):
        results.add("against the vocabulary", vocabulary=size, **measure(size=size))
    for width in (64, 256, 1024):
        results.add("against the width", width=width, **measure(width=width))
    for count in (100, 1_000, 100_000):
        results.add("against the positions of a call", positions=count, **measure(count=count))
    threads = torch.get_num_threads()
    for number in range(1, threads + 1):
        torch.set_num_threads(number)
        results.add("against the threads", threads=number, **measure())
    torch.set_num_threads(threads)


if __name__ == "__main__":
    import json

    print(json.dumps(measure_memory(Path(sys.argv[1]), sys.argv[2])))
