"""A run that fails before there is anything to go on from leaves the folder as it found it."""

import pytest

from augpro.config import DistillConfig
from augpro.errors import InputError
from augpro.results.output import CONFIG, OutputFolder, check_output


@pytest.fixture
def config(tmp_path):
    return DistillConfig(data="x", teacher="y", out=tmp_path / "runs" / "student")


def fail(config, *files, error=ValueError):
    """A run that writes some files and ends by an error."""

    def run():
        with OutputFolder(config):
            for name in files:
                path = config.out / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("{}")
            raise error

    with pytest.raises(error):
        run()


def test_what_it_has_made_is_removed_and_another_command_fits(config, tmp_path):
    fail(config, "checkpoints/teacher-labels/block.safetensors", "checkpoints/checkpoint-3/model.safetensors")
    assert not (tmp_path / "runs").exists()
    with OutputFolder(config.model_copy(update={"temperature": 2.0})) as folder:
        assert (folder.path / CONFIG).is_file()


@pytest.mark.parametrize("empty", ["runs", "runs/student"])
def test_folders_that_were_there_stay(config, tmp_path, empty):
    (tmp_path / empty).mkdir(parents=True)
    if empty == "runs":
        (tmp_path / "runs" / "mine.txt").write_text("mine")
    fail(config)
    kept = [tmp_path / "runs" / "mine.txt"] if empty == "runs" else [tmp_path / "runs" / "student"]
    assert sorted((tmp_path / "runs").iterdir()) == kept


@pytest.mark.parametrize("name", ["checkpoints/checkpoint-3/trainer_state.json", "model.safetensors"])
def test_a_checkpoint_or_a_model_is_kept(config, name):
    fail(config, name)
    assert (config.out / name).is_file()
    with pytest.raises(InputError, match="is not empty; use --resume"):
        OutputFolder(config).__enter__()
    with OutputFolder(config.model_copy(update={"resume": True})) as folder:
        assert (folder.checkpoint is not None) == (name != "model.safetensors")


def test_checkpoints_that_cannot_be_gone_on_from_do_not_displace_those_that_follow(config):
    states = ["checkpoints/checkpoint-2/trainer_state.json", "checkpoints/checkpoint-10/trainer_state.json"]
    fail(config, *states, "checkpoints/teacher-labels/block.safetensors")
    (config.out / states[1]).write_text("{")
    with OutputFolder(config.model_copy(update={"resume": True})) as folder:
        assert folder.checkpoint == str(config.out / "checkpoints" / "checkpoint-2")
        left = {path.name for path in (config.out / "checkpoints").iterdir()}
    assert left == {"checkpoint-2", "teacher-labels"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_run_keeps_what_it_has_and_can_be_resumed(config, error):
    fail(config, "checkpoints/teacher-labels/block.safetensors", error=error)
    fail(config.model_copy(update={"resume": True}))
    assert (config.out / "checkpoints" / "teacher-labels" / "block.safetensors").is_file()


def test_a_run_that_was_killed_while_it_wrote_its_options_can_be_started_again(config):
    """The temporary file is no run that could be resumed, and nothing that a new run must not write over."""
    config.out.mkdir(parents=True)
    (config.out / f".{CONFIG}.6460a4299310").write_text("{")
    check_output(config)
    with OutputFolder(config):
        assert {path.name for path in config.out.iterdir()} == {CONFIG, ".lock"}
