"""augpro: distil a large text classifier into a small one with projected augmentation.

The public names are loaded when they are first used, so that importing the package is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from augpro.api import augment_texts, distill
    from augpro.augment import Compose, augmenter, register_augmenter
    from augpro.config import DistillConfig, EvaluateConfig, FinetuneConfig
    from augpro.data.loading import DataSpec, load_data
    from augpro.distillation.pipeline import run
    from augpro.distillation.scoring import evaluate_model
    from augpro.errors import InputError
    from augpro.losses import Objective, register_loss
    from augpro.projection import Projection
    from augpro.results.result import RunResult
    from augpro.training.trainer import DistillationTrainer

__version__ = "0.1.0"

_HOME = {
    "Compose": "augment",
    "DataSpec": "data.loading",
    "DistillConfig": "config",
    "DistillationTrainer": "training.trainer",
    "EvaluateConfig": "config",
    "FinetuneConfig": "config",
    "InputError": "errors",
    "Objective": "losses",
    "Projection": "projection",
    "RunResult": "results.result",
    "augment_texts": "api",
    "augmenter": "augment",
    "distill": "api",
    "evaluate_model": "distillation.scoring",
    "load_data": "data.loading",
    "register_augmenter": "augment",
    "register_loss": "losses",
    "run": "distillation.pipeline",
}

__all__ = [
    "Compose",
    "DataSpec",
    "DistillConfig",
    "DistillationTrainer",
    "EvaluateConfig",
    "FinetuneConfig",
    "InputError",
    "Objective",
    "Projection",
    "RunResult",
    "augment_texts",
    "augmenter",
    "distill",
    "evaluate_model",
    "load_data",
    "register_augmenter",
    "register_loss",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'augpro' has no attribute {name!r}")
    return getattr(import_module(f"augpro.{_HOME[name]}"), name)
