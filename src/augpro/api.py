"""The package from a notebook: models, tokenizers and texts in, models and texts out."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

from augpro.augment import AugmentContext, Augmenter, EmbeddingSpace, augmenter
from augpro.config import DistillConfig, build
from augpro.data.sources import held_source
from augpro.distillation.given import Given
from augpro.distillation.pipeline import Trained, run_plan
from augpro.distillation.plan import make_plan
from augpro.errors import InputError
from augpro.losses import KDForm
from augpro.models.held import HeldModel
from augpro.models.source import ModelSource
from augpro.row_random import RowRandom
from augpro.tokens import TokenBatch, tokenize
from augpro.vocabulary import Vocabulary


def distill(
    teacher: Any,
    data: Any,
    *,
    labels: Sequence[Any] | None = None,
    student: Any = None,
    augment: str | Augmenter = "augpro-mix",
    loss: str | KDForm = "kl",
    callbacks: Sequence[TrainerCallback] = (),
    **options: Any,
) -> Trained:
    """Train a student on a teacher's answers to texts, and to texts that are made of them.

    The same run as ``augpro distill``: what is given as an object takes the place of what is named there.

    Args:
        teacher: ``(model, tokenizer)`` of a sequence classifier, a ``transformers`` text-classification pipeline, or
            the folder or hub name of one.
        data: a list of texts or of pairs of texts; a ``datasets.Dataset`` or a pandas ``DataFrame`` with a text
            column; a mapping from train, validation and test to any of these; or a name, as for ``--data``. Of a lone
            list one row in ten is kept to evaluate on.
        labels: of a list of texts: names of the teacher's classes, or scores; None where a text has none.
        student: likewise a model to start from; by default the student is cut from the teacher.
        augment: "none", the name of a method, or a method of your own.
        loss: a name (``kd_loss``), or a function called as :func:`augpro.losses.kl_loss` is: logits [B, C] of
            student and teacher, the problem type and the temperature in, one value a row [B] out.
        callbacks: of the Trainer.
        **options: any other field of :class:`augpro.config.DistillConfig`, such as ``epochs``, ``student_layers``,
            ``seed``, and ``out`` for a folder that keeps model and results.

    Returns:
        The student, its tokenizer and the result.

    Raises:
        InputError: if anything does not fit; the message says how to fix it.
    """
    held = Given(
        data=None if isinstance(data, str | Path) else held_source("data", data, labels),
        teacher=_held("teacher", teacher),
        student=_held("student", student) if student is not None else None,
        augmenter=augment if isinstance(augment, Augmenter) else None,
        loss=None if isinstance(loss, str) else loss,
    )
    names = {
        "data": str(data) if held.data is None else "data",
        "teacher": held.teacher.name if held.teacher else str(teacher),
        "student": held.student.name if held.student else None if student is None else str(student),
        "augment": augment if isinstance(augment, str) else _kind(augment),
        "kd_loss": loss if isinstance(loss, str) else getattr(loss, "__name__", "loss"),
    }
    with tempfile.TemporaryDirectory(prefix="augpro-") as folder:
        kept = {"out": options.pop("out", None) or Path(folder) / "run"}
        if kept["out"] == Path(folder) / "run":  # nobody can go on with a folder that is gone
            options["trainer_options"] = {"save_strategy": "no", **options.get("trainer_options", {})}
        config = build(DistillConfig, {**names, **options, **kept}, "distill")
        assert isinstance(config, DistillConfig)
        return run_plan(make_plan(config, held), callbacks)


def augment_texts(
    texts: Sequence[str],
    model: Any,
    *,
    pairs: Sequence[str] | None = None,
    augment: str | Augmenter = "augpro-mix",
    copies: int = 1,
    seed: int = 0,
    classes: Sequence[int] | None = None,
) -> list[Any]:
    """Augmented texts in the embedding space of a model, without a teacher and without training.

    Args:
        texts: at least two for a method that mixes rows.
        model: ``(model, tokenizer)``, a ``transformers`` pipeline, or a folder or hub name; its word embeddings are
            used as they are.
        pairs: second texts, where a row has two.
        augment: the name of a method that makes text and needs no student in training, or a method of your own.
        copies: augmented texts of each text.
        seed: another seed gives other texts.
        classes: class of each text, for methods whose partners are of one class.

    Returns:
        For each copy the list of all texts, or of pairs of texts, in the order given: ``copies`` lists of N.

    Raises:
        ValueError: if the method makes no text or needs a student.
        InputError: if the model cannot be loaded.

    Example:
        >>> from augpro.testing import tiny_classifier, tiny_tokenizer
        >>> tokenizer = tiny_tokenizer()
        >>> held = tiny_classifier(len(tokenizer)), tokenizer
        >>> augment_texts(["the movie is great", "my server was slow"], held, augment="crossover", seed=3)
        [['the server was great', 'the server was great']]
    """
    method = augment if isinstance(augment, Augmenter) else augmenter(augment)
    method.check()
    if not method.makes_text:
        raise ValueError(
            f"{_kind(method)} makes no text, but points between texts; use a method such as augpro-mix"
        )
    source = _held("model", model) or ModelSource(str(model))
    tokenizer = source.load_tokenizer()
    table = source.load_classifier().get_input_embeddings().get_parameter("weight")
    space = EmbeddingSpace(table, Vocabulary(tokenizer, len(table)))
    rows = tokenize(tokenizer, texts, pairs)
    known = None if classes is None else torch.tensor(classes)
    made = []
    for copy in range(copies):
        batch = method(
            rows.batch(range(len(rows))), AugmentContext(RowRandom(seed, copy), space, rows, known)
        )
        assert isinstance(batch, TokenBatch)
        first, second = space.vocabulary.decode(batch)
        made.append(first if second is None else list(zip(first, second, strict=True)))
    return made


def _held(role: str, given: Any) -> HeldModel | None:
    """A model and its tokenizer, of a pair or a pipeline; None for a name."""
    if isinstance(given, str | Path):
        return None
    held = (
        given
        if isinstance(given, tuple)
        else tuple(getattr(given, name, None) for name in ("model", "tokenizer"))
    )
    model, tokenizer = held if len(held) == 2 else (None, None)
    if not isinstance(model, PreTrainedModel) or not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise InputError(
            f"{role}: {type(given).__name__} is no model with its tokenizer; give (model, tokenizer), a transformers "
            "text-classification pipeline, or the name of a model folder."
        )
    return HeldModel(f"the {role} given ({type(model).__name__})", model=model, tokenizer=tokenizer)


def _kind(method: Augmenter) -> str:
    return type(method).__name__.lower()
