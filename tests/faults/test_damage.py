"""Damaged files are named, or made again; ``damage.py`` tries more places of every file."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
import damage
import damage_kinds

pytestmark = pytest.mark.e2e
# Files of these kinds take whole trainings: of each three files one is damaged, in one way.
_SLOW = {"checkpoint", "chosen texts", "predictions of a comparison", "layer search"}
_LEFT_TO_THE_TOOL = {("results of a comparison", "compare"), ("augmented texts of a comparison", "report")}
NAMES = [(kind.name, kind.reader) for kind in damage_kinds.all_kinds(None)]


@pytest.mark.parametrize(("name", "reader"), [kind for kind in NAMES if kind not in _LEFT_TO_THE_TOOL])
def test_a_damaged_file_is_never_used(name, reader, tmp_path):
    kinds = {(kind.name, kind.reader): kind for kind in damage_kinds.all_kinds(tmp_path)}
    damager = damage.Damager(kinds[name, reader], tmp_path / "runs")
    ways = list(damage.damages(1))
    for number, file in enumerate(damager.files[:: 3 if name in _SLOW else 1]):
        for _, harm in ways[number % 2 :][:1] if name in _SLOW else ways:
            assert damager.outcome(file, harm) in damage.GOOD, file
