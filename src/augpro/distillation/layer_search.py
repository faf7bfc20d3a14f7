"""Which layers a student keeps, found by trying: many students are trained for a few steps, the better half for more.

A student is judged by its distance to the teacher on training rows that were held back from its training; no row
that is scored later takes part. Successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943): the better half
of the students is trained anew for twice as many steps, and so on. All see the same batches.

Nothing of a run's recipe matters here but its seed, so that all methods of a comparison start from the same layers.
Every trial is kept in the store of the teacher's labels: a search that was killed goes on with the one it was at.
"""

import copy
import itertools
import json
import math
import random
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from augpro.data.loading import Split
from augpro.distillation.defaults import default_layers
from augpro.distillation.identity import model_content
from augpro.distillation.plan import Plan
from augpro.files import fingerprint, make_folder, write_json
from augpro.losses import divergence, kd_loss
from augpro.models.layers import UncuttableError, cut_layers, encoder_layers
from augpro.models.reading import predict_logits
from augpro.models.source import load_student
from augpro.results.output import folder_lock
from augpro.results.result import LayerSearch, LayerTrial
from augpro.tasks import ProblemType
from augpro.teachers.teacher import Teacher
from augpro.tokens import TokenTable, tokenize
from augpro.training.meter import Meter
from augpro.training.sampling import EpochOrder

Layers = tuple[int, ...]

_MOST = 32  # students of a search: every choice of layers, or so many of them
_ROUNDS, _STEPS = 3, 8  # the steps are those of the first round
_BATCH, _RATE = 16, 3e-4  # the rate falls linearly to 0 in every trial
_HELD_SHARE, _HELD_MOST = 4, 500  # one text in four
_LONGEST = _STEPS * 2 ** (_ROUNDS - 1)
_RECIPE = [_ROUNDS, _STEPS, _BATCH, _RATE]
_DIVERGED = 1e9  # stands for a distance that is no number, which JSON cannot say


def load_start(plan: Plan) -> PreTrainedModel:
    """The student before its training, or the whole model if a search is to cut it.

    Raises:
        InputError: if it cannot be loaded or cut.
    """
    model = _load(plan, plan.student_layers)
    if plan.searched_layers:  # refused before anything is written or trained
        _load(plan, candidates(len(encoder_layers(model)), plan.searched_layers, plan.config.seed)[0])
    return model


def _load(plan: Plan, layers: Layers) -> PreTrainedModel:
    return load_student(plan.student, plan.task, layers, plan.config.freeze_embeddings, plan.config.seed)


def search_layers(
    plan: Plan,
    student: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    teacher: Teacher | None,
    teacher_logits: Tensor | None,
    meter: Meter,
) -> tuple[Plan, PreTrainedModel, LayerSearch | None]:
    """The student that a search cuts from a model, and how it was found; all as it was where none was asked for.

    Args:
        plan: the run.
        student: the whole model, on its device; its word embeddings are frozen.
        tokenizer: its own.
        teacher: in whose store the trials are kept, where it has one.
        teacher_logits: of the training rows, [rows, C]; None asks the teacher.
        meter: charged with the phase "layer_search", but not with waiting for another run that searches.

    Returns:
        The plan with the layers that were found, the student, and the search.
    """
    if not plan.searched_layers or teacher is None:
        return plan, student, None
    config, train, store = plan.config, plan.data.splits["train"], teacher.store
    if store is not None:
        make_folder(store)
    with folder_lock(store, wait=True) if store is not None else nullcontext(), meter.phase("layer_search"):
        found = candidates(len(encoder_layers(student)), plan.searched_layers, config.seed)
        logits = teacher.label(train.texts, train.pairs) if teacher_logits is None else teacher_logits
        rest, held = (
            TrialRows(tokenize(tokenizer, part.texts, part.pairs, config.max_tokens), logits[rows])
            for rows in divide(train, config.seed)
            for part in [train.select(rows)]
        )
        judge = Judge(student, rest, held, plan.task.problem_type, config.seed)
        decides = [model_content(plan.student), judge.content(), json.dumps([found, _RECIPE]).encode()]
        path = None if store is None else store / f"layers-{fingerprint(decides)}.json"
        trials = Trials(judge, path)
        with tqdm(total=_steps_of(len(found)), desc="layers", unit="step") as bar:
            ranking = halve(found, lambda keep, steps: trials.kl(keep, steps, bar))
        layers, student = _first_that_loads(plan, ranking)
        torch.nn.Module.to(student, judge.start.device)
    seconds = sum(trial.seconds for trial in trials.made)
    return plan.with_layers(layers), student, LayerSearch(layers, len(judge.held), seconds, trials.made)


def candidates(depth: int, count: int, seed: int) -> list[Layers]:
    """Which layers the students of a search keep: every choice of ``count`` of ``depth`` layers, or 32 of them.

    What would be kept unasked, or else evenly spaced layers, come first; where there are more, the others are drawn.

    >>> candidates(4, 2, seed=0)
    [(0, 3), (0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]
    """
    steps = max(count - 1, 1)
    first = (
        default_layers(depth) if count == 3 else tuple(round(i * (depth - 1) / steps) for i in range(count))
    )
    drawn = [first]
    if math.comb(depth, count) <= _MOST:
        drawn += [keep for keep in itertools.combinations(range(depth), count) if keep != first]
    generator = random.Random(seed)
    while len(drawn) < min(_MOST, math.comb(depth, count)):
        keep = tuple(sorted(generator.sample(range(depth), count)))
        drawn += [] if keep in drawn else [keep]
    return drawn


