"""The tables: which figures stand in them, what is bold, and what is warned of."""

import re

import numpy as np
import pytest
import torch
from rich.console import Console
from scipy import stats

from augpro.comparison import compare_rows, training_seconds
from augpro.config import CompareConfig
from augpro.errors import InputError
from augpro.evaluation import METRICS, row_distances
from augpro.figures import Figure, Group, Split, best_method
from augpro.files import write_tensors
from augpro.grid import Grid

ROWS = 400


@pytest.fixture
def make(tmp_path):
    """A grid with made-up predictions: each method answers rightly on a given share of the rows."""

    def build(shares, seeds=(0, 1, 2), rows=ROWS, noise=0.02, **options):
        config = CompareConfig(
            data="d",
            teacher="t",
            methods=tuple(shares),
            seeds=seeds,
            sizes=(16,),
            epochs=1,
            out=tmp_path,
            **options,
        )
        random = np.random.default_rng(0)
        gold = torch.tensor(random.integers(0, 2, rows))
        hard = torch.tensor(random.random(rows))  # the same rows are hard for every method and seed
        found = []
        for method, share in shares.items():
            for seed in seeds:
                right = hard < share + torch.tensor(random.normal(0, noise, rows))
                logits = torch.zeros(rows, 2)
                logits[torch.arange(rows), torch.where(right, gold, 1 - gold)] = 2.0
                teacher = torch.zeros(rows, 2)
                teacher[torch.arange(rows), gold] = 3.0
                key = f"{method}-{seed}"
                tensors = {"student": logits, "teacher": teacher, "labels": gold}
                write_tensors(
                    tmp_path / f"{key}.safetensors",
                    {f"evaluation.{name}": value for name, value in tensors.items()},
                )
                found.append({
                    "cell": {"method": method, "seed": seed, "size": 16.0, "epochs": 1.0, "key": key},
                    "task": "glue/toy", "metric_name": "accuracy", "problem_type": "single_label",
                    "evaluation": {"rows": rows, "agreement": float(right.double().mean())}, "holdout": None,
                    "teacher": {"evaluation": {"metrics": {"accuracy": 1.0}}}, "replacement": {},
                    "phase_seconds": {"load": 50.0, "student": 2.0, "augment": 0.6, "select": 0.4},
                    "texts_per_second": {"student": 8.0}, "peak_memory_mib": {"student": 100.0},
                })  # fmt: skip
        return Grid(config), found, tmp_path

    return build


def test_figures_are_those_of_the_predictions(make):
    grid, rows, folder = make({"fine-tune": 0.6, "none": 0.7, "random": 0.9})
    split = Split(Group(grid, rows, folder), "evaluation")
    metric, distance = split.metric(), split.distance()
    for run, tensors in split.tensors.items():
        gold, predicted = tensors["labels"].numpy(), tensors["student"].argmax(1).numpy()
        assert metric.values[run] == METRICS["accuracy"](gold, predicted)
        rows_kl = row_distances(tensors["student"], tensors["teacher"], "single_label")
        p, q = (torch.softmax(tensors[name].double(), 1).numpy() for name in ("teacher", "student"))
        np.testing.assert_allclose(rows_kl.numpy(), stats.entropy(p, q, axis=1), rtol=1e-9)
        assert distance.values[run] == pytest.approx(float(rows_kl.mean()))
    by_seed, by_row = metric.test(split.group, "random", "none")
    seeds = [[metric.values[method, seed] for seed in (0, 1, 2)] for method in ("random", "none")]
    assert by_seed.p_value == pytest.approx(stats.ttest_rel(*seeds).pvalue)
    assert by_row.difference == pytest.approx(np.mean(seeds[0]) - np.mean(seeds[1]))


def test_bold_is_only_what_is_separated_from_every_other_method(make):
    grid, rows, folder = make({"fine-tune": 0.6, "none": 0.7, "random": 0.9})
    group = Group(grid, rows, folder)
    assert best_method(group, Split(group, "evaluation").metric()) == "random"
    assert best_method(group, Split(group, "evaluation").distance()) == "random"
    page = compare_rows(grid, rows, folder).markdown()
    assert page.count("**random**") == 2
    assert page.count("**") == 4

    near = make({"fine-tune": 0.6, "none": 0.899, "random": 0.9})
    page = compare_rows(*near).markdown()
    assert "**" not in page
    assert "No method is separated from every other one" in page


