"""The teacher: text in, logits out.

It reads text through its own tokenizer. Token ids are passed on directly only if its tokenizer is proven identical to
the student's, which avoids decoding and tokenizing again.

A label is the same bit for bit, whatever is labelled beside it (:mod:`augpro.models.fixed_shapes`), so it does not
matter whether it is computed now or read from a label store (:mod:`augpro.teachers.store`).
"""

import copy
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from augpro.files.durable import fingerprint
from augpro.models.finite import check_logits
from augpro.models.fixed_shapes import logits_in_fixed_shapes
from augpro.models.memory import RowsAtOnce
from augpro.models.source import same_tokenizer, tokenizer_fingerprint
from augpro.teachers.labels import Label, TeacherRecord, text_key, token_key
from augpro.teachers.store import LabelStore
from augpro.tokens import TokenBatch, TokenTable, max_length, tokenize, unpadded
from augpro.vocabulary import Vocabulary

_BLOCK = 2048  # rows that are tokenized and checked at once
# Entries of a configuration that do not change logits: origin, writer, precision, class names.
_NO_EFFECT = {
    "_name_or_path", "name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype",
    "id2label", "label2id", "problem_type",
}  # fmt: skip


@dataclass
class LabelCounts:
    """Labels of a teacher so far.

    Attributes:
        asked: rows that were to be labelled.
        read: different rows of them whose label was in the store.
        computed: different rows that the model has read.
        saved_seconds: what computing the labels from the store took when it was done.
    """

    asked: int = 0
    read: int = 0
    computed: int = 0
    saved_seconds: float = 0.0

    def rows(self) -> dict[str, int]:
        """The numbers of rows by name."""
        return {"asked": self.asked, "read": self.read, "computed": self.computed}


@dataclass(frozen=True)
class RowsToLabel:
    """Rows to label.

    Attributes:
        keys: of the rows in the store; equal rows have the same one.
        tokens: tokenizes the rows with these numbers.
        texts: the text, and the second text or None, of the rows with these numbers.
        checked: whether logits that are not finite are an error.
    """

    keys: Sequence[bytes]
    tokens: Callable[[Sequence[int]], TokenTable]
    texts: Callable[[Sequence[int]], Sequence[tuple[str, str | None]]]
    checked: bool = False


