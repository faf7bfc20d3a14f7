"""Distil a teacher into a small student on your own texts, from Python.

    python examples/distil_your_own_file.py --data my.csv --teacher runs/teacher --out runs/student

`my.csv` needs a column of texts; a column of labels is used for scoring where there is one, not for training.
"""

import argparse
import sys
from pathlib import Path

from augpro import DistillConfig, InputError, run


def arguments() -> argparse.Namespace:
    """What to read and where to write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="file, folder of split files, or data set name")
    parser.add_argument("--teacher", required=True, help="folder or hub name of a sequence classifier")
    parser.add_argument("--out", required=True, type=Path, help="new folder for the student")
    parser.add_argument("--student-layers", default=(), help="layers of the teacher to keep, such as 0,2,5")
    return parser.parse_args()


def main() -> None:
    """Distil, then print how good the student is and how near to its teacher."""
    args = arguments()
    config = DistillConfig(
        data=args.data,
        teacher=args.teacher,
        student_layers=args.student_layers,
        augment="augpro-mix",
        out=args.out,
    )
    try:
        result = run(config)
    except InputError as error:  # wrong input; the message says where and how to fix it
        sys.exit(str(error))
    if result.metric is not None:
        print(f"{result.metric_name}: student {result.metric:.3f}, teacher {result.teacher_metric:.3f}")
    print(f"agreement with the teacher: {result.agreement:.3f} ({result.agreement_name})")
    print(f"distance to the teacher: {result.distance_to_teacher:.3f} ({result.distance_name})")
    print(f"the model, result.json and samples.md are in {args.out}")


if __name__ == "__main__":
    main()
