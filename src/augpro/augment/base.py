"""The call shapes of augmentation, and what an augmenter may look at.

An augmenter is parameters only: it pickles, prints as JSON, and two with equal parameters are equal.
Everything heavy (embedding table, vocabulary, training rows, student) comes in with the context.

Three kinds share one call, ``augmenter(batch, context)``:

- token methods return a :class:`~augpro.tokens.TokenBatch` of the same shape;
- text methods change the row's text and return what the student's tokenizer makes of it;
- virtual methods return :class:`VirtualRows`: points between texts that only a model can read.
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
from augpro.augment.spaces import Space, centred, teacher_table
from augpro.projection import Projection
from augpro.projection.candidates import Metric, SearchStats
from augpro.row_random import RowRandom
from augpro.tokens import TokenBatch, TokenTable
from augpro.vocabulary import Vocabulary

Loaded = TypeVar("Loaded")


class EmbeddingSpace:
    """The embedding table that tokens are moved in, with its vocabulary and exact projections.

    The table is the student's word embeddings as they are when the space is made, before training: the
    geometry of the pretrained model, fixed, so that the same seed gives the same text in every epoch
    and after a restart, and nothing is rebuilt while the student changes.

    Args:
        table: word embeddings E, float [V, D].
        vocabulary: candidate groups of the same V tokens.

    Attributes:
        earlier: what the searches of a run have cost before it was resumed.
    """

    def __init__(self, table: Tensor, vocabulary: Vocabulary) -> None:
        self.table = table.detach().float().clone()
        self.vocabulary = vocabulary
        self.groups = vocabulary.groups.to(table.device)
        self._projections: dict[tuple[Metric, Space], Projection] = {}
        self.earlier = SearchStats()

    def projection(self, metric: Metric, space: Space = "student", teacher: Any = None) -> Projection:
        """The projection for a metric and a table, see :mod:`augpro.augment.spaces`; built when first asked for."""
        if (metric, space) not in self._projections:
            self._projections[metric, space] = Projection(self._table(space, teacher), self.groups, metric)
        return self._projections[metric, space]

    def _table(self, space: Space, teacher: Any) -> Tensor:
        if space == "teacher":
            return teacher_table(teacher, self.table, self.groups)
        return centred(self.table, self.groups) if space == "centred" else self.table

    def searched(self) -> SearchStats:
        """What all searches of the run have cost."""
        work = [self.earlier, *(projection.work for projection in self._projections.values())]
        return SearchStats(
            *(sum(getattr(each, field.name) for each in work) for field in fields(SearchStats))
        )

    def shares(self) -> dict[str, float]:
        """Share of the different queries that were compared with every candidate; empty without a query."""
        work = self.searched()
        return {"searched_in_full": work.in_full / work.distinct} if work.distinct else {}


@dataclass(frozen=True)
class TrainingState:
    """What there is only while a student is trained, for methods that follow it.

    Attributes:
        student: the model as it is now.
        row_loss: its distillation loss, (student logits, teacher logits) -> [B].
        target_logits: the teacher's logits of the batch's rows, [B, C]; see :meth:`AugmentContext.targets`.
        label: the teacher's logits of any rows in the student's tokens, batch -> [B, C].
        teacher: its model, for methods that follow its gradient too; it must read the student's tokens.
    """

    student: Any = None
    row_loss: Callable[[Tensor, Tensor], Tensor] | None = None
    target_logits: Tensor | None = None
    label: Callable[[TokenBatch], Tensor] | None = None
    teacher: Any = None


@dataclass
class Store:
    """What a method keeps from call to call, so that it is made once.

    Attributes:
        loaded: models, word lists and tables that methods have loaded.
        while_loading: what surrounds the loading, such as a clock.
        shared: what the candidates of a step share, see :meth:`AugmentContext.share`; None where every call is by
            itself.
    """

    loaded: dict[Hashable, Any] = field(default_factory=dict)
    while_loading: Callable[[], AbstractContextManager[Any]] = nullcontext
    shared: dict[Hashable, Any] | None = None


@dataclass
class AugmentContext:
    """What an augmenter may look at beside the batch.

    Attributes:
        rng: the random numbers of this version.
        space: embedding table, vocabulary and projections.
        table: all training rows with their texts, where partners come from.
        classes: the teacher's class of every row of ``table``, int64 [rows], or None for a regression.
        training: student and teacher, where there is a training.
        store: what was loaded before.
        counts: filled by the augmenter.
    """

    rng: RowRandom
    space: EmbeddingSpace
    table: TokenTable | None = None
    classes: Tensor | None = None
    training: TrainingState = TrainingState()
    store: Store = field(default_factory=Store)
    counts: ReplacementCounts = field(default_factory=ReplacementCounts)
    _met: dict[Hashable, TokenBatch] = field(default_factory=dict, init=False, repr=False)

    def with_targets(self, logits: Tensor | None) -> "AugmentContext":
        """The same for other rows, whose teacher logits are these, [B, C], or are to be asked for."""
        return replace(self, training=replace(self.training, target_logits=logits))

    def load(self, key: Hashable, loader: Callable[[], Loaded]) -> Loaded:
        """What ``loader`` returns, loaded when it is first asked for."""
        store = self.store
        if key not in store.loaded:
            with store.while_loading():
                store.loaded[key] = loader()
        found: Loaded = store.loaded[key]
        return found

    def share(self, key: Hashable, batch: TokenBatch, compute: Callable[[], Loaded]) -> Loaded:
        """What ``compute`` returns, computed once for all candidates of a step that start at this very batch.

        A batch that was changed before it came here is another object, and has targets of its own.
        """
        shared, targets = self.store.shared, self.training.target_logits
        if shared is None:
            return compute()
        found = shared.get(key)
        if found is None or found[0] is not batch or found[1] is not targets:
            found = shared[key] = batch, targets, compute()
        result: Loaded = found[2]
        return result

    def targets(self, method: str, batch: TokenBatch) -> Tensor:
        """The teacher's logits of the rows as they are now, [B, C]: those at hand, or new ones after a change.

        Raises:
            ValueError: if there is no way to have them; the message names the method.
        """
        if self.training.target_logits is not None:
            return self.training.target_logits
        if self.training.label is None:
            raise ValueError(
                f"{method} needs the teacher's answer to its rows: pass it as TrainingState.target_logits, or the "
                "teacher as TrainingState.label for texts that were changed before"
            )
        return self.training.label(batch)

    def partners(self, method: str, batch: TokenBatch, partner: Partner) -> TokenBatch:
        """A partner row for each row of the batch; found once, although a method may ask twice.

        Raises:
            ValueError: as :meth:`rows` and :func:`augpro.augment.partners.partner_rows`.
        """
        rng = self.rng.within("")  # one partner, whichever link of a chain asks
        key = rng, partner, tuple(batch.row_ids.tolist())
        if key not in self._met:
            table = self.rows(method)
            near = (
                self.load("near rows", partial(near_rows, table, self.space.table))
                if partner == "near"
                else None
            )
            rows = partner_rows(batch.row_ids, len(table), partner, rng, self.classes, near)
            self._met[key] = table.batch(rows.cpu())
        return self._met[key]

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
    """Augmented rows that are no text.

    Attributes:
        run: a model in, its logits for the virtual rows out, [B, C].
        labelled_by: "teacher": the student shall answer as the teacher does on the same virtual rows;
            "student": as the student itself does on the originals (a smoothness term).
    """

    run: Callable[[Any], Tensor]
    labelled_by: Literal["teacher", "student"] = "teacher"


class Augmenter(ABC):
    """What every method says of itself; subclasses are frozen dataclasses of parameters.

    Attributes:
        needs_student: whether it follows the current student, and so can only run inside training.
        mixes_rows: whether it needs partner rows.
        makes_text: whether what comes out can be read; else it is a point between texts.
        teacher_shares: what the teacher must have in common with the student: "text" (nothing), "tokens"
            (the tokenizer) or "width" (the tokenizer and the embedding width).
        excludes: fields of ``TrainingArguments`` that it cannot be combined with.
        takes_turns: whether the copies of a row must be numbered without gaps.
    """

    needs_student: ClassVar[bool] = False
    mixes_rows: ClassVar[bool] = False
    makes_text: ClassVar[bool] = True
    teacher_shares: ClassVar[Literal["text", "tokens", "width"]] = "text"
    excludes: ClassVar[tuple[str, ...]] = ()
    takes_turns: ClassVar[bool] = False

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter by name, as JSON; ``augmenter(name, **parameters)`` rebuilds the object."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]

    @property
    def partner_rules(self) -> set[str]:
        """The rules by which it finds partner rows; empty where it needs none."""
        return {self.parameters.get("partner", "random")} if self.mixes_rows else set()

    def check(self) -> None:  # noqa: B027 - most methods need nothing
        """Make sure that what it needs from outside (a model, a word list) is to be had.

        Raises:
            augpro.errors.InputError: naming the fix.
        """

    @abstractmethod
    def __call__(self, batch: TokenBatch, context: AugmentContext) -> TokenBatch | VirtualRows:
        """Augment every row once."""
