"""Building the page of an exported folder, as a user does."""

import shutil
import subprocess
from pathlib import Path

import pytest

from exported_folders import write_exported

HERE = Path(__file__).parent.parent / "browser"


def libraries():
    """Install the libraries of the page, once; skip the test where that cannot be: nothing else needs Node.js."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("needs Node.js 20 or later with npm")
    if not (HERE / "node_modules" / ".package-lock.json").exists():
        done = _run("npm", "ci", "--no-audit", "--no-fund")
        if done.returncode:
            pytest.skip(
                f"needs the libraries of the page, by npm ci ({done.stderr.strip().splitlines()[-1:]})"
            )


def build_page(*arguments):
    return _run("node", "build.mjs", *map(str, arguments))


def folder_of(path, **said):
    return write_exported(path / "exported", **said)[0]


def _run(*command):
    return subprocess.run(command, check=False, cwd=HERE, capture_output=True, text=True, timeout=300)
