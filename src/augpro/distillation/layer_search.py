"""Search for the layers that a student keeps, by successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943).

Many students with different layers are trained for a few steps; the better half is trained again for twice as many
steps, and so on. All see the same batches. A student's score is its distance to the teacher on held-out training
rows; evaluation rows take no part.

Of the options of a run only the seed matters, so all methods of a comparison start from the same layers. Every trial
is stored beside the teacher's labels, so an interrupted search continues with the trial that it was at.
"""

import copy
import itertools
import json
import math
import random
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from augpro.data.loading import Split
from augpro.distillation.defaults import default_layers
from augpro.distillation.plan import Plan
from augpro.files.checksums import sealed, unsealed
from augpro.files.durable import fingerprint, make_folder, write_json
from augpro.losses import divergence, kd_loss
from augpro.models.layers import UncuttableError, cut_layers, encoder_layers
from augpro.models.reading import predict_logits
from augpro.models.source import load_student
from augpro.results.content import model_content
from augpro.results.output import folder_lock
from augpro.results.result import LayerSearch, LayerTrial
from augpro.tasks import ProblemType
from augpro.teachers.teacher import Teacher
from augpro.tokens import TokenTable, tokenize
from augpro.training.meter import Meter
from augpro.training.sampling import EpochOrder

Layers = tuple[int, ...]

_MOST = 32  # students of a search, at most
_ROUNDS, _STEPS = 3, 8  # steps of the first round
_BATCH, _RATE = 16, 3e-4  # the learning rate decreases linearly to 0 in every trial
_HELD_SHARE, _HELD_MOST = 4, 500  # one text in four
_LONGEST = _STEPS * 2 ** (_ROUNDS - 1)
_RECIPE = [_ROUNDS, _STEPS, _BATCH, _RATE]
_DIVERGED = 1e9  # stands for a distance that is not finite, which JSON cannot store


def load_start(plan: Plan) -> PreTrainedModel:
    """The student before its training, or the whole model if a search will cut it.

    Raises:
        InputError: if it cannot be loaded or cut.
    """
    model = _load(plan, plan.student_layers)
    if plan.searched_layers:  # refused before anything is written or trained
        _load(plan, candidates(len(encoder_layers(model)), plan.searched_layers, plan.config.seed)[0])
    return model


def _load(plan: Plan, layers: Layers) -> PreTrainedModel:
    options = plan.config.freeze_embeddings, plan.config.seed, plan.config.dropout
    return load_student(plan.student, plan.task, layers, *options)


def search_layers(
    plan: Plan,
    student: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    teacher: Teacher | None,
    teacher_logits: Tensor | None,
    meter: Meter,
) -> tuple[Plan, PreTrainedModel, LayerSearch | None]:
    """Search the student's layers and cut the model to them; does nothing if the plan has no search.

    Args:
        plan: the run.
        student: the whole model, on its device; its word embeddings are frozen.
        tokenizer: its tokenizer.
        teacher: its store, if it has one, keeps the trials.
        teacher_logits: of the training rows, [rows, C]; None asks the teacher.
        meter: records the phase "layer_search", without the time spent waiting for another run's search.

    Returns:
        The plan with the layers, the student, and the search.
    """
    if not plan.searched_layers or teacher is None:
        return plan, student, None
    config, train, store = plan.config, plan.data.splits["train"], teacher.layer_searches
    if store is not None:
        make_folder(store)
    with folder_lock(store, wait=True) if store is not None else nullcontext(), meter.phase("layer_search"):
        choices = candidates(len(encoder_layers(student)), plan.searched_layers, config.seed)
        logits = teacher.label(train.texts, train.pairs) if teacher_logits is None else teacher_logits
        rest, held = (
            TrialRows(tokenize(tokenizer, part.texts, part.pairs, config.max_tokens), logits[rows])
            for rows in divide(train, config.seed)
            for part in [train.select(rows)]
        )
        judge = Judge(student, rest, held, plan.task.problem_type, config.seed)
        inputs = [model_content(plan.student), judge.content(), json.dumps([choices, _RECIPE]).encode()]
        path = None if store is None else store / f"layers-{fingerprint(inputs)}.json"
        trials = Trials(judge, path)
        with tqdm(total=_steps_of(len(choices)), desc="layers", unit="step") as bar:
            ranking = halve(choices, lambda keep, steps: trials.distance(keep, steps, bar))
        layers, student = _first_that_loads(plan, ranking)
        torch.nn.Module.to(student, judge.start.device)
    seconds = sum(trial.seconds for trial in trials.made)
    search = LayerSearch(layers=layers, held_rows=len(judge.held), seconds=seconds, trials=trials.made)
    return plan.with_layers(layers), student, search


def candidates(depth: int, count: int, seed: int) -> list[Layers]:
    """Choices of ``count`` of ``depth`` layers for a search: all of them, or 32 if there are more.

    The default layers, or evenly spaced ones, come first. If there are more than 32 choices, the others are random.

    >>> candidates(4, 2, seed=0)
    [(0, 3), (0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]
    """
    steps = max(count - 1, 1)
    default, spaced = default_layers(depth), tuple(round(i * (depth - 1) / steps) for i in range(count))
    first = default if len(default) == count else spaced
    drawn = [first]
    if math.comb(depth, count) <= _MOST:
        drawn += [keep for keep in itertools.combinations(range(depth), count) if keep != first]
    generator = random.Random(seed)
    while len(drawn) < min(_MOST, math.comb(depth, count)):
        keep = tuple(sorted(generator.sample(range(depth), count)))
        drawn += [] if keep in drawn else [keep]
    return drawn


