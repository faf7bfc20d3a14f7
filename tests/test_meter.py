"""Seconds and memory go to the phase that was on."""

import time

import pytest
import torch

from augpro.training.meter import Meter


def test_seconds_go_to_the_innermost_phase():
    meter = Meter()
    with meter.phase("outer"):
        time.sleep(0.05)
        for _ in range(2):
            with meter.phase("inner"):
                time.sleep(0.1)
    assert meter.seconds["outer"] == pytest.approx(0.05, abs=0.04)
    assert meter.seconds["inner"] == pytest.approx(0.2, abs=0.06)


def test_a_phase_that_fails_is_ended():
    meter = Meter()
    with pytest.raises(ValueError, match="boom"), meter.phase("a"):
        raise ValueError("boom")
    with meter.phase("b"):
        time.sleep(0.02)
    assert meter.seconds["a"] < 0.02 <= meter.seconds["b"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="on CUDA the allocator's peak is measured")
def test_memory_goes_to_the_phase_that_took_it():
    """200 MiB are taken and given back within one phase: its peak shows them, and that of the next does not."""
    meter = Meter()
    with meter.phase("before"):
        time.sleep(0.03)
    with meter.phase("large"):
        block = torch.ones(50 * 2**20)
        time.sleep(0.05)
        del block
    with meter.phase("after"):
        time.sleep(0.03)
    assert meter.peak_mib["large"] > meter.peak_mib["before"] + 150
    assert meter.peak_mib["after"] < meter.peak_mib["large"] - 150
