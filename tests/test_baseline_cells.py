"""Baselines as cells of a comparison: what a run leaves, and what the dry run refuses."""

import json

import pytest
from rich.console import Console
from safetensors.torch import load_file

from augpro.baselines.run import plan_baseline, run_baseline
from augpro.cli.comparison import show_compare_plan
from augpro.compare.cell import run_cell
from augpro.compare.grid import Grid
from augpro.compare.runner import plan_compare
from augpro.config import CompareConfig
from augpro.errors import InputError
from augpro.evaluation.metrics import score
from augpro.models.source import ModelSource
from augpro.results.cell import Cell
from common import LABELS, tiny_bert


@pytest.fixture
def config(table_file, teacher_folder, tmp_path):
    return CompareConfig(
        data=str(table_file), teacher=str(teacher_folder), student_layers=(0, 2), batch_size=8, seeds=(0,),
        methods="tfidf,embeddings:model=student", out=tmp_path / "out",
    )  # fmt: skip


def cell_config(config, method, folder="cell", seed=0):
    grid = Grid(config)
    return grid.distill_config(Cell(method, 12.0, seed, config.epochs), config.out / folder)


def test_a_run_leaves_what_a_comparison_reads(config, teacher_folder):
    (config.out / "logs").mkdir(parents=True)
    cell = cell_config(config, "embeddings:model=teacher")
    result = run_baseline(cell)
    folder = config.out / "cell"
    assert json.loads((folder / "result.json").read_text())["method"] == "embeddings"
    stored = load_file(folder / "predictions.safetensors")
    names = {"student", "teacher", "labels", "row_keys"}
    assert stored.keys() == {f"evaluation.{name}" for name in names}
    again = score(
        plan_baseline(cell).plan.task,
        stored["evaluation.student"],
        stored["evaluation.labels"],
        stored["evaluation.teacher"],
    )
    assert (result.metric, result.agreement) == (again.metric, again.agreement)
    assert result.distance_to_teacher == pytest.approx(again.distance_to_teacher)
    assert (result.train_rows, result.epochs, result.label_seconds > 0) == (12, 0.0, True)
    body = tiny_bert(len(ModelSource(str(teacher_folder)).load_tokenizer()), layers=3).base_model
    assert result.parameters == {"baseline": sum(p.numel() for p in body.parameters()) + (16 + 1) * 2}
    assert not (folder / "model.safetensors").exists()


@pytest.mark.e2e
def test_seeds_give_other_rows_and_the_same_seed_the_same_answers(config):
    one, two, other = (
        run_baseline(cell_config(config, "tfidf", folder, seed))
        for folder, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert one.distance_to_teacher == two.distance_to_teacher
    assert one.distance_to_teacher != other.distance_to_teacher


def test_a_cell_reads_its_kind_from_its_file(config, monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr("augpro.compare.cell.run_baseline", given.append)
    monkeypatch.setattr("augpro.compare.cell.run", given.append)
    monkeypatch.setattr("augpro.compare.cell.os.dup2", lambda *_: None)
    configs = [cell_config(config, method) for method in ("tfidf:words=1", "none")]
    for each in configs:
        (tmp_path / "cell.json").write_text(json.dumps(each.model_dump(mode="json")))
        run_cell(tmp_path / "cell.json", tmp_path / "log", 1)
    assert given == configs


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("tfidf:epochs=3", "--methods tfidf: tfidf has no option 'epochs'"),
        ("tfidf:words", "option=value"),
        ("embeddings:model=/nowhere/at/all", "/nowhere/at/all: no such model folder"),
        ("tfidf:train_rows=4000", "4000"),
    ],
)
def test_wrong_options_are_found_in_the_dry_run(config, method, said):
    with pytest.raises(InputError, match=said):
        plan_compare(config.model_copy(update={"methods": (method,)}))
    assert not config.out.exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"unlabelled": "pool.csv"},
            "--methods tfidf: baselines use only the training rows; .* none:unlabelled=FILE",
        ),
        (
            {"student_layers": "auto:2", "methods": ("embeddings:model=student",)},
            "name them by --student-layers",
        ),
    ],
)
def test_what_only_students_can_use_is_refused(config, changed, said, tmp_path):
    (tmp_path / "pool.csv").write_text("text\nsomething that nobody has labelled\n")
    changed |= {"unlabelled": tmp_path / "pool.csv"} if "unlabelled" in changed else {}
    with pytest.raises(InputError, match=said):
        plan_compare(config.model_copy(update=changed))


@pytest.mark.e2e
def test_the_dry_run_lists_baselines_and_the_key_follows_their_options(config, save_model, tokenizer):
    console = Console(record=True, width=200)
    show_compare_plan(console, plan_compare(config))
    assert "  embeddings:model=student, all rows, seed 0" in console.export_text()
    other = save_model(tokenizer, seed=7)
    grid = Grid(config)
    methods = ["tfidf", "tfidf:words=1", "tfidf:train_rows=8", f"embeddings:model={other}"]
    keys = [grid.key(Cell(method, None, 0, 1.0)) for method in methods]
    assert len(set(keys)) == 4
    (other / "config.json").write_text((other / "config.json").read_text() + " ")
    assert grid.key(Cell(methods[-1], None, 0, 1.0)) != keys[-1]


def test_the_plan_is_that_of_the_teacher_and_the_rows(config):
    plan = plan_baseline(cell_config(config, "tfidf:train_rows=9")).plan
    assert (plan.method, len(plan.data.splits["train"]), plan.augmenter) == ("tfidf", 9, None)
    assert plan.task.label_names == LABELS
