"""More of the teacher than its logits: hidden states, how they relate, and the vector that its head reads.

The teacher reads the rows of a step once more, originals and augmented text alike, and these terms are added:

    hidden_weight * mean over pairs of layers of state_loss(W_l s_l, t_l)
    + relation_weight * mean over pairs of layers of relation_loss(s_l, t_l)
    + pooled_weight * state_loss(W s, t)

s and t are hidden states of one layer, or pooled vectors. Each W is a learned linear map where the widths differ, and
left out where they are equal. Rows that are no text (mixup and its kin) have no such term; their originals have.
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

_MAPS = "representation_maps"  # the maps' name in the student while it is trained


@dataclass(frozen=True)
class Matching:
    """What a student matches of its teacher beside the logits.

    Attributes:
        hidden_weight: of the hidden states.
        relation_weight: of the cosines between the hidden states of a row.
        pooled_weight: of the vectors that the heads' last linear layers read.
        layers: (student layer, teacher layer) of every pair, counted from 0; empty without hidden states.
    """

    hidden_weight: float = 0.0
    relation_weight: float = 0.0
    pooled_weight: float = 0.0
    layers: tuple[tuple[int, int], ...] = ()

    def describe(self) -> str:
        """For people to read."""
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
    """What a model has made of some rows.

    Attributes:
        hidden: of the layers that were asked for, float32 [B, T, D] each.
        pooled: what the head's last linear layer has read, float32 [B, D]; None if it was not asked for.
    """

    hidden: tuple[Tensor, ...]
    pooled: Tensor | None


class StateReader:
    """Runs a sequence classifier and takes hidden states and the pooled vector out of the pass.

    The pooled vector is the input of the last linear layer that gives the logits, whatever the head is: the pooler's
    output for BERT, a dense layer of the first token for RoBERTa, the last token's state for a decoder.

    Args:
        model: the classifier; a hook is on its head until :meth:`close`.
        layers: whose hidden states are taken, counted from 0.
        pooled: whether the pooled vector is.

    Raises:
        InputError: if the pooled vector is asked for and no linear layer gives the logits.
    """

    def __init__(self, model: PreTrainedModel, layers: Sequence[int], pooled: bool) -> None:
        self.name = type(model).__name__
        self.layers = layers
        self._reading = False
        self._seen: Tensor | None = None
        # Once, not for each pass: compiled code keeps to the hooks that it was compiled with.
        self._hook = _last_linear(model).register_forward_pre_hook(self._keep) if pooled else None

    def __call__(self, model: Any, batch: TokenBatch) -> tuple[Tensor, States]:
        """Logits [B, C] and states of a batch in the model's own tokens.

        Args:
            model: the classifier, or what a Trainer has made of it.
            batch: B rows.

        Raises:
            InputError: if the model does not give one state for each token and layer, or does not call its head.
        """
        asked = {"output_hidden_states": True} if self.layers else {}
        self._reading = True
        output = model(**batch.model_inputs(), **asked)
        self._reading = False
        states = (getattr(output, "hidden_states", None) or ())[1:]  # the first ones are the embeddings
        hidden = tuple(states[layer].float() for layer in self.layers if layer < len(states))
        if [state.shape[:2] for state in hidden] != [batch.ids.shape] * len(self.layers):
            raise InputError(
                f"{self.name}: does not give one hidden state for each token and layer; "
                "leave --hidden-weight and --relation-weight out."
            )
        if self._hook is not None and self._seen is None:
            raise InputError(f"{self.name}: does not call its last linear layer; leave --pooled-weight out.")
        pooled, self._seen = self._seen, None
        return output.logits, States(
            hidden, None if pooled is None else _one_a_row(pooled, batch.mask).float()
        )

    def close(self) -> None:
        """Take the hook off."""
        if self._hook is not None:
            self._hook.remove()

    def _keep(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if self._reading:
            self._seen = inputs[0]


def _last_linear(model: PreTrainedModel) -> nn.Linear:
    """The layer that gives the logits."""
    outputs = model.config.num_labels
    found = [part for part in model.modules() if isinstance(part, nn.Linear) and part.out_features == outputs]
    if not found:
        raise InputError(
            f"{type(model).__name__}: has no linear layer that gives its {outputs} logits; leave --pooled-weight out."
        )
    return found[-1]


def _one_a_row(read: Tensor, mask: Tensor) -> Tensor:
    """One vector a row, [B, D]: a decoder's head reads every token, and the last one decides."""
    return read if read.dim() == 2 else read[torch.arange(len(read), device=read.device), mask.sum(1) - 1]


