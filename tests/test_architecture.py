"""House rules as code: who may import whom, what is public, what importing costs."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import augpro

SOURCE = Path(augpro.__file__).parent
# A package (or a module beside the packages) imports only those of the lines above its own.
ORDER = """
errors
tasks row_random files tokens
plugins values
losses
vocabulary data
projection models
config augment
results
evaluation
teachers
training
shards serve
testing distillation
calibration
baselines export
predict
compare
report
api
cli
"""
ROW = {name: number for number, line in enumerate(ORDER.split("\n")) for name in line.split()}
# Outside libraries that stay in one package, or behind one door of it.
DOORS = {
    "datasets": {"data.sources"}, "pyarrow": {"data.readers", "shards.table", "teachers.exchange", "predict.writers"},
    "sklearn": {"evaluation", "augment.methods.text", "baselines.tfidf"},
    "pydantic": {
        "config", "values", "cli.options", "training.options", "results", "shards", "export.options",
        "predict.options", "calibration", "serve.options",
    },
    "yaml": {"values"},
    "typer": {"cli"},
    "huggingface_hub": {"models.named"}, "rich": {"cli", "results.terminal"},
    "ray": {"shards.ray_engine"},
    "fastapi": {"serve"}, "starlette": {"serve"}, "uvicorn": {"serve"}, "prometheus_client": {"serve"},
    "model2vec": {"baselines.static"}, "setfit": {"baselines.setfit"}, "sentence_transformers": {"baselines.setfit"},
    "onnx": {"export"}, "onnxruntime": {"export"}, "augpro_runtime": {"export", "predict.sources", "serve"},
    "psutil": {"training.meter"}, "filelock": {"results.output"},
    "jinja2": {"report.page"}, "markupsafe": {"report.page"}, "matplotlib": {"report.charts"},
}  # fmt: skip


def modules():
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        if name:
            yield name, path


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def inside(path):
    """Modules of ours that a file imports: ``from augpro.data import columns`` is ``data.columns``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("augpro."):
            module = node.module.removeprefix("augpro.")
            for alias in node.names:
                whole = f"{module}.{alias.name}"
                yield whole if whole in MODULES else module


MODULES = dict(modules())


@pytest.mark.parametrize("name", MODULES)
def test_a_package_imports_only_those_above_it(name):
    package = name.split(".")[0]
    for other in {module.split(".")[0] for module in inside(MODULES[name])} - {package}:
        assert ROW[other] < ROW[package], f"{name} imports {other}"


def test_no_imports_go_in_a_circle():
    graphlib.TopologicalSorter({name: set(inside(path)) for name, path in MODULES.items()}).prepare()


def test_the_map_of_the_code_has_every_package():
    text = (SOURCE.parents[1] / "docs" / "explanation" / "code-map.md").read_text(encoding="utf-8")
    packages = [path.parent.name for path in SOURCE.glob("*/__init__.py")]
    assert [name for name in packages if f"\n| `{name}` |" not in text] == []


def test_the_package_itself_holds_few_modules():
    assert len(list(SOURCE.glob("*.py"))) <= 12


@pytest.mark.parametrize(("name", "path"), list(modules()))
def test_outside_packages_stay_behind_their_door(name, path):
    for imported in imports(path):
        doors = DOORS.get(imported.split(".")[0], {name})
        assert any(f"{name}.".startswith(f"{door}.") for door in doors), f"{name} imports {imported}"


@pytest.mark.parametrize(("name", "path"), list(modules()))
def test_texts_for_the_terminal_are_made_safe_at_one_place(name, path):
    assert name == "results.terminal" or "rich.markup" not in imports(path), (
        "augpro.results.terminal.shown does more"
    )


@pytest.mark.parametrize(("name", "path"), list(modules()))
def test_files_and_functions_stay_small(name, path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = range(node.body[0].lineno, node.end_lineno + 1)
            assert len(body) <= 62, f"{node.name} has {len(body)} lines"


def test_the_story_of_the_data_fits_on_a_page():
    tree = ast.parse((SOURCE / "distillation" / "pipeline.py").read_text(encoding="utf-8"))
    story = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "run_plan")
    assert story.end_lineno - story.lineno < 60


def test_public_names_exist_and_are_documented():
    for name in augpro.__all__:
        assert getattr(augpro, name).__doc__, name
    assert set(augpro.__all__) == set(augpro._HOME)
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        _ = augpro.nothing_of_ours


@pytest.mark.parametrize("command", [["-c", "import augpro"], ["-m", "augpro.cli", "--help"]])
def test_import_and_help_are_light(command):
    """No heavy library is loaded: the reason why both start in well under a second."""
    code = subprocess.run(
        [sys.executable, "-X", "importtime", *command], capture_output=True, text=True, check=True, timeout=60
    ).stderr
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in code.splitlines()}
    assert not loaded & {
        "torch",
        "transformers",
        "datasets",
        "pyarrow",
        "pandas",
        "sklearn",
        "scipy",
        "numpy",
    }


def test_no_pickle_is_read_or_written():
    for name, path in modules():
        assert not {"pickle", "dill", "joblib", "torch.serialization"} & set(imports(path)), name
        assert "torch.load" not in path.read_text(encoding="utf-8"), name
