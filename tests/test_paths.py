"""``~`` is the home folder in every option that may hold a path, whoever wrote it and wherever."""

from pathlib import Path

import pytest

from augpro.compare.grid import Grid
from augpro.config import (
    BaselineConfig,
    CompareConfig,
    DistillConfig,
    EvaluateConfig,
    FinetuneConfig,
    build,
)
from augpro.data.loading import DataSpec, load_data
from augpro.errors import InputError
from augpro.results.cell import Cell
from augpro.shards.options import AugmentConfig, LabelConfig
from augpro.values import at_home
from data_files import GOOD
from test_cli import FAST, invoke

DISTILL = {"data": "helpdesk", "teacher": "t", "out": "o"}
PLACES = [
    *((FinetuneConfig, {"data": "d", "out": "o"}, name) for name in ("data", "out", "model")),
    *((DistillConfig, DISTILL, name)
      for name in ("data", "out", "teacher", "student", "label_store", "unlabelled", "augmented")),
    *((AugmentConfig, {"data": "d", "student": "s", "out": "o"}, name)
      for name in ("data", "out", "student", "teacher", "label_store")),
    *((LabelConfig, {"augmented": "a", "teacher": "t"}, name) for name in ("augmented", "teacher", "label_store")),
    *((CompareConfig, DISTILL, name) for name in ("data", "out", "teacher", "student", "unlabelled")),
    *((EvaluateConfig, {"data": "d", "model": "m"}, name) for name in ("data", "model", "teacher", "out")),
    *((DistillConfig, DISTILL, f"{name}.some_path") for name in ("augment_options", "trainer_options")),
    (BaselineConfig, DISTILL | {"baseline": "static"}, "baseline_options.model"),
]  # fmt: skip


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def value_of(kind, options, place, value):
    name, _, key = place.partition(".")
    found = getattr(build(kind, options | {name: {key: value} if key else value}), name)
    return found[key] if key else found


@pytest.mark.parametrize(("kind", "options", "place"), PLACES)
def test_every_option_that_may_be_a_path(home, kind, options, place):
    assert str(value_of(kind, options, place, "~/some/thing")) == str(home / "some" / "thing")
    for other in ("owner/name", "some/thing", "/some/thing", "thing~", "a~/b"):
        assert str(value_of(kind, options, place, other)) == other


def test_every_path_of_the_options_is_among_them():
    tested = {(kind, place.split(".")[0]) for kind, _, place in PLACES}
    for kind in (FinetuneConfig, DistillConfig, CompareConfig, EvaluateConfig, AugmentConfig, LabelConfig):
        for name, field in kind.model_fields.items():
            if "Path" in str(field.annotation):
                assert (kind, name) in tested


def test_lists_and_methods_within_options(home):
    of = ["knn", {"name": "masked-lm", "options": {"model": "~/lm"}}]
    config = build(DistillConfig, DISTILL | {"augment_options": {"of": of}})
    assert config.augment_options["of"][1]["options"]["model"] == str(home / "lm")
    config = build(
        CompareConfig, DISTILL | {"methods": ["masked-lm:model=~/lm", "none:unlabelled=~/pool.csv"]}
    )
    one, other = (
        Grid(config).distill_config(Cell(method, None, 0, 1.0), Path("o")) for method in config.methods
    )
    assert one.augment_options["model"] == str(home / "lm")
    assert other.unlabelled == home / "pool.csv"


@pytest.mark.parametrize("name", ["out", "data", "teacher", "label_store"])
def test_a_user_that_is_not_there_is_refused(home, name):
    with pytest.raises(
        InputError, match=rf"--{name.replace('_', '-')} '~no-such-user/x': there is no home folder"
    ):
        build(DistillConfig, DISTILL | {name: "~no-such-user/x"})


def test_a_name_that_begins_with_it(home):
    """The message says how to name such a file; the name stays as it is when options are read again."""
    Path("~odd.csv").write_text(GOOD)
    with pytest.raises(InputError, match=r"or \./~odd.csv if that is its name"):
        at_home("~odd.csv")
    config = build(DistillConfig, DISTILL | {"out": "./~odd", "data": "./~odd.csv"})
    again = DistillConfig(**config.model_dump(mode="json"))
    assert again.out == Path.cwd() / "~odd"
    assert load_data(again.data_spec()).task.label_names == ("a", "b")


def test_a_name_that_no_result_could_hold_is_refused():
    with pytest.raises(InputError, match=r"--out .*is not UTF-8, so no file can name it; rename it"):
        build(DistillConfig, DISTILL | {"out": Path("caf\udce9")})


def test_no_value_in_yaml(home):
    Path("run.yaml").write_text("data: helpdesk\nteacher: t\nout: ~\n")
    done = invoke("distill", "--config", "run.yaml")
    assert done.exit_code == 2
    assert "--out has no value (in YAML, ~ alone is none)" in done.output


def test_a_file_of_options_that_cannot_be_read(home):
    done = invoke("distill", "--config", home)
    assert done.exit_code == 2
    assert "cannot be read (Is a directory); give the YAML file" in done.output


def test_data_in_python(home):
    (home / "few.csv").write_text(GOOD)
    assert load_data(DataSpec("~/few.csv")).task.label_names == ("a", "b")


@pytest.mark.e2e
def test_a_run_whose_folder_a_file_names(home, table_file, teacher_folder):
    """Model, checkpoints and the file of options are all in the home folder, so that the run can be resumed."""
    (home / "reviews").symlink_to(table_file)
    (home / "run.yaml").write_text(f"data: ~/reviews\nmodel: {teacher_folder}\nout: ~/runs/s\n")
    done = invoke("finetune", "--config", "~/run.yaml", *FAST)
    assert done.exit_code == 0, done.output
    assert (home / "runs" / "s" / "result.json").is_file()
    assert not Path("~").exists()
    done = invoke("evaluate", "--data=~/reviews", "--model=~/runs/s", "--out=~/scores.json")
    assert done.exit_code == 0, done.output
    assert (home / "scores.json").is_file()


def test_a_report(home, monkeypatch):
    used = []
    monkeypatch.setattr("augpro.report.page.write_report", lambda results, out: used.extend([*results, out]))
    assert invoke("report", "--results=~/one", "--results=~/two", "--out=~/report.html").exit_code == 0
    assert used == [home / "one", home / "two", home / "report.html"]
    done = invoke("report", "--results=~/one", "--out=~no-such-user/report.html")
    assert (done.exit_code, "there is no home folder" in done.output) == (2, True)


def test_the_quickstart(home, monkeypatch):
    used = []
    monkeypatch.setattr("augpro.cli.quickstart.run_quickstart", lambda out, *_: used.append(out))
    assert invoke("quickstart", "--out=~/first").exit_code == 0
    assert used == [home / "first"]
