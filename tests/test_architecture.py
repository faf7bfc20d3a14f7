"""House rules as code: who may import whom, what is public, what importing costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import augpro

SOURCE = Path(augpro.__file__).parent
# A module imports only from rows above its own, or from its own row where the order below allows it.
ROWS = [
    ["errors", "tasks", "draws", "files", "same_text", "resampling", "spelling", "terminal"],
    ["values", "finite"],
    ["formats"],
    ["delimited", "json_rows"],
    [
        "readers",
        "tokens",
        "losses",
        "layers",
        "named_models",
        "results",
        "tables",
        "leakage",
        "projection.chunks",
        "trainer_fields",
    ],
    ["headers"],
    ["label_cells"],
    ["label_lists", "label_names"],
    ["sources", "labels", "columns", "vocabulary", "weights", "projection.coarse"],
    ["projection.candidates", "padding"],
    ["projection.neighbours"],
    ["projection.rays"],
    ["projection"],
    ["split_notes"],
    ["data", "models", "meter", "reading"],
    ["teacher", "alignment", "compatibility"],
    ["label_check"],
    ["augment.partners", "augment.runs", "augment.near", "augment.spaces"],
    ["augment.base", "augment.checks", "augment.wordnet"],
    ["augment.moved", "augment.replace", "augment.text", "augment.gradient", "augment.several"],
    ["augment.perturb"],
    ["augment.projected", "augment.virtual", "augment.masked", "augment.translate"],
    ["augment.tmix"],
    ["augment"],
    ["baselines.base", "baselines.head"],
    ["baselines.tfidf", "baselines.embeddings", "baselines.static", "baselines.setfit"],
    ["baselines"],
    ["selection", "candidates", "sampling", "counting", "dataset"],
    ["conditions", "significance", "online", "representation", "acquisition"],
    ["trainer", "evaluation", "config"],
    ["audit"],
    ["samples", "output"],
    ["provenance", "matching", "pool", "defaults", "trainer_options", "steps", "score_notes"],
    ["validation"],
    ["plan"],
    ["training", "identity"],
    ["layer_search"],
    ["summary", "scoring", "labelling"],
    ["pipeline", "baselines.run", "display"],
    ["quickstart", "grid"],
    ["cell", "figures"],
    ["cost"],
    ["comparison"],
    ["compare", "report_data", "report_charts"],
    ["report_texts"],
    ["report"],
    ["cli"],
]
ROW = {module: number for number, row in enumerate(ROWS) for module in row}
# Outside packages that stay behind one door.
DOORS = {
    "datasets": {"sources"}, "pyarrow": {"readers"},
    "sklearn": {"evaluation", "leakage", "augment.text", "baselines.tfidf"},
    "pydantic": {"config", "cli", "trainer_options"}, "yaml": {"values"}, "typer": {"cli"},
    "huggingface_hub": {"named_models"},
    "rich": {"cli", "display", "quickstart", "compare", "comparison", "tables", "terminal"},
    "model2vec": {"baselines.static"}, "setfit": {"baselines.setfit"}, "sentence_transformers": {"baselines.setfit"},
    "psutil": {"meter"}, "filelock": {"output"},
    "jinja2": {"report"}, "markupsafe": {"report"}, "matplotlib": {"report_charts"},
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


@pytest.mark.parametrize(("name", "path"), list(modules()))
def test_a_module_imports_only_from_rows_above(name, path):
    assert name in ROW, "a new module needs its row"
    for imported in imports(path):
        if imported.startswith("augpro."):
            other = imported.removeprefix("augpro.")
            assert ROW[other] < ROW[name], f"{name} imports {other}"


@pytest.mark.parametrize(("name", "path"), list(modules()))
def test_outside_packages_stay_behind_their_door(name, path):
    for imported in imports(path):
        package = imported.split(".")[0]
        assert name in DOORS.get(package, {name}), f"{name} imports {package}"


@pytest.mark.parametrize(("name", "path"), list(modules()))
def test_texts_for_the_terminal_are_made_safe_at_one_place(name, path):
    assert name == "terminal" or "rich.markup" not in imports(path), "augpro.terminal.shown does more"


@pytest.mark.parametrize(("name", "path"), list(modules()))
def test_files_and_functions_stay_small(name, path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 310
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = range(node.body[0].lineno, node.end_lineno + 1)
            assert len(body) <= 62, f"{node.name} has {len(body)} lines"


def test_the_story_of_the_data_fits_on_a_page():
    tree = ast.parse((SOURCE / "pipeline.py").read_text(encoding="utf-8"))
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
