"""Every command for real, on a tiny model; every bad input ends in one sentence and exit code 2."""

import json
import shutil

import pytest
from safetensors.torch import load_file
from transformers import pipeline
from typer.testing import CliRunner

import augpro
from augpro.cli.app import app
from augpro.distillation.samples import check_rows
from common import LABELS, TEXTS

FAST = ["--epochs", "1", "--batch-size", "8", "--trainer-option", "use_cpu=true"]


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def student_source(save_model, tokenizer):
    return save_model(tokenizer, layers=3, seed=4)


@pytest.fixture
def distill(table_file, teacher_folder, student_source, tmp_path):
    def command(*arguments, data=table_file, out=tmp_path / "student", teacher=teacher_folder):
        return invoke(
            "distill", "--data", data, "--teacher", teacher, "--student", student_source,
            "--student-layers", "0,2", "--out", out, *FAST, *arguments,
        )  # fmt: skip

    return command


def test_finetune_distill_evaluate_and_use(distill, table_file, student_source, tmp_path):
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    done = invoke("finetune", "--data", table_file, "--model", student_source, "--out", teacher, *FAST)
    assert done.exit_code == 0, done.output
    done = distill("--augment", "augpro-mix", "--augment-option", "replace-fraction=1.0", teacher=teacher)
    assert done.exit_code == 0, done.output

    result = json.loads((student / "result.json").read_text())
    flat = ("task", "method", "seed", "train_rows", "epochs", "metric_name", "metric", "teacher_metric", "agreement",
            "agreement_name", "distance_to_teacher", "distance_name", "eval_rows", "seconds")  # fmt: skip
    assert all(result[key] is not None for key in flat)
    assert (result["method"], result["eval_rows"], result["metric_name"]) == ("augpro-mix", 8, "accuracy")
    assert result["replacement"]["changed"] > 0
    assert result["replacement"]["rows_retokenized_differently"] == 0
    assert 0 <= result["replacement"]["searched_in_full"] <= 1
    assert result["config"]["augmenter"]["replace_fraction"] == 1.0
    assert result["texts_per_second"]["augment"] > 0
    assert {"python", "torch", "transformers"} <= result["versions"].keys()
    assert result["peak_memory_mib"]["student"] > 0
    predictions = load_file(student / "predictions.safetensors")
    answers = predictions["evaluation.student"].argmax(1) == predictions["evaluation.labels"]
    assert float(answers.double().mean()) == result["metric"]
    # Who may read one of the files may read the weights.
    assert len({path.stat().st_mode for path in student.iterdir()}) == 1
    samples = (student / "samples.md").read_text()
    assert samples.count("→") == 40
    assert "**" in samples
    lines = [json.loads(line) for line in (student / "samples.jsonl").read_text().splitlines()]
    assert len(lines) == 20
    assert lines[3].keys() == {"original", "augmented", "before", "after", "row", "checksum"}
    assert result["label_names"] == list(LABELS)
    assert 0 <= result["replacement"]["near_duplicates_of_originals"] <= 1
    assert "20 texts checked" in " ".join(done.output.split())

    files = {path.name for path in student.iterdir()}
    assert not any(name.endswith((".bin", ".pt", ".pth", ".pkl")) for name in files)
    assert "checkpoints" not in files
    classify = pipeline("text-classification", str(student), device="cpu")
    assert classify("the movie is great")[0]["label"] in LABELS

    scores = tmp_path / "scores.json"
    done = invoke("evaluate", "--data", table_file, "--model", student, "--teacher", teacher, "--out", scores)
    assert done.exit_code == 0, done.output
    again = json.loads(scores.read_text())["evaluation"]
    assert again["metrics"]["accuracy"] == result["metric"]
    assert again["distance_to_teacher"] == pytest.approx(result["distance_to_teacher"], abs=1e-6)


def test_the_version():
    done = invoke("--version")
    assert (done.exit_code, done.output) == (0, f"augpro {augpro.__version__}\n")


@pytest.mark.e2e
@pytest.mark.parametrize("method", ["none", "augpro-fgsm", "augpro-noise"])
def test_every_method_runs(distill, method, tmp_path):
    assert distill("--augment", method, "--freeze-embeddings", "--holdout-rows", "4").exit_code == 0
    result = json.loads((tmp_path / "student" / "result.json").read_text())
    assert result["holdout"]["rows"] == 4
    assert (tmp_path / "student" / "samples.md").exists() == (method != "none")


@pytest.mark.e2e
def test_half_precision_trains_and_saves_full_precision(distill, tmp_path):
    from safetensors.torch import load_file

    done = distill("--trainer-option", "bf16=true")
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "student" / "result.json").read_text())["distance_to_teacher"] is not None
    weights = load_file(tmp_path / "student" / "model.safetensors")
    assert {str(tensor.dtype) for tensor in weights.values()} == {"torch.float32"}


