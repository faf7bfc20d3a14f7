"""The exported folder: written beside its name, and renamed when it is whole; and the tables about it."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from augpro.errors import InputError
from augpro.export.budget import compressed
from augpro.export.graph import input_names
from augpro.export.measured import Exported, Sizes
from augpro.export.options import ExportConfig
from augpro.export.plan import ExportPlan
from augpro.export.trimming import Trimmed
from augpro.files.durable import new_folder, writing
from augpro.models.named import model_location
from augpro.results.environment import library_versions
from augpro.results.tables import Quantity, Table
from augpro.tokens import only_special


@contextmanager
def finished(out: Path) -> Iterator[Path]:
    """A folder to write to, which takes the name ``out`` when the block ends; after an exception it is removed.

    Raises:
        DiskError: if it cannot be written.
        InputError: if something else has taken the name meanwhile.
    """
    try:
        with writing(out), new_folder(out) as temporary:
            yield temporary
    except OSError as error:
        if error.filename2 is None:  # it was no renaming
            raise
        raise InputError(f"{out}: was written by something else meanwhile; give another --out.") from error


def write_folder(
    folder: Path, plan: ExportPlan, tokenizer: PreTrainedTokenizerBase, contents: tuple[bytes, bytes],
    trimmed: Trimmed,
) -> Sizes:  # fmt: skip
    """Write the contents of the model's and the tokenizer's file and, last, ``augpro.json``."""
    from augpro_runtime.folder import MANIFEST, MODEL, PACKED, TOKENIZER, Manifest

    packed = PACKED if plan.config.max_megabytes is not None else ""
    files = dict(zip((MODEL + packed, TOKENIZER + packed), contents, strict=True))
    for name, content in files.items():
        (folder / name).write_bytes(content)
    new, unknown = trimmed.new_ids, tokenizer.unk_token_id
    manifest = Manifest(
        labels=plan.labels,
        problem_type=plan.problem,
        pair=plan.pair,
        max_tokens=plan.limit,
        pad_id=int(new[tokenizer.pad_token_id]),
        special_ids=tuple(int(new[token]) for token in only_special(tokenizer)),
        unknown_id=None if unknown is None else int(new[unknown]),
        same_length=plan.same_length,
        inputs=input_names(tokenizer),
        calibration=plan.calibration.model_dump(mode="json") if plan.calibration else None,
        files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        versions=library_versions() | {name: metadata.version(name) for name in ("onnx", "onnxruntime")},
        exported_from=Path(plan.config.model).name,
    )
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return Sizes(
        model_before=_weights(plan.config.model),
        model=len(contents[0]),
        tokenizer=len(contents[1]),
        tokens=trimmed.tokens,
        kept_tokens=len(trimmed.old_ids),
        teacher=_weights(plan.config.teacher) if plan.config.teacher else None,
    )


def _weights(model: str) -> int:
    """Bytes of a classifier's weights."""
    return sum(path.stat().st_size for path in Path(model_location(model)).glob("*.safetensors"))


def tokenizer_bytes(plan: ExportPlan, tokenizer: PreTrainedTokenizerBase, trimmed: Trimmed) -> bytes:
    """The content of the tokenizer's file."""
    cut = {"direction": tokenizer.truncation_side.capitalize(), "max_length": plan.limit, "stride": 0}
    definition = trimmed.definition | {"truncation": cut | {"strategy": "LongestFirst"}, "padding": None}
    content = json.dumps(definition, ensure_ascii=False, separators=(",", ":")).encode()
    return content if plan.config.max_megabytes is None else compressed(content, text=True)


def export_tables(result: Exported, config: ExportConfig) -> list[Table]:
    """What people read: sizes, agreement with PyTorch, and speed."""
    sizes = result.sizes
    kind = "int8" if config.int8 else "ONNX"
    packed = "" if config.max_megabytes is None else ", compressed"
    size = Table("Size", ["", "MB"])
    if sizes.teacher is not None:
        size.rows.append(["teacher, PyTorch weights", Quantity(sizes.teacher / 1e6, ".2f")])
    size.rows += [
        ["PyTorch weights", Quantity(sizes.model_before / 1e6, ".2f")],
        [f"{kind} model{packed}", Quantity(sizes.model / 1e6, ".2f")],
        [f"tokenizer{packed}", Quantity(sizes.tokenizer / 1e6, ".2f")],
    ]
    if sizes.kept_tokens < sizes.tokens:
        size.notes.append(f"{sizes.kept_tokens} of {sizes.tokens} tokens are kept")
    return [size, _parity(result, kind), *([_speed(result)] if result.speeds else [])]


def _parity(result: Exported, kind: str) -> Table:
    table = Table("Answers, compared with PyTorch", ["", "value"])
    table.rows.append(
        ["largest difference of logits at three shapes, before int8", Quantity(result.shapes, ".1e")]
    )
    parity = result.parity
    if parity is None:
        table.notes.append("give --data to compare the answers on its evaluation rows")
        return table
    table.rows += [
        ["evaluation rows", Quantity(parity.rows, "d")],
        [f"{kind}: largest difference of logits", Quantity(parity.largest, ".2e")],
        [f"{kind}: mean difference of logits", Quantity(parity.mean, ".2e")],
        [f"{kind}: equal decisions", Quantity(parity.agreement, ".2%")],
    ]
    if result.sizes.kept_tokens < result.sizes.tokens:
        table.rows += [
            ["rows with other tokens than before", Quantity(parity.retokenized, "d")],
            ["equal decisions among these", Quantity(parity.retokenized_agreement, ".2%")],
        ]
    return table


def _speed(result: Exported) -> Table:
    table = Table("Speed", ["model", "cold start (s)", "texts", "tokens", "latency (ms)", "texts/s"])
    for speed in result.speeds:
        table.rows.append(
            [
                speed.model, Quantity(result.cold_starts.get(speed.model), ".2f"), Quantity(speed.batch, "d"),
                Quantity(speed.length, "d"), Quantity(speed.milliseconds, ".1f"),
                Quantity(speed.texts_per_second, ".0f"),
            ]
        )  # fmt: skip
    table.notes.append("cold start: a new process until its first answer; latency: the median of a batch")
    return table
