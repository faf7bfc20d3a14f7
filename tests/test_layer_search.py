"""The search of layers: which are tried, who is judged on what, and what a run makes of it."""

import itertools
import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from augpro.compare.conditions import by_condition
from augpro.compare.cost import fixed_seconds
from augpro.compare.grid import Grid
from augpro.config import CompareConfig, DistillConfig, build
from augpro.data.loading import Split
from augpro.distillation import layer_search
from augpro.distillation.layer_search import Judge, TrialRows, Trials, candidates, divide, halve
from augpro.distillation.pipeline import run
from augpro.distillation.plan import make_plan
from augpro.errors import InputError
from augpro.models.layers import UncuttableError
from augpro.results.cell import Cell
from augpro.results.result import LayerSearch, LayerTrial
from augpro.tokens import tokenize
from common import TEXTS, tiny_bert
from report_cases import cell_result


@pytest.fixture(scope="module")
def teacher(save_model, tokenizer):
    return save_model(tokenizer, layers=4, seed=1, dropout=0.1)


@pytest.fixture
def options(table_file, teacher, tmp_path):
    def build_options(name="student", **changed):
        given = {"data": str(table_file), "teacher": str(teacher), "student_layers": "auto:2", "augment": "none",
                 "epochs": 1, "batch_size": 4, "learning_rate": 1e-2, "out": tmp_path / name,
                 "trainer_options": {"disable_tqdm": True, "save_strategy": "no"}}  # fmt: skip
        return DistillConfig(**{**given, **changed})

    return build_options


# --- which layers are tried ---


@pytest.mark.parametrize(
    ("depth", "count", "number"), [(6, 2, 15), (6, 3, 20), (6, 1, 6), (4, 3, 4), (2, 1, 2)]
)
def test_few_choices_are_all_tried(depth, count, number):
    found = candidates(depth, count, seed=0)
    assert sorted(found) == list(itertools.combinations(range(depth), count))
    assert len(found) == number