def test_half_precision_needs_no_other_option(tmp_path):
    from augpro.config import FinetuneConfig
    from augpro.training.options import training_arguments

    options = {"bf16": True}  # on a machine that has only its CPU, too
    assert training_arguments(FinetuneConfig(data="x", out=tmp_path, trainer_options=options)).bf16


@pytest.mark.e2e
def test_a_word_that_yaml_would_take_for_a_boolean(distill, tmp_path):
    assert distill("--trainer-option", "save_strategy=no").exit_code == 0
    options = json.loads((tmp_path / "student" / "config.augpro.json").read_text())
    assert options["trainer_options"]["save_strategy"] == "no"


def test_dry_run_writes_nothing(distill, tmp_path):
    done = distill("--dry-run")
    assert done.exit_code == 0
    assert "negative, positive" in done.output
    assert not (tmp_path / "student").exists()


@pytest.mark.e2e
def test_flags_override_the_file(distill, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("temperature: 3.0\nepochs: 7\naugment: none\n")
    assert distill("--config", config, "--temperature", "2.0").exit_code == 0
    saved = json.loads((tmp_path / "student" / "result.json").read_text())["config"]
    assert (saved["temperature"], saved["epochs"], saved["augment"]) == (2.0, 1.0, "none")


@pytest.mark.e2e
def test_a_killed_run_resumes_to_the_same_student(distill, tmp_path, monkeypatch):
    from safetensors.torch import load_file

    whole, halted = tmp_path / "whole", tmp_path / "halted"
    options = ("--epochs", "3", "--augment", "augpro-mix")
    assert distill(*options, out=whole).exit_code == 0
    with monkeypatch.context() as patch:
        patch.setattr(
            "augpro.distillation.pipeline.predict_logits", lambda *a, **k: 1 / 0
        )  # dies after the last epoch
        with pytest.raises(ZeroDivisionError):
            distill(*options, out=halted)
    assert not (halted / "result.json").exists()
    assert (halted / "model.safetensors").is_file(), "what was trained is saved before it is scored"
    last = max((halted / "checkpoints").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    assert last.name == "checkpoint-9"
    assert distill(*options, "--resume", out=halted).exit_code == 0
    one, other = (load_file(folder / "model.safetensors") for folder in (whole, halted))
    assert all((one[name] == other[name]).all() for name in one)
    again = distill(*options, "--resume", out=halted)
    assert (again.exit_code, "finished" in again.output) == (2, True)


@pytest.mark.e2e
def test_a_run_that_was_killed_while_saving_resumes_from_the_checkpoint_before(
    distill, tmp_path, monkeypatch
):
    options = ("--epochs", "3", "--augment", "none", "--trainer-option", "save_total_limit=3")
    with monkeypatch.context() as patch:
        patch.setattr("augpro.distillation.pipeline.predict_logits", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            distill(*options, out=tmp_path / "halted")
    (tmp_path / "halted" / "checkpoints" / "checkpoint-9" / "trainer_state.json").unlink()
    done = distill(*options, "--resume", out=tmp_path / "halted")
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "halted" / "result.json").read_text())
    assert result["epochs"] == 3.0


@pytest.mark.e2e
def test_resume_with_other_options_is_refused(distill, tmp_path):
    assert distill().exit_code == 0
    (tmp_path / "student" / "result.json").unlink()
    done = distill("--resume", "--temperature", "5")
    assert done.exit_code == 2
    assert "temperature" in done.output


def bad(distill, tmp_path, *arguments, **options):
    """The one sentence of a refused run, after checking that it left nothing behind."""
    out = tmp_path / "refused"
    done = distill(*arguments, out=out, **options)
    assert done.exit_code == 2, done.output
    assert not out.exists()
    assert len(done.output.strip().splitlines()) == 1
    return done.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--batch-size", "64"], r"20 training rows.*--batch-size 10"),
        (["--student-layers", "0,9"], r"--student-layers 9: .* 0 to 2"),
        (["--student-layers", "1,1"], r"--student-layers 1,1: .* named twice"),
        (["--augment", "magic"], r"augpro-mix, augpro-fgsm"),
        (["--augment-option", "strength=2"], r"no option 'strength'.*replace_fraction"),
        (
            ["--augment-option", "replace_fraction=2"],
            r"replace_fraction must be a number between 0 and 1, not 2",
        ),
        (["--augment-option", "oops"], r"key=value"),
        (["--augment", "none", "--augment-option", "top_k=2"], r"no effect"),
        (["--epochs", "ten", "--temperature", "0"], r"--epochs 'ten'.*--temperature '0'"),
        (["--trainer-option", "no_such=1"], r"no_such"),
        (["--text-column", "body"], r"'body'.*text"),
        (["--eval-split", "test"], r"no test split.*train, validation"),
        (["--teacher-weight", "0", "--augmented-weight", "0"], r"all weights of the loss are 0"),
        (["--teacher", "./nowhere"], r"nowhere: no such model folder"),
        (["--holdout-rows", "50"], r"50 holdout rows"),
        (["--data", "./missing.csv"], r"missing.csv"),
        (["--resume"], r"no run to resume"),
    ],
)
def test_wrong_options_end_in_one_sentence(distill, tmp_path, arguments, said):
    import re

    assert re.search(said, bad(distill, tmp_path, *arguments))


