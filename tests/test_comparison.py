"""The tables: which figures stand in them, what is bold, and what is warned of."""

import re

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from scipy import stats

from augpro.cli.comparison import show_compared
from augpro.compare import comparison
from augpro.compare.cells import Outcome
from augpro.compare.conditions import by_condition
from augpro.compare.cost import fixed_seconds, training_seconds
from augpro.compare.figures import Figure, Group, ScoredSplit, best_method, unbeaten_baselines
from augpro.compare.grid import Grid
from augpro.compare.runner import Compared
from augpro.config import CompareConfig
from augpro.errors import InputError
from augpro.evaluation.metrics import METRICS, row_distances
from augpro.files.checksums import write_tensors
from augpro.results.cell import CellResult

ROWS = 400


def typed(rows):
    return [CellResult.model_validate(row) for row in rows]


def compare_rows(grid, rows, folder):
    return comparison.compare_rows(grid, typed(rows), folder)


def group_of(grid, rows, folder):
    return Group(typed(rows), folder, grid.config.reference, grid.methods, grid.config.seeds)


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
                    tmp_path / "predictions" / f"{key}.safetensors",
                    {f"evaluation.{name}": value for name, value in tensors.items()},
                )
                found.append({
                    "cell": {"method": method, "seed": seed, "size": 16.0, "epochs": 1.0, "key": key},
                    "task": "glue/toy", "metric_name": "accuracy", "problem_type": "single_label",
                    "method": method, "seed": seed, "train_rows": 16, "eval_rows": rows,
                    "seconds": 54.0, "label_seconds": 0.0, "epochs": 1.0,
                    "evaluation": {"rows": rows, "metrics": {}, "agreement": float(right.double().mean())},
                    "teacher": {"evaluation": {"rows": rows, "metrics": {"accuracy": 1.0}}},
                    "phase_seconds": {"load": 50.0, "student": 2.0, "augment": 0.6, "select": 0.4},
                    "texts_per_second": {"student": 8.0}, "peak_memory_mib": {"student": 100.0},
                })  # fmt: skip
        return Grid(config), found, tmp_path / "predictions"

    return build


def test_figures_are_those_of_the_predictions(make):
    grid, rows, folder = make({"fine-tune": 0.6, "none": 0.7, "random": 0.9})
    split = ScoredSplit(group_of(grid, rows, folder), "evaluation")
    metric, distance = split.metric(), split.distance()
    for run in split.rows:
        stored = load_file(folder / f"{run[0]}-{run[1]}.safetensors")
        tensors = {key.removeprefix("evaluation."): value for key, value in stored.items()}
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
    group = group_of(grid, rows, folder)
    assert best_method(group, ScoredSplit(group, "evaluation").metric()) == "random"
    assert best_method(group, ScoredSplit(group, "evaluation").distance()) == "random"
    page = compare_rows(grid, rows, folder).markdown()
    assert page.count("**random**") == 2
    assert page.count("**") == 4

    near = make({"fine-tune": 0.6, "none": 0.899, "random": 0.9})
    page = compare_rows(*near).markdown()
    assert "**" not in page
    assert "No method is separated from every other one" in page


@pytest.mark.e2e
def test_baselines_that_the_best_student_does_not_beat_are_named(make):
    beaten = {"fine-tune": 0.6, "none": 0.7, "random": 0.9, "tfidf": 0.5}
    page = compare_rows(*make(beaten)).markdown()
    assert page.count("random is better than every baseline here, over seeds and over rows.") == 2
    assert "not beaten" not in page

    near = compare_rows(*make({**beaten, "static:dimensions=9": 0.899, "embeddings": 0.95})).markdown()
    for digits in (r"0\.\d{3}", r"\d\.\d{4}"):  # of the accuracy, of the distance
        named = rf"static:dimensions=9 \({digits}\), embeddings \({digits}\) are not beaten: the best student, random"
        assert len(re.findall(named, near)) == 1
    one = compare_rows(*make({"none": 0.9, "tfidf": 0.95})).markdown()
    assert re.search(r"Warning: tfidf \(0\.\d+\) is not beaten: the best student, none \(", one)
    few = compare_rows(*make({"none": 0.9, "tfidf": 0.5}, seeds=(0,))).markdown()
    assert "is not beaten" in few, "a single seed shows nothing"