def test_a_method_that_the_tests_call_worse_is_not_best(make):
    """A failed run of the other method leaves it without the seed on which the first one shone."""
    grid, rows, folder = make({"none": 0.7, "random": 0.7}, seeds=(0, 1, 2))
    group = Group(grid, [row for row in rows if row["cell"]["key"] != "none-2"], folder)
    values = {
        ("random", 0): 0.8,
        ("random", 1): 0.801,
        ("random", 2): 0.96,
        ("none", 0): 0.85,
        ("none", 1): 0.8515,
    }
    random = np.random.default_rng(0)
    resampled = {run: value + random.normal(0, 0.001, 1000) for run, value in values.items()}
    figure = Figure(values, resampled, True)
    assert figure.mean(group, "random") > figure.mean(group, "none")
    assert all(test.p_value < 0.05 for test in figure.test(group, "random", "none"))
    assert best_method(group, figure) is None


def test_equal_seconds_of_a_method_that_was_not_finished_leave_the_rest(make):
    grid, rows, folder = make({"fine-tune": 0.6, "none": 0.7, "random": 0.9}, equal_seconds="random")
    page = compare_rows(grid, [row for row in rows if row["cell"]["method"] != "random"], folder).markdown()
    assert "| none |" in page
    assert "as many seconds" not in page


def test_a_run_that_diverged_has_no_agreement_and_spoils_no_table(make):
    grid, rows, folder = make({"fine-tune": 0.6, "none": 0.7})
    rows[-1]["evaluation"]["agreement"] = None
    page = compare_rows(grid, rows, folder).markdown()
    assert page.count("nan |") == 2
    assert "| fine-tune | 3 |" in page


def test_runs_of_other_models_are_not_compared(make):
    grid, rows, folder = make({"fine-tune": 0.6, "none": 0.7})
    for row in rows:
        row["models"] = {"student_layers": [0, 5] if row["cell"]["method"] == "none" else [0, 2, 5]}
    with pytest.raises(InputError, match="several students or teachers"):
        compare_rows(grid, rows, folder)


def test_one_seed_makes_nothing_bold_and_is_warned_of(make):
    page = compare_rows(*make({"fine-tune": 0.6, "none": 0.7, "random": 0.9}, seeds=(0,))).markdown()
    assert "**" not in page
    assert "Warning: 1 seeds" in page


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_seeds_that_are_all_equal_or_alone_have_a_dash_for_an_interval(make, seeds):
    page = compare_rows(*make({"fine-tune": 0.6, "none": 0.75}, seeds=seeds, noise=0.0)).markdown()
    figures = [float(cell) for cell in re.findall(r"\| none \| \d \| (\S+) \(-\) \|", page)]
    assert len(figures) == 2  # the metric and the distance to the teacher
    assert " to " in compare_rows(*make({"fine-tune": 0.6, "none": 0.75}, noise=0.02)).markdown()


def test_a_small_evaluation_set_is_warned_of_with_the_difference_it_could_show(make):
    shares = {"fine-tune": 0.78, "none": 0.8, "random": 0.81}
    page = compare_rows(*make(shares, rows=60, noise=0.2)).markdown()
    assert "60 rows are too few for 2 of 2 methods" in page
    large = compare_rows(*make({"fine-tune": 0.3, "none": 0.6, "random": 0.95}, rows=3000)).markdown()
    assert "too few" not in large


def test_cost_counts_training_and_not_loading(make):
    grid, rows, folder = make({"fine-tune": 0.6, "none": 0.7})
    assert training_seconds(rows[0]) == 3.0
    assert "| none | 3.0 | 0.6, -, - | - | 2.0, 8, 100 |" in compare_rows(grid, rows, folder).markdown()


def test_what_comes_from_outside_is_escaped(make):
    grid, rows, folder = make({"fine-tune": 0.6, "none": 0.7})
    for row in rows:
        row["task"] = "[bold]a|b[/bold]"
    console = Console(record=True, width=200)
    compare_rows(grid, rows, folder).show(console)
    assert "[bold]a|b[/bold]" in console.export_text()
