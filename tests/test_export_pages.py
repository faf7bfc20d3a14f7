"""The commands on the pages about export and predict run as they are written."""

import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from augpro.cli.app import app
from augpro.testing import TEXTS

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize(
    ("page", "made"),
    [
        pytest.param("export.md", "runs/exported/model.onnx", marks=pytest.mark.e2e),
        ("predict.md", "answers.csv"),
    ],
)
def test_the_command_runs(page, made, teacher_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(teacher_folder, tmp_path / "runs" / "student")
    (tmp_path / "tickets.csv").write_text("\n".join(["text", *TEXTS]), encoding="utf-8")
    (command,) = re.findall(r"^augpro (.*)$", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE)
    done = CliRunner().invoke(app, command.split(), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert (tmp_path / made).is_file()
