"""Builds the :class:`~augpro.results.result.RunResult` of a finished run, and its notes."""

import json

from augpro.augment import ReplacementCounts
from augpro.data.loading import Label, Split
from augpro.distillation.plan import Plan
from augpro.evaluation.metrics import majority_share
from augpro.files.durable import fingerprint
from augpro.projection.allowed import SearchStats
from augpro.results.environment import library_versions, machine_facts
from augpro.results.result import RowsHash, RunResult, Scores
from augpro.tasks import Task
from augpro.teachers.teacher import Teacher
from augpro.training.augmentation import Counted
from augpro.training.dataset import label_tensor
from augpro.training.meter import Meter
from augpro.training.trainer import DistillationTrainer


def summarize(
    plan: Plan,
    scores: dict[str, Scores],
    teacher_scores: dict[str, Scores],
    meter: Meter,
    trainer: DistillationTrainer,
    teacher: Teacher | None = None,
) -> RunResult:
    """The result of a run.

    Args:
        plan: of the run.
        scores: the student's, under "evaluation" and, if there is one, "holdout".
        teacher_scores: the teacher's, likewise.
        meter: seconds and memory of each phase.
        trainer: after training.
        teacher: the run's teacher, for the counts of its labels.
    """
    assert trainer.model is not None
    none = Counted(0, 0.0, ReplacementCounts(), SearchStats())
    done = trainer.augmentation.counted() if trainer.augmentation else none
    seen = {"student": trainer.rows_seen, "augment": done.replaced.rows, "teacher": done.labelled}
    seen["teacher"] += trainer.representation.rows if trainer.representation else 0
    result = describe_run(plan, scores, teacher_scores, meter, teacher)
    if done.saved_seconds:
        result.phase_seconds["teacher"] += done.saved_seconds
    result.epochs = float(trainer.state.epoch or 0.0)
    result.texts_per_second = {
        phase: texts / result.phase_seconds[phase]
        for phase, texts in seen.items()
        if texts and result.phase_seconds.get(phase)
    }
    result.parameters = {"student": sum(p.numel() for p in trainer.model.parameters())}
    return result


def describe_run(
    plan: Plan,
    scores: dict[str, Scores],
    teacher_scores: dict[str, Scores],
    meter: Meter,
    teacher: Teacher | None,
) -> RunResult:
    """The part of a result that baselines have too; arguments as of :func:`summarize`."""
    evaluation, scored = scores["evaluation"], teacher_scores.get("evaluation")
    pool_labels = len(plan.pool) if plan.pool else 0
    return RunResult(
        task=plan.task.name,
        problem_type=plan.task.problem_type,
        label_names=list(plan.task.label_names),
        pairs=plan.data.splits["train"].pairs is not None,
        method=plan.method,
        seed=plan.config.seed,
        train_rows=len(plan.data.splits["train"]) - pool_labels,
        pool_labels=pool_labels,
        epochs=0.0,
        metric_name=plan.task.metric,
        metric=evaluation.metric,
        teacher_metric=scored.metric if scored else None,
        agreement=evaluation.agreement,
        agreement_name=evaluation.agreement_name,
        distance_to_teacher=evaluation.distance_to_teacher,
        distance_name=evaluation.distance_name,
        eval_rows=evaluation.rows,
        seconds=sum(meter.seconds.values()),
        evaluation=evaluation,
        holdout=scores.get("holdout"),
        teacher=teacher_scores,
        scored_rows={name: _rows_hash(split, plan.task) for name, split in plan.scored_splits().items()},
        phase_seconds=dict(meter.seconds),
        teacher_labels=teacher.counts.rows() if teacher else {},
        peak_memory_mib=dict(meter.peak_mib),
        config=plan.config.model_dump(mode="json")
        | ({"augmenter": json.loads(json.dumps(plan.method_parameters))} if plan.method_parameters else {}),
        versions=library_versions(),
        machine=machine_facts(),
    )


def _rows_hash(split: Split, task: Task) -> RowsHash:
    """Hashes of texts and labels; labels by name, because their ids depend on the teacher."""
    names = task.label_names

    def named(label: Label) -> object:
        if isinstance(label, tuple):
            return sorted(names[index] for index in label)
        return names[label] if isinstance(label, int) and names else label

    texts, labels = [split.texts, split.pairs], [named(label) for label in split.labels]
    texts_hash, labels_hash = (fingerprint([json.dumps(part).encode()]) for part in (texts, labels))
    return RowsHash(texts=texts_hash, labels=labels_hash)


def notes_of(plan: Plan, result: RunResult) -> list[str]:
    """Notes for the user: about the data, the augmented texts and the teacher."""
    notes = list(plan.data.notes)
    if result.layer_search:
        notes.append(result.layer_search.describe())
    unseen = result.replacement.get("label_flips_unchanged", 0.0)
    if unseen > 0.01:
        notes.append(
            f"the teacher's label changes on {unseen:.1%} of the texts when it reads only what the student's "
            "tokenizer keeps (case, accents or characters are lost), and the student cannot learn these labels; "
            "use a student with the teacher's tokenizer"
        )
    same = result.replacement.get("unchanged_texts", 0.0)
    if same > 0.5:
        notes.append(
            f"{same:.1%} of the augmented texts equal their originals: {result.method} changes little with these "
            "options"
        )
    labels = label_tensor(plan.scored_splits()["evaluation"].labels, plan.task)
    if plan.task.problem_type == "single_label" and "evaluation" in result.teacher:
        accuracy, majority = result.teacher["evaluation"].metrics.get("accuracy"), majority_share(labels)
        if accuracy is not None and accuracy < majority:
            notes.append(
                f"the teacher's accuracy ({accuracy:.3f}) is below that of always predicting the most frequent class "
                f"({majority:.3f}): are its labels in the right order?"
            )
    return notes
