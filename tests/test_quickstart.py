"""The main job end to end, with the real MiniLM: pytest -m e2e."""

import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
PYTHON_BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """Folder, output and processor seconds of `augpro quickstart --fast`, run as a user would."""
    folder = tmp_path_factory.mktemp("quickstart")
    started = processor_seconds()
    done = subprocess.run(
        [sys.executable, "-m", "augpro.cli", "quickstart", "--fast", "--out", "augpro-quickstart"],
        check=False, cwd=folder, capture_output=True, text=True, timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done.stdout, processor_seconds() - started


def processor_seconds():
    """Of the processes that were started here and have ended: other work on the machine does not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.e2e
def test_quickstart_compares_three_students_with_their_teacher(quickstart):
    folder, output, seconds = quickstart
    results = json.loads((folder / "augpro-quickstart" / "quickstart.json").read_text())
    assert list(results) == ["teacher, 6 layers", "labels only", "plain distillation", "augpro-mix"]
    for title, result in results.items():
        assert title.split(",")[0] in output
        assert result["eval_rows"] == 400
    assert results["augpro-mix"]["train_rows"] == 64
    assert 0 < results["augpro-mix"]["replacement"]["new"] < 1
    assert "Traceback" not in output
    assert seconds < 360, "a smoke test of 90 s on two cores, with room for a slow machine"
    gib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    assert gib < 4


@pytest.mark.e2e
def test_the_printed_lines_use_the_student(quickstart, monkeypatch):
    folder, output, _ = quickstart
    monkeypatch.chdir(folder)
    lines = [line.strip() for line in output.split("Use it:")[1].splitlines()]
    code = "\n".join(line for line in lines if line.startswith(("from", "classify", "print")))
    assert code.count("\n") == 2
    exec(compile(code, "quickstart output", "exec"), {})


@pytest.mark.e2e
@pytest.mark.parametrize("number", range(len(PYTHON_BLOCKS)))
def test_readme_code_runs(quickstart, number, monkeypatch):
    monkeypatch.chdir(quickstart[0])
    exec(compile(PYTHON_BLOCKS[number], f"README.md, python block {number + 1}", "exec"), {})


def test_ci_runs_the_readme_test_command():
    script = (Path(__file__).parent.parent / ".ci" / "run").read_text()
    command = re.search(r"pip install (-c constraints.txt -e ./runtime -e '.\[dev\]') && (pytest)", README)
    assert command
    for part in command.groups():
        assert part in script
    assert PYTHON_BLOCKS
