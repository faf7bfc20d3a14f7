"""The package from a notebook: models, tokenizers and texts in, models and texts out."""

import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

from augpro.augment import AugmentContext, Augmenter, EmbeddingSpace, augmenter
from augpro.config import DistillConfig, build
from augpro.data.held import held_source, held_texts
from augpro.distillation.given import Given
from augpro.distillation.pipeline import Trained, run_plan
from augpro.distillation.plan import make_plan
from augpro.errors import InputError
from augpro.losses import KDForm, loss_name
from augpro.models.held import HeldModel
from augpro.models.source import ModelSource
from augpro.results.output import check_output
from augpro.row_random import RowRandom, global_random_kept
from augpro.tokens import TokenBatch, tokenize
from augpro.vocabulary import Vocabulary

_DEFAULT = "augpro-mix"
_ONE_AT_A_TIME = (
    threading.RLock()
)  # all threads of a process share the random state that a training draws from


def distill(
    teacher: Any,
    data: Any,
    *,
    labels: Iterable[Any] | None = None,
    student: Any = None,
    augment: str | Augmenter = _DEFAULT,
    loss: str | KDForm = "kl",
    callbacks: Sequence[TrainerCallback] = (),
    **options: Any,
) -> Trained:
    """Train a student on a teacher's answers to texts, and to texts that are made of them.

    The same run as ``augpro distill``: what is given as an object takes the place of what is named there.

    Args:
        teacher: ``(model, tokenizer)`` of a sequence classifier, a ``transformers`` text-classification pipeline, or
            the folder or hub name of one. None with ``augmented``, a folder of ``augpro augment``.
        data: a list of texts, of pairs of texts or of dictionaries; a ``datasets.Dataset`` or a pandas ``DataFrame``
            with a text column; a mapping from train, validation and test to any of these; or a name, as for
            ``--data``. Of a lone list one row in ten is kept to evaluate on.
        labels: of a list of texts or of pairs: names of the teacher's classes, or scores; None where one has none.
        student: likewise a model to start from; by default the student is cut from the teacher.
        augment: "none", the name of a method, or a method of your own.
        loss: a name (``kd_loss``), or a function called as :func:`augpro.losses.kl_loss` is: logits [B, C] of
            student and teacher, the problem type and the temperature in, one value a row [B] out.
        callbacks: of the Trainer, as for :func:`augpro.run`.
        **options: any other field of :class:`augpro.config.DistillConfig`, such as ``epochs``, ``student_layers``,
            ``seed``, and ``out`` for a folder that keeps model and results.

    Returns:
        The student, its tokenizer and the result.

    Raises:
        InputError: if anything does not fit; the message says how to fix it.
    """
    if labels is not None and isinstance(data, str | Path):
        raise InputError(
            f"data: labels= go with a list of texts; those of {data} belong into a column of it."
        )
    if "kd_loss" in options and loss != "kl":
        raise InputError("loss: kd_loss is another name of it; give one of the two.")
    loss = options.pop("kd_loss", loss)
    held = Given(
        data=None if isinstance(data, str | Path) else held_source("data", data, labels),
        teacher=_held("teacher", teacher) if teacher is not None else None,
        student=_held("student", student) if student is not None else None,
        augmenter=_method(augment),
        loss=_loss(loss),
    )
    if held.augmenter and options.get("augment_options"):
        raise InputError(
            f"augment_options: {type(augment).__name__} has its options already; write them there."
        )
    method = augment if isinstance(augment, str) else _kind(augment)
    names = {
        "data": str(data) if held.data is None else "data",
        "teacher": held.teacher.name if held.teacher else None if teacher is None else str(teacher),
        "student": held.student.name if held.student else None if student is None else str(student),
        "augment": "none" if options.get("augmented") and method == _DEFAULT else method,
        "kd_loss": loss_name(loss),
    }
    out = options.pop("out", None)
    if options.get("resume") and not out:
        raise InputError("resume: only a run with a folder can be resumed; name it by out.")
    with tempfile.TemporaryDirectory(prefix="augpro-") as folder:
        if not out:
            options["trainer_options"] = _saves_nothing(options.get("trainer_options", {}))
        config = build(DistillConfig, {**names, **options, "out": out or Path(folder) / "run"}, "distill")
        assert isinstance(config, DistillConfig)
        check_output(config)
        with _ONE_AT_A_TIME, global_random_kept(), torch.inference_mode(False), torch.enable_grad():
            return run_plan(make_plan(config, held), _callbacks(callbacks))


