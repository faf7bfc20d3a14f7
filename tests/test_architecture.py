"""House rules as code: who may import whom, what is public, what importing costs."""

import ast
import graphlib
import importlib
import subprocess
import sys
from dataclasses import dataclass
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


MODULES = dict(modules())


@dataclass(frozen=True)
class Read:
    """What a module imports, what of ours (``from augpro.data import columns``: ``data.columns``), and its sizes."""

    imports: frozenset[str]
    ours: frozenset[str]
    lines: int
    functions: dict[str, int]

    @classmethod
    def of(cls, path):
        text = path.read_text(encoding="utf-8")
        imports, ours, functions = set(), set(), {}
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                imports |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imports.add(node.module)
                if node.module.startswith("augpro."):
                    module = node.module.removeprefix("augpro.")
                    names = {f"{module}.{alias.name}" for alias in node.names}
                    ours |= {name if name in MODULES else module for name in names}
            elif isinstance(node, ast.FunctionDef):
                body = range(node.body[0].lineno, node.end_lineno + 1)
                functions[node.name] = max(len(body), functions.get(node.name, 0))
        return cls(frozenset(imports), frozenset(ours), len(text.splitlines()), functions)


@pytest.fixture(scope="module")
def read():
    return {name: Read.of(path) for name, path in MODULES.items()}


def test_a_package_imports_only_those_above_it(read):
    for name, module in read.items():
        package = name.split(".")[0]
        for other in {ours.split(".")[0] for ours in module.ours} - {package}:
            assert ROW[other] < ROW[package], f"{name} imports {other}"


def test_no_imports_go_in_a_circle(read):
    graphlib.TopologicalSorter({name: module.ours for name, module in read.items()}).prepare()


def test_the_map_of_the_code_has_every_package():
    text = (SOURCE.parents[1] / "docs" / "explanation" / "code-map.md").read_text(encoding="utf-8")
    packages = [path.parent.name for path in SOURCE.glob("*/__init__.py")]
    assert [name for name in packages if f"\n| `{name}` |" not in text] == []


def test_the_package_itself_holds_few_modules():
    assert len(list(SOURCE.glob("*.py"))) <= 12


def test_outside_packages_stay_behind_their_door(read):
    for name, module in read.items():
        for imported in module.imports:
            doors = DOORS.get(imported.split(".")[0], {name})
            assert any(f"{name}.".startswith(f"{door}.") for door in doors), f"{name} imports {imported}"


def test_texts_for_the_terminal_are_made_safe_at_one_place(read):
    escape = [name for name, module in read.items() if "rich.markup" in module.imports]
    assert escape == ["results.terminal"], "augpro.results.terminal.shown does more"


def test_files_and_functions_stay_small(read):
    for name, module in read.items():
        assert module.lines <= 300, name
        for function, lines in module.functions.items():
            assert lines <= 62, f"{function} of {name} has {lines} lines"


def test_the_story_of_the_data_fits_on_a_page():
    tree = ast.parse((SOURCE / "distillation" / "pipeline.py").read_text(encoding="utf-8"))
    story = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "run_plan")
    assert story.end_lineno - story.lineno < 60


def test_public_names_exist_and_are_documented():
    for name in augpro.__all__:
        assert getattr(augpro, name).__doc__, name
    assert set(augpro.__all__) == set(augpro._HOME)
    for package in ("augment", "baselines", "projection", "data.loading"):
        module = importlib.import_module(f"augpro.{package}")
        assert all(hasattr(module, name) for name in module.__all__), package
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


def test_no_pickle_is_read_or_written(read):
    for name, path in MODULES.items():
        assert not {"pickle", "dill", "joblib", "torch.serialization"} & read[name].imports, name
        assert "torch.load" not in path.read_text(encoding="utf-8"), name
