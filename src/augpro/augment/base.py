"""The call shapes of augmentation, and what an augmenter may look at.

An augmenter is parameters only: it pickles, prints as JSON, and two with equal parameters are equal.
Everything heavy (embedding table, vocabulary, training rows, student) comes in with the context.

Three kinds share one call, ``augmenter(batch, context)``:

- token methods return a :class:`~augpro.tokens.TokenBatch` of the same shape;
- text methods change the row's text and return what the student's tokenizer makes of it;
- virtual methods return :class:`VirtualRows`: points between texts that only a model can read.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import Any, ClassVar, Literal, TypeVar

from torch import Tensor

from augpro.augment.near import near_rows
from augpro.augment.partners import Partner, partner_rows
from augpro.augment.spaces import Space, centred, teacher_table
from augpro.draws import Draws
from augpro.projection import Projection
from augpro.projection.candidates import Metric, Work
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
        self.earlier = Work()

    def projection(self, metric: Metric, space: Space = "student", teacher: Any = None) -> Projection:
        """The projection for a metric and a table, see :mod:`augpro.augment.spaces`; built when first asked for."""
        if (metric, space) not in self._projections:
            self._projections[metric, space] = Projection(self._table(space, teacher), self.groups, metric)
        return self._projections[metric, space]

    def _table(self, space: Space, teacher: Any) -> Tensor:
        if space == "teacher":
            return teacher_table(teacher, self.table, self.groups)
        return centred(self.table, self.groups) if space == "centred" else self.table

    def searched(self) -> Work:
        """What all searches of the run have cost."""
        work = [self.earlier, *(projection.work for projection in self._projections.values())]
        return Work(*(sum(getattr(each, field.name) for each in work) for field in fields(Work)))

    def shares(self) -> dict[str, float]:
        """Share of the different queries that were compared with every candidate; empty without a query."""
        work = self.searched()
        return {"searched_in_full": work.in_full / work.distinct} if work.distinct else {}


@dataclass
class ReplacementCounts:
    """How much was replaced, and by what, summed over every batch of a run.

    Token methods count positions; text methods, which move words about, count words.

    Attributes:
        editable: positions that may be replaced, or words of the originals.
        changed: positions that hold another token now, or original words that are gone.
        partner: changed positions that hold the partner row's token.
        rows: augmented rows.
    """

    editable: int = 0
    changed: int = 0
    partner: int = 0
    rows: int = 0

    def add(self, batch: TokenBatch, ids: Tensor, editable: Tensor, partner_ids: Tensor | None) -> None:
        """Count one batch before (``batch``) and after (``ids``)."""
        changed = ids != batch.ids
        self.rows += len(ids)
        self.editable += int(editable.sum())
        self.changed += int(changed.sum())
        if partner_ids is not None:
            self.partner += int((changed & (ids == partner_ids)).sum())

    def add_text(self, before: str, after: str) -> None:
        """Count the words of one text before and after."""
        words = Counter(before.split())
        self.editable += words.total()
        self.changed += (words - Counter(after.split())).total()

    def shares(self) -> dict[str, float]:
        """Shares of what may be replaced: original kept, partner's, new; empty where nothing was counted."""
        if not self.editable:
            return {}
        return {
            "changed": self.changed / self.editable,
            "original": 1 - self.changed / self.editable,
            "partner": self.partner / self.editable,
            "new": (self.changed - self.partner) / self.editable,
        }


@dataclass
class AugmentContext:
    """What an augmenter may look at beside the batch.

    Attributes:
        draws: the random numbers of this copy.
        space: embedding table, vocabulary and projections.
        table: all training rows with their texts, where partners come from.
        classes: the teacher's class of every row of ``table``, int64 [rows], or None for a regression.
        student: the model as it is now, for methods that follow its gradient.
        target_logits: the teacher's logits of the batch's rows, [B, C]; see :meth:`targets`.
        label: the teacher's logits of any rows in the student's tokens, batch -> [B, C].
        teacher: its model, for methods that follow its gradient too; it must read the student's tokens.
        row_loss: the student's distillation loss, (student logits, teacher logits) -> [B].
        counts: filled by the augmenter.
        loaded: models and word lists that a method has loaded, kept from call to call.
        while_loading: what surrounds the loading, such as a clock.
        shared: what the candidates of a step share, see :meth:`share`; None where every call is by itself.
    """

    draws: Draws
    space: EmbeddingSpace
    table: TokenTable | None = None
    classes: Tensor | None = None
    student: Any = None
    target_logits: Tensor | None = None
    label: Callable[[TokenBatch], Tensor] | None = None
    teacher: Any = None
    row_loss: Callable[[Tensor, Tensor], Tensor] | None = None
    counts: ReplacementCounts = field(default_factory=ReplacementCounts)
    loaded: dict[Hashable, Any] = field(default_factory=dict)
    while_loading: Callable[[], AbstractContextManager[Any]] = nullcontext
    shared: dict[Hashable, Any] | None = None
    _met: dict[Hashable, TokenBatch] = field(default_factory=dict, init=False, repr=False)

    def load(self, key: Hashable, loader: Callable[[], Loaded]) -> Loaded:
        """What ``loader`` returns, loaded when it is first asked for."""
        if key not in self.loaded:
            with self.while_loading():
                self.loaded[key] = loader()
        found: Loaded = self.loaded[key]
        return found

    def share(self, key: Hashable, batch: TokenBatch, compute: Callable[[], Loaded]) -> Loaded:
        """What ``compute`` returns, computed once for all candidates of a step that start at this very batch.

        A batch that was changed before it came here is another object, and has targets of its own.
        """
        if self.shared is None:
            return compute()
        found = self.shared.get(key)
        if found is None or found[0] is not batch or found[1] is not self.target_logits:
            found = self.shared[key] = batch, self.target_logits, compute()
        result: Loaded = found[2]
        return result

    def targets(self, method: str, batch: TokenBatch) -> Tensor:
        """The teacher's logits of the rows as they are now, [B, C]: those at hand, or new ones after a change.

        Raises:
            ValueError: if there is no way to have them; the message names the method.
        """
        if self.target_logits is not None:
            return self.target_logits
        if self.label is None:
            raise ValueError(
                f"{method} needs the teacher's answer to its rows: pass AugmentContext.target_logits, or the "
                "teacher as AugmentContext.label for texts that were changed before"
            )
        return self.label(batch)

    def partners(self, method: str, batch: TokenBatch, partner: Partner) -> TokenBatch:
        """A partner row for each row of the batch; found once, although a method may ask twice.

        Raises:
            ValueError: as :meth:`rows` and :func:`augpro.augment.partners.partner_rows`.
        """
        draws = self.draws.within("")  # one partner, whichever link of a chain asks
        key = draws, partner, tuple(batch.row_ids.tolist())
        if key not in self._met:
            table = self.rows(method)
            near = (
                self.load("near rows", partial(near_rows, table, self.space.table))
                if partner == "near"
                else None
            )
            rows = partner_rows(batch.row_ids, len(table), partner, draws, self.classes, near)
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
