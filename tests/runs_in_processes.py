"""Runs the distillations of a JSON file one after another; torchrun starts it in several processes."""

import json
import sys
from pathlib import Path

from augpro.config import DistillConfig
from augpro.distillation.pipeline import run

if __name__ == "__main__":
    for options in json.loads(Path(sys.argv[1]).read_text()):
        run(DistillConfig(**options))
