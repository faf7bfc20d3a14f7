"""From the parts of a finished run to its :class:`~augpro.results.RunResult`."""

import time
from collections.abc import Sequence

from augpro.config import DistillConfig, FinetuneConfig
from augpro.evaluation import majority_share
from augpro.plan import Plan
from augpro.results import RunResult, Scores, library_versions, machine_facts
from augpro.tokens import TokenTable
from augpro.trainer import DistillationTrainer, label_tensor


class Clock:
    """Wall time of each phase, and of all of them."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._started = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a phase."""
        self.laps[name] = time.perf_counter() - self._started - sum(self.laps.values())


def summarize(
    plan: Plan,
    config: FinetuneConfig | DistillConfig,
    scores: dict[str, Scores],
    teacher_scores: dict[str, Scores],
    laps: dict[str, float],
    trainer: DistillationTrainer,
) -> RunResult:
    """Put a run's figures together.

    Args:
        plan: what was run.
        config: its options.
        scores: the student's, under "evaluation" and perhaps "holdout".
        teacher_scores: the teacher's, likewise.
        laps: seconds of each phase.
        trainer: after training.
    """
    evaluation, teacher = scores["evaluation"], teacher_scores.get("evaluation")
    assert trainer.model is not None
    rows = len(plan.data.splits["train"])
    augmentation = trainer.augmentation
    online = dict(augmentation.seconds) if augmentation else {}
    student_seconds = laps["train"] - sum(online.values())
    seen = rows * config.epochs * (2 if augmentation else 1)
    speeds = {"student_training": seen / student_seconds}
    if augmentation and augmentation.counts.rows:
        speeds |= {name: augmentation.counts.rows / max(spent, 1e-9) for name, spent in online.items()}
    return RunResult(
        task=plan.task.name,
        method=plan.method,
        seed=config.seed,
        train_rows=rows,
        epochs=config.epochs,
        metric_name=plan.task.metric,
        metric=evaluation.metric,
        teacher_metric=teacher.metric if teacher else None,
        agreement=evaluation.agreement,
        kl_to_teacher=evaluation.kl_to_teacher,
        eval_rows=evaluation.rows,
        seconds=sum(laps.values()),
        evaluation=evaluation,
        holdout=scores.get("holdout"),
        teacher=teacher_scores,
        phase_seconds={**laps, **online, "student": student_seconds},
        texts_per_second=speeds,
        replacement=augmentation.counts.shares() if augmentation else {},
        parameters={"student": sum(p.numel() for p in trainer.model.parameters())},
        notes=[],
        config=config.model_dump(mode="json")
        | ({"augmenter": plan.augmenter.parameters} if plan.augmenter else {}),
        versions=library_versions(),
        machine=machine_facts(),
    )


def notes_of(plan: Plan, result: RunResult, tables: Sequence[TokenTable]) -> list[str]:
    """What the user should be told: about the data, about cut texts, about a teacher that may not fit."""
    notes = list(plan.data.notes)
    cut, rows = sum(table.truncated for table in tables), sum(len(table) for table in tables)
    if cut:
        notes.append(f"{cut} of {rows} texts were longer than the model's limit and were cut")
    labels = label_tensor(plan.scored_splits()["evaluation"].labels, plan.task)
    if plan.task.problem_type == "single_label" and "evaluation" in result.teacher:
        accuracy, majority = result.teacher["evaluation"].metrics.get("accuracy"), majority_share(labels)
        if accuracy is not None and accuracy < majority:
            notes.append(
                f"the teacher's accuracy ({accuracy:.3f}) is below always answering the most frequent class "
                f"({majority:.3f}): are its labels in the right order?"
            )
    return notes
