"""The teacher: text in, logits out.

It reads text through its own tokenizer. Token ids are passed on directly only if its tokenizer is proven identical to
the student's, which avoids decoding and tokenizing again.
"""

import json
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from augpro.files import fingerprint, write_tensors
from augpro.models.finite import check_logits
from augpro.models.padding import reads_padding
from augpro.models.reading import ROWS_AT_ONCE, predict_logits
from augpro.models.source import same_tokenizer
from augpro.tokens import TokenBatch, TokenTable, max_length, tokenize
from augpro.vocabulary import Vocabulary

_BLOCK = 2048  # rows per file of the label store; at most these are lost when a run is interrupted
# Entries of a configuration that do not change logits: origin, writer, precision, class names.
_NO_EFFECT = {
    "_name_or_path", "name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype",
    "id2label", "label2id", "problem_type",
}  # fmt: skip


class Teacher:
    """A sequence classifier that labels text.

    Args:
        model: the classifier.
        tokenizer: its own tokenizer.
        limit: maximum number of tokens of a text; longer ones are truncated.
        device: where it runs; default is the model's device.
        store: folder that stores the logits of :meth:`label` for later runs with the same model, tokenizer and limit;
            None stores nothing.

    Attributes:
        saved_seconds: time that computing the logits read from the store took originally.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        limit: int | None = None,
        device: torch.device | None = None,
        store: Path | None = None,
    ) -> None:
        self.store = store
        self.saved_seconds = 0.0
        self.model = model.eval().requires_grad_(False)
        if device is not None:
            torch.nn.Module.to(self.model, device)
        self.tokenizer = tokenizer
        self.limit = max_length(tokenizer, limit)

    def label(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Tensor:
        """Logits of texts or text pairs, on the CPU, [N, C].

        They are computed in blocks of 2,048 rows. With a store each block is saved, so an interrupted labelling
        continues with the unfinished block. No batch spans two blocks, so logits do not depend on what is stored.

        Raises:
            augpro.errors.InputError: if logits are nan or infinite; they are not stored.
        """
        blocks = [slice(start, start + _BLOCK) for start in range(0, len(texts), _BLOCK)]
        logits = []
        for number, rows in enumerate(blocks, start=1):
            block = tokenize(self.tokenizer, texts[rows], None if pairs is None else pairs[rows], self.limit)
            what = f"teacher labels, part {number} of {len(blocks)}"
            if self.store is None:
                logits.append(self._predicted(block, texts[rows], what))
            else:
                logits.append(self._stored(block, texts[rows], self.store, what))
        return torch.cat(logits)

    def _predicted(self, table: TokenTable, texts: Sequence[str], what: str) -> Tensor:
        logits = predict_logits(self.model, table, what=what)
        check_logits(logits, texts, self.model.name_or_path or type(self.model).__name__, self.model)
        return logits

    def _stored(self, table: TokenTable, texts: Sequence[str], store: Path, what: str) -> Tensor:
        """Logits of a block of rows from the store; computed and stored if they are missing or damaged."""
        inputs = f"{table.pad_id} {table.has_types}".encode()
        tokens = [table.flat.tobytes(), table.offsets.tobytes(), inputs]
        path = store / f"{fingerprint([self._key, *tokens])}.safetensors"
        try:
            stored = load_file(path)
        except (OSError, SafetensorError):  # missing or damaged
            stored = {}
        if len(stored.get("logits", ())) == len(table) and stored["logits"].isfinite().all():
            self.saved_seconds += float(stored.get("seconds", 0.0))
            return stored["logits"]
        started = time.perf_counter()
        logits = self._predicted(table, texts, what)
        write_tensors(path, {"logits": logits, "seconds": torch.tensor(time.perf_counter() - started)})
        return logits

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

    def label_tokens(self, batch: TokenBatch, vocabulary: Vocabulary) -> Tensor:
        """Logits of the student's token rows, [B, C], on their device.

        Args:
            batch: rows in the student's tokens.
            vocabulary: of the student; it decodes them to text.
        """
        same_tokens = self.reads_rows_of(vocabulary.tokenizer, batch.ids.shape[1])
        if same_tokens and not reads_padding(self.model.config):
            with torch.no_grad():  # not inference_mode, whose tensors may not enter the student's graph
                parts = batch.parts(ROWS_AT_ONCE)
                return torch.cat([self.model(**part.model_inputs()).logits.float() for part in parts])
        # Not by `label`: augmented texts occur once and would fill the store.
        table = tokenize(self.tokenizer, *vocabulary.decode(batch), self.limit)
        return predict_logits(self.model, table).to(batch.ids.device)

    def reads_rows_of(self, tokenizer: PreTrainedTokenizerBase, length: int) -> bool:
        """Whether token rows of this tokenizer and length can be passed on directly."""
        return self.reads_ids_of(tokenizer) and length <= self.limit

    def reads_ids_of(self, tokenizer: PreTrainedTokenizerBase) -> bool:
        """Whether the teacher has the same tokenizer; compared once for each tokenizer."""
        if getattr(self, "_compared", None) is not tokenizer:
            self._compared, self._same = tokenizer, same_tokenizer(self.tokenizer, tokenizer)
        return self._same


def _decisive(config: Any) -> Any:
    """A configuration, as JSON, without the entries that do not change logits, also in its nested parts."""
    if not isinstance(config, dict):
        return config
    return {key: _decisive(value) for key, value in config.items() if key not in _NO_EFFECT}
