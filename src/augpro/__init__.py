"""augpro: distil a large text classifier into a small one with projected augmentation.

The public names are loaded when they are first used, so that importing the package is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from augpro.augment import augmenter
    from augpro.config import DistillConfig, EvaluateConfig, FinetuneConfig
    from augpro.data.loading import DataSpec, load_data
    from augpro.distill.pipeline import run
    from augpro.distill.scoring import evaluate_model
    from augpro.errors import InputError
    from augpro.losses import Objective
    from augpro.projection import Projection
    from augpro.results.result import RunResult
    from augpro.training.trainer import DistillationTrainer

__version__ = "0.1.0"

_HOME = {
    "DataSpec": "data.loading",
    "DistillConfig": "config",
    "DistillationTrainer": "training.trainer",
    "EvaluateConfig": "config",
    "FinetuneConfig": "config",
    "InputError": "errors",
    "Objective": "losses",
    "Projection": "projection",
    "RunResult": "results.result",
    "augmenter": "augment",
    "evaluate_model": "distill.scoring",
    "load_data": "data.loading",
    "run": "distill.pipeline",
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
