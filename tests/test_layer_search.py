"""The search of layers: which are tried, who is judged on what, and what is refused in the plan."""

import itertools

import pytest

from augpro.compare.conditions import by_condition
from augpro.compare.cost import fixed_seconds
from augpro.compare.grid import Grid
from augpro.config import CompareConfig, DistillConfig, build
from augpro.data.loading import Split
from augpro.distillation import layer_search
from augpro.distillation.layer_search import candidates, divide, halve
from augpro.errors import InputError
from augpro.results.cell import Cell
from augpro.results.result import LayerSearch, LayerTrial
from report_cases import cell_result

# --- which layers are tried ---


@pytest.mark.parametrize(
    ("depth", "count", "number"), [(6, 2, 15), (6, 3, 20), (6, 1, 6), (4, 3, 4), (2, 1, 2)]
)
def test_few_choices_are_all_tried(depth, count, number):
    found = candidates(depth, count, seed=0)
    assert sorted(found) == list(itertools.combinations(range(depth), count))
    assert len(found) == number


@pytest.mark.parametrize(
    ("depth", "count", "first"), [(12, 3, (0, 6, 11)), (12, 6, tuple(range(6))), (24, 2, (0, 23))]
)
def test_of_many_choices_some_are_drawn(depth, count, first):
    """Ascending, each once, the same for a seed, and among them the layers that would be kept unasked."""
    found = candidates(depth, count, seed=0)
    assert (len(found), found[0]) == (32, first)
    assert len(set(found)) == 32
    assert all(list(keep) == sorted(set(keep)) and len(keep) == count and keep[-1] < depth for keep in found)
    assert found == candidates(depth, count, seed=0) != candidates(depth, count, seed=1)


# --- successive halving ---


def test_the_better_half_is_trained_for_twice_as_long():
    asked = []

    def kl(keep, steps):
        asked.append((keep, steps))
        return abs(keep[0] - 7) + 1 / steps

    ranking = halve([(number,) for number in range(10)], kl)
    rounds = [[keep[0] for keep, steps in asked if steps == 8 * 2**number] for number in range(3)]
    assert [sorted(numbers) for numbers in rounds] == [list(range(10)), [5, 6, 7, 8, 9], [6, 7, 8]]
    assert sum(steps for _, steps in asked) == layer_search._steps_of(10) == 80 + 80 + 96
    assert ranking[0] == (7,)
    assert set(ranking[:3]) == {(6,), (7,), (8,)}
    assert sorted(ranking) == [(number,) for number in range(10)]


def test_what_counts_is_the_longest_training():
    """A student that is ahead after the first round is overtaken."""
    distances = {
        ((0,), 8): 0.1,
        ((1,), 8): 0.2,
        ((2,), 8): 0.3,
        ((3,), 8): 0.4,
        ((0,), 16): 0.3,
        ((1,), 16): 0.2,
    }
    assert halve([(0,), (1,), (2,), (3,)], lambda keep, steps: distances[keep, steps]) == [
        (1,),
        (0,),
        (2,),
        (3,),
    ]


def test_two_students_need_one_round():
    asked = []
    assert halve([(0,), (1,)], lambda keep, steps: asked.append(steps) or -keep[0]) == [(1,), (0,)]
    assert asked == [8, 8]


# --- rows ---


def test_a_quarter_of_the_texts_is_held_back_and_copies_with_them():
    texts = [f"text {number % 40}" for number in range(80)]
    train = Split(texts, None, [0] * 80, "train.csv")
    rows, held = divide(train, seed=0)
    assert len(held) == 20
    assert sorted(rows + held) == list(range(80))
    assert not {texts[row] for row in rows} & {texts[row] for row in held}
    assert divide(train, 0) == (rows, held) != divide(train, 1)


def test_of_many_rows_no_more_are_taken_than_are_read():
    train = Split([f"text {number}" for number in range(5000)], None, [0] * 5000, "train.csv")
    rows, held = divide(train, seed=0)
    assert (len(rows), len(held)) == (32 * 16, 500)


# --- options and plan ---

