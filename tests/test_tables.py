"""The tables of README and docs are those that the committed results give."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "benchmarks" / "tables.py"
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if "<!-- results" in page.read_text()
]


def check(*pages):
    return subprocess.run(
        [sys.executable, SCRIPT, "--check", *pages], capture_output=True, text=True, check=False
    )


def test_the_pages_say_what_the_results_say(tmp_path):
    assert ROOT / "README.md" in PAGES
    done = check(*PAGES)
    assert done.returncode == 0, done.stderr
    page = tmp_path / "page.md"
    page.write_text((ROOT / "README.md").read_text().replace("| teacher | |", "| teacher | 7 |", 1))
    done = check(page)
    assert done.returncode == 1
    assert "page.md" in done.stderr
