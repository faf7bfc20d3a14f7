"""The interface of augmentation methods, and the context that they are called with.

An augmenter holds only parameters: it can be pickled and written as JSON, and two with equal parameters are equal.
Everything heavy (embedding table, vocabulary, training rows, student) is in the context.

Three kinds share one call, ``augmenter(batch, context)``:

- token methods return a :class:`~augpro.tokens.TokenBatch` of the same shape;
- text methods change the row's text and return its tokens, of another length;
- virtual methods return :class:`VirtualRows`: changed embeddings or hidden states, which have no text.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from typing import Any, ClassVar, Literal, TypeVar

from torch import Tensor

from augpro.augment.counts import ReplacementCounts
from augpro.augment.near import near_rows
from augpro.augment.partners import Partner, partner_rows
from augpro.augment.spaces import Space, centred, teacher_table, weighted
from augpro.projection import Projection
from augpro.projection.allowed import Metric, SearchStats
from augpro.row_random import RowRandom
from augpro.tasks import ProblemType
from augpro.tokens import TokenBatch, TokenTable
from augpro.vocabulary import Vocabulary
from augpro.vocabulary.frequency import token_frequencies

Loaded = TypeVar("Loaded")


class EmbeddingSpace:
    """The embedding table that tokens are moved in, with its vocabulary and exact projections.

    The table is a copy of the student's word embeddings before training. It does not change, so the same seed gives
    the same text in every epoch and after a restart, and no neighbour lists have to be rebuilt.

    Args:
        table: word embeddings E, float [V, D].
        vocabulary: token groups of the same V tokens.

    Attributes:
        earlier: search statistics of the run from before it was resumed.
    """

    def __init__(self, table: Tensor, vocabulary: Vocabulary) -> None:
        self.table = table.detach().float().clone()
        self.vocabulary = vocabulary
        self.groups = vocabulary.groups.to(table.device)
        self._projections: dict[tuple[Metric, Space], Projection] = {}
        self.earlier = SearchStats()

    def projection(self, metric: Metric, space: Space = "student", teacher: Any = None) -> Projection:
        """The projection for a metric and a table, see :mod:`augpro.augment.spaces`; built on first use."""
        if (metric, space) not in self._projections:
            self._projections[metric, space] = Projection(
                self.embeddings(space, teacher), self.groups, metric
            )
        return self._projections[metric, space]

    def embeddings(self, space: Space, teacher: Any = None) -> Tensor:
        """The table of this name, float32 [V, D']; computed anew at every call."""
        if space == "teacher":
            return teacher_table(teacher, self.table, self.groups)
        if space == "weighted":
            return weighted(self.table, self.groups, token_frequencies(self.vocabulary))
        return centred(self.table, self.groups) if space == "centred" else self.table

    def searched(self) -> SearchStats:
        """Search statistics of the whole run."""
        parts = [self.earlier, *(projection.work for projection in self._projections.values())]
        return SearchStats(
            *(sum(getattr(part, field.name) for part in parts) for field in fields(SearchStats))
        )


@dataclass(frozen=True)
class TrainingState:
    """Student and teacher during training, for methods that depend on them.

    Attributes:
        student: the current model.
        row_loss: its distillation loss, (student logits, teacher logits) -> [B].
        target_logits: the teacher's logits of the batch's rows, [B, C]; see :meth:`AugmentContext.targets`.
        label: computes the teacher's logits of rows in the student's tokens, batch -> [B, C].
        teacher: the teacher's model, for methods that use its gradient; it must read the student's tokens.
        problem_type: of the task.
    """

    student: Any = None
    row_loss: Callable[[Tensor, Tensor], Tensor] | None = None
    target_logits: Tensor | None = None
    label: Callable[[TokenBatch], Tensor] | None = None
    teacher: Any = None
    problem_type: ProblemType = "single_label"


@dataclass
class Store:
    """Caches of a method across calls.

    Attributes:
        loaded: models, word lists and tables that methods have loaded.
        while_loading: context manager around the loading, such as a timer.
        shared: results that the candidates of a step share, see :meth:`AugmentContext.share`; None if calls are
            independent.
    """

    loaded: dict[Hashable, Any] = field(default_factory=dict)
    while_loading: Callable[[], AbstractContextManager[Any]] = nullcontext
    shared: dict[Hashable, Any] | None = None


@dataclass
class AugmentContext:
    """Everything that an augmenter may use besides the batch.

    Attributes:
        rng: random numbers of this augmented version.
        space: embedding table, vocabulary and projections.
        table: all training rows with their texts; partner rows come from here.
        classes: the teacher's predicted class of every row of ``table``, int64 [rows], or None for a regression.
        training: student and teacher during training.
        store: caches across calls.
        counts: counts of replaced tokens; the augmenter adds to them.
    """

    rng: RowRandom
    space: EmbeddingSpace
    table: TokenTable | None = None
    classes: Tensor | None = None
    training: TrainingState = TrainingState()
    store: Store = field(default_factory=Store)
    counts: ReplacementCounts = field(default_factory=ReplacementCounts)
    _partners: dict[Hashable, TokenBatch] = field(default_factory=dict, init=False, repr=False)

    def with_targets(self, logits: Tensor | None) -> "AugmentContext":
        """A copy of the context with these teacher logits, [B, C]; with None they are computed on request."""
        return replace(self, training=replace(self.training, target_logits=logits))

    def load(self, key: Hashable, loader: Callable[[], Loaded]) -> Loaded:
        """The result of ``loader``, which is called once per key."""
        store = self.store
        if key not in store.loaded:
            with store.while_loading():
                store.loaded[key] = loader()
        result: Loaded = store.loaded[key]
        return result

    def share(self, key: Hashable, batch: TokenBatch, compute: Callable[[], Loaded]) -> Loaded:
        """The result of ``compute``, computed once for all candidates of a step that start from the same batch.

        Batches are compared by identity: a changed batch is another object with its own targets.
        """
        shared, targets = self.store.shared, self.training.target_logits
        if shared is None:
            return compute()
        entry = shared.get(key)
        if entry is None or entry[0] is not batch or entry[1] is not targets:
            entry = shared[key] = batch, targets, compute()
        result: Loaded = entry[2]
        return result

    def targets(self, method: str, batch: TokenBatch) -> Tensor:
        """The teacher's logits of the rows in their current form, [B, C]; computed anew if they were changed.

        Raises:
            ValueError: if the context has neither logits nor a teacher; the message names the method.
        """
        if self.training.target_logits is not None:
            return self.training.target_logits
        if self.training.label is None:
            raise ValueError(
                f"{method} needs the teacher's logits of its rows: pass them as TrainingState.target_logits, or pass "
                "TrainingState.label, which computes them"
            )
        return self.training.label(batch)

    def partners(self, method: str, batch: TokenBatch, partner: Partner) -> TokenBatch:
        """A partner row for each row of the batch; cached, because a method may ask twice.

        Raises:
            ValueError: as :meth:`rows` and :func:`augpro.augment.partners.partner_rows`.
        """
        rng = self.rng.within("")  # the same partner for every step of a composed method
        key = rng, partner, tuple(batch.row_ids.tolist())
        if key not in self._partners:
            table = self.rows(method)
            near = (
                self.load("near rows", partial(near_rows, table, self.space.table))
                if partner == "near"
                else None
            )
            rows = partner_rows(batch.row_ids, len(table), partner, rng, self.classes, near, table.first_row)
            self._partners[key] = table.batch(rows.cpu())
        return self._partners[key]

    def rows(self, method: str) -> TokenTable:
        """The training rows.

        Raises:
            ValueError: if the context has none; the message names the method.
        """
        if self.table is None:
            raise ValueError(f"{method} needs the training rows: pass them as AugmentContext.table")
        return self.table


@dataclass(frozen=True)
class VirtualRows:
    """Augmented rows without text.

    Attributes:
        run: maps a model to its logits for the virtual rows, [B, C].
        labelled_by: "teacher": the targets are the teacher's logits for the same virtual rows;
            "student": the student's own logits for the originals (a smoothness term).
    """

    run: Callable[[Any], Tensor]
    labelled_by: Literal["teacher", "student"] = "teacher"


class Augmenter(ABC):
    """Base class of augmentation methods; subclasses are frozen dataclasses of parameters.

    Attributes:
        needs_student: whether it uses the current student, so that it can run only during training.
        mixes_rows: whether it needs partner rows.
        makes_text: whether it returns text; else it returns virtual rows.
        teacher_shares: what the teacher must have in common with the student: "text" (nothing), "tokens"
            (the tokenizer) or "width" (the tokenizer and the embedding width).
        excludes: fields of ``TrainingArguments`` that it cannot be combined with.
        takes_turns: whether the replicas of a row must be numbered without gaps.
        needs_dropout: whether its loss compares passes of the student with different dropout.
    """

    needs_student: ClassVar[bool] = False
    mixes_rows: ClassVar[bool] = False
    makes_text: ClassVar[bool] = True
    teacher_shares: ClassVar[Literal["text", "tokens", "width"]] = "text"
    excludes: ClassVar[tuple[str, ...]] = ()
    takes_turns: ClassVar[bool] = False
    needs_dropout: ClassVar[bool] = False

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter by name, as JSON; ``augmenter(name, **parameters)`` rebuilds the object."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]

    @property
    def partner_rules(self) -> set[str]:
        """Its rules for choosing partner rows; empty if it needs none."""
        return {self.parameters.get("partner", "random")} if self.mixes_rows else set()

    @property
    def needs_all_rows(self) -> bool:
        """Whether a row's text depends on all training rows, not only on those of its block of 256."""
        return "near" in self.partner_rules

    def check(self) -> None:  # noqa: B027 - most methods need nothing
        """Check that external resources (a model, a word list) are available.

        Raises:
            augpro.errors.InputError: names the fix.
        """

    @abstractmethod
    def __call__(self, batch: TokenBatch, context: AugmentContext) -> TokenBatch | VirtualRows:
        """Augment every row once."""