def test_nothing_is_said_of_baselines_where_nothing_can_be(make, tmp_path):
    alone = make({"none": 0.7, "random": 0.9})
    for grid, rows, folder in (alone, make({"tfidf": 0.7, "embeddings": 0.9})):
        group = group_of(grid, rows, folder)
        assert unbeaten_baselines(group, ScoredSplit(group, "evaluation").metric()) is None
    grid, rows, _ = make({"none": 0.7, "tfidf": 0.9})
    group = group_of(grid, rows, tmp_path / "nowhere")
    assert unbeaten_baselines(group, Figure({("none", 0): 1.0}, {}, True)) is None


def test_a_method_that_the_tests_call_worse_is_not_best(make):
    """A failed run of the other method leaves it without the seed on which the first one shone."""
    grid, rows, folder = make({"none": 0.7, "random": 0.7}, seeds=(0, 1, 2))
    group = group_of(grid, [row for row in rows if row["cell"]["key"] != "none-2"], folder)
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


def with_condition(row, **settings):
    """A line as it is written today, made with these settings."""
    hashes = {"training_data": "d0", "teacher": "t0", "student": "s0", "code": "c0"}
    rows = {"evaluation": {"texts": "e0", "labels": "l0"}}
    return row | {"settings": settings, "inputs": hashes, "scored_rows": rows}


def test_runs_of_other_settings_are_told_apart(make):
    """Equal methods; a later plain distillation at another rate, and far worse, is in the same folder."""
    grid, rows, folder = make({"fine-tune": 0.6, "none": 0.9, "random": 0.9})
    rows = [with_condition(row, learning_rate=0.001) for row in rows]
    alone = compare_rows(grid, rows, folder).markdown()
    worse = [row for row in rows if row["cell"]["method"] == "fine-tune"]
    worse = [
        {**row, "cell": {**row["cell"], "method": "none"}, "settings": {"learning_rate": 0.1}}
        for row in worse
    ]
    page = compare_rows(grid, [*rows, *worse], folder).markdown()
    assert page.replace(" [learning rate 0.001]", "").startswith(
        alone.split("p-values")[0].rpartition("\n")[0]
    )
    assert (
        page.count("[learning rate 0.001]: evaluation") == page.count("[learning rate 0.1]: evaluation") == 2
    )
    assert "**" not in page


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"settings": {"learning_rate": 0.001, "batch_size": 8}}, "batch size 8"),
        ({"inputs": {"training_data": "d0", "teacher": "t1", "student": "s0"}}, "teacher (t1)"),
        ({"inputs": {"training_data": "d1", "teacher": "t0", "student": "s0"}}, "training data d1"),
        ({"scored_rows": {"evaluation": {"texts": "e1", "labels": "l1"}}}, "evaluation rows e1"),
        ({"settings": None}, "settings not recorded"),
    ],
)
def test_every_part_of_the_condition_counts(make, change, name):
    grid, rows, folder = make({"fine-tune": 0.6, "none": 0.7}, seeds=(0,))
    one, other = (with_condition(row, learning_rate=0.001, batch_size=16) for row in rows)
    page = compare_rows(grid, [one, other], folder).markdown()
    assert page.count("evaluation, 1 epochs") == 2
    page = compare_rows(grid, [one, {**other, **change}], folder).markdown()
    assert page.count("evaluation, 1 epochs") == 4
    assert name in page


def test_older_lines_with_and_without_a_holdout_are_told_apart(make):
    grid, rows, folder = make({"fine-tune": 0.6, "none": 0.7}, seeds=(0,))
    rows[1]["holdout"] = {**rows[1]["evaluation"], "rows": 7}
    (folder / "none-0.safetensors").unlink()
    page = compare_rows(grid, rows[:1], folder).markdown() + "".join(by_condition(typed(rows), "place"))
    assert "holdout rows none" in page
    assert "holdout rows 7" in page


def test_the_code_is_no_condition_but_is_told(make):
    grid, rows, folder = make({"fine-tune": 0.6, "none": 0.7}, seeds=(0,))
    one, other = (with_condition(row) for row in rows)
    other["inputs"] = other["inputs"] | {"code": "c1"}
    page = compare_rows(grid, [one, other], folder).markdown()
    assert page.count("evaluation, 1 epochs") == 2
    assert "several versions of augpro" in page


