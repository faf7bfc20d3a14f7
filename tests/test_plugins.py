"""Methods and losses of other packages: named like ours, loaded when asked for, and checked by the same contract."""

import importlib
import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from augpro.augment import AUGMENTERS, Part, Random, augmenter, register_augmenter
from augpro.augment.methods.replace import DrawnReplacement, Replaced
from augpro.cli.app import app
from augpro.compare.grid import Grid
from augpro.config import CompareConfig, DistillConfig
from augpro.distillation.plan import make_plan
from augpro.errors import InputError
from augpro.losses import LOSSES, kd_loss, register_loss
from augpro.testing import check_augmenter

MODULE = '''
from dataclasses import dataclass

import torch

from augpro.augment.methods.replace import DrawnReplacement, Replaced


@dataclass(frozen=True)
class Shift(DrawnReplacement):
    """The next token of the same group."""

    replace_fraction: float = 0.5

    def replace(self, batch, chosen, context):
        groups, own = context.space.groups, batch.ids[chosen]
        new = own.clone()
        for group in groups.unique().tolist():
            tokens = torch.nonzero(groups == group)[:, 0]
            rows = groups[own] == group
            place = torch.searchsorted(tokens, own[rows]) + 1
            new[rows] = tokens[place % len(tokens)]
        return Replaced(chosen, new)


def absolute(student, teacher, problem_type, temperature):
    return (student - teacher).abs().mean(1)
'''
PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "augpro-shift"
version = "1.0"

[project.entry-points."augpro.augmenters"]
shift = "augpro_shift:Shift"
broken = "augpro_shift:Nothing"
wrong = "augpro_shift:absolute"

[project.entry-points."augpro.losses"]
absolute = "augpro_shift:absolute"

[tool.setuptools]
py-modules = ["augpro_shift"]
"""


@pytest.fixture(scope="session")
def package(tmp_path_factory) -> Path:
    """A package of its own, built and installed into a folder."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    (source / "augpro_shift.py").write_text(MODULE)
    (source / "pyproject.toml").write_text(PROJECT)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
    ]
    subprocess.run([*pip, "--target", str(site), str(source)], check=True, timeout=120)
    assert any(site.glob("augpro_shift-1.0.dist-info"))
    return site


@pytest.fixture
def installed(package, monkeypatch):
    """The package can be imported while the test runs."""
    monkeypatch.syspath_prepend(str(package))
    for registry in (AUGMENTERS, LOSSES):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    importlib.invalidate_caches()
    yield package
    sys.modules.pop("augpro_shift", None)


def test_its_method_is_named_and_used_like_ours(installed):
    assert "shift" in AUGMENTERS
    assert "augpro_shift" not in sys.modules  # nothing of it is imported before it is asked for
    method = augmenter("shift", replace_fraction=0.4)
    check_augmenter(method)
    assert augmenter("shift", **json.loads(json.dumps(method.parameters))) == method
    assert augmenter("compose", of="random+shift(replace_fraction=0.4)").of[1] == Part("shift", method)
    with pytest.raises(ValueError, match="shift has no option 'share'; it has replace_fraction"):
        augmenter("shift", share=1)


@pytest.mark.e2e
def test_it_runs_through_distill_and_compare(installed, table_file, teacher_folder, tmp_path):
    """From the command line, with its own loss; the runs of a comparison are processes that find it themselves."""
    common = ["--data", str(table_file), "--teacher", str(teacher_folder), "--student-layers", "0,2",
              "--batch-size", "4", "--epochs", "1"]  # fmt: skip
    one = CliRunner().invoke(app, ["distill", *common, "--augment", "shift", "--kd-loss", "absolute",
                                   "--out", str(tmp_path / "one")])  # fmt: skip
    assert one.exit_code == 0, one.output
    result = json.loads((tmp_path / "one" / "result.json").read_text())
    assert result["method"] == "shift"
    assert result["replacement"]["changed"] > 0.2
    methods = ["--methods", "shift:replace_fraction=0.3:kd_loss=absolute", "--seeds", "0"]
    grid = CliRunner().invoke(app, ["compare", *common, *methods, "--out", str(tmp_path / "grid")])
    assert grid.exit_code == 0, grid.output
    lines = [json.loads(line) for line in (tmp_path / "grid" / "results.jsonl").read_text().splitlines()]
    assert {line["cell"]["method"] for line in lines} == {
        "fine-tune", "none", "shift:replace_fraction=0.3:kd_loss=absolute",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken", r"broken, which the package augpro-shift brings, cannot be used \(AttributeError"),
        ("wrong", r"wrong, which the package augpro-shift brings, .* derived from augpro.augment.Augmenter"),
    ],
)
def test_a_package_that_is_broken_is_named(installed, planned, name, message):
    with pytest.raises(InputError, match=message):
        planned(augment=name)


def test_an_unknown_loss_is_told_with_those_there_are(installed, planned):
    with pytest.raises(
        InputError, match="--kd-loss huber: there is no such loss; use one of kl, mse, absolute"
    ):
        planned(kd_loss="huber")


