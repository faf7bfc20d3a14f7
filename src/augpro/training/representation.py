"""Losses on the teacher's hidden states, their relations, and the pooled vector before the last linear layer.

The teacher reads the original and augmented rows of a step once more, and these terms are added:

    hidden_weight * mean over pairs of layers of state_loss(W_l s_l, t_l)
    + relation_weight * mean over pairs of layers of relation_loss(s_l, t_l)
    + pooled_weight * state_loss(W s, t)

s and t are hidden states of one layer, or pooled vectors. Each W is a learned linear map if the widths differ, and
the identity if they are equal. Virtual rows (as of mixup) have no such terms, only their originals.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from augpro.errors import InputError
from augpro.losses import relation_loss, state_loss
from augpro.models.reading import ROWS_AT_ONCE, autocast
from augpro.teachers.teacher import Teacher
from augpro.tokens import TokenBatch, TokenTable, tokenize
from augpro.training.meter import Meter
from augpro.vocabulary import Vocabulary

_MAPS = "representation_maps"  # attribute of the student during training


@dataclass(frozen=True)
class Matching:
    """What a student matches of its teacher in addition to the logits.

    Attributes:
        hidden_weight: weight of the hidden states.
        relation_weight: weight of the cosines between the hidden states of a row.
        pooled_weight: weight of the inputs of the last linear layers.
        layers: (student layer, teacher layer) of every pair, counted from 0; empty without hidden states.
    """

    hidden_weight: float = 0.0
    relation_weight: float = 0.0
    pooled_weight: float = 0.0
    layers: tuple[tuple[int, int], ...] = ()

    def describe(self) -> str:
        """The weights and pairs of layers, as text."""
        weights = {
            "hidden": self.hidden_weight,
            "relation": self.relation_weight,
            "pooled": self.pooled_weight,
        }
        parts = [f"{name} {weight:g}" for name, weight in weights.items() if weight]
        pairs = [f"{student} as {teacher}" for student, teacher in self.layers]
        return ", ".join(parts) + (f" (student layer {', '.join(pairs)} of the teacher)" if pairs else "")


@dataclass(frozen=True)
class States:
    """States of a model for some rows.

    Attributes:
        hidden: hidden states of the requested layers, float32 [B, T, D] each.
        pooled: input of the last linear layer, float32 [B, D]; None if not requested.
    """

    hidden: tuple[Tensor, ...]
    pooled: Tensor | None


class StateReader:
    """Runs a sequence classifier and returns hidden states and the pooled vector with the logits.

    The pooled vector is the input of the linear layer that computes the logits: the pooler's output for BERT, a dense
    layer of the first token for RoBERTa, the last token's state for a decoder.

    Args:
        model: the classifier; it has a hook on its head until :meth:`close`.
        layers: layers whose hidden states are returned, counted from 0.
        pooled: whether to return the pooled vector.

    Raises:
        InputError: if the pooled vector is requested and no linear layer computes the logits.
    """

    def __init__(self, model: PreTrainedModel, layers: Sequence[int], pooled: bool) -> None:
        self.name = type(model).__name__
        self.layers = layers
        self._reading = False
        self._seen: Tensor | None = None
        # Registered once, not per pass: compiled code keeps the hooks from its compilation.
        self._hook = _last_linear(model).register_forward_pre_hook(self._keep) if pooled else None

    def __call__(self, model: Any, batch: TokenBatch) -> tuple[Tensor, States]:
        """Logits [B, C] and states of a batch in the model's own tokens.

        Args:
            model: the classifier, perhaps wrapped by a Trainer.
            batch: B rows.

        Raises:
            InputError: if the model does not return one state for each token and layer, or does not call its head.
        """
        asked = {"output_hidden_states": True} if self.layers else {}
        self._reading = True
        output = model(**batch.model_inputs(), **asked)
        self._reading = False
        states = (getattr(output, "hidden_states", None) or ())[1:]  # the first entry is the embeddings
        hidden = tuple(states[layer].float() for layer in self.layers if layer < len(states))
        if [state.shape[:2] for state in hidden] != [batch.ids.shape] * len(self.layers):
            raise InputError(
                f"{self.name}: does not give one hidden state for each token and layer; "
                "leave out --hidden-weight and --relation-weight."
            )
        if self._hook is not None and self._seen is None:
            raise InputError(f"{self.name}: does not call its last linear layer; leave out --pooled-weight.")
        pooled, self._seen = self._seen, None
        return output.logits, States(
            hidden, None if pooled is None else _one_a_row(pooled, batch.mask).float()
        )

    def close(self) -> None:
        """Remove the hook."""
        if self._hook is not None:
            self._hook.remove()

    def _keep(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if self._reading:
            self._seen = inputs[0]


def _last_linear(model: PreTrainedModel) -> nn.Linear:
    """The linear layer that computes the logits."""
    outputs = model.config.num_labels
    layers = [
        part for part in model.modules() if isinstance(part, nn.Linear) and part.out_features == outputs
    ]
    if not layers:
        raise InputError(
            f"{type(model).__name__}: has no linear layer with {outputs} outputs (its logits); "
            "leave out --pooled-weight."
        )
    return layers[-1]


def _one_a_row(read: Tensor, mask: Tensor) -> Tensor:
    """One vector per row, [B, D]; a decoder's head reads every token, and the last one is used."""
    return read if read.dim() == 2 else read[torch.arange(len(read), device=read.device), mask.sum(1) - 1]