def test_a_partner_rule_that_the_task_cannot_follow(save_model, tokenizer, distill, table_file, tmp_path):
    for split in ("train", "validation"):
        rows = [f"{text},{index / 7}" for index, text in enumerate(TEXTS)]
        (table_file / f"{split}.csv").write_text("\n".join(["text,score", *rows]) + "\n")
    teacher = save_model(tokenizer, labels=(), num_labels=1)
    message = bad(distill, tmp_path, "--augment-option", "partner=same-class", teacher=teacher)
    assert "partner='same-class' needs one predicted class" in message


def test_a_file_of_one_class_can_be_scored_and_notes_are_told(teacher_folder, tmp_path):
    path = tmp_path / "few.csv"
    path.write_text(f"text,label\nthe movie is great,{LABELS[1]}\na slow page,{LABELS[1]}\nno label,\n")
    done = invoke("evaluate", "--data", path, "--model", teacher_folder)
    assert done.exit_code == 0, done.output
    assert "note: train: 1 of 3 rows have no label" in done.output


def test_a_label_that_the_teacher_lacks(distill, table_file, tmp_path):
    with open(table_file / "train.csv", "a") as file:
        file.write("what is this,neutral\n")
    message = bad(distill, tmp_path)
    assert "'neutral'" in message
    assert "negative, positive" in message


def test_unknown_option_in_a_file(distill, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("temprature: 3.0\n")
    assert "unknown option 'temprature'" in bad(distill, tmp_path, "--config", config)


def test_a_folder_in_use_is_left_alone(distill, tmp_path):
    used = tmp_path / "student"
    used.mkdir()
    (used / "precious.txt").write_text("mine")
    done = distill()
    assert done.exit_code == 2
    assert "not empty" in done.output
    assert [path.name for path in used.iterdir()] == ["precious.txt"]


def test_a_folder_that_cannot_be_made(distill, tmp_path):
    (tmp_path / "file").write_text("mine")
    done = distill(out=tmp_path / "file" / "student")
    assert done.exit_code == 2
    assert "cannot make this folder, as " in done.output


def test_pickled_weights_are_refused(distill, teacher_folder, tmp_path):
    import torch
    from safetensors.torch import load_file

    folder = tmp_path / "pickled"
    shutil.copytree(teacher_folder, folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert "model.safetensors" in bad(distill, tmp_path, teacher=folder)


@pytest.mark.e2e
def test_copies_of_every_scored_row_are_looked_for(distill, table_file, tmp_path, monkeypatch):
    """Nothing is replaced, so every augmented text is a training text, and the validation rows are those."""
    shutil.copy(table_file / "train.csv", table_file / "validation.csv")
    compared = []

    def watched(*arguments):
        compared.extend(arguments[-1])
        return check_rows(*arguments)

    monkeypatch.setattr("augpro.distillation.pipeline.check_rows", watched)
    done = distill("--augment", "random", "--augment-option", "replace-fraction=0", "--holdout-rows", "8")
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "student" / "result.json").read_text())["replacement"]
    assert found["exact_duplicates_of_evaluation"] == found["near_duplicates"] == 1.0
    assert len(compared) == len(TEXTS) + 8, "the evaluation rows and the holdout"


@pytest.mark.e2e
def test_long_rows_are_cut_and_told(distill, table_file):
    with open(table_file / "train.csv", "a") as file:
        file.write(f"{' '.join(TEXTS)},positive\n")
    assert "1 of 29 rows have more than 32 tokens" in " ".join(distill().output.split())


@pytest.mark.e2e
def test_unlabelled_rows_are_enough_to_distil(distill, tmp_path):
    data = tmp_path / "bare.csv"
    data.write_text("text\n" + "\n".join(TEXTS) + "\n")
    done = distill(data=data)
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "student" / "result.json").read_text())
    assert result["metric"] is None
    assert result["agreement"] is not None