def augment_texts(
    texts: Iterable[str],
    model: Any,
    *,
    pairs: Iterable[str] | None = None,
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
        InputError: if the model cannot be loaded, a text is none, or pairs or classes are not as many as the texts.

    Example:
        >>> from augpro.testing import tiny_classifier, tiny_tokenizer
        >>> tokenizer = tiny_tokenizer()
        >>> held = tiny_classifier(len(tokenizer)), tokenizer
        >>> augment_texts(["the movie is great", "my server was slow"], held, augment="crossover", seed=3)
        [['the server was great', 'the server was great']]
    """
    if not isinstance(copies, int) or copies < 0:
        raise InputError(f"copies: must be a whole number from 0, not {copies!r}.")
    method = _method(augment) or augmenter(str(augment))
    method.check()
    if not method.makes_text:
        raise ValueError(
            f"{_kind(method)} makes no text, but points between texts; use a method such as augpro-mix"
        )
    columns = held_texts("texts", texts, pairs)
    with _ONE_AT_A_TIME, global_random_kept():  # what is loaded draws the weights that it lacks
        source = _held("model", model) or ModelSource(str(model))
        tokenizer = source.load_tokenizer()
        table = source.load_classifier().get_input_embeddings().get_parameter("weight")
        space = EmbeddingSpace(table, Vocabulary(tokenizer, len(table)))
        rows = tokenize(tokenizer, *columns)
        known = None if classes is None else _classes(classes, len(rows))
        made: list[Any] = []
        if not len(rows):
            return [[] for _ in range(copies)]
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


def _method(given: Any) -> Augmenter | None:
    """A method that is held; None for a name."""
    if isinstance(given, str):
        return None
    if isinstance(given, Augmenter):
        return given
    name = given.__name__ if isinstance(given, type) else type(given).__name__
    fix = "give 'none', the name of a method, or a method such as Random(replace_fraction=0.3)"
    if hasattr(given, "move"):
        fix = f"it moves embeddings; give Projected({name}(...)), which makes text of it"
    elif isinstance(given, type) and issubclass(given, Augmenter):
        fix = f"it is a class; give an object of it, {name}(...)"
    raise InputError(f"augment: {name} is no method; {fix}.")


def _loss(given: Any) -> KDForm | None:
    """A loss that is held; None for a name."""
    if isinstance(given, str):
        return None
    if not callable(given) or isinstance(given, type):
        fix = f"an object of it, {given.__name__}(...)" if isinstance(given, type) else "a name or a function"
        raise InputError(f"loss: {loss_name(given)} is no function of logits; give {fix}.")
    form: Callable[..., torch.Tensor] = given
    return form


def _saves_nothing(options: Any) -> Any:
    """Options of the Trainer for a folder that will be gone: no checkpoint, but to find the best one."""
    if not isinstance(options, Mapping) or options.get("load_best_model_at_end"):
        return options
    return {"save_strategy": "no", **options}


def _callbacks(given: Any) -> list[Any]:
    """Callbacks of the Trainer, or classes of them."""
    listed = list(given) if isinstance(given, Iterable) else [given]
    for one in listed:
        if not (
            isinstance(one, TrainerCallback) or (isinstance(one, type) and issubclass(one, TrainerCallback))
        ):
            raise InputError(
                f"callbacks: {type(one).__name__} is no transformers.TrainerCallback; give a list of them."
            )
    return listed


def _classes(given: Iterable[Any], rows: int) -> torch.Tensor:
    """The class of every row, int64 [N]."""
    classes = list(given)
    if len(classes) != rows:
        raise InputError(f"classes: {len(classes)} for {rows} texts; give the class of every text.")
    try:
        return torch.tensor([int(one) for one in classes])
    except (TypeError, ValueError) as error:
        raise InputError(f"classes: must be whole numbers ({error}); number the classes from 0.") from error


def _kind(method: Any) -> str:
    """What a method is called in the results; "none" would be none."""
    return {"none": "own"}.get(name := type(method).__name__.lower(), name)
