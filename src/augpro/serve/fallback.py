"""The teacher as the student's fallback; this module imports PyTorch."""

from pathlib import Path

from augpro.errors import InputError
from augpro.models.compatibility import check_model
from augpro.models.reading import fastest_device
from augpro.models.source import ModelSource
from augpro.serve.batching import Array, Model
from augpro.teachers.alignment import class_names
from augpro.teachers.teacher import Teacher


def load_fallback(name: str, labels: tuple[str, ...], store: Path | None) -> Model:
    """A function from texts to the teacher's logits, in the order of the student's classes.

    Args:
        name: folder or hub name of the teacher.
        labels: the student's classes.
        store: label store that keeps the answers, which are training rows later.

    Raises:
        InputError: if the teacher cannot be used or has other classes.
    """
    source = ModelSource(name)
    own = class_names(source.load_config())
    if set(own) != set(labels) or len(own) != len(labels):
        raise InputError(
            f"{name} has the classes {', '.join(own[:10])}, and the student has {', '.join(labels[:10])}; give the "
            "teacher that the student was distilled from as --fallback."
        )
    check_model(source, True)
    teacher = Teacher(
        source.load_trained_classifier(), source.load_tokenizer(), device=fastest_device(), store=store
    )
    _ = teacher.record  # a hash of the weights, which the first call would wait for
    order = [own.index(label) for label in labels]

    def logits(texts: list[str], pairs: list[str] | None) -> Array:
        found: Array = teacher.label(texts, pairs).numpy()[:, order]
        return found

    return logits
