"""Labels that cannot be read as they are give one sentence that names the place and the mend."""

from pathlib import Path
from typing import Any

import pytest

from data_files import TWO, bad, check_refused, lines

FREE_TEXT = "text,label\n" + "".join(f"some text {i},other text {i}\n" for i in range(501))
ROW_NUMBERS = "text,label\n" + "".join(f"some text {i},{i}\n" for i in range(501))

BAD = [
    # labels
    bad("free text as label", "f.csv", FREE_TEXT, "'label'", "501", "free text", "--label-column"),
    bad("row number as label", "f.csv", ROW_NUMBERS, "'label'", "501", "--problem-type regression"),
    bad("one class", "f.csv", "text,label\nx,a\ny,a\n", "'label'", "'a'", "add rows with another"),
    bad(
        "infinite score",
        "f.jsonl",
        lines({"text": "x", "score": 0.5}, {"text": "y", "score": float("inf")}),
        "row 2",
        "'score'",
        "inf",
        "correct it",
    ),
    bad(
        "huge score",
        "f.jsonl",
        lines({"text": "x", "score": 0.5}, {"text": "y", "score": 10**400}),
        "row 2",
        "'score'",
        "too large",
        "correct it",
    ),
    bad(
        "number after text",
        "f.jsonl",
        lines(TWO, {"text": "y", "label": 1}),
        "row 2",
        "'label'",
        "a number",
        "write all labels alike",
    ),
    bad(
        "list after text",
        "f.jsonl",
        lines(TWO, {"text": "y", "label": ["a"]}),
        "row 2",
        "'label'",
        "a list of text",
        "write all labels alike",
    ),
    bad(
        "text after list",
        "f.jsonl",
        lines({"text": "x", "label": []}, TWO),
        "row 2",
        "'label'",
        "text",
        "write all labels alike",
    ),
    bad(
        "mixed list",
        "f.jsonl",
        lines({"text": "y", "label": ["a", 1]}),
        "row 1",
        "'label'",
        "a number and text",
    ),
    bad("null in a list", "f.jsonl", lines({"text": "y", "label": ["a", None]}), "row 1", "'label'", "null"),
    bad(
        "object as label",
        "f.jsonl",
        lines({"text": "x", "label": {"a": 1}}),
        "row 1",
        "'label'",
        "an object",
        "write",
    ),
    bad(
        "flags of one label",
        "f.jsonl",
        lines({"text": "x", "label": [0]}, {"text": "y", "label": [1]}),
        "row 1",
        "'label'",
        "the id of a class",
        "write the names",
    ),
    bad(
        "zeros and ones of another length",
        "f.jsonl",
        lines({"text": "x", "label": [0, 1]}, {"text": "y", "label": [0, 1, 0]}),
        "row 2",
        "'label'",
        "twice",
        "in every row a 0 or 1",
    ),
    bad(
        "broken id in list",
        "f.jsonl",
        lines({"text": "x", "label": [0.5]}),
        "row 1",
        "'label'",
        "0.5",
        "names",
    ),
    bad(
        "text for regression",
        "f.csv",
        "text,label\nx,1\ny,two\n",
        "row 3",
        "'label'",
        "'two'",
        "write a number",
        problem_type="regression",
    ),
    bad(
        "text for regression in JSONL",
        "f.jsonl",
        lines(TWO),
        "row 1",
        "'label'",
        "'a'",
        "write a number",
        problem_type="regression",
    ),
    bad(
        "list for one class",
        "f.jsonl",
        lines({"text": "x", "label": ["a"]}),
        "row 1",
        "'label'",
        "list",
        "--problem-type multi_label",
        problem_type="single_label",
    ),
    bad(
        "number for many",
        "f.jsonl",
        lines({"text": "x", "label": 1}),
        "row 1",
        "'label'",
        "number",
        "write it as a list",
        problem_type="multi_label",
    ),
]


@pytest.mark.parametrize(("name", "content", "said", "options"), BAD)
def test_bad_labels(
    tmp_path: Path, name: str, content: str | bytes, said: tuple[str, ...], options: dict[str, Any]
) -> None:
    check_refused(tmp_path / name, content, said, options)
