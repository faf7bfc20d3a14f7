"""Copy a finished teacher with its weights in half precision: half the size, what students can learn from.

    python benchmarks/half_precision.py TRAINED HALF

The record of its training rows goes along. The folder is moved to its place when it is whole.
"""

import os
import shutil
import sys

from augpro.models.source import ModelSource
from augpro.results.output import RESULT
from augpro.results.provenance import TRAINING_ROWS


def main(trained: str, half: str) -> None:
    source, part = ModelSource(trained), f"{half}.part"
    source.load_trained_classifier().half().save_pretrained(part)
    source.load_tokenizer().save_pretrained(part)
    for name in (RESULT, TRAINING_ROWS):
        shutil.copy(os.path.join(trained, name), part)
    os.rename(part, half)


if __name__ == "__main__":
    main(*sys.argv[1:])