@dataclass
class RepresentationLoss:
    """Runs the student on a batch and adds up what its states are away from the teacher's.

    Attributes:
        matching: weights and pairs of layers.
        teacher: the teacher, with its own tokenizer.
        tokenizer: the student's.
        table: the training rows in the student's tokens, with their texts.
        vocabulary: turns augmented rows into text; not needed where there are none, or the tokenizers are the same.
        seed: of the maps.
        meter: charged with the phase "teacher".
        rows: that the teacher has read so far.
        half: what the teacher computes in, bfloat16 or float16; None for float32. The Trainer sets it.
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
        """Make the student ready: it and the teacher read one row, and maps are made where their widths differ.

        The maps are a part of the student from here to :meth:`detach`, so the Trainer moves them to its device,
        trains them, clips their gradients, and keeps them in its checkpoints, as it does with the rest.

        Raises:
            InputError: if a model lacks what is to be matched.
            ValueError: if hidden states are to be matched and the tokens are not the same.
        """
        if self.matching.layers and not self.teacher.reads_rows_of(self.tokenizer, self.table.limit or 0):
            raise ValueError(
                "hidden states need a teacher that reads the student's tokens, and as many of them"
            )
        layers, pooled = self.matching.layers, self.matching.pooled_weight > 0
        self._ours = StateReader(student, [ours for ours, _ in layers], pooled)
        self._theirs = StateReader(self.teacher.model, [theirs for _, theirs in layers], pooled)
        row, training = self.table.batch([0]).to(student.device), student.training
        with torch.no_grad():
            _, ours = self._ours(student.eval(), row)
            theirs = self._teacher_states(row)
        student.train(training)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            if self.matching.hidden_weight:
                for number, pair in enumerate(zip(ours.hidden, theirs.hidden, strict=True)):
                    self._add_map(f"hidden_{number}", *pair)
            if ours.pooled is not None and theirs.pooled is not None:
                self._add_map("pooled", ours.pooled, theirs.pooled)
        if self.maps:
            student.add_module(_MAPS, self.maps.to(student.device))

    def detach(self, student: PreTrainedModel) -> None:
        """Make student and teacher the ordinary models that they were; the maps have done their work."""
        self._ours.close()
        self._theirs.close()
        if self.maps:
            delattr(student, _MAPS)

    def __call__(self, model: Any, batch: TokenBatch) -> tuple[Tensor, Tensor]:
        """The student's logits [B, C], and the mean of the loss over the rows.

        Args:
            model: the student, as the Trainer runs it.
            batch: rows in the student's tokens, with their texts.
        """
        with self.meter.phase("teacher"), autocast(batch.ids.device, self.half), torch.no_grad():
            theirs = self._teacher_states(batch)
        self.rows += len(batch.ids)
        logits, ours = self._ours(model, batch)
        return logits, self.row_loss(ours, theirs, batch.mask).mean()

    def row_loss(self, ours: States, theirs: States, mask: Tensor) -> Tensor:
        """The weighted terms, one value a row, [B]; ``mask`` is 1 at the tokens of the hidden states, [B, T]."""
        loss, matching = torch.zeros(len(mask), device=mask.device), self.matching
        for number, (student, teacher) in enumerate(zip(ours.hidden, theirs.hidden, strict=True)):
            if matching.hidden_weight:
                error = state_loss(self._mapped(f"hidden_{number}", student), teacher, mask)
                loss = loss + matching.hidden_weight / len(ours.hidden) * error
            if matching.relation_weight:
                error = relation_loss(student, teacher, mask)
                loss = loss + matching.relation_weight / len(ours.hidden) * error
        if ours.pooled is not None and theirs.pooled is not None:
            error = state_loss(self._mapped("pooled", ours.pooled), theirs.pooled)
            loss = loss + matching.pooled_weight * error
        return loss

    def _add_map(self, name: str, student: Tensor, teacher: Tensor) -> None:
        """A map from the student's width to the teacher's, if they differ."""
        widths = student.shape[-1], teacher.shape[-1]
        if widths[0] != widths[1]:
            self.maps[name] = nn.Linear(*widths, bias=False)
            nn.init.orthogonal_(self.maps[name].get_parameter("weight"))

    def _mapped(self, name: str, states: Tensor) -> Tensor:
        return self.maps[name](states) if name in self.maps else states

    def _teacher_states(self, batch: TokenBatch) -> States:
        """The teacher's states of the rows, in its own tokens where those are others."""
        shared = self.teacher.reads_rows_of(self.tokenizer, batch.ids.shape[1])
        read = batch if shared else self._own_tokens(batch)
        parts = [self._theirs(self.teacher.model, part)[1] for part in read.parts(ROWS_AT_ONCE)]
        hidden = zip(*(part.hidden for part in parts), strict=True)
        pooled = [part.pooled for part in parts if part.pooled is not None]
        return States(tuple(map(torch.cat, hidden)), torch.cat(pooled) if pooled else None)

    def _own_tokens(self, batch: TokenBatch) -> TokenBatch:
        """The rows in the teacher's tokens: each as the teacher is given it for its label."""
        if self.vocabulary is not None:
            columns = self.vocabulary.decode(batch)
        else:  # no row was changed
            first, *second = (list(column) for column in zip(*batch.texts or (), strict=True))
            columns = first, second[0] if second else None
        table = tokenize(self.teacher.tokenizer, *columns, self.teacher.limit)
        return table.batch(range(len(table))).to(batch.ids.device)
