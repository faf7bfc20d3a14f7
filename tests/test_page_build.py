"""build.mjs refuses what is damaged, and what a page cannot run, in one sentence."""

import json
import re
import subprocess

import pytest

from exported_folders import pack
from pages import HERE, build_page, folder_of, libraries
from test_trimming import trained

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module", autouse=True)
def node():
    return libraries()


@pytest.mark.parametrize("name", ["augpro.json", "model.onnx", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_damaged_folder_is_refused(tmp_path, name, damage):
    folder = folder_of(tmp_path)
    content = (folder / name).read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    (folder / name).write_bytes(content[:middle] if damage == "cut" else flipped)
    if damage == "gone":
        (folder / name).unlink()
    done = build_page(folder, tmp_path / "page.html")
    assert (done.returncode, done.stdout) == (2, "")
    assert name in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "page.html").exists()


def test_what_a_page_cannot_run_is_told(tmp_path):
    foreign = folder_of(tmp_path / "unigram", tokenizer=trained("unigram"))
    for arguments, told in (
        (
            (foreign, tmp_path / "a.html"),
            "this page cannot split texts into the tokens of this model, as its tokenizer",
        ),
        ((folder_of(tmp_path / "f"), tmp_path / "no" / "a.html"), "cannot be written"),
        ((foreign,), "give the exported folder and the file to write"),
    ):
        done = build_page(*arguments)
        assert done.returncode == 2
        assert told in done.stderr


def test_a_manifest_with_any_numbers_and_letters_is_read(tmp_path):
    calibration = {
        "temperature": 1.0,
        "threshold": 1e-7,
        "ece_before": float("nan"),
        "rows": 12,
        "teacher": 'é "中" 😀 \x7f\\',
    }
    folder = folder_of(tmp_path, calibration=calibration, labels=("ja é", "nein 中\t"))
    assert json.loads((folder / "augpro.json").read_text(encoding="utf-8"))["labels"][0] == "ja é"
    done = build_page(folder, tmp_path / "page.html")
    assert done.returncode == 0, done.stderr


def test_a_compressed_folder_gives_the_same_page(tmp_path):
    parts = []
    for packed in (False, True):
        folder = folder_of(tmp_path / str(packed))
        if packed:
            pack(folder)
        done = build_page(folder, tmp_path / "page.html")
        assert done.returncode == 0, done.stderr
        page = (tmp_path / "page.html").read_text(encoding="utf-8")
        parts.append(re.findall(r'id="part-(wasm|model|tokenizer)">([^<]+)<', page))
    assert len(parts[0]) == 3
    assert parts[0] == parts[1]


def test_every_script_is_well_formed():
    for path in [*HERE.glob("*.mjs"), *(HERE / "src").glob("*.js")]:
        done = subprocess.run(["node", "--check", path], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 300
