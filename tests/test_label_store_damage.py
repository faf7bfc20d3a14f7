"""Label stores that are damaged, foreign, full or locked: no wrong label, and one sentence that names the file."""

import sqlite3
from functools import partial

import pytest
import torch

from augpro.errors import InputError
from augpro.teachers import store as store_module
from augpro.teachers.store import check_store, store_path
from common import TEXTS
from label_stores import change, keeping_teacher, rows_in


@pytest.fixture
def teacher(tokenizer, tmp_path):
    """The same teacher as often as it is called, with a new connection to one store."""
    return partial(keeping_teacher, tokenizer, store=tmp_path / "labels")


@pytest.mark.parametrize(
    "damage",
    ["logits = zeroblob(8)", "logits = x'00'", "logits = NULL", "crc = crc + 1", "text = 'other'", "pair = 'more'",
     "text = CAST(x'ff' AS TEXT)", "key = randomblob(16)"],
)  # fmt: skip
def test_a_damaged_row_is_removed_and_made_anew(damage, teacher, tmp_path, caplog):
    labels = teacher().label(TEXTS)
    with sqlite3.connect(store_path(tmp_path / "labels")) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'logits BLOB NOT NULL', 'logits BLOB')"
        )
    change(tmp_path / "labels", f"UPDATE labels SET {damage} WHERE id = 7")
    again = teacher()
    assert torch.equal(again.label(TEXTS), labels)
    assert (again.counts.read, again.counts.computed) == (19, 1)
    lost = "key" in damage  # such a row is not found at all
    assert ("is damaged and was removed" in caplog.text) == (not lost)
    assert rows_in(tmp_path / "labels") == 20 + lost
    assert sum(label is None for _, _, label in teacher().store.rows()) == lost


def damaged(teacher, tmp_path, change):
    """Labels are all right after a change of the file's bytes, or one sentence names the file."""
    first = teacher()
    labels = first.label(TEXTS)
    first.store.connection.close()
    path = store_path(tmp_path / "labels")
    path.write_bytes(change(path.read_bytes()))
    again = teacher()
    try:
        assert torch.equal(again.label(TEXTS), labels)
    except InputError as error:
        return str(error).removeprefix(f"{path}: ")
    return ""


@pytest.mark.parametrize("place", [0, 16, 30, 70, 100, 2000, 4100, 5000, 9000, 13000, -2000, -100, -5])
def test_flipped_bits_give_no_wrong_label(place, teacher, tmp_path):
    def flip(content):
        assert len(content) > 13_000
        content = bytearray(content)
        content[place] ^= 0x24
        return content

    said = damaged(teacher, tmp_path, flip)
    assert not said or said[0].islower()
    if place in (0, 70):
        assert said == "is no label store; name another file as --label-store."


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_off_gives_no_wrong_label(share, teacher, tmp_path):
    said = damaged(teacher, tmp_path, lambda content: content[: int(share * len(content))])
    if share < 0.9:
        assert said == "is damaged; move it away, and its labels are made anew, or restore a copy."


def test_an_empty_file_becomes_a_store(teacher, tmp_path):
    """As of a process that was killed when it had just made the file."""
    (tmp_path / "labels.sqlite").write_bytes(b"")
    assert check_store(tmp_path / "labels.sqlite") == []
    teacher(store=tmp_path / "labels.sqlite").label(TEXTS)
    assert rows_in(tmp_path / "labels.sqlite") == 20


def write_text_file(path):
    path.write_text("text,label\ngood,1\n" * 20)


def write_other_database(path):
    change(path, "CREATE TABLE theirs (a)")


@pytest.mark.parametrize("write", [write_text_file, write_other_database])
def test_another_file_is_refused_and_left_as_it_is(write, teacher, tmp_path):
    path = tmp_path / "file.sqlite"
    write(path)
    before = path.read_bytes()
    for work in (lambda: check_store(path), lambda: teacher(store=path).label(TEXTS)):
        with pytest.raises(
            InputError, match=r"file.sqlite: is no label store; name another file as --label-st"
        ):
            work()
    assert path.read_bytes() == before


def test_a_store_of_a_later_version_is_refused(teacher, tmp_path):
    teacher().label(TEXTS)
    change(tmp_path / "labels", "PRAGMA user_version = 9")
    with pytest.raises(InputError, match="was written by a later version of augpro; update augpro"):
        teacher().label(TEXTS)


# --- what the system refuses ---


def test_a_full_disk_is_told(teacher):
    asked = teacher()
    asked.store.connection.execute("PRAGMA max_page_count = 5")
    with pytest.raises(InputError, match="cannot grow, because the disk is full; make room there"):
        asked.label([f"{a} {b}" for a in TEXTS for b in TEXTS])


def test_a_store_that_may_not_be_written_is_told(teacher, tmp_path, monkeypatch):
    teacher().label(TEXTS)
    asked = teacher()
    asked.store.connection.execute("PRAGMA query_only = ON")  # root may write everywhere
    with pytest.raises(InputError, match=r"labels.sqlite: cannot be used \(attempt to write a readonly"):
        asked.label(["new"])

    def closed(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(store_module, "open", closed, raising=False)
    with pytest.raises(InputError, match=r"cannot be written \(Permission denied\); change its permissions"):
        check_store(tmp_path / "labels")


def test_a_lock_that_does_not_end_is_told(teacher, tmp_path, monkeypatch):
    teacher().label(TEXTS)
    monkeypatch.setattr(store_module, "_WAIT", 0.05)
    with sqlite3.connect(store_path(tmp_path / "labels"), isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InputError, match="is locked by another program"):
            teacher().label(["new"])


def test_a_store_that_is_none_is_refused_in_the_plan(planned, tmp_path):
    write_text_file(tmp_path / "rows.csv")
    with pytest.raises(InputError, match=r"rows.csv: is no label store"):
        planned(label_store=tmp_path / "rows.csv")
