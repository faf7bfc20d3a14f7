"""Small data and models for sets of augmented rows."""

import json
from pathlib import Path

import pyarrow.parquet as pq

from augpro.shards.options import AugmentConfig
from augpro.shards.plan import make_augment_plan
from augpro.shards.run import run_augment
from augpro.testing import TEXTS

ROWS = 700  # two shards of 256 and 444


def write_rows(path: Path, rows: int = ROWS) -> Path:
    lines = [{"text": f"{TEXTS[row % 20]} {TEXTS[row // 20 % 20]}"} for row in range(rows)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def augmented(options, out, **changes):
    """Write a set; returns its manifest."""
    return run_augment(make_augment_plan(AugmentConfig(**{**options, "out": out, **changes})))


def files_of(folder):
    """The bytes of every file of a set, by name."""
    return {
        path.name: path.read_bytes() for path in sorted(folder.iterdir()) if not path.name.startswith(".")
    }


def rows_of(folder):
    """All rows of a set."""
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
