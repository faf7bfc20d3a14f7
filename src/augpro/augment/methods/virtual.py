"""Methods without text: teacher and student run on changed embeddings (AugPro without the projection).

There are no tokens, so a row is a function that runs a model (:class:`~augpro.augment.base.VirtualRows`). The teacher
must share the student's tokenizer, so that both models have the same token at the same position.

Two rows are mixed position by position, including special tokens. Where only one of them has a token, this token is
used as it is, and the attention mask covers both rows: padding is never mixed in.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Protocol

import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor

from augpro.augment.base import AugmentContext, Augmenter, VirtualRows
from augpro.augment.checks import check_range
from augpro.augment.gradient import embedding_gradient, override_output, require_student, without_dropout
from augpro.augment.methods.perturb import check_mixing, move_along, row_weights
from augpro.augment.partners import Partner
from augpro.projection.neighbours import mix
from augpro.tokens import TokenBatch, padded


@dataclass(frozen=True)
class Pairing:
    """Rows, their partners and the mixing weights; both are padded to one length.

    Attributes:
        own: the rows, [B, T].
        other: their partners, [B, T].
        weight: weight of the own token, [B, T]: lambda where both have a token; 1 or 0 where only one has.
    """

    own: TokenBatch
    other: TokenBatch
    weight: Tensor

    def mixed(self, own: Tensor, other: Tensor) -> Tensor:
        """The convex combination of two tensors [B, T, D]."""
        return mix(own, other, self.weight[..., None].to(own.dtype))

    def union(self) -> TokenBatch:
        """Rows with a token wherever one of the two has one: the own token, else the partner's."""
        own = self.own.mask.bool()
        picked: dict[str, Any] = {
            key: torch.where(own, value, getattr(self.other, key))
            for key, value in self.own.tensors().items()
            if key in ("ids", "segments", "type_ids")
        }
        return replace(self.own, mask=(own | self.other.mask.bool()).to(self.own.mask), **picked)


class Mixing(Protocol):
    """Parameters for mixing two rows; see :class:`Mixup`."""

    @property
    def weight(self) -> float: ...  # noqa: D102

    @property
    def beta(self) -> float | None: ...  # noqa: D102

    @property
    def partner(self) -> Partner: ...  # noqa: D102


def pair(batch: TokenBatch, context: AugmentContext, method: "Mixing", name: str) -> Pairing:
    """Draw each row's partner and weight."""
    other = context.partners(name, batch, method.partner).to(batch.ids.device)
    length, pad_id = max(batch.ids.shape[1], other.ids.shape[1]), context.rows(name).pad_id
    own, other = (padded(side, length, pad_id) for side in (batch, other))
    drawn = row_weights(method.weight, method.beta, batch, context)[:, None].expand(len(own.ids), length)
    both = own.mask.bool() & other.mask.bool()
    alone = torch.where(other.mask.bool() & ~own.mask.bool(), 0.0, 1.0)
    return Pairing(own, other, torch.where(both, drawn, alone))


@dataclass(frozen=True)
class Mixup(Augmenter):
    """Mixup of word embeddings; each model mixes its own, and the teacher labels the mixed row (MixKD).

    Cost: one more row for the teacher and for the student, as for a text. Needs the same tokenizer;
    the widths may differ.

    Attributes:
        weight: weight of the row's own embedding, lambda in [0, 1]; used if ``beta`` is none.
        beta: lambda is drawn for each row from Beta(beta, beta).
        partner: as in :class:`~augpro.augment.methods.perturb.Mix`.

    Raises:
        ValueError: if a value is out of range.

    Source: Zhang et al. 2018 (arXiv 1710.09412), whose ImageNet runs use beta from 0.1 to 0.4; for
    distillation Liang et al. 2021 (MixKD, arXiv 2011.00593).
    """

    mixes_rows: ClassVar[bool] = True
    makes_text: ClassVar[bool] = False
    teacher_shares: ClassVar[Literal["text", "tokens", "width"]] = "tokens"
    excludes: ClassVar[tuple[str, ...]] = ("torch_compile",)

    weight: float = 0.5
    beta: float | None = 0.4
    partner: Partner = "random"

    def __post_init__(self) -> None:
        check_mixing(self.weight, self.beta, self.partner)

    def __call__(self, batch: TokenBatch, context: AugmentContext) -> VirtualRows:
        """Mix every row with a partner."""
        pairing = pair(batch, context, self, "mixup")
        inputs = pairing.union().model_inputs()

        def run(model: Any) -> Tensor:
            embeddings = word_embeddings(model)

            def mixed(_module: Any, _inputs: Any, _output: Any) -> Tensor:
                # forward() directly: calling the module would run this hook again.
                own, other = (embeddings.forward(side.ids) for side in (pairing.own, pairing.other))
                return pairing.mixed(own, other)

            with override_output(embeddings, mixed):
                logits: Tensor = model(**inputs).logits
            return logits

        return VirtualRows(run)


