"""Python objects that replace what a configuration names."""

from dataclasses import dataclass

from augpro.augment import Augmenter
from augpro.data.sources import Source
from augpro.losses import KDForm
from augpro.models.source import ModelSource


@dataclass(frozen=True)
class Given:
    """Python objects that replace what the configuration names; None keeps the configuration's.

    Attributes:
        data: the rows.
        teacher: the model that labels.
        student: the model to start from.
        augmenter: the augmentation method.
        loss: a function with the signature of :func:`augpro.losses.kl_loss`.
    """

    data: Source | None = None
    teacher: ModelSource | None = None
    student: ModelSource | None = None
    augmenter: Augmenter | None = None
    loss: KDForm | None = None


NOTHING = Given()