def test_a_loss_changes_what_is_learned(installed):
    logits = torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    assert kd_loss(*logits, "single_label", form="absolute").tolist() == [0.5, 1.5]
    with pytest.raises(ValueError, match=r"one value per row, shape \(2,\), not \(2, 2\)"):
        kd_loss(*logits, "single_label", form=lambda s, t, *_: s - t)


def test_names_are_registered_once_and_as_they_can_be_written(monkeypatch):
    for registry in (AUGMENTERS, LOSSES):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    register_augmenter("mine", Random)
    assert augmenter("mine", replace_fraction=0.5) == Random(0.5)
    register_loss("mine", lambda student, teacher, *_: (student - teacher).abs().sum(1))
    for name, message in (("mine", "is taken"), ("knn", "is taken"), ("a:b", "small letters")):
        with pytest.raises(ValueError, match=message):
            register_augmenter(name, Random)
    with pytest.raises(TypeError, match=r"derived from augpro\.augment\.Augmenter"):
        register_augmenter("other", dict)
    with pytest.raises(TypeError, match="not a function"):
        register_loss("other", 3)


@contextmanager
def another_version(source):
    text = source.read_text()
    source.write_text(text + "# another version\n")
    try:
        yield
    finally:
        source.write_text(text)


def test_what_another_package_is_made_of_counts_for_resuming(installed, table_file, teacher_folder, tmp_path):
    from augpro.distillation.identity import input_fingerprints

    plan = make_plan(DistillConfig(
        data=str(table_file), teacher=str(teacher_folder), student_layers=(0, 2), batch_size=4, epochs=1,
        augment="shift", kd_loss="absolute", out=tmp_path,
    ))  # fmt: skip
    before = input_fingerprints(plan)
    with another_version(installed / "augpro_shift.py"):
        changed = {name for name, value in input_fingerprints(plan).items() if value != before[name]}
    assert changed == {"code of other packages"}


def test_what_another_package_is_made_of_counts_for_a_comparison(
    installed, table_file, teacher_folder, tmp_path
):
    """Its method, also within another one, and its loss; the other cells are still finished."""
    grid = Grid(CompareConfig(
        data=str(table_file), teacher=str(teacher_folder), student_layers=(0, 2), batch_size=4, out=tmp_path,
        methods=("random", "shift", "compose:of=random+shift", "random:kd_loss=absolute", "tfidf"), seeds=(0,),
    ))  # fmt: skip
    before = {cell: grid.key(cell) for cell in grid.cells()}
    with another_version(installed / "augpro_shift.py"):
        changed = {cell.method for cell, key in before.items() if grid.key(cell) != key}
    assert changed == {"shift", "compose:of=random+shift", "random:kd_loss=absolute"}


@dataclass(frozen=True)
class Words:
    """Options that belong together."""

    most: int = 3


@dataclass(frozen=True)
class Nested(Random):
    """A method with options within an option."""

    words: Words = Words()


def test_options_within_an_option_come_back_from_json(monkeypatch):
    monkeypatch.setattr(AUGMENTERS, "_entries", dict(AUGMENTERS._entries))
    register_augmenter("nested", Nested)
    method = Nested(0.5, words=Words(7))
    assert augmenter("nested", **json.loads(json.dumps(method.parameters))) == method
    with pytest.raises(ValueError, match="most must be a number such as 3, not 'many'"):
        augmenter("nested", words={"most": "many"})


@pytest.mark.parametrize("name", ["none", "fine-tune"])
def test_names_with_a_meaning_of_their_own_are_taken(name):
    with pytest.raises(ValueError, match="is taken"):
        register_augmenter(name, Random)


def test_two_packages_with_one_name_are_both_named(monkeypatch):
    point = EntryPoint("twin", "augpro.augment:Random", AUGMENTERS.group)
    other = EntryPoint("twin", "augpro.augment:Crossover", AUGMENTERS.group)
    monkeypatch.setattr("augpro.plugins.entry_points", lambda group: [point, other])
    with pytest.raises(
        InputError, match=r"twin is brought by several packages \(augpro.augment:Random, augpro"
    ):
        augmenter("twin")


class Careless(DrawnReplacement):
    """Breaks the contract in a way that its class variables say."""

    replace_fraction = 0.5

    def __init__(self, fault):
        self.fault = fault

    def __eq__(self, other):
        return type(other) is type(self) and other.fault == self.fault

    __hash__ = None

    @property
    def parameters(self):
        return {"fault": self.fault}

    def replace(self, batch, chosen, context):
        if self.fault == "chosen without draws":
            chosen = batch.segments == 0
        if self.fault == "global draws":
            torch.rand(1)
        if self.fault == "special":
            chosen = torch.ones_like(batch.ids, dtype=torch.bool)
        if self.fault == "in place":
            batch.ids[:, 1] += 1
        token = {"special": 2, "batch": 20 + len(batch.ids) % 7}.get(self.fault, 20)
        ids = torch.full((int(chosen.sum()),), token)
        return Replaced(chosen, ids)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("chosen without draws", "another seed must give other rows"),
        ("global draws", "draws alone"),
        ("in place", "must give the same|must not change"),
        ("special", "another seed must|special tokens"),
        ("batch", "other rows of its batch"),
    ],
)
def test_the_contract_names_what_is_broken(fault, message):
    with pytest.raises(AssertionError, match=message):
        check_augmenter(Careless(fault))
