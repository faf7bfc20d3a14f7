"""augpro: distil a large text classifier into a small one with projected augmentation.

The public names are loaded when they are first used, so that importing the package is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from augpro.augment import augmenter
    from augpro.config import DistillConfig, EvaluateConfig, FinetuneConfig
    from augpro.data import DataSpec, load_data
    from augpro.errors import InputError
    from augpro.losses import Objective
    from augpro.pipeline import run
    from augpro.projection import Projection
    from augpro.results import RunResult
    from augpro.scoring import evaluate_model
    from augpro.trainer import DistillationTrainer

__version__ = "0.1.0"

_HOME = {
    "DataSpec": "data",
    "DistillConfig": "config",
    "DistillationTrainer": "trainer",
    "EvaluateConfig": "config",
    "FinetuneConfig": "config",
    "InputError": "errors",
    "Objective": "losses",
    "Projection": "projection",
    "RunResult": "results",
    "augmenter": "augment",
    "evaluate_model": "scoring",
    "load_data": "data",
    "run": "pipeline",
}

__all__ = [
    "DataSpec",
    "DistillConfig",
    "DistillationTrainer",
    "EvaluateConfig",
    "FinetuneConfig",
    "InputError",
    "Objective",
    "Projection",
    "RunResult",
    "augmenter",
    "evaluate_model",
    "load_data",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'augpro' has no attribute {name!r}")
    return getattr(import_module(f"augpro.{_HOME[name]}"), name)
