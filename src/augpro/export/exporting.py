"""The story of an export, from a trained classifier to a folder that runs without PyTorch."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from augpro.export.budget import fit
from augpro.export.folder import export_tables, finished, tokenizer_bytes, write_folder
from augpro.export.graph import (
    TOLERANCE,
    check_shapes,
    input_names,
    session_of,
    to_onnx,
    vocabulary_size,
)
from augpro.export.int8 import to_int8
from augpro.export.measured import Exported
from augpro.export.parity import compare, runtime_logits
from augpro.export.plan import ExportPlan
from augpro.export.timing import Run, cold_start, measure, onnx_run, torch_run
from augpro.export.trimming import Trimmed, count_tokens, in_blocks, text_parts, trim
from augpro.models.named import model_location
from augpro.models.reading import predict_logits
from augpro.models.source import ModelSource
from augpro.results.output import claim_file
from augpro.tokens import TokenTable, tokenize

_ANY = 1e9  # int8 may round as it must


def run_export(plan: ExportPlan) -> Exported:
    """Export, compare, measure, and only then give the folder its name.

    Raises:
        InputError: if the model cannot be exported or trimmed.
    """
    config, name = plan.config, plan.config.model
    claim_file(config.out)
    model, tokenizer = plan.source.load_trained_classifier().eval(), plan.source.load_tokenizer()
    table = None if plan.rows is None else tokenize(tokenizer, plan.rows.texts, plan.rows.pairs, plan.limit)
    expected = None if table is None else predict_logits(model, table, what="PyTorch").numpy()
    definition = json.loads(tokenizer.backend_tokenizer.to_str())
    trimmed = _untrimmed(model, definition)
    counts = np.zeros(trimmed.tokens, dtype=np.int64)
    if config.counts_tokens:
        parts = in_blocks(plan.train.texts, plan.train.pairs) if plan.train else (
            text_parts(config.texts or Path(), config.text_column, config.pair_column)
        )  # fmt: skip
        use = count_tokens(tokenizer, parts, plan.limit, name)
        trimmed = trim(model, tokenizer, definition, use, name, every=not config.trim_vocabulary)
        counts = use.counts[trimmed.old_ids]
    small = trimmed.model
    names = input_names(tokenizer)
    whole = to_onnx(small, names, name)
    shapes = check_shapes(small, whole, tokenizer, name, TOLERANCE)
    final, reader = whole, tokenizer_bytes(plan, tokenizer, trimmed)
    if config.int8:
        final = to_int8(whole)
    if config.max_megabytes is None:
        content = final.SerializeToString()
    else:
        content = fit(final, whole, counts, int(config.max_megabytes * 1e6) - len(reader), name)
    if config.int8:
        check_shapes(small, final, tokenizer, name, _ANY)
    with finished(config.out) as folder:
        sizes = write_folder(folder, plan, tokenizer, (content, reader), trimmed)
        parity = None
        if table is not None and expected is not None and plan.rows is not None:
            found, classifier = runtime_logits(folder, plan.rows.texts, plan.rows.pairs)
            changed = _retokenized(trimmed, table, classifier, plan)
            parity = compare(found, expected, plan.problem, changed)
        result = Exported(sizes, shapes, parity, notes=plan.notes)
        if config.timing:
            result = _timed(result, plan, model, tokenizer, {"ONNX": whole, "int8": final}, folder)
        text = "\n".join(table.markdown() for table in export_tables(result, config))
        (folder / "export.md").write_text(text, encoding="utf-8")
        measured = json.dumps(dataclasses.asdict(result), indent=2, ensure_ascii=False)
        (folder / "export.json").write_text(measured + "\n", encoding="utf-8")
    return result


def _untrimmed(model: PreTrainedModel, definition: dict[str, Any]) -> Trimmed:
    size = vocabulary_size(model)
    return Trimmed(model, definition, np.arange(size), size)


def _retokenized(trimmed: Trimmed, table: TokenTable, classifier: Any, plan: ExportPlan) -> NDArray[np.bool_]:
    """Which rows have other tokens than before, [N]."""
    changed = np.zeros(len(table), dtype=bool)
    if len(trimmed.old_ids) == trimmed.tokens:
        return changed
    new = trimmed.new_ids
    assert plan.rows is not None
    pairs, start = plan.rows.pairs, 0
    for texts, second in in_blocks(plan.rows.texts, pairs):
        for ids in classifier.token_ids(texts, second):
            before = new[table.flat[0, table.offsets[start] : table.offsets[start + 1]]]
            changed[start] = not np.array_equal(before, ids)
            start += 1
    return changed


def _timed(
    result: Exported, plan: ExportPlan, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase,
    graphs: dict[str, Any], folder: Path,
) -> Exported:  # fmt: skip
    """The result with what speed and start were measured."""
    runs: dict[str, tuple[Run, tuple[str, ...], int]] = {}
    starts: dict[str, float] = {}
    trusted = plan.config.trust_remote_code
    if plan.config.teacher:
        teacher = ModelSource(plan.config.teacher, trusted)
        large, names = teacher.load_trained_classifier().eval(), input_names(teacher.load_tokenizer())
        runs["teacher"] = torch_run(large), names, vocabulary_size(large)
        starts["teacher"] = cold_start(str(model_location(plan.config.teacher)), False, trusted)
    names = input_names(tokenizer)
    runs["student"] = torch_run(model), names, vocabulary_size(model)
    starts["student"] = cold_start(str(model_location(plan.config.model)), False, trusted)
    for kind, graph in graphs.items():
        if kind == "ONNX" or plan.config.int8:
            runs[kind] = onnx_run(session_of(graph.SerializeToString())), names, result.sizes.kept_tokens
    starts["int8" if plan.config.int8 else "ONNX"] = cold_start(str(folder), exported=True)
    return dataclasses.replace(result, speeds=measure(runs, plan.limit), cold_starts=starts)
