"""The teacher: text in, logits out.

It reads text through its own tokenizer. Token ids are handed over only where its tokenizer is proven
identical to the student's, which spares decoding and tokenizing again.
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

_BLOCK = 2048  # rows of a file of the label store: what is lost at most when a run is killed
# Of a configuration: where the model came from, what wrote it, in which precision, and how its classes are called.
_NO_EFFECT = {
    "_name_or_path", "name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype",
    "id2label", "label2id", "problem_type",
}  # fmt: skip


class Teacher:
    """A sequence classifier that labels text.

    Args:
        model: the classifier.
        tokenizer: its own tokenizer.
        limit: most tokens a text may have; longer ones are cut.
        device: where it runs; default is where the model is.
        store: folder that keeps the logits of every text that :meth:`label` was given, for the next run with the
            same model, tokenizer and limit; None keeps nothing.

    Attributes:
        saved_seconds: what answers that were read from the store took when they were made.
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

        They are made in blocks of 2,048 rows. With a store each is kept, so that a labelling that was killed goes on
        with the block that it was at. A block's batches are its own: its logits do not depend on what is stored.

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
        """Logits of a block of rows from the store, made first where there are none that can be read."""
        inputs = f"{table.pad_id} {table.has_types}".encode()
        tokens = [table.flat.tobytes(), table.offsets.tobytes(), inputs]
        path = store / f"{fingerprint([self._key, *tokens])}.safetensors"
        try:
            stored = load_file(path)
        except (OSError, SafetensorError):  # none yet, or one that was damaged
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
        """Hash of what turns tokens into logits: class, configuration, and the weights with their names."""
        return fingerprint(self._decides()).encode()

    def _decides(self) -> Iterator[bytes]:
        """The parts of the key, one by one: a copy of every weight at once might not fit."""
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
            vocabulary: of the student, which turns them into text.
        """
        as_it_is = self.reads_rows_of(vocabulary.tokenizer, batch.ids.shape[1])
        if as_it_is and not reads_padding(self.model.config):
            with torch.no_grad():  # not inference_mode, whose tensors may not enter the student's graph
                parts = batch.parts(ROWS_AT_ONCE)
                return torch.cat([self.model(**part.model_inputs()).logits.float() for part in parts])
        # Not by `label`: what is augmented comes once, and no store could hold it.
        table = tokenize(self.tokenizer, *vocabulary.decode(batch), self.limit)
        return predict_logits(self.model, table).to(batch.ids.device)

    def reads_rows_of(self, tokenizer: PreTrainedTokenizerBase, length: int) -> bool:
        """Whether rows of this tokenizer, of at most so many tokens, can be handed over as they are."""
        return self.reads_ids_of(tokenizer) and length <= self.limit

    def reads_ids_of(self, tokenizer: PreTrainedTokenizerBase) -> bool:
        """Whether ids of this tokenizer mean the same to the teacher; compared once for each tokenizer."""
        if getattr(self, "_compared", None) is not tokenizer:
            self._compared, self._same = tokenizer, same_tokenizer(self.tokenizer, tokenizer)
        return self._same


def _decisive(config: Any) -> Any:
    """A configuration, as JSON, without what changes no logit; parts of it that are models of their own likewise."""
    if not isinstance(config, dict):
        return config
    return {key: _decisive(value) for key, value in config.items() if key not in _NO_EFFECT}
