"""Baselines without distillation, by name: methods of ``augpro compare``."""

from dataclasses import fields
from typing import Any

from augpro.baselines.base import Baseline, Features, Setting
from augpro.baselines.embeddings import Embeddings
from augpro.baselines.setfit import SetFit
from augpro.baselines.static import Static
from augpro.baselines.tfidf import TfIdf

__all__ = ["BASELINES", "Baseline", "Features", "Setting", "baseline", "is_baseline"]

BASELINES: dict[str, type[Any]] = {
    "tfidf": TfIdf,
    "embeddings": Embeddings,
    "static": Static,
    "setfit": SetFit,
}


def baseline(name: str, **options: Any) -> Baseline:
    """Build a baseline from its name and options.

    Raises:
        ValueError: if an option or its value is wrong; the message names it.

    Example:
        >>> baseline("embeddings", model="teacher")
        Embeddings(model='teacher')
    """
    kind = BASELINES[name]
    known = [field.name for field in fields(kind)]
    for key in options:
        if key not in known:
            raise ValueError(f"{name} has no option {key!r}; it has {', '.join(known)} and train_rows")
    built: Baseline = kind(**options)
    return built


def is_baseline(method: str) -> bool:
    """Whether a method of a comparison, with its options, is a baseline.

    >>> is_baseline("embeddings:model=teacher"), is_baseline("augpro-mix")
    (True, False)
    """
    return method.split(":")[0] in BASELINES