class Teacher:
    """A sequence classifier that labels text.

    Args:
        model: the classifier.
        tokenizer: its own tokenizer.
        limit: maximum number of tokens of a text; longer ones are truncated.
        device: where it runs; default is the model's device.
        store: label store, a file or folder, which keeps every label for this and other runs; None stores nothing.

    Attributes:
        counts: labels so far.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        limit: int | None = None,
        device: torch.device | None = None,
        store: Path | None = None,
    ) -> None:
        self.store = None if store is None else LabelStore(store)
        self.counts = LabelCounts()
        self.model = model.eval().requires_grad_(False)
        if device is not None:
            torch.nn.Module.to(self.model, device)
        self.tokenizer = tokenizer
        self.limit = max_length(tokenizer, limit)
        self._records: dict[str, TeacherRecord] = {}
        self._memory = RowsAtOnce(f"labels of {model.name_or_path or type(model).__name__}")

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = self.model.device
        return device

    @property
    def outputs(self) -> int:
        """Logits of a row, C."""
        return int(self.model.config.num_labels)

    @property
    def saved_seconds(self) -> float:
        """Time that computing the labels that were read from the store took when it was done."""
        return self.counts.saved_seconds

    def beside_the_run(self) -> Self:
        """The same teacher for questions before a run: they are not counted, and no file is made for them."""
        other = copy.copy(self)
        other.counts = LabelCounts()
        if self.store is not None and not self.store.path.exists():
            other.store = None
        return other

    @property
    def layer_searches(self) -> Path | None:
        """Folder beside the store for the trials of layer searches, which use its labels; None without a store."""
        return None if self.store is None else self.store.path.with_suffix(".layers")

    def label(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Tensor:
        """Logits of texts or text pairs, float32 on the CPU, [N, C].

        Equal rows are read once, and rows of the store not at all. Answers are stored batch by batch, so an
        interrupted labelling continues where it was.

        Raises:
            augpro.errors.InputError: if logits are nan or infinite, which are not stored; or if the store cannot be
                used.
        """
        return self._label_texts(texts, pairs, checked=True)

    def _label_texts(self, texts: Sequence[str], pairs: Sequence[str] | None, checked: bool) -> Tensor:
        columns = _columns(texts, pairs)

        def tokens(rows: Sequence[int]) -> TokenTable:
            second = None if pairs is None else [pairs[row] for row in rows]
            return tokenize(self.tokenizer, [texts[row] for row in rows], second, self.limit)

        keys = [text_key(*row) for row in columns]
        return self._labels(RowsToLabel(keys, tokens, lambda rows: [columns[row] for row in rows], checked))

    def label_tokens(self, batch: TokenBatch, vocabulary: Vocabulary) -> Tensor:
        """Logits of the student's token rows, float32 on their device, [B, C].

        Args:
            batch: rows in the student's tokens.
            vocabulary: of the student; it decodes them to text.
        """
        as_text = batch.mask.sum(1) > (self.limit if self.reads_ids_of(vocabulary.tokenizer) else -1)
        if as_text.all():
            return self._label_texts(*vocabulary.decode(batch), checked=False).to(batch.ids.device)
        if as_text.any():  # row by row, so that a row does not depend on longer ones
            logits = torch.empty(len(as_text), self.outputs, device=batch.ids.device)
            for chosen in (as_text, ~as_text):
                logits[chosen] = self.label_tokens(batch.take(torch.nonzero(chosen)[:, 0]), vocabulary)
            return logits
        table = unpadded(batch, int(vocabulary.tokenizer.pad_token_id or 0))

        def texts(rows: Sequence[int]) -> Sequence[tuple[str, str | None]]:
            # From the tokens alone: what the teacher has read, and quick.
            return _columns(*vocabulary.decode(replace(batch.take(torch.tensor(rows)), texts=None)))

        return self._labels(RowsToLabel(_token_keys(table), table.select, texts)).to(batch.ids.device)

    def _labels(self, rows: RowsToLabel) -> Tensor:
        """Logits of every row, [N, C], from the store or the model."""
        places = {key: row for row, key in reversed(list(enumerate(rows.keys)))}
        self.counts.asked += len(rows.keys)
        known = {} if self.store is None else self.store.read(self.record, list(places))
        self.counts.read += len(known)
        self.counts.saved_seconds += sum(label.seconds for label in known.values())
        found = {key: torch.from_numpy(label.logits.copy()) for key, label in known.items()}
        missing = sorted(row for key, row in places.items() if key not in known)
        blocks = [missing[start : start + _BLOCK] for start in range(0, len(missing), _BLOCK)]
        for number, block in enumerate(blocks, start=1):
            logits = self._computed(rows, block, f"teacher labels, part {number} of {len(blocks)}")
            found |= zip([rows.keys[row] for row in block], logits, strict=True)
        if not found:
            return torch.empty(0, self.outputs)
        return torch.stack([found[key] for key in rows.keys])

    def _computed(self, rows: RowsToLabel, block: Sequence[int], what: str) -> Tensor:
        """The model's logits of different rows, [N, C]; stored batch by batch."""
        table = rows.tokens(block)
        texts: Sequence[tuple[str, str | None]] = rows.texts(block) if self.store or rows.checked else []
        result = torch.empty(len(block), self.outputs)
        started = time.perf_counter()
        for part, logits in logits_in_fixed_shapes(self.model, table, self.limit, what, self._memory):
            result[part] = logits
            self.counts.computed += len(part)
            if self.store is not None:
                spent = (time.perf_counter() - started) / len(part)
                finite = part[logits.isfinite().all(1).numpy()].tolist()
                new = [
                    Label(rows.keys[block[row]], result[row].numpy(), texts[row][0], texts[row][1], spent)
                    for row in finite
                ]
                self.store.write(self.record, new)
            started = time.perf_counter()
        if rows.checked:
            name = self.model.name_or_path or type(self.model).__name__
            check_logits(result, [text for text, _ in texts], name, self.model)
        return result

    @property
    def record(self) -> TeacherRecord:
        """The teacher for the store, in the precision that is in force."""
        precision = precision_of(self.model.dtype, self.device)
        if precision not in self._records:
            model, tokenizer = self._key.decode(), tokenizer_fingerprint(self.tokenizer)
            parts = (model, tokenizer, str(self.limit), precision)
            identity = fingerprint(part.encode() for part in parts)
            kind = type(self.model).__name__
            name = self.model.name_or_path or kind
            if Path(name).is_dir():  # a relative name is that of another folder elsewhere
                name = str(Path(name).absolute())
            config = self.model.config.to_json_string(use_diff=False)
            self._records[precision] = TeacherRecord(
                identity=identity, name=name, kind=kind, model=model, tokenizer=tokenizer,
                precision=precision, tokens=self.limit, longest=max_length(self.tokenizer),
                classes=self.outputs, config=config,
            )  # fmt: skip
        return self._records[precision]

    @cached_property
    def _key(self) -> bytes:
        """Hash of everything that determines logits: class, configuration, and named weights."""
        return fingerprint(self._decides()).encode()

    def _decides(self) -> Iterator[bytes]:
        """The parts of the key, one by one, to save memory."""
        config = json.loads(self.model.config.to_json_string(use_diff=False))
        yield type(self.model).__qualname__.encode()
        yield json.dumps(_decisive(config), sort_keys=True).encode()
        for name, value in self.model.state_dict().items():
            yield f"{name} {list(value.shape)}".encode()
            yield value.float().cpu().numpy().tobytes()

    def reads_rows_of(self, tokenizer: PreTrainedTokenizerBase, length: int) -> bool:
        """Whether token rows of this tokenizer and length can be passed on directly."""
        return self.reads_ids_of(tokenizer) and length <= self.limit

    def reads_ids_of(self, tokenizer: PreTrainedTokenizerBase) -> bool:
        """Whether the teacher has the same tokenizer; compared once for each tokenizer."""
        if getattr(self, "_compared", None) is not tokenizer:
            self._compared, self._same = tokenizer, same_tokenizer(self.tokenizer, tokenizer)
        return self._same


def precision_of(dtype: torch.dtype, device: torch.device) -> str:
    """The precision of a model with weights of this type, in the autocast that is in force; such as "float32"."""
    mixed = f" in {torch.get_autocast_dtype(device.type)}" if torch.is_autocast_enabled(device.type) else ""
    return f"{dtype}{mixed}".replace("torch.", "")


def _columns(texts: Sequence[str], pairs: Sequence[str] | None) -> list[tuple[str, str | None]]:
    return [(text, None) for text in texts] if pairs is None else list(zip(texts, pairs, strict=True))


def _token_keys(table: TokenTable) -> list[bytes]:
    ids, _, types = np.ascontiguousarray(table.flat)
    bounds = zip(table.offsets[:-1], table.offsets[1:], strict=True)
    return [token_key(ids[a:b], types[a:b] if table.has_types else None) for a, b in bounds]


def _decisive(config: Any) -> Any:
    """A configuration, as JSON, without the entries that do not change logits, also in its nested parts."""
    if not isinstance(config, dict):
        return config
    return {key: _decisive(value) for key, value in config.items() if key not in _NO_EFFECT}
