"""The pool of unlabelled texts: what is read, what is left out and told, and what is refused in the plan."""

import csv
import json

import pytest
from rich.console import Console

from augpro.cli.display import show_plan
from augpro.config import DistillConfig
from augpro.data.loading import DataSpec, load_data
from augpro.distillation.plan import make_plan
from augpro.distillation.pool import load_pool
from augpro.errors import InputError
from common import TEXTS


def write(path, rows, header=("text",)):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def data(table_file):
    """12 training rows; the validation rows are the first 8 texts."""
    write(
        table_file / "train.csv",
        [[text, ("negative", "positive")[row % 2]] for row, text in enumerate(TEXTS[8:])],
        ("text", "label"),
    )
    return load_data(DataSpec(str(table_file)))


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_of_the_data_is_read(data, tmp_path, ending):
    path, texts = tmp_path / f"pool.{ending}", ["one more film", "another bill"]
    if ending == "parquet":
        pa = pytest.importorskip("pyarrow")
        pa.parquet = pytest.importorskip("pyarrow.parquet")
        pa.parquet.write_table(pa.table({"text": texts}), path)
    elif ending == "jsonl":
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    else:
        write(path, [[text] for text in texts])
    pool = load_pool(path, data)
    assert (pool.texts, pool.pairs, pool.labels) == (texts, None, [None, None])
    assert str(path) not in " ".join(data.notes)


def test_known_texts_are_left_out_and_told(data, tmp_path):
    """Scored ones above all: case and spaces do not make another text."""
    rows = [TEXTS[0].upper(), "a new film", f"{TEXTS[1]} ", TEXTS[9], "A  new film", "a new bill", TEXTS[2]]
    path = write(tmp_path / "pool.csv", [[text] for text in rows])
    assert load_pool(path, data).texts == ["a new film", "a new bill"]
    assert data.notes[-1] == (
        f"{path}: 2 of 7 texts are new; left out: 3 in an evaluation split, 1 in the training rows, 1 repeated"
    )


def test_the_holdout_is_left_out(table_file):
    data = load_data(DataSpec(str(table_file), holdout_rows=5, train_rows=4))
    pool = load_pool(table_file / "train.csv", data)
    assert len(pool) == 20 - len({*range(8)} | {TEXTS.index(text) for name in ("train", "holdout")
                                                for text in data.splits[name].texts})  # fmt: skip
    assert not {*pool.keys} & {key for split in data.splits.values() for key in split.keys}


def test_labels_that_are_there_are_not_read(data, tmp_path):
    path = write(tmp_path / "pool.csv", [["a new film", "no class of ours"]], ("text", "label"))
    assert load_pool(path, data).labels == [None]
    assert data.notes[-1] == f"{path}: column 'label' is not read because the teacher labels these texts"


def test_pairs_are_read_and_compared_as_pairs(tmp_path):
    header = ("sentence1", "sentence2", "label")
    rows = [["one", "two", "same"], ["one", "three", "other"], ["two", "four", "same"]]
    write(tmp_path / "train.csv", rows, header)
    data = load_data(DataSpec(str(tmp_path / "train.csv"), make_validation=False))
    path = write(tmp_path / "pool.csv", [["one", "four"], ["one", "two"]], header[:2])
    pool = load_pool(path, data)
    assert (pool.texts, pool.pairs) == (["one"], ["four"])
    write(path, [["one"]], header[:1])
    with pytest.raises(InputError, match=r"pool.csv: there is no column 'sentence2' .*'sentence1'"):
        load_pool(path, data)


@pytest.mark.parametrize(
    ("rows", "header", "said"),
    [
        (None, (), r"pool.csv: the file cannot be read \(No such file"),
        (
            [["x"]],
            ("other",),
            r"no column 'text' among its columns \('other'\); use the column names of",
        ),
        ([["x"], [" "]], ("text",), r"pool.csv, row 3, column 'text': the text is empty"),
        ([], ("text",), "no rows"),
        (
            [[TEXTS[0]], [TEXTS[9]]],
            ("text",),
            r"has no new text \(1 in an evaluation split, 1 in the training rows\); give",
        ),
    ],
)
def test_files_that_do_not_fit(data, tmp_path, rows, header, said):
    path = tmp_path / "pool.csv"
    if rows is not None:
        write(path, rows, header)
    with pytest.raises(InputError, match=said):
        load_pool(path, data)


