"""Objects that a program holds, in the place of what a configuration names."""

from dataclasses import dataclass

from augpro.augment import Augmenter
from augpro.data.sources import Source
from augpro.losses import KDForm
from augpro.models.source import ModelSource


@dataclass(frozen=True)
class Given:
    """What a program holds, in the place of what the configuration names.

    Attributes:
        data: the rows.
        teacher: the model that labels.
        student: the model to start from; None for the one that the configuration says.
        augmenter: the method.
        loss: called as :func:`augpro.losses.kl_loss` is.
    """

    data: Source | None = None
    teacher: ModelSource | None = None
    student: ModelSource | None = None
    augmenter: Augmenter | None = None
    loss: KDForm | None = None


NOTHING = Given()
