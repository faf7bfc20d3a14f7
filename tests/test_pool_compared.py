"""Comparisons with a pool: what the key of a cell follows, who is given it, and which results stand together."""

import json
from pathlib import Path

import pytest

from augpro.compare.conditions import by_condition, condition_of
from augpro.compare.grid import Grid
from augpro.config import CompareConfig
from augpro.distillation.plan import make_plan
from augpro.results.cell import Cell
from report_cases import cell_result


@pytest.fixture
def pool_file(tmp_path):
    path = tmp_path / "pool.csv"
    path.write_text(
        "text\nthe movie looks good\nmy app feels bad\na bill looks very slow\nyour server is fine\n"
    )
    return path


@pytest.fixture
def grid(table_file, teacher_folder, pool_file, tmp_path):
    def make(**changes):
        given = {"data": str(table_file), "teacher": str(teacher_folder), "student": str(teacher_folder),
                 "batch_size": 4, "unlabelled": pool_file, "label_budget": 3, "out": tmp_path / "compare",
                 "methods": "none,random"}  # fmt: skip
        return Grid(CompareConfig(**given | changes))

    return make


@pytest.mark.e2e
def test_the_key_of_a_cell_follows_the_content_of_the_pool(grid, pool_file, tmp_path):
    def keys(**changes):
        return {
            name: grid(**changes).key(Cell(name, None, 0, 1.0)) for name in ("none", "random", "fine-tune")
        }

    first, moved = keys(), tmp_path / "moved.csv"
    moved.write_bytes(pool_file.read_bytes())
    assert keys(unlabelled=moved) == first
    for change in ({"label_by": "bald"}, {"label_budget": 4}):
        assert all(keys(**change)[name] != key for name, key in first.items()), (
            "fine-tune stands beside the others"
        )
    pool_file.write_text(pool_file.read_text() + "one more text\n")
    assert all(keys()[name] != key for name, key in first.items())


def test_the_content_of_a_methods_own_pool_changes_its_key_alone(grid, pool_file):
    made = {"unlabelled": None, "label_budget": None}
    cells = [Cell(name, None, 0, 1.0) for name in ("none", f"none:unlabelled={pool_file}")]
    before = [grid(**made).key(cell) for cell in cells]
    pool_file.write_text(pool_file.read_text() + "one more text\n")
    after = [grid(**made).key(cell) for cell in cells]
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_a_method_may_have_a_pool_of_its_own(grid, pool_file):
    made = grid(unlabelled=None, label_budget=None)
    own = made.distill_config(
        Cell(f"none:unlabelled={pool_file}:label_budget=2:label_by=coverage", None, 0, 1.0), Path("x")
    )
    assert (own.unlabelled, own.label_budget, own.label_by) == (pool_file, 2, "coverage")
    assert make_plan(own).config.label_budget == 2
    plain = made.distill_config(Cell("none", None, 0, 1.0), Path("x"))
    assert (plain.unlabelled, plain.label_budget) == (None, None)


def test_fine_tuning_is_compared_without_the_pool(grid):
    made = grid().distill_config(Cell("fine-tune", None, 0, 1.0), Path("x"))
    assert make_plan(made).pool is None


def test_results_of_other_pools_are_told_apart(grid, pool_file):
    def row(made):
        return cell_result(settings=made.settings, inputs=made.inputs)

    rows = [row(grid(label_budget=None))]
    pool_file.write_text(pool_file.read_text() + "one more text\n")
    rows.append(row(grid(label_budget=None)))
    rows.append(row(grid(label_budget=None, unlabelled=None)))
    first, second, without = by_condition(rows, "results.jsonl")
    assert without == "unlabelled texts none"
    assert first.startswith("unlabelled texts ")
    assert first != second
    assert str(pool_file) not in json.dumps([row.line() for row in rows])


def test_lines_from_before_there_was_an_option_are_as_those_that_leave_it_open():
    older = cell_result(settings={"seed": 1})
    newer = cell_result(settings={"seed": 1, "label_budget": None})
    assert condition_of(older) == condition_of(newer) != condition_of(cell_result())
    names = list(by_condition([older, cell_result(settings={"seed": 2, "label_budget": None})], "x"))
    assert names == ["seed 1", "seed 2"]