# --- the plan ---


@pytest.fixture
def plan(table_file, teacher_folder, save_model, tokenizer, tmp_path):
    pool = write(tmp_path / "pool.csv", [[f"a film of {row} hours"] for row in range(80)])
    student = save_model(tokenizer, layers=2, seed=4, dropout=0.1)

    def make(**options):
        given = {"data": str(table_file), "teacher": str(teacher_folder), "student": str(student),
                 "batch_size": 4, "out": tmp_path / "out", "unlabelled": pool, "dropout": 0.1, **options}  # fmt: skip
        return make_plan(DistillConfig(**given))

    return make


def described(plan):
    console = Console(width=400, record=True)
    show_plan(console, plan, plan.config)
    return console.export_text()


def test_all_are_labelled_unless_a_budget_says_otherwise(plan):
    whole = plan()
    assert (whole.config.label_budget, whole.config.label_by, len(whole.pool)) == (80, None, 80)
    assert "pool.csv: the teacher labels 80 of 80 texts" in described(whole)
    some = plan(label_budget=30)
    assert (some.config.label_budget, some.config.label_by) == (30, "random")
    assert "the teacher labels 30 of 80 texts, chosen by random" in described(some)
    assert plan(label_budget=30, label_by="coverage").config.label_by == "coverage"


def test_a_budget_beyond_the_pool_is_all_of_it(plan):
    large = plan(label_budget=81, label_by="bald")
    assert (large.config.label_budget, large.config.label_by) == (80, None)
    assert "--label-budget 81: the pool has only 80 texts; all are labelled" in described(large)
    assert not [note for note in plan(label_budget=80).data.notes if "budget" in note]


@pytest.mark.e2e
def test_epochs_count_the_labelled_texts(plan, tmp_path):
    pool = write(tmp_path / "large.csv", [[f"film {row}"] for row in range(6000)])
    assert plan(unlabelled=None).config.epochs == 25
    assert plan(unlabelled=pool).config.epochs == 4
    assert plan(unlabelled=pool, label_budget=2000).config.epochs == 12


def test_texts_of_the_pool_fill_a_batch(plan):
    rows = len(plan().data.splits["train"])
    assert plan(batch_size=rows + 80).config.batch_size == rows + 80
    for options in (
        {"batch_size": rows + 81},
        {"batch_size": rows + 1, "label_budget": 9, "label_by": "bald"},
    ):
        with pytest.raises(InputError, match="training rows are fewer than one batch"):
            plan(**options)


def test_a_home_folder_is_found(plan, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert plan(unlabelled="~/pool.csv").config.unlabelled == tmp_path / "pool.csv"


def test_a_student_that_matches_states_alone_can_have_a_pool(plan, teacher_folder):
    matching = {"augment": "none", "teacher_weight": 0.0, "hidden_weight": 1.0}
    assert len(plan(student=str(teacher_folder), **matching).pool) == 80


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"unlabelled": None, "label_budget": 3}, "--label-budget has no effect without --unlabelled"),
        ({"label_by": "coverage"}, "--label-by has no effect without --label-budget"),
        ({"augment": "none", "teacher_weight": 0.0, "label_weight": 1.0}, "--unlabelled has no effect with"),
    ],
)
def test_options_without_effect_are_refused(plan, options, said):
    with pytest.raises(InputError, match=said):
        plan(**options)


def test_bald_needs_dropout(plan):
    with pytest.raises(InputError, match=r"--label-by bald: .* the student has none; add --dropout 0.1"):
        plan(label_budget=3, label_by="bald", dropout=0.0)
    assert plan(label_budget=3, label_by="bald").config.label_by == "bald"


def test_uncertainty_needs_classes(plan, table_file, save_model, tokenizer):
    for split in ("train", "validation"):
        write(
            table_file / f"{split}.csv",
            [[text, row / 7] for row, text in enumerate(TEXTS)],
            ("text", "label"),
        )
    teacher = str(save_model(tokenizer, layers=1, labels=(), problem_type="regression"))
    assert plan(teacher=teacher, label_budget=3, label_by="bald").config.label_by == "bald"
    with pytest.raises(InputError, match=r"--label-by uncertainty: a predicted score .*; use bald"):
        plan(teacher=teacher, label_budget=3, label_by="uncertainty")
