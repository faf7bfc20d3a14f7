"""benchmarks/gpu.sh without a GPU: what it would run, and one sentence where it cannot."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from augpro.config import CompareConfig, FinetuneConfig, build

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "benchmarks" / "gpu.sh"
pytestmark = pytest.mark.skipif(
    not SCRIPT.is_file() or not shutil.which("bash"), reason="the benchmarks are in the repository alone"
)
TASKS = ("rte", "mrpc", "stsb", "cola", "sst2", "banking77", "clinc150", "qnli", "qqp")


@pytest.fixture
def data(tmp_path):
    for task in TASKS:
        (tmp_path / "data" / task).mkdir(parents=True)
        (tmp_path / "data" / task / "train.parquet").touch()
    return tmp_path / "data"


def script(*options):
    environment = {name: value for name, value in os.environ.items() if name != "OUT"}
    command = ["bash", str(SCRIPT), *map(str, options)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment | {"CUDA_VISIBLE_DEVICES": ""}
    )


def commands(done):
    """The augpro commands among the printed lines, as (name, options)."""
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        words = shlex.split(line)
        if "augpro.cli" in words:
            name, *rest = words[words.index("augpro.cli") + 1 :]
            options = {"trainer_options": {}}
            for flag, value in zip(rest[::2], rest[1::2], strict=True):
                if flag == "--trainer-option":
                    options["trainer_options"] |= [value.split("=")]
                else:
                    options[flag.removeprefix("--").replace("-", "_")] = value
            yield name, options


def test_a_dry_run_prints_commands_that_augpro_takes(data, tmp_path):
    out = tmp_path / "out"
    found = list(commands(script("--dry-run", "--python", sys.executable, "--out", out, data)))
    teachers = [build(FinetuneConfig, options) for name, options in found if name == "finetune"]
    grids = [build(CompareConfig, options) for name, options in found if name == "compare"]
    assert [Path(config.data).name for config in teachers] == list(TASKS)
    assert [Path(config.data).name for config in grids] == list(TASKS)
    assert [config.model for config in teachers] == ["mpnet"] * 4 + ["minilm"] * 3 + ["mpnet"] * 2
    for teacher, grid in zip(teachers, grids, strict=True):
        assert teacher.holdout_rows == grid.holdout_rows
        methods = {"augpro-mix", "knn", "random", "tfidf", "embeddings"}
        assert {method.split(":")[0] for method in grid.methods} == methods
        assert grid.student is None
        assert len(grid.student_layers) == (
            6 if teacher.model == "mpnet" else 2 if "sst2" in grid.data else 0
        )
        assert grid.seeds == (0, 1, 2)
        assert Path(grid.teacher).parent == out / "teachers"
        assert 0 < grid.budget < 12
    assert not out.exists()


def test_a_student_of_the_large_teachers_is_no_part_of_them(data, tmp_path):
    given = "--dry-run --python x --steps students --student minilm --methods none,augpro-mix --tasks rte,banking77"
    found = [options for _, options in commands(script(*given.split(), "--out", tmp_path, data))]
    assert [options.get("student") for options in found] == ["minilm", None]
    assert not any("student_layers" in options for options in found)
    assert [options["methods"] for options in found] == ["none,augpro-mix"] * 2


def test_given_teachers_are_not_trained(data, tmp_path):
    done = script("--dry-run", "--python", "x", "--out", "o", "--teachers", "mine", "--tasks", "rte", data)
    assert [(name, options["teacher"]) for name, options in commands(done)] == [("compare", "mine/rte")]


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--python", sys.executable, "--out", "OUT"], "torch sees no GPU; --dry-run prints what would run."),
        ([], "give --out, or set OUT to a folder."),
        (["--out", "OUT", "--tasks", "rte,imdb"], "--tasks imdb: is none of"),
        (["--out", "OUT", "--steps", "all"], "--steps all: teachers, tests, speed or students."),
        (["--out", "OUT", "--minutes", "ten"], "--minutes ten: must be a number."),
        (["--out", "OUT", "--jobs", "0"], "--jobs 0: must be a whole number from 1."),
        (["--frobnicate"], "unknown option --frobnicate;"),
    ],
)
def test_what_does_not_fit_is_told_in_one_sentence(options, told, data, tmp_path):
    done = script(*(tmp_path / "out" if option == "OUT" else option for option in options), data)
    assert done.returncode == 2
    assert done.stderr.startswith("gpu.sh: ")
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_teacher_in_half_precision_keeps_its_record(save_model, tokenizer, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    import half_precision

    trained = save_model(tokenizer)

    for name in ("result.json", "training-rows.safetensors"):
        (trained / name).write_bytes(b"kept")
    half_precision.main(str(trained), str(tmp_path / "half"))
    weights = load_file(tmp_path / "half" / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float16}
    assert (tmp_path / "half" / "training-rows.safetensors").read_bytes() == b"kept"
    assert not (tmp_path / "half.part").exists()