@pytest.mark.parametrize(
    ("depth", "count", "first"), [(12, 3, (0, 4, 11)), (12, 6, (0, 2, 4, 7, 9, 11)), (24, 2, (0, 23))]
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


# --- a trial ---


@pytest.fixture
def judge(tokenizer):
    """Its teacher is the whole model less its third layer: a student of the others is there from the start."""

    def make(seed=0, dropout=0.0):
        start, teacher = (tiny_bert(len(tokenizer), layers=4, seed=1, dropout=dropout) for _ in range(2))
        layer_search.cut_layers(teacher, (0, 1, 3))
        parts = []
        for texts in (TEXTS[:14], TEXTS[14:]):
            table = tokenize(tokenizer, texts)
            parts.append(TrialRows(table, layer_search.predict_logits(teacher, table)))
        return Judge(start, *parts, "single_label", seed)

    return make


@pytest.mark.e2e
def test_the_student_that_is_the_teacher_is_nearest(judge):
    judge = judge()
    distances = {keep: judge.distance(keep, 8) for keep in itertools.combinations(range(4), 3)}
    assert min(distances, key=distances.get) == (0, 1, 3)
    assert distances[0, 1, 3] < 1e-3
    assert distances[0, 1, 2] > 1e-2


@pytest.mark.e2e
def test_training_brings_a_student_nearer(judge):
    judge = judge()
    assert judge.distance((0, 2), 32) < judge.distance((0, 2), 8)


def test_a_trial_changes_nothing_and_follows_its_seed_alone(judge):
    one = judge(dropout=0.2)
    before = {name: value.clone() for name, value in one.start.state_dict().items()}
    state = torch.get_rng_state()
    first = one.distance((0, 2), 8)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    assert one.distance((0, 2), 8) == first
    assert all(torch.equal(value, before[name]) for name, value in one.start.state_dict().items())
    assert one.start.config.num_hidden_layers == 4
    assert judge(seed=1, dropout=0.2).distance((0, 2), 8) != first


def test_a_student_that_diverges_is_last(judge):
    judge = judge()
    judge.held.teacher_logits[0] = float("nan")
    assert judge.distance((0, 2), 8) == 1e9


def test_the_store_knows_rows_teacher_and_seed(judge):
    assert judge().content() == judge().content() != judge(seed=1).content()
    changed = judge()
    changed.held.teacher_logits[0] += 1
    assert changed.content() != judge().content()


# --- a run ---


def weights(folder):
    return load_file(folder / "model.safetensors")


@pytest.mark.e2e
def test_a_run_is_that_of_the_layers_that_were_found(options, tmp_path):
    """Weights, predictions and figures are those of a run to which these layers were named."""
    result = run(options(augment="random"))
    search = result.layer_search
    tried = sorted(trial.layers for trial in search.trials if trial.steps == 8)
    assert tried == list(itertools.combinations(range(4), 2))
    assert [trial.steps for trial in search.trials] == 6 * [8] + 3 * [16] + 2 * [32]
    assert search.layers == min(search.trials[-2:], key=lambda trial: trial.distance).layers
    assert search.held_rows == 5
    assert search.seconds == pytest.approx(sum(trial.seconds for trial in search.trials))
    assert 0 < search.seconds < result.phase_seconds["layer_search"] < result.seconds
    named = run(options("named", augment="random", student_layers=search.layers))
    assert named.layer_search is None
    assert named.distance_to_teacher == result.distance_to_teacher
    one, other = weights(tmp_path / "student"), weights(tmp_path / "named")
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert any(
        f"layers {search.layers[0]}, {search.layers[1]} were chosen among 6" in note for note in result.notes
    )
    written = json.loads((tmp_path / "student" / "result.json").read_text())
    assert written["layer_search"]["layers"] == list(search.layers)
    assert written["config"]["student_layers"] == "auto:2"


@pytest.fixture
def asked(monkeypatch):
    """Trials that a run asks for, answered at no cost: the nearer, the later its layers."""
    made = []
    monkeypatch.setattr(Judge, "distance", lambda self, *trial: made.append(trial) or 1 / sum(trial[0]))
    return made


@pytest.mark.e2e
def test_a_new_head_is_that_of_the_seed(options, save_model, tokenizer, asked):
    """A student that starts from a model of other classes."""
    start = str(save_model(tokenizer, layers=3, seed=5, labels=("a", "b", "c")))
    result = run(options(student=start))
    assert result.layer_search.layers == (1, 2)
    named = run(options("named", student=start, student_layers=(1, 2)))
    assert result.distance_to_teacher == named.distance_to_teacher


@pytest.mark.e2e
def test_the_methods_of_a_comparison_share_one_search(options, tmp_path, asked):
    """Whatever recipe they have; another seed searches for itself."""
    store = tmp_path / "teacher-labels"
    first = run(options("a", label_store=store))
    assert len(asked) == len(set(asked)) == 11
    recipe = {
        "augment": "random",
        "learning_rate": 1e-3,
        "batch_size": 8,
        "freeze_embeddings": False,
        "kd_loss": "mse",
    }
    others = [run(options("b", label_store=store, **recipe)),
              run(options("c", label_store=store, label_weight=1.0, teacher_weight=0.0))]  # fmt: skip
    assert len(asked) == 11
    assert all(other.layer_search == first.layer_search for other in others)
    run(options("d", label_store=store, seed=1))
    assert len(asked) == 22


@pytest.mark.e2e
def test_killed_in_the_search_a_run_goes_on_with_the_trial_it_was_at(options, tmp_path, asked, monkeypatch):
    trainer = {"disable_tqdm": True, "save_strategy": "epoch"}
    kl = Judge.distance

    def killed(self, *trial):
        if len(asked) == 4:
            raise KeyboardInterrupt
        return kl(self, *trial)

    with monkeypatch.context() as patch:
        patch.setattr(Judge, "distance", killed)
        with pytest.raises(KeyboardInterrupt):
            run(options(trainer_options=trainer))
    search = run(options(trainer_options=trainer, resume=True)).layer_search
    assert len(asked) == len(set(asked)) == 11
    assert [(trial.layers, trial.steps) for trial in search.trials] == asked
    assert not (tmp_path / "student" / "checkpoints").exists()


@pytest.mark.parametrize("content", ["", "{}", '[{"layers": 3}]', "[1]"])
def test_a_damaged_store_is_made_anew(tmp_path, judge, asked, content):
    path, bar = tmp_path / "layers.json", SimpleNamespace(update=lambda steps: None)
    path.write_text(content)
    assert (
        Trials(judge(), path).distance((1, 3), 8, bar)
        == Trials(judge(), path).distance((1, 3), 8, bar)
        == 0.25
    )
    assert asked == [((1, 3), 8)]


@pytest.fixture
def refuse(monkeypatch):
    """Some cuts of the model would load as another one."""

    def start(wrong):
        load = layer_search.load_student

        def try_to_load(source, task, layers, *rest):
            if layers and wrong(layers):
                raise UncuttableError(f"--student-layers {layers}: gives other logits")
            return load(source, task, layers, *rest)

        monkeypatch.setattr(layer_search, "load_student", try_to_load)

    return start


@pytest.mark.e2e
def test_layers_that_the_model_cannot_be_cut_to_are_passed_over(options, refuse, monkeypatch):
    """As of ModernBERT, whose first layer must stay the first."""
    refuse(lambda layers: layers[0] != 0 or layers == (0, 1))
    monkeypatch.setattr(Judge, "distance", lambda self, keep, steps: -keep[0] + keep[1] / 100)
    assert run(options()).layer_search.layers == (0, 2)


def test_a_model_that_cannot_be_cut_is_refused_before_anything_is_written(options, refuse, asked, tmp_path):
    refuse(lambda layers: True)
    with pytest.raises(InputError, match="gives other logits"):
        run(options())
    assert not asked
    assert not (tmp_path / "student").exists()


# --- options and plan ---


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
def test_layers_are_named_or_counted(options, value, layers, count):
    config = options(student_layers=value)
    assert (config.student_layers, config.searched_layers) == (layers, count)
    assert DistillConfig(**config.model_dump(mode="json")).student_layers == layers


@pytest.mark.parametrize("value", ["auto", "auto:", "auto:0", "auto:-1", "auto:2,3", "0,x", ["a"], 3])
def test_other_layers_are_refused(value):
    with pytest.raises(
        InputError,
        match=r"--student-layers .*: write the numbers of layers, such as 0,5, or auto:2",
    ):
        build(DistillConfig, {"data": "d", "teacher": "t", "out": "o", "student_layers": value})


def test_the_plan_tells_of_the_search(options, teacher):
    plan = make_plan(options(learning_rate=None))
    assert (plan.student_layers, plan.searched_layers) == ((), 2)
    assert (
        plan.describe()["student"]
        == f"{teacher}, 2 layers chosen by a search (cut from the teacher, with its head)"
    )
    assert plan.config.learning_rate == 2e-4


@pytest.mark.parametrize("count", [4, 9])
def test_no_more_layers_than_there_are(options, count):
    with pytest.raises(InputError, match=f"--student-layers auto:{count}: .* has 4 layers; search for fewer"):
        make_plan(options(student_layers=f"auto:{count}"))


def test_a_search_needs_some_texts(options, table_file):
    path = table_file / "train.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(rows[:7] * 2)]) + "\n")
    with pytest.raises(
        InputError,
        match=r"train\.csv: a layer search needs 8 different training texts, and there are 7; give more",
    ):
        make_plan(options())


def test_cells_of_a_comparison_search_alike(table_file, teacher, tmp_path):
    config = CompareConfig(
        data=str(table_file), teacher=str(teacher), student_layers="auto:2", out=tmp_path / "grid"
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
