"""``augpro augment``, ``augpro label`` and ``augpro distill --augmented`` on the command line and in Python."""

import json

import pytest
from typer.testing import CliRunner

from augpro import distill
from augpro.cli.app import app
from augpro.errors import InputError
from augpro.shards.manifest import Manifest
from shard_cases import ROWS


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.mark.e2e
def test_augment_label_and_distill(table_file, teacher_folder, tmp_path):
    folder, student = tmp_path / "set", tmp_path / "student"
    make = ["augment", "--data", table_file, "--student", teacher_folder, "--out", folder, "--copies", "2",
            "--augment", "random", "--augment-option", "replace_fraction=0.4"]  # fmt: skip
    dry = invoke(*make, "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "1 of 10,240 training rows each" in dry.output
    assert not folder.exists()
    done = invoke(*make)
    assert done.exit_code == 0, done.output
    assert "60 rows in 1 files: 20 training rows, each with 2 augmented versions" in done.output
    assert "no labels yet: augpro label adds them" in done.output
    train = [
        "distill",
        "--data",
        table_file,
        "--augmented",
        folder,
        "--student",
        teacher_folder,
        "--out",
        student,
    ]
    train += [
        "--student-layers",
        "0,2",
        "--epochs",
        "1",
        "--batch-size",
        "8",
        "--trainer-option",
        "use_cpu=true",
    ]
    early = invoke(*train)
    assert early.exit_code == 2
    assert "these rows have no labels; run augpro label --augmented" in " ".join(early.stderr.split())
    label = ["label", "--augmented", folder, "--teacher", teacher_folder]
    assert "60 of 60, in 1 files" in invoke(*label, "--dry-run").output
    done = invoke(*label)
    assert done.exit_code == 0, done.output
    assert "labels by" in done.output
    assert Manifest.load(folder).labelled
    done = invoke(*train, "--dry-run")
    assert done.exit_code == 0, done.output
    done = invoke(*train)
    assert done.exit_code == 0, done.output
    result = json.loads((student / "result.json").read_text())
    assert (result["method"], result["train_rows"], result["eval_rows"]) == ("random", 20, 8)
    assert result["config"]["augmenter"]["replace_fraction"] == 0.4
    assert result["config"]["augment"] == "none"
    assert result["agreement"] is None


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--workers", "0"], "--workers '0'"),
        (["--copies", "0"], "--copies '0'"),
        (["--augment", "tmix"], "it makes no text"),
        (["--augmented", "x"], "No such option"),
    ],
)
def test_wrong_options_end_in_one_sentence(table_file, teacher_folder, tmp_path, options, told):
    done = invoke(
        "augment", "--data", table_file, "--student", teacher_folder, "--out", tmp_path / "set", *options
    )
    assert done.exit_code == 2
    assert told in done.output
    assert not (tmp_path / "set").exists()


@pytest.mark.e2e
def test_from_a_notebook(labelled_set, augment_given, both_classes):
    given = {"student": augment_given["student"], "augmented": labelled_set, "epochs": 1, "batch_size": 32}
    rows = {
        "train": ["a good film today", "my server"],
        "validation": ["the price was bad today", "never again today"],
    }
    trained = distill(None, rows, **given)
    assert trained.result.train_rows == ROWS
    assert trained.result.agreement is None
    with pytest.raises(InputError, match="--augment: no use with --augmented"):
        distill(None, rows, augment="knn", **given)
