"""The examples run as they are written, and the code on the documentation pages does what the page says."""

import doctest
import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from augpro.cli.app import app
from common import ANSWERS, LABELS, TEXTS

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def run_script(name, *arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


@pytest.fixture
def reviews(tmp_path):
    """One file of 40 rows."""
    rows = [f"{text},{LABELS[answer]}" for text, answer in zip(TEXTS, ANSWERS, strict=True)]
    again = [f"today {row}" for row in rows]
    path = tmp_path / "reviews.csv"
    path.write_text("\n".join(["text,label", *rows, *again]) + "\n")
    return path


def test_every_example_is_run_here():
    here = Path(__file__).read_text(encoding="utf-8")
    for path in EXAMPLES.iterdir():
        if path.suffix in (".py", ".yaml"):
            assert f'"{path.name}"' in here, path.name


@pytest.mark.e2e
def test_objects(monkeypatch, capsys):
    run_script("objects.py", monkeypatch=monkeypatch)
    printed = capsys.readouterr().out
    assert re.search(r"the movie is great\n    [a-z ]+\n", printed)
    assert re.search(r"agreement with the teacher: [01]\.\d{3}\n(negative|positive)\n", printed)


@pytest.mark.e2e
def test_distil_your_own_file(reviews, teacher_folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "student"
    run_script(
        "distil_your_own_file.py", "--data", reviews, "--teacher", teacher_folder, "--out", out,
        "--student-layers", "0,2", monkeypatch=monkeypatch,
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert re.search(r"accuracy: student [01]\.\d{3}, teacher [01]\.\d{3}", printed)
    assert re.search(r"agreement with the teacher: [01]\.\d{3} \(share of equal decisions\)", printed)
    assert {"config.json", "model.safetensors", "tokenizer.json", "result.json", "samples.md"} <= {
        path.name for path in out.iterdir()
    }


def test_wrong_input_ends_the_example_in_one_sentence(teacher_folder, tmp_path, monkeypatch):
    options = ("--data", tmp_path / "none.csv", "--teacher", teacher_folder, "--out", tmp_path / "out")
    with pytest.raises(SystemExit, match=r"none\.csv"):
        run_script("distil_your_own_file.py", *options, monkeypatch=monkeypatch)


@pytest.mark.e2e
def test_run_yaml(reviews, teacher_folder, tmp_path):
    out = tmp_path / "student"
    command = [
        "distill", "--config", EXAMPLES / "run.yaml", "--data", reviews, "--teacher", teacher_folder,
        "--student", teacher_folder, "--student-layers", "0,2", "--epochs", "2", "--out", out,
    ]  # fmt: skip
    done = CliRunner().invoke(app, [str(part) for part in command], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert (out / "samples.md").is_file()


@pytest.mark.parametrize("method", ["augpro-mix", "augpro-noise"])
def test_augment_texts(method, teacher_folder, monkeypatch, capsys):
    options = ("--model", teacher_folder, "--method", method)
    run_script("augment_texts.py", *options, *TEXTS[:4], monkeypatch=monkeypatch)
    pairs = capsys.readouterr().out.strip().split("\n\n")
    before, after = zip(*(pair.split("\n  -> ") for pair in pairs), strict=True)
    assert list(before) == TEXTS[:4]
    assert set(after) != set(before)
    run_script("augment_texts.py", *options, *TEXTS[:4], monkeypatch=monkeypatch)
    assert capsys.readouterr().out.strip().split("\n\n") == pairs


def test_one_text_cannot_be_mixed(teacher_folder, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run_script("augment_texts.py", "--model", teacher_folder, "alone", monkeypatch=monkeypatch)
    assert "at least 2" in capsys.readouterr().err


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_on_a_page_is_true(page, teacher_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("teacher", "student"):
        shutil.copytree(teacher_folder, tmp_path / "runs" / name)
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    examples = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, page.name, str(page), 0)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    said = []
    results = doctest.DocTestRunner(optionflags=flags).run(examples, out=said.append)
    assert results.failed == 0, "".join(said)
    assert results.attempted > 0 or not blocks


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.stem)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_on_a_page_have_only_options_that_exist(page):
    commands = typer.main.get_command(app).commands
    known = {
        name: {
            option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        for name, command in commands.items()
    }
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for command, rest in re.findall(
        r"^augpro (distill|finetune|evaluate|compare|calibrate|serve) (.*)$", text, re.MULTILINE
    ):
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in known[command], f"augpro {command} {option}"