def test_lines_that_do_not_tell_their_settings_are_told_apart_by_their_models(make):
    grid, rows, folder = make({"fine-tune": 0.6, "none": 0.7})
    for row in rows:
        row["models"] = {"student_layers": [0, 5] if row["cell"]["method"] == "none" else [0, 2, 5]}
    page = compare_rows(grid, rows, folder).markdown()
    assert "[layers 0 5]" in page
    assert "[layers 0 2 5]" in page


@pytest.mark.parametrize("change", ["order", "number"])
def test_runs_on_other_rows_are_never_paired(make, change):
    """Lines that do not tell what they were scored on: the predictions do."""
    grid, rows, folder = make({"fine-tune": 0.6, "none": 0.7})
    path = folder / "none-1.safetensors"
    stored = load_file(path)
    pick = slice(None, -1) if change == "number" else torch.arange(ROWS).flip(0)
    write_tensors(path, {name: value[pick].contiguous() for name, value in stored.items()})
    with pytest.raises(
        InputError, match="none, seed 1, and fine-tune, seed 0, were scored on other evaluation rows"
    ):
        compare_rows(grid, rows, folder)


def test_copies_of_rows_are_drawn_together(make):
    """With every row five times the rows tell no more than once."""
    shares = {"fine-tune": 0.78, "none": 0.8, "random": 0.83}
    grid, rows, folder = make(shares, rows=80, noise=0.1)
    group = group_of(grid, rows, folder)
    once = ScoredSplit(group, "evaluation").metric().test(group, "random", "none")[1]
    for path in folder.iterdir():
        stored = {name: value.repeat_interleave(5, 0) for name, value in load_file(path).items()}
        stored["evaluation.row_keys"] = torch.arange(80).repeat_interleave(5)
        write_tensors(path, stored)
    five = ScoredSplit(group, "evaluation").metric().test(group, "random", "none")[1]
    assert five.p_value == once.p_value
    assert five.interval == pytest.approx(once.interval)


def test_a_page_tells_how_many_tests_it_made(make):
    page = compare_rows(*make({"fine-tune": 0.6, "none": 0.7, "random": 0.9})).markdown()
    assert "8 p-values are shown here" in page  # two tables of two methods, over seeds and over rows


def test_labels_are_charged_to_every_run_that_uses_them(make):
    _, rows, _ = make({"fine-tune": 0.6, "none": 0.7})
    read, stored = rows[-1] | {"label_seconds": 15.0}, rows[-1] | {"label_seconds": 15.0}
    read["phase_seconds"] = read["phase_seconds"] | {"teacher_originals": 15.0, "prepare": 2.0}
    assert [(training_seconds(row), fixed_seconds(row)) for row in typed([read, stored])] == [
        (20, 17),
        (18, 15),
    ]


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


@pytest.mark.e2e
def test_a_small_evaluation_set_is_warned_of_with_the_difference_it_could_show(make):
    shares = {"fine-tune": 0.78, "none": 0.8, "random": 0.81}
    page = compare_rows(*make(shares, rows=60, noise=0.2)).markdown()
    assert "with 60 rows, only differences from none above" in page
    assert "2 of 2 methods differ by less" in page
    large = compare_rows(*make({"fine-tune": 0.3, "none": 0.6, "random": 0.95}, rows=3000)).markdown()
    assert "can be detected" not in large


def test_cost_counts_training_and_not_loading(make):
    grid, rows, folder = make({"fine-tune": 0.6, "none": 0.7})
    assert training_seconds(typed(rows)[0]) == 3.0
    assert (
        "| none | 1 | 3.0 | 0.0 | 54.0 | 0.6, -, - | - | 2.0, 8, 100 |"
        in compare_rows(grid, rows, folder).markdown()
    )


def test_what_comes_from_outside_is_escaped(make):
    grid, rows, folder = make({"fine-tune": 0.6, "none": 0.7})
    for row in rows:
        row["task"] = "[bold]a|b[/bold]"
    console = Console(record=True, width=200)
    show_compared(console, Compared(compare_rows(grid, rows, folder), Outcome()), grid.config)
    assert "[bold]a|b[/bold]" in console.export_text()