@dataclass
class RepresentationLoss:
    """Runs the student on a batch and computes the distance of its states to the teacher's.

    Attributes:
        matching: weights and pairs of layers.
        teacher: the teacher, with its own tokenizer.
        tokenizer: the student's.
        table: the training rows in the student's tokens, with their texts.
        vocabulary: decodes augmented rows; not needed without augmentation or with the same tokenizer.
        seed: initializes the maps.
        meter: records the phase "teacher".
        rows: number of rows that the teacher has read so far.
        half: precision of the teacher, bfloat16 or float16; None for float32. The Trainer sets it.
    """

    matching: Matching
    teacher: Teacher
    tokenizer: PreTrainedTokenizerBase
    table: TokenTable
    vocabulary: Vocabulary | None = None
    seed: int = 0
    meter: Meter = field(default_factory=Meter)
    rows: int = 0
    half: torch.dtype | None = field(default=None, init=False)
    maps: nn.ModuleDict = field(default_factory=nn.ModuleDict, init=False)

    def attach(self, student: PreTrainedModel) -> None:
        """Prepare the student: run both models on one row and create maps where their widths differ.

        The maps are a submodule of the student until :meth:`detach`, so the Trainer moves, trains, clips and saves
        them like its other weights.

        Raises:
            InputError: if a model lacks what is to be matched.
            ValueError: if hidden states are to be matched and the tokens differ.
        """
        if self.matching.layers and not self.teacher.reads_rows_of(self.tokenizer, self.table.limit or 0):
            raise ValueError(
                "hidden states need a teacher with the student's tokenizer and at least its maximum length"
            )
        layers, pooled = self.matching.layers, self.matching.pooled_weight > 0
        self._student_reader = StateReader(student, [layer for layer, _ in layers], pooled)
        self._teacher_reader = StateReader(self.teacher.model, [layer for _, layer in layers], pooled)
        row, training = self.table.batch([0]).to(student.device), student.training
        with torch.no_grad():
            _, student_states = self._student_reader(student.eval(), row)
            teacher_states = self._teacher_states(row)
        student.train(training)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            if self.matching.hidden_weight:
                for number, pair in enumerate(zip(student_states.hidden, teacher_states.hidden, strict=True)):
                    self._add_map(f"hidden_{number}", *pair)
            if student_states.pooled is not None and teacher_states.pooled is not None:
                self._add_map("pooled", student_states.pooled, teacher_states.pooled)
        if self.maps:
            student.add_module(_MAPS, self.maps.to(student.device))

    def detach(self, student: PreTrainedModel) -> None:
        """Remove the hooks of both models and the maps of the student."""
        self._student_reader.close()
        self._teacher_reader.close()
        if self.maps:
            delattr(student, _MAPS)

    def __call__(self, model: Any, batch: TokenBatch) -> tuple[Tensor, Tensor]:
        """The student's logits [B, C], and the mean of the loss over the rows.

        Args:
            model: the student, as the Trainer runs it.
            batch: rows in the student's tokens, with their texts.
        """
        with self.meter.phase("teacher"), autocast(batch.ids.device, self.half), torch.no_grad():
            teacher_states = self._teacher_states(batch)
        self.rows += len(batch.ids)
        logits, student_states = self._student_reader(model, batch)
        return logits, self.row_loss(student_states, teacher_states, batch.mask).mean()

    def row_loss(self, student: States, teacher: States, mask: Tensor) -> Tensor:
        """The weighted terms, one value per row, [B]; ``mask`` is 1 at the tokens of the hidden states, [B, T]."""
        loss, matching = torch.zeros(len(mask), device=mask.device), self.matching
        for number, (state, target) in enumerate(zip(student.hidden, teacher.hidden, strict=True)):
            if matching.hidden_weight:
                error = state_loss(self._mapped(f"hidden_{number}", state), target, mask)
                loss = loss + matching.hidden_weight / len(student.hidden) * error
            if matching.relation_weight:
                error = relation_loss(state, target, mask)
                loss = loss + matching.relation_weight / len(student.hidden) * error
        if student.pooled is not None and teacher.pooled is not None:
            error = state_loss(self._mapped("pooled", student.pooled), teacher.pooled)
            loss = loss + matching.pooled_weight * error
        return loss

    def _add_map(self, name: str, student: Tensor, teacher: Tensor) -> None:
        """Create a map from the student's width to the teacher's if they differ."""
        widths = student.shape[-1], teacher.shape[-1]
        if widths[0] != widths[1]:
            self.maps[name] = nn.Linear(*widths, bias=False)
            nn.init.orthogonal_(self.maps[name].get_parameter("weight"))

    def _mapped(self, name: str, states: Tensor) -> Tensor:
        return self.maps[name](states) if name in self.maps else states

    def _teacher_states(self, batch: TokenBatch) -> States:
        """The teacher's states of the rows; tokenized anew if its tokenizer differs."""
        shared = self.teacher.reads_rows_of(self.tokenizer, batch.ids.shape[1])
        rows = batch if shared else self._own_tokens(batch)
        parts = [self._teacher_reader(self.teacher.model, part)[1] for part in rows.parts(ROWS_AT_ONCE)]
        hidden = zip(*(part.hidden for part in parts), strict=True)
        pooled = [part.pooled for part in parts if part.pooled is not None]
        return States(tuple(map(torch.cat, hidden)), torch.cat(pooled) if pooled else None)

    def _own_tokens(self, batch: TokenBatch) -> TokenBatch:
        """The rows in the teacher's tokens, the same as for its logits."""
        if self.vocabulary is not None:
            columns = self.vocabulary.decode(batch)
        else:  # no row was changed
            first, *second = (list(column) for column in zip(*batch.texts or (), strict=True))
            columns = first, second[0] if second else None
        table = tokenize(self.teacher.tokenizer, *columns, self.teacher.limit)
        return table.batch(range(len(table))).to(batch.ids.device)
