"""A teacher that keeps its labels, and the file that they are in."""

import sqlite3

from augpro.teachers.store import store_path
from augpro.teachers.teacher import Teacher
from common import tiny_bert


def keeping_teacher(tokenizer, store, seed=3, limit=None, own=None, **options):
    """A tiny teacher with a new connection to a store; ``own`` is its tokenizer where that is another."""
    model = tiny_bert(len(tokenizer), seed=seed, **options)
    return Teacher(model, own or tokenizer, limit, store=store)


def rows_in(path):
    """How many labels a store holds."""
    with sqlite3.connect(store_path(path)) as connection:
        return connection.execute("SELECT COUNT(*) FROM labels").fetchone()[0]


def change(path, statement, *values):
    """Run a statement on a store's file."""
    connection = sqlite3.connect(store_path(path))
    connection.execute(statement, values)
    connection.commit()
    connection.close()
