"""A run under torchrun: what one process gives, two give together, and one of them writes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from augpro.cli.app import app
from augpro.config import DistillConfig
from augpro.distillation.pipeline import run
from augpro.distillation.train import check_processes
from augpro.errors import InputError
from augpro.models import processes
from common import LABELS
from test_resume import StopAt, Stopped

METHODS = (
    "none",
    "augpro-mix",
    "augpro-fgsm",
    "augpro-noise",
    "counterfactual",
    "random",
    "knn",
    "crossover",
)


@pytest.fixture(scope="module")
def runs(save_model, tokenizer, tmp_path_factory):
    """Each method by one process and by two, and a run of one that two have resumed: {name: its folders}."""
    folder = tmp_path_factory.mktemp("runs")
    data = folder / "data"
    data.mkdir()
    texts = ("a good film", "slow", "help my bill", "never again") * 6
    rows = [f"{text},{LABELS[number % 2]}" for number, text in enumerate(texts)]
    (data / "train.csv").write_text("\n".join(["text,label", *rows[:19]]))
    (data / "validation.csv").write_text("\n".join(["text,label", *rows[:7]]))
    teacher, student = save_model(tokenizer, layers=2, seed=1), save_model(tokenizer, seed=2)

    def options(method, out, **others):
        # By plain gradient descent: Adam makes a step of a gradient that is 0 but for rounding.
        saves = {"optim": "sgd", "save_steps": 3, "save_strategy": "steps"}
        return {
            "data": str(data), "teacher": str(teacher), "student": str(student), "augment": method, "epochs": 2,
            "batch_size": 6, "learning_rate": 0.2, "trainer_options": saves,
            "out": str(folder / out), **others,
        }  # fmt: skip

    sparse = {"new_candidates": 0.25, "candidates": 2, "epochs": 4}  # some batches get no new text
    bounded = {"new_candidates": 3, "candidates": 3, "similarity_quantile": 0.34}
    for method in METHODS:
        run(DistillConfig(**options(method, f"{method}-1")))
    run(DistillConfig(**options("augpro-mix", "bounded-1", **bounded)))
    run(DistillConfig(**options("augpro-mix", "sparse-1", **sparse)))
    with pytest.raises(Stopped):
        run(DistillConfig(**options("augpro-mix", "resumed-2")), [StopAt(3)])
    plans = [options(method, f"{method}-2") for method in METHODS]
    (folder / "plans.json").write_text(
        json.dumps(
            [
                *plans,
                options("augpro-mix", "resumed-2", resume=True),
                options("augpro-mix", "sparse-2", **sparse),
                options("augpro-mix", "bounded-2", **bounded),
            ]
        )
    )
    script = Path(__file__).with_name("runs_in_processes.py")
    starter = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [sys.executable, *starter, str(script), str(folder / "plans.json")], capture_output=True, text=True,
        check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    pairs = {method: (folder / f"{method}-1", folder / f"{method}-2") for method in METHODS}
    for name in ("sparse", "bounded"):
        pairs[name] = folder / f"{name}-1", folder / f"{name}-2"
    return {"start": student, **pairs, "resumed": (folder / "augpro-mix-1", folder / "resumed-2")}


@pytest.mark.e2e
@pytest.mark.parametrize("name", [*METHODS, "resumed", "sparse", "bounded"])
def test_two_processes_give_what_one_gives(name, runs):
    """Nineteen rows in batches of six: of the last batch both processes take its only row."""
    one, two = (load_file(folder / "model.safetensors") for folder in runs[name])
    start = load_file(runs["start"] / "model.safetensors")
    assert max((weights - start[part]).abs().max() for part, weights in one.items()) > 0.01, "it has learned"
    for part, weights in one.items():
        torch.testing.assert_close(two[part], weights, rtol=1e-3, atol=2e-5, msg=part)
    one, two = (load_file(folder / "predictions.safetensors") for folder in runs[name])
    for part, values in one.items():
        torch.testing.assert_close(two[part], values, rtol=1e-2, atol=1e-3, msg=part)
    one, two = (json.loads((folder / "result.json").read_text()) for folder in runs[name])
    for field in ("epochs", "train_rows", "eval_rows", "metric_name"):
        assert one[field] == two[field]
    # The row that both have taken counts twice.
    assert one["replacement"] == pytest.approx(two["replacement"], abs=0.1)
    assert [path.name for path in runs[name][1].iterdir() if path.name.startswith(".")] == []


# --- shares ---


def test_shares_are_as_large_in_every_process(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rows in (1, 3, 7, 32):
        parts = []
        for rank in range(3):
            monkeypatch.setenv("RANK", str(rank))
            parts.append(processes.share(rows))
        assert len({len(part) for part in parts}) == 1
        assert torch.cat(parts)[:rows].tolist() == list(range(rows))


def test_one_process_does_everything():
    assert processes.leads()
    assert processes.share(4).tolist() == [0, 1, 2, 3]
    rows = torch.rand(3, 2)
    assert processes.gather(rows) is rows
    assert processes.in_shares(3, lambda part: rows[part], rows.device) is not None


# --- what several processes cannot share ---


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"augment": "mixup"}, "--augment mixup: makes no text"),
        ({"hidden_weight": 1.0}, "a loss on hidden states or pooled vectors"),
        (
            {"trainer_options": {"train_sampling_strategy": "random"}},
            "--trainer-option train_sampling_strategy=random",
        ),
    ],
)
def test_what_needs_one_process_is_refused_in_several(options, what, planned, monkeypatch):
    plan = planned(**options)
    check_processes(plan)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=what) as refused:
        check_processes(plan)
    assert "start the run without torchrun" in str(refused.value)


def test_rows_that_several_processes_label_are_labelled_once(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    rows, asked, parts = torch.rand(5, 2), [], []
    monkeypatch.setattr(processes, "gather", parts.append)
    for rank in range(4):
        monkeypatch.setenv("RANK", str(rank))
        with pytest.raises(TypeError):  # nothing is gathered here
            processes.in_shares(5, lambda part: asked.append(part) or rows[part], rows.device)
    assert sum(len(rows[part]) for part in asked) == 5
    assert torch.equal(torch.cat(parts)[:5], rows)


def test_a_command_that_runs_in_one_process_says_so(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = CliRunner().invoke(app, ["labels", "stats", "--label-store", "x"])
    assert done.exit_code == 2
    assert "augpro labels: runs in one process, and there are 2; start it without torchrun." in done.stderr
    monkeypatch.setenv("RANK", "1")
    silent = CliRunner().invoke(app, ["labels", "stats", "--label-store", "x"])
    assert (silent.exit_code, silent.output) == (2, "")
