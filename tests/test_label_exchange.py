"""``augpro labels``: what a store holds, what is damaged in it, and its labels in another store."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from augpro.cli.app import app
from augpro.errors import InputError
from augpro.teachers.exchange import decision, export_labels, import_labels, open_store, verify_labels
from augpro.teachers.labels import TeacherRecord
from augpro.teachers.store import LabelStore
from augpro.teachers.teacher import Teacher
from common import OTHERS, TEXTS, tiny_bert
from label_stores import change


@pytest.fixture
def store(tokenizer, tmp_path):
    """A store with texts of one teacher and pairs of another."""
    path = tmp_path / "labels.sqlite"
    one, two = (Teacher(tiny_bert(len(tokenizer), seed=seed), tokenizer, store=path) for seed in (3, 4))
    one.label(TEXTS)
    two.label(TEXTS[:5], OTHERS[:5])
    return LabelStore(path)


def content(store):
    rows = [
        (identity, label.key, label.logits.tobytes(), label.text, label.pair, label.seconds, label.date)
        for _, identity, label in store.rows()
    ]
    return sorted(rows), sorted(store.teachers(), key=lambda teacher: teacher.identity)


@pytest.fixture
def call():
    def invoke(*arguments):
        return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["labels", *map(str, arguments)])

    return invoke


def test_labels_come_back_bit_for_bit(store, tmp_path):
    file, other = tmp_path / "labels.parquet", LabelStore(tmp_path / "other.sqlite")
    assert export_labels(store, file) == 25
    assert vars(import_labels(other, file)) == {"added": 25, "there": 0, "conflicts": 0}
    assert content(other) == content(store)
    assert vars(import_labels(other, file)) == {"added": 0, "there": 25, "conflicts": 0}
    assert {path.name for path in tmp_path.iterdir() if "sqlite" not in path.name} == {"labels.parquet"}


def test_other_logits_of_the_same_text_do_not_replace_those_that_are_there(store, tmp_path):
    file, other = tmp_path / "labels.parquet", LabelStore(tmp_path / "other.sqlite")
    export_labels(store, file)
    table = pq.read_table(file).drop_columns("crc")  # as an earlier version has written it
    rows = table.to_pylist()
    rows[3]["logits"] = [9.0, 9.0]
    pq.write_table(pa.Table.from_pylist(rows, table.schema), file)
    import_labels(other, file)
    before = content(store)
    assert vars(import_labels(store, file)) == {"added": 0, "there": 25, "conflicts": 1}
    assert content(store) == before != content(other)


def test_an_imported_store_serves_a_run(store, tmp_path, tokenizer):
    export_labels(store, tmp_path / "labels.parquet")
    import_labels(LabelStore(tmp_path / "other.sqlite"), tmp_path / "labels.parquet")
    teacher = Teacher(tiny_bert(len(tokenizer), seed=3), tokenizer, store=tmp_path / "other.sqlite")
    teacher.label(TEXTS)
    assert (teacher.counts.read, teacher.counts.computed) == (20, 0)


def test_a_file_is_read_by_people(store, tmp_path):
    export_labels(store, tmp_path / "labels.parquet")
    rows = pq.read_table(tmp_path / "labels.parquet").to_pylist()
    texts = [row for row in rows if row["pair"] is None]
    assert sorted(row["text"] for row in texts) == sorted(TEXTS)
    assert {(row["text"], row["pair"]) for row in rows} >= set(zip(TEXTS[:5], OTHERS[:5], strict=True))
    names = ("negative", "positive")
    assert all(row["label"] == names[int(np.argmax(row["logits"]))] for row in rows)
    assert {row["teacher"] for row in rows} == {"BertForSequenceClassification"}
    assert len({row["identity"] for row in rows}) == 2
    assert rows[0]["date"].year > 2000


@pytest.mark.parametrize(
    ("config", "logits", "expected"),
    [
        ('{"id2label": {"0": "a", "1": "b"}}', [1.0, 2.0], ("b", None)),
        ('{"id2label": {"0": "a", "1": "b", "2": "c"}, "problem_type": "multi_label_classification"}',
         [1.0, -1.0, 2.0], ("a|c", None)),
        ('{"id2label": {"0": "LABEL_0"}}', [0.5], (None, 0.5)),
        ("{}", [0.5, 0.1], ("0", None)),
    ],
)  # fmt: skip
def test_what_a_teacher_decides(config, logits, expected):
    teacher = TeacherRecord("i", "t", "k", "m", "t", "float32", 32, 32, len(logits), config)
    assert decision(np.array(logits, dtype=np.float32), teacher) == expected


# --- the commands ---


def test_stats(store, call):
    said = call("stats", "--label-store", store.path)
    assert said.exit_code == 0, said.output
    for word in ("float32", "20", "5"):
        assert word in said.output
    for teacher in store.teachers():
        assert teacher.identity[:8] in said.output


def test_the_commands_carry_labels_to_another_store(store, call, tmp_path):
    file = tmp_path / "labels.parquet"
    said = call("export", "--label-store", store.path, "--out", file)
    assert "25 labels are in" in said.output
    said = call("import", "--label-store", tmp_path / "other.sqlite", "--file", file)
    assert "25 labels are new, 0 were there" in said.output
    assert content(LabelStore(tmp_path / "other.sqlite")) == content(store)


def test_verify_finds_damage_and_drops_it(store, call):
    said = call("verify", "--label-store", store.path)
    assert (said.exit_code, said.output.strip()) == (0, "25 labels checked, 0 damaged")
    change(store.path, "UPDATE labels SET logits = zeroblob(8) WHERE id IN (3, 24)")
    change(store.path, "UPDATE labels SET key = randomblob(16) WHERE id = 9")
    for options in ((), ("--drop",)):
        said = call("verify", "--label-store", store.path, *options)
        assert said.exit_code == 1
        assert "25 labels checked, 3 damaged" in said.output
        assert "row 3: damaged label of BertForSequenceClassification" in said.output
        assert ("removed" in said.output) == bool(options)
    assert call("verify", "--label-store", store.path).exit_code == 0
    assert sum(1 for _ in store.rows()) == 22


def test_damaged_labels_are_not_exported(store, tmp_path):
    change(store.path, "UPDATE labels SET text = 'other' WHERE id = 3")
    assert export_labels(store, tmp_path / "labels.parquet") == 24


def test_labels_of_a_damaged_teacher_are_found(store):
    """Its number leads nowhere, so every label of it has another checksum."""
    change(store.path, "UPDATE teachers SET identity = 'x' WHERE id = 2")
    with pytest.raises(
        InputError, match=r"the description of the teacher 'Bert.*' is damaged; start a run with"
    ):
        store.teachers()


def test_a_run_writes_the_description_of_its_teacher_anew(store, tokenizer):
    change(store.path, "UPDATE teachers SET config = '{' WHERE id = 1")
    Teacher(tiny_bert(len(tokenizer), seed=3), tokenizer, store=store.path).label(TEXTS[:1])
    assert len(store.teachers()) == 2
    assert verify_labels(store).damaged == []


# --- what is refused ---


@pytest.mark.parametrize("command", [("stats",), ("verify",), ("export", "--out", "x.parquet")])
def test_a_store_that_is_not_there_is_not_made(command, call, tmp_path):
    said = call(*command, "--label-store", tmp_path / "none.sqlite")
    assert said.exit_code == 2
    assert "none.sqlite: there is no label store; name the file of --label-store" in said.output
    assert not list(tmp_path.iterdir())


def test_an_export_over_the_store_itself_is_refused(store):
    with pytest.raises(InputError, match="is read by this command, and would be replaced"):
        export_labels(store, store.path)


def test_an_export_that_cannot_be_written_is_told(store, tmp_path, monkeypatch):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(InputError, match=r"labels.parquet: cannot be written \(No space left on device\)"):
        export_labels(store, tmp_path / "labels.parquet")
    assert {path.suffix for path in tmp_path.iterdir()} <= {".sqlite", ".sqlite-wal", ".sqlite-shm"}


def test_an_export_makes_the_folder_of_its_file(store, tmp_path):
    export_labels(store, tmp_path / "kept" / "here" / "labels.parquet")
    assert (tmp_path / "kept" / "here" / "labels.parquet").is_file()


def rewritten(change_rows):
    def write(file):
        table = pq.read_table(file)
        rows = table.to_pylist()
        change_rows(rows)
        pq.write_table(pa.Table.from_pylist(rows, table.schema), file)

    return write


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda file: file.unlink(), "no such file; give the file that augpro labels export has written"),
        (lambda file: file.write_text("text,label"), "is no file of augpro labels export, or damaged"),
        (lambda file: file.write_bytes(file.read_bytes()[:-200]), "is no file of augpro labels export, or damaged"),
        (lambda file: pq.write_table(pa.table({"text": ["a"]}), file), "is no file of augpro labels export"),
        (rewritten(lambda rows: rows[6].update(logits=[1.0])), "row 7: needs a key, a text and 2 finite logits"),
        (rewritten(lambda rows: rows[6].update(logits=[1.0, float("nan")])), "row 7: needs a key"),
        (rewritten(lambda rows: rows[6].update(key=None)), "row 7: needs a key"),
        (rewritten(lambda rows: rows[6].update(identity="x")), "row 7: its teacher is not described"),
    ],
    ids=["missing", "text", "cut off", "other columns", "too few", "nan", "no key", "no teacher"],
)  # fmt: skip
def test_a_file_that_is_no_export_is_refused(damage, match, store, tmp_path):
    file = tmp_path / "labels.parquet"
    export_labels(store, file)
    damage(file)
    with pytest.raises(InputError, match=rf"labels.parquet.*{match}"):
        import_labels(LabelStore(tmp_path / "other.sqlite"), file)


def test_another_file_is_no_store(tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\n")
    with pytest.raises(InputError, match="is no label store"):
        open_store(tmp_path / "rows.csv")


def test_an_export_over_another_file_is_refused(store, tmp_path):
    (tmp_path / "train.csv").write_text("text,label\n")
    with pytest.raises(InputError, match="is no Parquet file, and would be replaced"):
        export_labels(store, tmp_path / "train.csv")
    export_labels(store, tmp_path / "labels.parquet")
    assert export_labels(store, tmp_path / "labels.parquet")
