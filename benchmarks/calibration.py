"""How often the threshold of ``augpro calibrate`` gives the agreement that was asked, on rows that it has not seen.

    python benchmarks/calibration.py --run banking77=runs/banking77-student --run sst2=runs/sst2-student \
        --results benchmarks/results/calibration.jsonl

A run is the folder of a finished ``augpro distill``, or a file of predictions that ``augpro compare`` keeps; its
evaluation rows, on which nothing was trained, hold the logits of student and teacher. They are split in half 200
times: one half is calibrated on, the other is what comes later. The plain threshold is the smallest probability, at
temperature 1, above which the first half agrees as often as asked.

``held`` is the share of splits in which the other half agrees above the threshold as often as asked, or nothing is
above it. As that half is itself a sample, ``held_in_all`` draws the first rows with replacement instead and asks for
the agreement over all rows, which is what the guarantee is about.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from augpro.calibration.fit import confidences, fit, plain_threshold
from augpro.results.environment import library_versions, machine_facts

RESAMPLINGS, CONFIDENCE = 200, 0.95


def read_run(path, split):
    """Logits of the student, answers of the teacher and whether both agree, for every different text."""
    found = load_file(path / "predictions.safetensors" if path.is_dir() else path)
    _, first = np.unique(found[f"{split}.row_keys"], return_index=True)
    logits, answers = found[f"{split}.student"][first], found[f"{split}.teacher"][first].argmax(1)
    return logits, answers, logits.argmax(1) == answers


def outcome(chosen, agrees, agree):
    """Share of rows above a threshold, and whether they agree often enough."""
    return chosen.mean(), not chosen.any() or agrees[chosen].mean() >= agree


def resample(logits, answers, agrees, agree, generator, replace):
    rows = len(logits)
    if replace:
        first, second = generator.integers(rows, size=rows // 2), np.arange(rows)
    else:
        first, second = np.split(generator.permutation(rows), [rows // 2])
    found = fit(logits[first], answers[first], agree, CONFIDENCE)
    raw = confidences(logits)
    plain = plain_threshold(raw[first], agrees[first], agree)
    nothing = np.zeros(len(second), dtype=bool)
    bounded = (
        confidences(logits[second], found.temperature) >= found.chosen.threshold if found.chosen else nothing
    )
    simple = nothing if plain is None else raw[second] >= plain
    return [*outcome(bounded, agrees[second], agree), *outcome(simple, agrees[second], agree)]


def measure(name, rows, agree, seed):
    logits, answers, agrees = rows
    figures = {}
    for suffix, replace in (("", False), ("_in_all", True)):
        found = np.array(
            [
                resample(logits, answers, agrees, agree, np.random.default_rng([seed, number]), replace)
                for number in range(RESAMPLINGS)
            ],
            dtype=float,
        )
        coverage, held, plain_coverage, plain_held = found.mean(0)
        figures |= {
            f"held{suffix}": held, f"coverage{suffix}": coverage, f"plain_held{suffix}": plain_held,
            f"plain_coverage{suffix}": plain_coverage, f"none{suffix}": float((found[:, 0] == 0).mean()),
        }  # fmt: skip
    return {
        "data": name, "rows": len(logits), "classes": logits.shape[1], "agreement": float(agrees.mean()),
        "agree": agree, "confidence": CONFIDENCE, "resamplings": RESAMPLINGS, "seed": seed, **figures,
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", action="append", required=True, help="NAME=FOLDER, or NAME=FILE.safetensors")
    parser.add_argument("--split", default="evaluation")
    parser.add_argument("--agree", type=float, nargs="+", default=[0.95, 0.97, 0.99])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    for run in options.run:
        name, _, path = run.partition("=")
        rows = read_run(Path(path), options.split)
        for agree in options.agree:
            found = measure(name, rows, agree, options.seed)
            found |= {"versions": library_versions(), "machine": machine_facts()}
            print(json.dumps({key: value for key, value in found.items() if key != "versions"}), flush=True)
            if options.results:
                with open(options.results, "a", encoding="utf-8") as file:
                    file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
