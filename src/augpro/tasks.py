"""What a task is: its columns, labels, problem type and metric, and the GLUE tasks as rows of data.

A new task is one row in ``GLUE``, or no row at all: :mod:`augpro.data.loading` builds a ``Task`` from any file.
"""

from dataclasses import dataclass
from typing import Literal

ProblemType = Literal["single_label", "multi_label", "regression"]
# What transformers calls them in a model's configuration.
HF_PROBLEM_TYPE: dict[ProblemType, str] = {
    "single_label": "single_label_classification",
    "multi_label": "multi_label_classification",
    "regression": "regression",
}
LayerMap = Literal["uniform", "last"]  # which layers of the teacher a student's layers match
LabelBy = Literal["random", "coverage", "uncertainty", "bald"]


@dataclass(frozen=True)
class Task:
    """How to read, train on and score one classification or regression problem.

    ``label_names[i]`` is the name of class id ``i``; it is empty for regression. ``metric`` is the
    primary metric, a key of :data:`augpro.evaluation.metrics.METRICS`; larger is better for all of them.
    """

    name: str
    problem_type: ProblemType
    metric: str
    label_names: tuple[str, ...] = ()
    text_column: str = "text"
    pair_column: str | None = None
    label_column: str | None = "label"

    @property
    def outputs(self) -> int:
        """Width of the classification head: classes, labels, or 1 for a regression."""
        return len(self.label_names) or 1


@dataclass(frozen=True)
class UnprovenLabels:
    """Labels of a data set of which nothing but rows can show which class of a model each of them is.

    ``classes`` are the model's, ``expected[i]`` is the class of label ``i`` if both are in the usual order.
    """

    model: str
    classes: tuple[str, ...]
    expected: tuple[int, ...]


DEFAULT_METRIC: dict[ProblemType, str] = {
    "single_label": "accuracy",
    "multi_label": "micro_f1",
    "regression": "pearson",
}


def _glue(name: str, text: str, pair: str | None, labels: tuple[str, ...], metric: str = "accuracy") -> Task:
    problem: ProblemType = "single_label" if labels else "regression"
    return Task(f"glue/{name}", problem, metric, labels, text, pair)


_NLI = ("entailment", "not_entailment")

# Columns and label order as in the ``nyu-mll/glue`` data set; metrics as in Wang et al. 2018
# (arXiv 1804.07461), where MRPC and QQP are scored by accuracy and F1 and STS-B by two correlations:
# the first is primary here, the second is reported beside it.
GLUE: dict[str, Task] = {
    task.name: task
    for task in (
        _glue("sst2", "sentence", None, ("negative", "positive")),
        _glue("cola", "sentence", None, ("unacceptable", "acceptable"), "matthews"),
        _glue("mrpc", "sentence1", "sentence2", ("not_equivalent", "equivalent")),
        _glue("mnli", "premise", "hypothesis", ("entailment", "neutral", "contradiction")),
        _glue("qnli", "question", "sentence", _NLI),
        _glue("qqp", "question1", "question2", ("not_duplicate", "duplicate")),
        _glue("rte", "sentence1", "sentence2", _NLI),
        _glue("stsb", "sentence1", "sentence2", (), "pearson"),
    )
}
