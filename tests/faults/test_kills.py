"""Runs that are killed, at some of the points between two writes; ``kills.py`` tries all of them."""

import random
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # where the forked processes look too
import cases
import kills

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not hasattr(kills.signal, "SIGKILL"), reason="needs SIGKILL"),
]
POINTS = 3


@pytest.mark.parametrize("name", cases.NAMES[1:4])  # augment comes before label; compare: test_compare
def test_what_a_killed_run_leaves_is_made_whole(name, tmp_path):
    (case,) = (case for case in cases.all_cases(tmp_path) if case.name == name)
    (tmp_path / "runs").mkdir()
    killer = kills.Killer(case, tmp_path / "runs")
    points = random.Random(case.name).sample(range(1, killer.writes + 1), POINTS)
    outcomes = [killer.survives(kill_at=point) for point in points]
    assert [outcome for outcome in outcomes if not outcome["same"]] == []
    assert [outcome["labels_paid_twice"] for outcome in outcomes] == [0] * len(outcomes)
    assert all(outcome["killed"] for outcome in outcomes)