def word_embeddings(model: Any) -> Any:
    """The word embedding module of a model, which may be wrapped."""
    return extract_model_from_parallel(model).get_input_embeddings()


def shifted(batch: TokenBatch, offset: Tensor) -> VirtualRows:
    """The batch with an offset [B, T, D] added to the model's word embeddings."""

    def run(model: Any) -> Tensor:
        with override_output(
            word_embeddings(model), lambda _module, _inputs, output: output + offset.to(output.dtype)
        ):
            logits: Tensor = model(**batch.model_inputs()).logits
        return logits

    return VirtualRows(run)


@dataclass(frozen=True)
class VirtualFGSM(Augmenter):
    """Moves every word embedding one step along the gradient of the student's loss; the teacher labels the result.

    Cost: a forward and a backward pass of the student, and one more row for teacher and student. Needs the
    same tokenizer and the same embedding width, because the teacher's embeddings get the same offset.

    Attributes:
        step: length of the step as a share of the mean norm of the row's embeddings, in [0, 1000].

    Raises:
        ValueError: if a value is out of range.

    Source: Goodfellow et al. 2015 (arXiv 1412.6572); on word embeddings with an L2 step Miyato et al. 2017
    (arXiv 1605.07725); as a baseline of AugPro, Wang et al. 2023 (arXiv 2210.11768).
    """

    needs_student: ClassVar[bool] = True
    makes_text: ClassVar[bool] = False
    teacher_shares: ClassVar[Literal["text", "tokens", "width"]] = "width"
    excludes: ClassVar[tuple[str, ...]] = ("torch_compile",)

    step: float = 0.5

    def __post_init__(self) -> None:
        check_range("step", self.step, 0.0, 1e3)

    def __call__(self, batch: TokenBatch, context: AugmentContext) -> VirtualRows:
        """Compute the offset with the current student."""
        student, row_loss = require_student("fgsm", context)
        gradient = embedding_gradient(student, batch, row_loss, context.targets("fgsm", batch))
        inside = (batch.segments >= 0)[..., None]
        length = context.space.table[batch.ids].norm(dim=-1, keepdim=True)
        length = (length * inside).sum(1, keepdim=True) / inside.sum(1, keepdim=True).clamp_min(1)
        offset = move_along(torch.zeros_like(gradient), gradient, self.step * length) * inside
        return shifted(batch, offset)


@dataclass(frozen=True)
class Smart(Augmenter):
    """Smoothness regularization: the student's output should not change in the worst direction around a text.

    The loss is the symmetric KL divergence between the student's outputs on the text and on the text plus a small
    offset (squared error for a regression). It replaces the distillation term of augmented rows, with its weight.
    Cost: two forward passes and a backward pass of the student more than one virtual row; no teacher.

    Attributes:
        step: largest change of a coordinate, in the units of the embedding table, in [0, 1e6].
        noise: standard deviation of the random point at which the gradient is computed, in [1e-9, 1e6].

    Raises:
        ValueError: if a value is out of range.

    Source: Jiang et al. 2020 (SMART, arXiv 1911.03437) with one ascent step in the infinity norm; defaults
    are those of its reference code (mt-dnn, ``SmartPerturbation``), whose command line has 1e-5 as step.
    """

    needs_student: ClassVar[bool] = True
    makes_text: ClassVar[bool] = False
    needs_dropout: ClassVar[bool] = True
    # The two outputs are so close that in half precision their difference is only rounding error.
    excludes: ClassVar[tuple[str, ...]] = ("bf16", "fp16", "torch_compile")

    step: float = 1e-3
    noise: float = 1e-5

    def __post_init__(self) -> None:
        check_range("step", self.step, 0.0, 1e6)
        check_range("noise", self.noise, 1e-9, 1e6)

    def __call__(self, batch: TokenBatch, context: AugmentContext) -> VirtualRows:
        """Compute the worst direction with the current student."""
        student, row_loss = require_student("smart", context)
        rows, positions = batch.ids.shape
        width = context.space.table.shape[1]
        start = context.rng.normal("noise", batch.row_ids, positions * width).view(rows, positions, width)
        inside = batch.mask[..., None].to(start)
        with without_dropout(student), torch.no_grad():
            clean = student(**batch.model_inputs()).logits
        gradient = embedding_gradient(student, batch, row_loss, clean, offset=self.noise * start * inside)
        largest = gradient.abs().amax(-1, keepdim=True)
        offset = self.step * gradient / torch.where(largest > 0, largest, 1.0) * inside
        return replace(shifted(batch, offset), labelled_by="student")
