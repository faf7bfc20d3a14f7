"""A disk that is full or read-only, and folders in use: one sentence, nothing lost, and the same bytes afterwards."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
import cases

from augpro.errors import InputError
from augpro.results.output import folder_lock
from augpro.shards.relabel import whole_set
from augpro.teachers.store import check_store

pytestmark = pytest.mark.e2e
AGAIN = r"cannot be written \(.*\); make room there or change its permissions, and run the same command again"


def mount(folder, *options):
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path):
    """A disk of its own with some kilobytes; ``fill`` leaves so many of them free."""
    if shutil.which("mount") is None or not hasattr(os, "geteuid") or os.geteuid():
        pytest.skip("needs the right to mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount(folder, "-t", "tmpfs", "-o", "size=32m", "tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder, free):
    """Leave only so many kilobytes free."""
    found = os.statvfs(folder)
    (folder / "filler").write_bytes(bytes(max(0, found.f_bavail * found.f_frsize - 1024 * free)))


def distil(given):
    def run(folder):
        from augpro.config import DistillConfig
        from augpro.distillation.pipeline import run

        if (folder / "result.json").exists():
            return
        run(DistillConfig(
            **given, out=folder, epochs=2, batch_size=8, learning_rate=0.01, augment="augpro-mix",
            resume=(folder / "config.augpro.json").exists(), trainer_options={"disable_tqdm": True},
        ))  # fmt: skip

    return run


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    scratch = tmp_path_factory.mktemp("models")
    few, many = cases.inputs(scratch / "few", 20), cases.inputs(scratch / "many", 512)
    cases.Augment(few, labels=True, copies=2)(scratch / "augmented")
    return {"few": few, "many": many, "augmented": scratch / "augmented"}


RUNS = {
    "augment": lambda given: cases.Augment(given["many"], labels=True),
    "distill": lambda given: distil(given["few"]),
    "label": lambda given: cases.Label(given["many"]),
    "distill --augmented": lambda given: cases.DistilStored(given["few"], given["augmented"]),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_full_disk_is_one_sentence_and_the_run_goes_on_when_there_is_room(name, given, disk, tmp_path):
    run = RUNS[name](given)
    run(tmp_path / "whole" / "out")
    wanted = cases.files(tmp_path / "whole" / "out")
    said = []
    for number, free in enumerate((24, 120) if name in ("augment", "distill") else (60,)):
        folder = disk / f"run-{number}"
        folder.mkdir()
        fill(disk, free)
        try:
            run(folder / "out")
        except InputError as error:
            said.append(str(error))
        (disk / "filler").unlink()
        run(folder / "out")
        assert cases.files(folder / "out") == wanted
        shutil.rmtree(folder)
    assert said
    for sentence in said:
        assert "cannot be written" in sentence or "the disk is full" in sentence
        assert "\n" not in sentence


def test_a_label_store_and_its_files_on_a_full_disk(given, disk):
    from damage_kinds import _labels

    from augpro.teachers.exchange import export_labels, import_labels
    from augpro.teachers.store import LabelStore

    teacher, labels = _labels(given["few"], disk / "one")
    store = LabelStore(disk / "one" / "labels.sqlite")
    fill(disk, 0)
    with pytest.raises(InputError, match=AGAIN):
        export_labels(store, disk / "labels.parquet")
    (disk / "filler").unlink()
    export_labels(store, disk / "labels.parquet")
    fill(disk, 0)
    with pytest.raises(InputError, match="cannot grow, because the disk is full"):
        import_labels(LabelStore(disk / "other.sqlite"), disk / "labels.parquet")
    (disk / "filler").unlink()
    assert import_labels(LabelStore(disk / "other.sqlite"), disk / "labels.parquet").added == len(labels)
    teacher.store.connection.close()


def test_a_disk_that_cannot_be_written(given, disk, tmp_path):
    from damage_kinds import _labels

    from augpro.teachers.exchange import export_labels
    from augpro.teachers.store import LabelStore

    teacher, _ = _labels(given["few"], tmp_path)
    cases.Augment(given["few"], labels=False)(disk / "set")
    mount(disk, "-o", "remount,ro")
    runs = [cases.Augment(given["few"], labels=False), distil(given["few"]), cases.Compare(given["few"])]
    for run in runs:
        with pytest.raises(
            InputError, match=r"cannot be written to; change its permissions or give another --out"
        ):
            run(disk / "out")
    with pytest.raises(
        InputError, match=r"cannot be written to; change its permissions or give another --augmented"
    ):
        cases.Label(given["few"])(disk / "set")
    with pytest.raises(InputError, match="cannot be written"):
        export_labels(LabelStore(tmp_path / "labels.sqlite"), disk / "labels.parquet")
    with pytest.raises(
        InputError, match="cannot be written to; change its permissions or give another --label-store"
    ):
        check_store(disk / "labels.sqlite")
    teacher.store.connection.close()


def test_a_folder_of_another_command_or_in_use_is_left_alone(given, tmp_path):
    few = given["few"]
    cases.Augment(few, labels=False)(tmp_path / "set")
    distil(few)(tmp_path / "run")
    before = cases.files(tmp_path)
    for run, folder in ((distil(few), "set"), (cases.Augment(few, labels=False), "run")):
        with pytest.raises(InputError, match="is not empty"):
            run(tmp_path / folder)
    with pytest.raises(InputError, match="no augmented rows here"):
        whole_set(tmp_path / "run")
    assert cases.files(tmp_path) == before
    for run in (cases.Augment(few, labels=False), cases.Label(few)):
        with (
            folder_lock(tmp_path / "set"),
            pytest.raises(InputError, match="another augpro run is at work here"),
        ):
            run(tmp_path / "set")


def test_a_folder_of_another_user(given, tmp_path):
    """As a user who may not write there."""
    if os.geteuid() or not hasattr(os, "fork"):
        pytest.skip("needs another user")
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    child = os.fork()
    if not child:
        os.setuid(65534)
        code = 1
        try:
            from augpro.results.output import check_folder

            check_folder(tmp_path / "out")
        except InputError as error:
            code = 0 if "change its permissions" in str(error) else 2
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
