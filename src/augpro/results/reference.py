"""The page that lists the files of a run key by key, made from the models that read and write them.

python -m augpro.results.reference docs/reference/result.md
"""

import sys
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, JsonValue

from augpro.results.cell import CellResult, ModelNames
from augpro.results.result import LayerSearch, LayerTrial, RowsHash, RunResult, Sample, Scores
from augpro.results.texts import AugmentedText

_INTRODUCTION = """# Files of a run, key by key

This page is made from the code by `python -m augpro.results.reference docs/reference/result.md`.

`augpro distill` and `augpro finetune` write `result.json`; `augpro.RunResult.load("folder")` reads it.
`null` stands for what there is not, or what is not a number. Files of earlier versions are read too: in them
`distance_to_teacher` is called `kl_to_teacher`, and the names of the figures follow from `problem_type`.
`checksum`, in `result.json` and in each line of other files, tells [damage](../explanation/faults.md#damaged-files).
"""
_LINES = """## results.jsonl

Of `augpro compare`, a line for each finished cell: the keys of `result.json` without `samples` and `config`, and
"""
_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def reference() -> str:
    """The page, as Markdown."""
    own = [name for name in CellResult.model_fields if name not in RunResult.model_fields]
    parts = [_INTRODUCTION, "## result.json\n", _table(RunResult, RunResult.model_fields)]
    for kind in (Scores, RowsHash, LayerSearch, LayerTrial, Sample):
        parts += [f"### {kind.__name__}\n\n{_first_line(kind)}\n", _table(kind, kind.model_fields)]
    parts += [
        _LINES,
        _table(CellResult, own),
        f"### {ModelNames.__name__}\n\n{_first_line(ModelNames)}\n",
        _table(ModelNames, ModelNames.model_fields),
        "## samples.jsonl\n\nUp to 500 augmented texts of a run that makes text, one a line.\n",
        _table(AugmentedText, AugmentedText.model_fields),
    ]
    return "\n".join(parts)


def _first_line(kind: type[BaseModel]) -> str:
    return (kind.__doc__ or "").split("\n")[0]


def _table(kind: type[BaseModel], names: Iterable[str]) -> str:
    lines = ["| key | value | meaning |", "|---|---|---|"]
    for name in names:
        field = kind.model_fields[name]
        meaning = " ".join((field.description or "").split()).replace("|", r"\|")
        lines.append(f"| `{name}` | {_words(field.annotation)} | {meaning} |")
    return "\n".join([*lines, ""])


def _words(kind: Any) -> str:
    """What JSON values an annotation allows, in words."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _words(parts[0])
    if origin in (Union, types.UnionType):
        return " or ".join("null" if part is types.NoneType else _words(part) for part in parts)
    if origin is Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin is dict:
        return f"{_several(parts[1])} by name"
    if origin in (list, tuple):
        return f"list of {'two ' * (origin is tuple and parts[-1] is not Ellipsis)}{_several(parts[0])}"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    return _WORDS.get(kind, "any JSON" if kind is JsonValue else "object")


def _several(kind: Any) -> str:
    word = _words(kind)
    return f"{word}s" if word in _WORDS.values() else word


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
