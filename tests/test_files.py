"""Files that are whole or not there, on the disk before anything lists them, and JSON that any reader takes."""

import json
import math
import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from augpro.compare.grid import ResultsFile
from augpro.errors import DiskError, InputError
from augpro.files.checksums import read_once, unsealed, write_json_lines, write_tensors
from augpro.files.durable import copy_file, finalize_files, replacement, write_json, write_text
from report_cases import cell_result

TENSORS = {"logits": torch.arange(6.0).reshape(2, 3)}


WRITERS = {
    "text": lambda path: write_text(path, "as it was"),
    "json": lambda path: write_json(path, {"kl": 0.5}),
    "json lines": lambda path: write_json_lines(path, [{"kl": 0.5}, {"kl": 0.25}]),
    "tensors": lambda path: write_tensors(path, TENSORS),
    "copy": lambda path: copy_file(Path(__file__), path),
}
writers = pytest.mark.parametrize("write", list(WRITERS.values()), ids=list(WRITERS))


@pytest.fixture
def path(tmp_path):
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder" / "file"


@pytest.fixture
def umask():
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def steps(monkeypatch, tmp_path):
    """What is synchronised and what is renamed, in order, by path; a file with the bytes it had then."""
    taken = []
    fsync, replace = os.fsync, os.replace

    def recorded_fsync(descriptor):
        paths = [tmp_path, *tmp_path.rglob("*")]
        synced = next(path for path in paths if os.path.samestat(path.stat(), os.fstat(descriptor)))
        taken.append(("sync", synced, None if synced.is_dir() else synced.read_bytes()))
        fsync(descriptor)

    def recorded_replace(source, target):
        taken.append(("rename", Path(source), Path(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    return taken


def test_what_is_no_number_becomes_null(tmp_path):
    write_json(tmp_path / "a.json", {"interval": [math.nan, 1.0], "kl": math.inf})
    write_json_lines(tmp_path / "a.jsonl", [{"kl": math.nan}])
    assert json.loads((tmp_path / "a.json").read_text()) == {"interval": [None, 1.0], "kl": None}
    assert unsealed(json.loads((tmp_path / "a.jsonl").read_text()), "a.jsonl") == {"kl": None}


@writers
def test_the_bytes_are_on_the_disk_before_the_name_and_the_name_before_the_return(write, path, steps):
    path.write_text("old")
    write(path)
    (synced, file, content), (renamed, source, target), (folder_synced, folder, _) = steps
    assert (synced, renamed, folder_synced) == ("sync", "rename", "sync")
    assert file == source
    assert source.parent == path.parent  # a rename between file systems would be a copy
    assert target == path
    assert content == path.read_bytes()
    assert folder == path.parent


def test_what_was_written_can_be_read(path):
    write_tensors(path, TENSORS)
    assert torch.equal(load_file(path)["logits"], TENSORS["logits"])
    copy_file(path, path.with_name("copy"))
    assert path.with_name("copy").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", ["tensors", "copy"])
def test_a_folder_that_is_made_on_the_way_is_on_the_disk_too(name, path, steps):
    WRITERS[name](path.parent / "new" / "newer" / "file")
    synced = [step[1] for step in steps if step[0] == "sync"]
    assert synced[:2] == [path.parent / "new", path.parent]
    assert synced[-1] == path.parent / "new" / "newer"


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002], ids=oct)
@writers
def test_files_follow_the_users_umask(write, mask, path, umask):
    umask(mask)
    write(path)
    assert mode_of(path) == 0o666 & ~mask


def test_files_of_other_libraries_are_finalized_like_our_own(path, umask, steps):
    umask(0o027)
    save_file(TENSORS, path)  # private to the user, whatever the umask
    path.with_name("config.json").write_text("{}")
    (path.parent / "checkpoints").mkdir(mode=0o700)
    finalize_files(path.parent)
    assert {entry.name: mode_of(entry) for entry in path.parent.iterdir()} == {
        "file": 0o640, "config.json": 0o640, "checkpoints": 0o700
    }  # fmt: skip
    synced = [step[1] for step in steps]
    assert set(synced[:2]) == {path, path.with_name("config.json")}
    assert synced[2:] == [path.parent]


def broken_rename(*_):
    raise OSError("no space left")


@writers
def test_an_error_leaves_the_old_file_and_nothing_else(write, path, monkeypatch):
    path.write_text("old")
    monkeypatch.setattr(os, "replace", broken_rename)
    with pytest.raises(OSError, match="no space left"):
        write(path)
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    ("write", "error"),
    [
        (lambda path: write_json(path, "\ud83d"), UnicodeEncodeError),  # half of a character
        (
            lambda path: write_tensors(path, {"a": TENSORS["logits"].to_sparse()}),
            (ValueError, RuntimeError, SafetensorError),
        ),
        (lambda path: copy_file(path.with_name("none"), path), FileNotFoundError),
    ],
)
def test_content_that_cannot_be_written_leaves_the_old_file_and_nothing_else(write, error, path):
    path.write_text("old")
    with pytest.raises(error):
        write(path)
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_a_file_is_read_once_unless_it_changes(path, monkeypatch):
    taken = []
    read = read_once(lambda file: taken.append(file) or file.read_text())
    path.write_text("one")
    assert (read(path), read(path)) == ("one", "one")
    monkeypatch.chdir(path.parent)
    assert read(Path(path.name)) == "one"
    assert len(taken) == 1
    path.write_text("another")
    assert read(path) == "another"
    os.utime(path, ns=(0, 0))
    assert read(path) == "another"
    assert len(taken) == 3


@pytest.mark.parametrize("quoted", ["we requested and got a refund", "it said (os error 28)"])
def test_wrong_input_that_quotes_a_text_is_no_fault_of_the_disk(path, quoted):
    with pytest.raises(InputError, match=r"^row 3: ") as error, replacement(path):
        raise InputError(f"row 3: {quoted}; remove it.")
    assert not isinstance(error.value, DiskError)
    with pytest.raises(DiskError, match="make room there"), replacement(path):
        raise ValueError(quoted)  # as a library says it


def test_a_new_file_of_results_is_in_its_folder_when_the_first_line_is_written(tmp_path, steps):
    results = ResultsFile(tmp_path / "results.jsonl")
    for seed in (0, 1):
        results.append(cell_result(seed=seed))
    assert [step[1].name for step in steps] == ["results.jsonl", tmp_path.name, "results.jsonl"]
