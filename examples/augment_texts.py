"""Augment texts and look at them: the parts of augpro by themselves, without a teacher or training.

python examples/augment_texts.py --model minilm "the export hangs" "please send the invoice again"
"""

import argparse

from augpro import InputError, augmenter
from augpro.augment import AUGMENTERS, AugmentContext, EmbeddingSpace
from augpro.augment.methods.replace import TokenReplacement
from augpro.draws import Draws
from augpro.models.source import ModelSource
from augpro.tokens import tokenize
from augpro.vocabulary import Vocabulary

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


def augment(model: str, texts: list[str], method: str, seed: int) -> list[str]:
    """One augmented text for each text, in the embedding space of a model.

    Args:
        model: folder, hub name or short name, such as "minilm".
        texts: at least two for a method that mixes rows.
        method: a key of ``AUGMENTERS``.
        seed: another seed, another draw.
    """
    source = ModelSource(model)
    tokenizer = source.load_tokenizer()
    table = source.load_classifier().get_input_embeddings().get_parameter("weight")
    vocabulary = Vocabulary(tokenizer, len(table))
    rows = tokenize(tokenizer, texts)
    context = AugmentContext(Draws(seed), EmbeddingSpace(table, vocabulary), rows)
    augmented = augmenter(method)(rows.batch(range(len(rows))), context)
    return vocabulary.decode(augmented)[0]


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
        augmented = augment(args.model, args.texts, args.method, args.seed)
    except (InputError, ValueError) as error:
        parser.error(str(error))
    for before, after in zip(args.texts, augmented, strict=True):
        print(f"{before}\n  -> {after}\n")


if __name__ == "__main__":
    main()
