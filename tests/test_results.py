"""Files of results: whole or not there, and JSON that any reader takes."""

import json
import math

import pytest

from augpro.results import write_json, write_json_lines


def test_what_is_no_number_becomes_null(tmp_path):
    write_json(tmp_path / "a.json", {"interval": [math.nan, 1.0], "kl": math.inf})
    write_json_lines(tmp_path / "a.jsonl", [{"kl": math.nan}])
    assert json.loads((tmp_path / "a.json").read_text()) == {"interval": [None, 1.0], "kl": None}
    assert json.loads((tmp_path / "a.jsonl").read_text()) == {"kl": None}


def test_a_file_that_cannot_be_written_leaves_the_old_one_and_nothing_else(tmp_path):
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(UnicodeEncodeError):
        write_json(tmp_path / "a.json", "\ud83d")  # half of a character
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "1\n"
