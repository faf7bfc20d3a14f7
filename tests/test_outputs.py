"""What a command writes is checked before it works, and nothing that it prints can end it."""

import io
import os
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from augpro.cli.app import app
from augpro.config import DistillConfig
from augpro.distillation.pipeline import run
from augpro.errors import InputError
from augpro.results.output import check_file, check_folder, check_output, claim_file, claim_new
from augpro.results.terminal import forgive_output
from report_cases import write_results
from test_cli import FAST, invoke


@pytest.fixture
def refused(monkeypatch):
    """The one sentence of a command that is refused before any weights are read."""
    monkeypatch.setattr("augpro.models.source.ModelSource.load_classifier", lambda *_, **__: 1 / 0)
    monkeypatch.setattr("augpro.models.source.ModelSource.load_trained_classifier", lambda *_, **__: 1 / 0)

    def command(*arguments):
        done = invoke(*arguments)
        assert done.exit_code == 2, done.output
        assert done.output.count("\n") == 1
        return done.output

    return command


# --- folders and files that cannot be written ---


def places(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    return {
        "evaluate": [(tmp_path / "folder", "is a folder"), (tmp_path / "file" / "x.json", "is a file"),
                     (tmp_path / ("x" * 300), "File name too long"), (Path("/dev/null"), "is no ordinary file")],
        "distill": [(tmp_path / "file", "is a file"), (tmp_path / "file" / "x", "is a file"),
                    (tmp_path / ("x" * 300), "File name too long")],
        "compare": [(tmp_path / "file", "is a file"), (tmp_path / "file" / "x", "is a file")],
    }  # fmt: skip


@pytest.mark.parametrize("command", ["evaluate", "distill", "compare"])
def test_a_place_that_cannot_be_written(refused, command, tmp_path, table_file, teacher_folder):
    models = {
        "evaluate": ["--model", teacher_folder],
        "distill": ["--teacher", teacher_folder, "--student-layers", 0],
    }
    for out, said in places(tmp_path)[command]:
        options = models.get(command, models["distill"])
        assert said in refused(command, "--data", table_file, *options, "--out", out)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder", "reviews"}


@pytest.mark.parametrize("name", ["results.jsonl", "table.md"])
def test_a_folder_where_a_comparison_writes_a_file(refused, name, tmp_path, table_file, teacher_folder):
    (tmp_path / "out" / name).mkdir(parents=True)
    options = (
        "--data",
        table_file,
        "--teacher",
        teacher_folder,
        "--student-layers",
        0,
        "--out",
        tmp_path / "out",
    )
    assert f"{name}: is a folder" in refused("compare", *options)
    assert f"{name}: is a folder" in refused("compare", *options, "--dry-run")


def test_a_file_where_a_comparison_makes_a_folder(refused, tmp_path, table_file, teacher_folder):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "predictions").write_text("")
    said = refused("compare", "--data", table_file, "--teacher", teacher_folder, "--student-layers", 0,
                   "--out", tmp_path / "out")  # fmt: skip
    assert "predictions: is a file" in said


def test_a_label_store_that_cannot_be_made(refused, tmp_path, table_file, teacher_folder):
    (tmp_path / "file").write_text("")
    said = refused("distill", "--data", table_file, "--teacher", teacher_folder, "--student-layers", 0,
                   "--batch-size", 4, "--out", tmp_path / "out",
                   "--label-store", tmp_path / "file" / "labels.sqlite")  # fmt: skip
    assert "file: is a file; give a folder as --label-store" in said


def test_a_run_in_python_is_checked_before_its_data(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="out: is a file"):
        run(DistillConfig(data="not there.csv", teacher="t", out=tmp_path / "out"))


CHECKS = [
    check_folder,
    claim_new,
    lambda path: check_file(path / "x"),
    lambda path: check_file(path / "new" / "x"),
    lambda path: check_output(DistillConfig(data="d", teacher="t", out=path)),
]


@pytest.mark.parametrize("check", CHECKS)
def test_a_folder_without_permission(tmp_path, monkeypatch, check):
    folder = tmp_path / "closed"
    folder.mkdir()
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder and allowed(path, mode))
    with pytest.raises(
        InputError, match=r"closed cannot be written to; change its permissions or give another --out"
    ):
        check(folder)


def test_a_disk_that_takes_nothing_is_met_before_the_work(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("augpro.results.output.try_file", full)
    with pytest.raises(InputError, match=r"x.json: cannot be written \(No space left on device\)"):
        claim_file(tmp_path / "x.json")


def test_the_folder_of_a_file_is_made(tmp_path, table_file, teacher_folder):
    out = tmp_path / "new" / "er" / "scores.json"
    assert invoke("evaluate", "--data", table_file, "--model", teacher_folder, "--out", out).exit_code == 0
    assert [path.name for path in out.parent.iterdir()] == ["scores.json"]


def test_what_a_command_reads_is_not_replaced(refused, tmp_path, table_file, teacher_folder):
    path = table_file / "validation.csv"
    said = refused("evaluate", "--data", path, "--model", teacher_folder, "--out", path)
    assert "is read by this command, and would be replaced" in said
    grid = write_results(tmp_path / "grid")
    for out in (grid / "results.jsonl", grid / "samples" / ".." / "results.jsonl"):
        assert "would be replaced" in refused("report", "--results", grid, "--out", out)


# --- printing ---


@pytest.mark.e2e
def test_a_terminal_without_the_letters_of_a_name(tmp_path, table_file, teacher_folder):
    out = tmp_path / "студент"
    arguments = ["distill", "--data", table_file, "--teacher", teacher_folder, "--student-layers", 0, "--out", out,
                 "--augment", "none", *FAST]  # fmt: skip
    done = CliRunner(charset="cp1252").invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0
    assert (out / "result.json").is_file()
    assert r"\u0441\u0442\u0443\u0434\u0435\u043d\u0442" in done.stdout_bytes.decode("cp1252").replace(
        "\n", ""
    )
    done = CliRunner(charset="ascii").invoke(
        app, ["evaluate", "--data", str(table_file), "--model", str(out)], catch_exceptions=False
    )
    assert done.exit_code == 0


@pytest.fixture
def streams(monkeypatch):
    """Set standard output and error to a stream, and forgive them."""

    def use(stream, **options):
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        forgive_output(**options)

    return use


def test_a_reader_who_stops_reading(streams):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="ascii") as pipe:
        streams(pipe)
        for _ in range(2):
            Console().print("больше")
            print("más" * 5000, flush=True)
            print("error", file=sys.stderr, flush=True)


class Full(io.StringIO):
    def write(self, text):
        raise OSError(28, "No space left on device")


def test_a_disk_without_room_for_the_output(streams):
    streams(Full())
    print("x", flush=True)
    Console().print("y")


def test_streams_that_are_not_there(streams):
    streams(None)
    print("x", flush=True)
    Console().print("y")
    sys.stdout._stream.close()
    sys.stderr._stream.close()


def test_a_forgiven_stream_is_the_same_in_everything_else(streams):
    raw = io.BytesIO()
    streams(io.TextIOWrapper(raw, encoding="cp1252"))
    once = sys.stdout
    forgive_output()
    assert sys.stdout is once
    assert (sys.stdout.encoding, sys.stdout.isatty(), sys.stdout.errors) == (
        "cp1252",
        False,
        "backslashreplace",
    )
    print("é 漢", flush=True)
    assert raw.getvalue() == b"\xe9 \\u6f22\n"
    streams(io.TextIOWrapper(raw, encoding="cp1252"), encoding="utf-8")
    assert sys.stdout.encoding == "utf-8"
