"""A model and a tokenizer that a program holds, in the place of a folder or hub name."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from augpro.errors import InputError
from augpro.models.source import ModelSource


@dataclass(frozen=True)
class HeldModel(ModelSource):
    """What the program holds stays as it is: what is trained, padded or moved is a copy.

    Attributes:
        model: a sequence classifier.
        tokenizer: its fast tokenizer.
    """

    model: PreTrainedModel = field(kw_only=True)
    tokenizer: PreTrainedTokenizerBase = field(kw_only=True)

    def load_config(self) -> Any:
        """A copy of the model's configuration, with its classes."""
        return copy.deepcopy(self.model.config)

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """A copy of the tokenizer, which pads as the model does and knows its positions.

        Raises:
            InputError: if it is no fast tokenizer, or has no padding token.
        """
        if not self.tokenizer.is_fast:
            raise InputError(f"{self.name}: augpro needs a fast tokenizer; load it with AutoTokenizer.")
        tokenizer = copy.deepcopy(self.tokenizer)
        tokenizer.split_special_tokens = True
        return self._fitted(tokenizer)

    def load_classifier(self, config: Any = None) -> PreTrainedModel:
        """A copy of the model in float32, with this configuration; a head that does not fit is new.

        Raises:
            InputError: if the model is no classifier.
        """
        self._check()
        model: PreTrainedModel = type(self.model)(config or self.load_config())
        shapes = {name: value.shape for name, value in model.state_dict().items()}
        fitting = {
            name: value for name, value in self.model.state_dict().items() if shapes.get(name) == value.shape
        }
        model.load_state_dict(fitting, strict=False)
        return self._padded(model.float().requires_grad_(True))

    def load_trained_classifier(self) -> PreTrainedModel:
        """The model in evaluation mode and float32, as from a folder: a copy whose weights are not trained.

        Weights that are in float32 are shared, not copied.

        Raises:
            InputError: if the model is no classifier.
        """
        self._check()
        shared: dict[int, Any] = {id(buffer): buffer for buffer in self.model.buffers()}
        for weight in self.model.parameters():
            shared[id(weight)] = torch.nn.Parameter(weight.detach(), requires_grad=False)
        return self._padded(copy.deepcopy(self.model, shared).float().eval())

    def weights(self) -> Iterator[bytes]:
        """The bytes of every weight, one by one: a copy of all of them at once might not fit."""
        for value in self.model.state_dict().values():
            yield value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()

    def _check(self) -> None:
        if "ForSequenceClassification" not in type(self.model).__name__:
            raise InputError(
                f"{self.name}: augpro needs a sequence classifier; load it with AutoModelForSequenceClassification."
            )
