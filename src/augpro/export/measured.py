"""What an export has made and measured."""

from dataclasses import dataclass, field

from augpro.export.parity import Parity
from augpro.export.timing import Speed


@dataclass(frozen=True)
class Sizes:
    """Sizes of the files, in bytes, and numbers of tokens.

    Attributes:
        model_before: the weights of the PyTorch model.
        model: ``model.onnx``.
        tokenizer: ``tokenizer.json``.
        tokens: of the model before.
        kept_tokens: of the exported model.
        teacher: the weights of the teacher; None without one.
    """

    model_before: int
    model: int
    tokenizer: int
    tokens: int
    kept_tokens: int
    teacher: int | None = None


@dataclass(frozen=True)
class Exported:
    """What an export has made and measured.

    Attributes:
        sizes: in bytes, and numbers of tokens.
        shapes: largest difference of logits from PyTorch at three shapes, before int8.
        parity: on the rows of --data; None without.
        speeds: of each model at each shape; empty without timing.
        cold_starts: seconds until the first answer by model; empty without timing.
        notes: for the user.
    """

    sizes: Sizes
    shapes: float
    parity: Parity | None
    speeds: list[Speed] = field(default_factory=list)
    cold_starts: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