def halve(choices: Sequence[Layers], distance: Callable[[Layers, int], float]) -> list[Layers]:
    """The choices of layers, best first: by the last round that each took part in, then by its distance there.

    Args:
        choices: the choices of layers.
        distance: maps layers and a number of training steps to the student's distance to the teacher.
    """
    alive = list(choices)
    beaten: list[Layers] = []
    for number in range(_ROUNDS):
        distances = {keep: distance(keep, _STEPS * 2**number) for keep in alive}
        alive.sort(key=distances.__getitem__)
        if number < _ROUNDS - 1:
            half = math.ceil(len(alive) / 2)
            alive, beaten = alive[:half], alive[half:] + beaten
        if len(alive) == 1:
            break
    return alive + beaten


def _steps_of(count: int) -> int:
    """Training steps of a whole search among ``count`` choices."""
    made: list[int] = []

    def distance(_keep: Layers, steps: int) -> float:
        made.append(steps)
        return 0.0

    halve([(number,) for number in range(count)], distance)
    return sum(made)


def _first_that_loads(plan: Plan, ranking: Sequence[Layers]) -> tuple[Layers, PreTrainedModel]:
    """The best layers that the model can be cut to; some models restrict this, see :mod:`augpro.models.layers`."""
    *better, last = ranking
    for keep in better:
        with suppress(UncuttableError):
            return keep, _load(plan, keep)
    return last, _load(plan, last)


def divide(train: Split, seed: int) -> tuple[list[int], list[int]]:
    """Row numbers to train on, as many as the longest trial reads, and held-out row numbers.

    A quarter of the texts is held out, at most 500; rows with the same text stay together.
    """
    texts = sorted(set(train.keys))
    random.Random(seed).shuffle(texts)
    held = set(texts[: min(max(1, len(texts) // _HELD_SHARE), _HELD_MOST)])
    rest = [row for row, key in enumerate(train.keys) if key not in held]
    return rest[: _LONGEST * _BATCH], [row for row, key in enumerate(train.keys) if key in held]


@dataclass(frozen=True)
class TrialRows:
    """Training rows: the student's tokens and the teacher's logits, [rows, C]."""

    table: TokenTable
    teacher_logits: Tensor

    def __len__(self) -> int:
        return len(self.table)


class Judge:
    """Trains students that keep some layers of a model, and measures their distance to the teacher.

    Args:
        start: the model, on its device; its word embeddings are frozen, and all students share them.
        rows: training rows.
        held: held-out rows for the distance.
        problem_type: of the task.
        seed: of row order and dropout; the same for all students.
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
        """Hash of everything except the model that determines a distance."""
        parts = [str((self.problem_type, self.seed)).encode()]
        for part in (self.rows, self.held):
            parts += [
                part.table.flat.tobytes(),
                part.table.offsets.tobytes(),
                part.teacher_logits.numpy().tobytes(),
            ]
        return fingerprint(parts).encode()

    def distance(self, keep: Layers, steps: int) -> float:
        """Distance to the teacher on the held-out rows after ``steps`` training steps."""
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
        """As the Trainer would: AdamW, gradient norm clipped to 1, learning rate decreasing linearly."""
        student.train()
        learned = [parameter for parameter in student.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(learned, lr=_RATE, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
        for rows in self.batches[:steps]:
            batch = self.rows.table.batch(rows).to(student.device)
            teacher_logits = self.rows.teacher_logits[rows].to(student.device)
            logits = student(**batch.model_inputs()).logits
            kd_loss(logits, teacher_logits, self.problem_type).mean().backward()
            torch.nn.utils.clip_grad_norm_(learned, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()


class Trials:
    """The trials of a search; each is made once.

    Args:
        judge: makes the trials.
        path: JSON file that stores them; None stores nothing.

    Attributes:
        made: the trials, in the order of the requests.
    """

    def __init__(self, judge: Judge, path: Path | None) -> None:
        self.judge, self.path = judge, path
        self.made: list[LayerTrial] = []
        with suppress(OSError, ValueError, TypeError):  # no file yet, or a damaged one
            lines = json.loads(path.read_text(encoding="utf-8")) if path is not None else []
            self.made = [LayerTrial.model_validate(unsealed(line, str(path))) for line in lines]

    def distance(self, layers: Layers, steps: int, bar: Any) -> float:
        """The distance of a student, see :meth:`Judge.distance`; advances the progress bar by its steps."""
        known = next((t for t in self.made if (t.layers, t.steps) == (layers, steps)), None)
        if known is None:
            started = time.perf_counter()
            distance, spent = self.judge.distance(layers, steps), time.perf_counter() - started
            known = LayerTrial(layers=layers, steps=steps, distance=distance, seconds=spent)
            self.made.append(known)
            if self.path is not None:
                write_json(self.path, [sealed(trial.model_dump()) for trial in self.made])
        bar.update(steps)
        return known.distance
