"""Trials of a layer search, and what a run makes of the layers that it finds."""

import itertools
import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from augpro.config import DistillConfig
from augpro.distillation import layer_search
from augpro.distillation.layer_search import Judge, TrialRows, Trials
from augpro.distillation.pipeline import run
from augpro.errors import InputError
from augpro.models.layers import UncuttableError
from augpro.tokens import tokenize
from common import TEXTS, tiny_bert


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
