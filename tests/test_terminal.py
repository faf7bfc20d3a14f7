"""No text of the data, of a model or of an option can steer the terminal that shows it."""

import io
import logging
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table as RichTable

from augpro.cli.comparison import show_compared
from augpro.cli.display import show_note, show_plan, show_result, show_scores, show_table, shown_log
from augpro.cli.quickstart import _show_pairs
from augpro.compare.cells import Outcome
from augpro.compare.comparison import Comparison
from augpro.compare.runner import Compared
from augpro.results.cell import Cell
from augpro.results.result import Sample, Scores
from augpro.results.tables import Table
from augpro.results.terminal import shown, visible
from report_cases import cell_result
from test_cli import invoke

BAD = "bad\x1b[31m\x07"
SEEN = r"bad\x1b[31m\x07"


@pytest.fixture
def console():
    """Writes to a string, without colours: every control character in it but a newline is someone else's."""
    return Console(file=io.StringIO(), width=300)


def output(console):
    text = console.file.getvalue()
    assert controls(text) <= {"\n"}
    return text


def controls(text):
    return {letter for letter in text if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")}


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (BAD, SEEN),
        ("one\ntwo\tthree\r\nfour", "one two three  four"),
        ("\x00 \x7f \x9b31m \u2028", r"\x00 \x7f \x9b31m \u2028"),
        ("safe \u202etxt.exe", r"safe \u202etxt.exe"),  # would be read from the right
        ("half \ud83d", r"half \ud83d"),  # cannot be encoded
        ("Größe, 不错, 👩\u200d💻, می\u200cخواهم", "Größe, 不错, 👩\u200d💻, می\u200cخواهم"),
        ("c:\\temp", "c:\\temp"),
    ],
)
def test_control_characters_are_made_visible(text, seen):
    assert visible(text) == seen


@given(st.text(max_size=30))
def test_any_text_is_shown_without_markup_and_controls(text):
    console = Console(file=io.StringIO(), width=2000, emoji=False)
    console.print(shown(f"<{text}>"), highlight=False)
    assert console.file.getvalue().rstrip("\n") == visible(f"<{text}>")
    assert not controls(visible(text))


def test_tables_notes_and_titles(console):
    show_table(console, Table(BAD, ["method", BAD], [[BAD, "[bold]0.9[/bold]"]], {0}, [BAD]))
    show_note(console, BAD)
    show_scores(console, {"evaluation": Scores(rows=3, metrics={BAD: 0.5})}, BAD)
    text = output(console)
    assert text.count(SEEN) == 7
    assert "[bold]0.9[/bold]" in text


def test_the_result_and_the_plan_of_a_run(console):
    result = cell_result(
        f"random:a=[{BAD}]", task=BAD, metric_name=BAD, replacement={BAD: 0.5}, notes=[BAD],
        evaluation=Scores(rows=8, metrics={"accuracy": 0.5}),
    )  # fmt: skip
    show_result(console, result, Path(BAD))
    plan = SimpleNamespace(describe=lambda: {BAD: BAD}, data=SimpleNamespace(notes=[BAD]))
    show_plan(console, plan, SimpleNamespace(model_dump=lambda mode: {"out": BAD}))
    assert output(console).count(SEEN) == 6 + 4


def test_what_a_comparison_left_out(console):
    outcome = Outcome({Cell(f"random:a={BAD}", None, 0, 1.0): BAD}, [Cell(BAD, 8, 0, 1.0)])
    compared = Compared(Comparison([], [BAD]), outcome)
    show_compared(console, compared, SimpleNamespace(budget=1.0, out=Path(BAD)))
    assert output(console).count(SEEN) == 5


def test_what_the_library_logs(console):
    with shown_log(console):
        logging.getLogger("augpro.compare").warning("left out: %s", BAD)
    logging.getLogger("augpro.compare").warning("not shown any more")
    assert output(console).count(SEEN) == 1
    assert "not shown" not in output(console)


def test_augmented_texts_of_the_quickstart(console):
    _show_pairs(
        console,
        [
            Sample(
                original="good film",
                augmented=f"good {BAD}",
                original_label=BAD,
                augmented_label=f"{BAD} 0.99",
            )
        ],
    )
    assert output(console).count(SEEN) == 3


def test_a_table_without_help_would_let_them_through(console):
    """What the tests above would see if a text was not made visible."""
    table = RichTable("a")
    table.add_row(BAD)
    console.print(table)
    assert "\x1b" in console.file.getvalue()


def test_a_sentence_about_wrong_input(tmp_path, teacher_folder):
    done = invoke("distill", "--data", tmp_path / BAD, "--teacher", teacher_folder, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert SEEN in done.output
    assert controls(done.output) <= {"\n"}


def test_a_label_of_the_data(tmp_path, teacher_folder):
    path = tmp_path / "few.csv"
    path.write_text(f"text,label\nthe movie is great,{BAD}\na slow page,positive\n")
    done = invoke("evaluate", "--data", path, "--model", teacher_folder)
    assert done.exit_code == 2
    assert SEEN in done.output
    assert controls(done.output) <= {"\n"}
