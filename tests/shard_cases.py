"""Small data and models for sets of augmented rows."""

import json
from pathlib import Path

import pyarrow.parquet as pq

from augpro.shards.manifest import MANIFEST
from augpro.shards.options import AugmentConfig, LabelConfig
from augpro.shards.plan import make_augment_plan
from augpro.shards.relabel import make_label_plan, run_label
from augpro.shards.run import run_augment
from augpro.testing import TEXTS

ROWS = 520  # two shards of 256 and 264


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


def label(folder, teacher):
    """Label a set; returns its manifest."""
    return run_label(make_label_plan(LabelConfig(augmented=folder, teacher=str(teacher))))


def shards_of(folder):
    """The bytes of every shard of a set, by name."""
    return {name: content for name, content in files_of(folder).items() if name != MANIFEST}


def spoil(path, damage):
    """Damage a file."""
    content = bytearray(path.read_bytes())
    if damage == "removed":
        path.unlink()
        return
    content[len(content) // 2] ^= 1
    path.write_bytes(content if damage == "flipped" else content[:-10])
