"""From a notebook: a model, its tokenizer and a list of texts in, a student and new texts out; no file, no name.

The teacher here is a tiny model with random weights, so that this runs anywhere in seconds. Put your own in its
place, loaded with ``AutoModelForSequenceClassification`` and ``AutoTokenizer``, or a text-classification pipeline.

python examples/objects.py
"""

from dataclasses import dataclass

import torch

from augpro import augment_texts, distill
from augpro.augment import AugmentContext, Compose, Crossover, DrawnReplacement, Part, Replaced
from augpro.testing import TEXTS, check_augmenter, tiny_classifier, tiny_tokenizer
from augpro.tokens import TokenBatch


@dataclass(frozen=True)
class Shuffled(DrawnReplacement):
    """A method of your own: some tokens of a row change places with the next one of their kind."""

    replace_fraction: float = 0.3

    def replace(self, batch: TokenBatch, chosen: torch.Tensor, context: AugmentContext) -> Replaced:
        """Give each chosen position the token to its right, where both are whole words or both are not."""
        right = batch.ids.roll(-1, dims=1)
        groups = context.space.groups
        where = chosen & (groups[right] == groups[batch.ids])
        return Replaced(where, right[where])


def margin_loss(
    student: torch.Tensor, teacher: torch.Tensor, problem_type: str, temperature: float
) -> torch.Tensor:
    """A loss of your own: squared error of the logits, without the part that all classes share."""
    error = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    return error.square().mean(1)


def main() -> None:
    """Augment some texts, then distil."""
    tokenizer = tiny_tokenizer()
    teacher = tiny_classifier(len(tokenizer), layers=4, seed=1)

    method = Shuffled(replace_fraction=0.5)
    check_augmenter(method)  # the contract that every method keeps
    for text, new in zip(
        TEXTS[:3], augment_texts(TEXTS, (teacher, tokenizer), augment=method)[0], strict=False
    ):
        print(f"{text}\n    {new}")

    chain = Compose((Part("crossover", Crossover(0.3)), Part("shuffled", method)))
    trained = distill(
        (teacher, tokenizer),
        TEXTS * 4,
        student_layers=(0, 3),
        augment=chain,
        loss=margin_loss,
        epochs=4,
        batch_size=8,
        learning_rate=1e-3,
    )
    print(f"agreement with the teacher: {trained.result.agreement:.3f}")
    answer = trained.student(**trained.tokenizer("the movie is great", return_tensors="pt")).logits
    print(trained.student.config.id2label[int(answer.argmax())])


if __name__ == "__main__":
    main()
