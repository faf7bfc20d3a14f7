"""Augment texts and look at them: the parts of augpro by themselves, without a teacher or training.

python examples/augment_texts.py --model minilm "the export hangs" "please send the invoice again"
"""

import argparse

from augpro import InputError, augment_texts, augmenter
from augpro.augment import AUGMENTERS, TokenReplacement

TEXTS = [
    "the export button does nothing since this morning",
    "please send me the invoice of last month again",
    "how do I invite a colleague to my project?",
    "I was charged twice and want my money back",
]
# Those that replace tokens and need nothing but the rows: no student in training, no model of their own.
METHODS = [
    name
    for name, method in ((name, augmenter(name)) for name in AUGMENTERS)
    if isinstance(method, TokenReplacement) and not method.needs_student
]


def main() -> None:
    """Print every text above its augmented text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("texts", nargs="*", default=TEXTS, help="texts; four messages if none is given")
    parser.add_argument("--model", default="minilm", help="model whose embeddings are used")
    parser.add_argument("--method", choices=METHODS, default=METHODS[0])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    try:
        augmented = augment_texts(args.texts, args.model, augment=args.method, seed=args.seed)[0]
    except (InputError, ValueError) as error:
        parser.error(str(error))
    for before, after in zip(args.texts, augmented, strict=True):
        print(f"{before}\n  -> {after}\n")


if __name__ == "__main__":
    main()
