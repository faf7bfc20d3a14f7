"""The teacher as the student's fallback; this module imports PyTorch."""

from pathlib import Path

from transformers import PreTrainedModel

from augpro.errors import InputError
from augpro.models.compatibility import check_model
from augpro.models.reading import fastest_device
from augpro.models.source import ModelSource
from augpro.serve.batching import Array, Model
from augpro.teachers.alignment import class_names, problem_of
from augpro.teachers.store import LabelStore, check_store
from augpro.teachers.teacher import Teacher

# Seconds for another program to end its transaction in the label store: clients wait, and all that ask the teacher.
_WAIT = 2.0


def load_fallback(name: str, labels: tuple[str, ...], store: Path | None) -> Model:
    """A function from texts to the teacher's logits, in the order of the student's classes.

    Args:
        name: folder or hub name of the teacher.
        labels: the student's classes.
        store: label store that keeps the answers, which are training rows later.

    Raises:
        InputError: if the teacher cannot be used or has other classes, or the store cannot be opened.
    """
    source = ModelSource(name)
    config = source.load_config()
    own = class_names(config)
    if set(own) != set(labels) or len(own) != len(labels):
        raise InputError(
            f"{name} has the classes {', '.join(own[:10])}, and the student has {', '.join(labels[:10])}; give the "
            "teacher that the student was distilled from as --fallback."
        )
    if len(set(own)) < len(own):
        raise InputError(
            f"{name} has two classes of one name, so its answers cannot be matched with the student's classes; name "
            "each otherwise in config.json and export the student again, or leave --fallback out."
        )
    if problem_of(config) != "single_label":
        raise InputError(
            f"{name} gives several labels for a text, and the student one; give the teacher that the student was "
            "distilled from as --fallback."
        )
    check_model(source, True)
    kept = None if store is None else _opened(store)
    model = _in_memory(source.load_trained_classifier())
    teacher = Teacher(model, source.load_tokenizer(), device=fastest_device())
    teacher.store = kept
    _ = teacher.record  # a hash of the weights, which the first call would wait for
    order = [own.index(label) for label in labels]

    def logits(texts: list[str], pairs: list[str] | None) -> Array:
        found: Array = teacher.label(texts, pairs).numpy()[:, order]
        return found

    return logits


def _in_memory(model: PreTrainedModel) -> PreTrainedModel:
    """The model with weights of its own, changed in place.

    Those that are read from its file when they are needed change when another model is copied over it, and a file
    that is cut short then ends the process.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()
    return model


def _opened(path: Path) -> LabelStore:
    """The label store, opened once, so that what is wrong with it is told before calls are answered."""
    check_store(path)
    store = LabelStore(path, _WAIT)
    store.teachers()
    return store
