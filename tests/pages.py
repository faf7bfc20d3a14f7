"""Building the page of an exported folder, as a user does, and the answers that it gives in a browser."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock

from augpro_runtime import Classifier
from exported_folders import write_exported

HERE = Path(__file__).parent.parent / "browser"


def libraries():
    """Install the libraries of the page, once; skip the test where that cannot be: nothing else needs Node.js."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("needs Node.js 20 or later with npm")
    # One process at a time: npm ci starts by removing what is there.
    with FileLock(Path(tempfile.gettempdir()) / "augpro-npm-ci.lock"):
        if (HERE / "node_modules" / ".package-lock.json").exists():
            return
        done = _run("npm", "ci", "--no-audit", "--no-fund")
    if done.returncode:
        pytest.skip(f"needs the libraries of the page, by npm ci ({done.stderr.strip().splitlines()[-1:]})")


def build_page(*arguments):
    return _run("node", "build.mjs", *map(str, arguments))


def folder_of(path, **said):
    return write_exported(path / "exported", **said)[0]


def classify(browser, texts, pairs=None):
    """What the page's own function answers, or its error as a string."""
    code = "const [texts, pairs, done] = arguments; window.classify(texts, pairs).then(done, (e) => done(String(e)))"
    return browser.execute_async_script(code, texts, pairs)


def check_equal(browser, folder, texts, pairs=None):
    """The page answers as the runtime does."""
    found, expected = (
        classify(browser, texts, pairs),
        Classifier.load(folder, threads=1).predict(texts, pairs),
    )
    assert isinstance(found, list), found
    assert len(found) == len(expected)
    for text, one, other in zip(texts, found, expected, strict=True):
        label = list(other.label) if isinstance(other.label, tuple) else other.label
        if isinstance(label, float):
            assert one["label"] == pytest.approx(label, abs=1e-4), repr(text[:80])
        else:
            assert one["label"] == label, repr(text[:80])
            assert one["probability"] == pytest.approx(other.probability, abs=1e-4), repr(text[:80])
        assert one["probabilities"] == pytest.approx(other.probabilities, abs=1e-4), repr(text[:80])
        assert one["confident"] is other.confident


def _run(*command):
    return subprocess.run(command, check=False, cwd=HERE, capture_output=True, text=True, timeout=300)