GIVEN = {"data": "d", "teacher": "t", "out": "o"}


@pytest.fixture
def searched(planned):
    """A plan of a student whose layers are searched in the teacher, which has three."""
    return lambda layers="auto:2": planned(student=None, student_layers=layers)


@pytest.mark.parametrize(
    ("value", "layers", "count"),
    [
        ("auto:3", "auto:3", 3),
        (" auto:1 ", "auto:1", 1),
        ("0, 5", (0, 5), 0),
        ([0, 2], (0, 2), 0),
        ((), (), 0),
    ],
)
def test_layers_are_named_or_counted(value, layers, count):
    config = build(DistillConfig, GIVEN | {"student_layers": value})
    assert (config.student_layers, config.searched_layers) == (layers, count)
    assert DistillConfig(**config.model_dump(mode="json")).student_layers == layers


@pytest.mark.parametrize("value", ["auto", "auto:", "auto:0", "auto:-1", "auto:2,3", "0,x", ["a"], 3])
def test_other_layers_are_refused(value):
    with pytest.raises(
        InputError,
        match=r"--student-layers .*: write the numbers of layers, such as 0,5, or auto:2",
    ):
        build(DistillConfig, GIVEN | {"student_layers": value})


def test_the_plan_tells_of_the_search(searched, teacher_folder):
    plan = searched()
    assert (plan.student_layers, plan.searched_layers) == ((), 2)
    assert (
        plan.describe()["student"]
        == f"{teacher_folder}, 2 layers chosen by a search (cut from the teacher, with its head)"
    )
    assert plan.config.learning_rate == 2e-4


@pytest.mark.parametrize("count", [3, 9])
def test_no_more_layers_than_there_are(searched, count):
    with pytest.raises(InputError, match=f"--student-layers auto:{count}: .* has 3 layers; search for fewer"):
        searched(f"auto:{count}")


def test_a_search_needs_some_texts(searched, table_file):
    path = table_file / "train.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(rows[:7] * 2)]) + "\n")
    with pytest.raises(
        InputError,
        match=r"train\.csv: a layer search needs 8 different training texts, and there are 7; give more",
    ):
        searched()


def test_cells_of_a_comparison_search_alike(table_file, teacher_folder, tmp_path):
    config = CompareConfig(
        data=str(table_file), teacher=str(teacher_folder), student_layers="auto:2", out=tmp_path / "grid"
    )
    grid = Grid(config)
    assert grid.settings["student_layers"] == "auto:2"
    cell = grid.distill_config(Cell("none", None, 0, 1.0), tmp_path / "cell")
    assert (cell.searched_layers, cell.label_store) == (2, tmp_path / "grid" / "teacher-labels")


def test_the_search_is_charged_to_every_run():
    row = cell_result(label_seconds=2.0, phase_seconds={"prepare": 1.0, "layer_search": 0.1})
    assert fixed_seconds(row) == 3.0
    row.layer_search = LayerSearch(layers=(0, 1), held_rows=9, seconds=7.0, trials=[])
    assert fixed_seconds(row) == 10.0


def test_the_note_names_the_finalists():
    def trial(layers, steps, distance):
        return LayerTrial(layers=layers, steps=steps, distance=distance, seconds=1.0)

    trials = [trial((0, 1), 8, 0.3), trial((0, 3), 8, 0.2), trial((1, 2), 8, 0.9),
              trial((0, 1), 16, 0.1), trial((0, 3), 16, 0.15)]  # fmt: skip
    assert LayerSearch(layers=(0, 1), held_rows=9, seconds=5.0, trials=trials).describe() == (
        "layers 0, 1 were chosen among 3 choices in 5 s, by the distance to the teacher on 9 training rows held "
        "back: 0 1 (0.100), 0 3 (0.150) after 16 steps"
    )


def test_a_search_tells_conditions_apart():
    rows = [cell_result(models={"student_layers": layers}) for layers in ("auto:2", [0, 5])]
    assert list(by_condition(rows, "here")) == ["layers auto:2", "layers 0 5"]
