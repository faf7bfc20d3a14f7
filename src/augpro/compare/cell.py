"""One cell of a comparison, in a process of its own.

A crash, an out-of-memory kill or a leak of one cell so leaves the others alone. A cell ends when the
comparison that started it is gone.
"""

import json
import os
import sys
from pathlib import Path

import torch

from augpro.baselines.run import run_baseline
from augpro.config import BaselineConfig, DistillConfig
from augpro.distillation.pipeline import run
from augpro.errors import InputError
from augpro.models.processes import end_with_parent
from augpro.results.terminal import forgive_output, quiet_libraries, sentence


def run_cell(config: Path, log: Path, threads: int) -> None:
    """Run what the JSON file says; all output goes to the log, and wrong input ends with exit code 2."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    forgive_output("utf-8")  # as the log is read
    end_with_parent()
    torch.set_num_threads(min(threads, torch.get_num_threads()))  # OMP_NUM_THREADS may ask for fewer
    quiet_libraries()
    try:
        options = json.loads(config.read_text(encoding="utf-8"))
        if "baseline" in options:
            run_baseline(BaselineConfig(**options))
        else:
            run(DistillConfig(**options))
    except InputError as error:
        print(sentence(error), file=sys.stderr, flush=True)
        sys.exit(2)