def halve(found: Sequence[Layers], kl: Callable[[Layers, int], float]) -> list[Layers]:
    """The candidates, the best first: those that were trained longest, by the distance that they then had.

    Args:
        found: the candidates.
        kl: distance to the teacher of the student of these layers after so many steps.
    """
    alive = list(found)
    beaten: list[Layers] = []
    for number in range(_ROUNDS):
        distances = {keep: kl(keep, _STEPS * 2**number) for keep in alive}
        alive.sort(key=distances.__getitem__)
        if number < _ROUNDS - 1:
            half = math.ceil(len(alive) / 2)
            alive, beaten = alive[:half], alive[half:] + beaten
        if len(alive) == 1:
            break
    return alive + beaten


def _steps_of(count: int) -> int:
    """Steps of all trials of so many candidates."""
    made: list[int] = []

    def kl(_keep: Layers, steps: int) -> float:
        made.append(steps)
        return 0.0

    halve([(number,) for number in range(count)], kl)
    return sum(made)


def _first_that_loads(plan: Plan, ranking: Sequence[Layers]) -> tuple[Layers, PreTrainedModel]:
    """The best layers that the model can be cut to: some must be where they are, see :mod:`augpro.models.layers`."""
    *better, last = ranking
    for keep in better:
        with suppress(UncuttableError):
            return keep, _load(plan, keep)
    return last, _load(plan, last)


def divide(train: Split, seed: int) -> tuple[list[int], list[int]]:
    """Numbers of the rows to train on, as many as the longest trial reads, and of those that are held back.

    A quarter of the texts is held back, 500 at most, and rows of one text together.
    """
    texts = sorted(set(train.keys))
    random.Random(seed).shuffle(texts)
    held = set(texts[: min(max(1, len(texts) // _HELD_SHARE), _HELD_MOST)])
    rest = [row for row, key in enumerate(train.keys) if key not in held]
    return rest[: _LONGEST * _BATCH], [row for row, key in enumerate(train.keys) if key in held]


@dataclass(frozen=True)
class TrialRows:
    """Some training rows: the tokens of the student, and the teacher's logits, [rows, C]."""

    table: TokenTable
    teacher_logits: Tensor

    def __len__(self) -> int:
        return len(self.table)


class Judge:
    """Trains students that keep some layers of a model, and tells their distance to the teacher.

    Args:
        start: the model, on its device; its word embeddings are frozen, and all students share them.
        rows: what the students are trained on.
        held: what they are judged on.
        problem_type: of the task.
        seed: of order and dropout, which are the same for all students.
    """

    def __init__(
        self, start: PreTrainedModel, rows: TrialRows, held: TrialRows, problem_type: ProblemType, seed: int
    ) -> None:
        self.start, self.rows, self.held = start, rows, held
        self.problem_type, self.seed = problem_type, seed
        start.get_input_embeddings().get_parameter("weight").requires_grad_(False)
        order = (
            row
            for epoch in itertools.count()
            for row in EpochOrder(rows.table.lengths.tolist(), _BATCH, seed, partial(int, epoch))
        )
        self.batches = [torch.tensor(list(itertools.islice(order, _BATCH))) for _ in range(_LONGEST)]

    def content(self) -> bytes:
        """Hash of all that decides a distance, but for the model."""
        parts = [str((self.problem_type, self.seed)).encode()]
        for part in (self.rows, self.held):
            parts += [
                part.table.flat.tobytes(),
                part.table.offsets.tobytes(),
                part.teacher_logits.numpy().tobytes(),
            ]
        return fingerprint(parts).encode()

    def kl(self, keep: Layers, steps: int) -> float:
        """Distance to the teacher on the rows that were held back, after so many steps on the others."""
        shared = self.start.get_input_embeddings().get_parameter("weight")
        student = copy.deepcopy(self.start, {id(shared): shared})
        cut_layers(student, keep)
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(self.seed)
            self._train(student, steps)
        logits = predict_logits(student, self.held.table)
        distance = float(divergence(logits, self.held.teacher_logits, self.problem_type).mean())
        return distance if math.isfinite(distance) else _DIVERGED

    def _train(self, student: PreTrainedModel, steps: int) -> None:
        """As the Trainer would: AdamW, gradients clipped to a norm of 1, a rate that falls linearly."""
        student.train()
        learned = [parameter for parameter in student.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(learned, lr=_RATE, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
        for rows in self.batches[:steps]:
            batch = self.rows.table.batch(rows).to(student.device)
            theirs = self.rows.teacher_logits[rows].to(student.device)
            kd_loss(student(**batch.model_inputs()).logits, theirs, self.problem_type).mean().backward()
            torch.nn.utils.clip_grad_norm_(learned, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()


class Trials:
    """The trials of a search, each of which is made once.

    Args:
        judge: makes them.
        path: JSON file that keeps them; None keeps nothing.

    Attributes:
        made: in the order in which they were asked for.
    """

    def __init__(self, judge: Judge, path: Path | None) -> None:
        self.judge, self.path = judge, path
        self.made: list[LayerTrial] = []
        with suppress(OSError, ValueError, TypeError):  # none yet, or a file that was damaged
            lines = json.loads(path.read_text(encoding="utf-8")) if path is not None else []
            self.made = [LayerTrial(**{**line, "layers": tuple(line["layers"])}) for line in lines]

    def kl(self, layers: Layers, steps: int, bar: Any) -> float:
        """The distance of a student, see :meth:`Judge.kl`; the progress bar moves on by its steps."""
        known = next((t for t in self.made if (t.layers, t.steps) == (layers, steps)), None)
        if known is None:
            started = time.perf_counter()
            distance = self.judge.kl(layers, steps)
            known = LayerTrial(layers, steps, distance, time.perf_counter() - started)
            self.made.append(known)
            if self.path is not None:
                write_json(self.path, list(map(asdict, self.made)))
        bar.update(steps)
        return known.kl
