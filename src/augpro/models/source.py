"""Loading of models from a folder, the hub or a short name; safetensors only, and no remote code by default."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from augpro.errors import InputError
from augpro.files.checksums import SUMS, DamagedError, check_sums
from augpro.files.durable import fingerprint
from augpro.models.layers import keep_layers
from augpro.models.named import model_location
from augpro.models.padding import agree_on_padding, is_token, limit_to_positions
from augpro.models.weights import check_loaded
from augpro.plugins import check_installed
from augpro.tasks import HF_PROBLEM_TYPE, Task

_SETTINGS = "tokenizer_config.json"  # some tokenizers list it among their vocabulary files


@dataclass(frozen=True)
class ModelSource:
    """A model by name, and whether its code is trusted.

    Attributes:
        name: folder, hub name or short name (:mod:`augpro.models.named`).
        trust_remote_code: whether code that comes with the model may run.
    """

    name: str
    trust_remote_code: bool = False

    @property
    def must_be_local(self) -> bool:
        """Whether the name can only be that of a folder, and not one of the hub."""
        return self.name.startswith((".", "/", "~")) or self.name.count("/") > 1

    def load_config(self) -> Any:
        """The model's configuration; reads no weights.

        Raises:
            InputError: if the model does not exist or cannot be reached.
        """
        return self._load(AutoConfig)

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's own tokenizer.

        Raises:
            InputError: if it is missing, or not a fast tokenizer.
        """
        # Saved with the tokenizer, so that other programs also read a special token's name in a text as text.
        tokenizer: PreTrainedTokenizerBase = self._load(AutoTokenizer, split_special_tokens=True)
        if not tokenizer.is_fast:
            raise InputError(
                f"{self.name}: augpro needs a fast tokenizer; save the model with its tokenizer.json beside it."
            )
        self._check_tokenizer_files(tokenizer)
        return self._fitted(tokenizer)

    def _fitted(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
        """The tokenizer, changed in place to pad as the model does and to know its positions."""
        config = self.load_config()
        agree_on_padding(config, tokenizer, self.name)
        limit_to_positions(config, tokenizer, self.trust_remote_code)
        return tokenizer

    def _check_tokenizer_files(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Raise ``InputError`` for a folder without a tokenizer; transformers would create an empty one."""
        folder = Path(model_location(self.name))
        names = {"tokenizer.json", "tekken.json", *type(tokenizer).vocab_files_names.values()} - {_SETTINGS}
        if not folder.is_dir() or any((folder / name).is_file() for name in names):
            return
        if not any(folder.glob("*.model")) and not any(folder.glob("*.tiktoken")):
            raise InputError(
                f"{self.name}: this folder has no tokenizer; save it there with tokenizer.save_pretrained."
            )

    def load_classifier(self, config: Any = None) -> PreTrainedModel:
        """The model as a sequence classifier to train; a head that is missing or does not fit is initialized.

        Args:
            config: its configuration; default is its own.

        Raises:
            InputError: if weights below the head are missing, or they are not safetensors.
        """
        model, info = self._load(
            AutoModelForSequenceClassification,
            config=config,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
        check_loaded(info, self.name, "model", model.base_model_prefix)
        return self._padded(model.float())  # a checkpoint in half precision is trained and scored in float32

    def _padded(self, model: Any) -> PreTrainedModel:
        """The model with the padding token in its configuration."""
        config = model.config.get_text_config()
        if not is_token(config, config.pad_token_id):
            config.pad_token_id = model.config.pad_token_id = self.load_tokenizer().pad_token_id
        padded: PreTrainedModel = model
        return padded

    def load_trained_classifier(self) -> PreTrainedModel:
        """The model as a trained sequence classifier: a teacher, or a student to score.

        Raises:
            InputError: if the weights are missing, not safetensors, or lack the head.
        """
        return self._padded(self._load_whole(AutoModelForSequenceClassification, "classifier"))

    def load_masked_lm(self) -> PreTrainedModel:
        """The model with the masked-language-model head that it was trained with.

        Raises:
            InputError: if the weights are missing, not safetensors, or lack the head.
        """
        return self._load_whole(AutoModelForMaskedLM, "masked language model")

    def load_seq2seq(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """The model as an encoder-decoder, with its tokenizer, which may be a slow one.

        Raises:
            InputError: if a part is missing, or the tokenizer needs sentencepiece and it is not installed.
        """
        try:
            tokenizer = self._load(AutoTokenizer)
        except InputError as error:
            if "sentencepiece" in str(error).lower():
                check_installed(f"the tokenizer of {self.name}", ("sentencepiece",), "translation")
            raise
        return self._load_whole(AutoModelForSeq2SeqLM, "translation model"), tokenizer

    def _load_whole(self, loader: Any, kind: str) -> PreTrainedModel:
        """A model in float32; all its weights must be in the checkpoint."""
        loaded: tuple[PreTrainedModel, dict[str, Any]] = self._load(
            loader, use_safetensors=True, ignore_mismatched_sizes=True, output_loading_info=True
        )
        model, info = loaded
        check_loaded(info, self.name, kind)
        model.float()  # as in load_classifier
        return model

    def _load(self, loader: Any, **options: Any) -> Any:
        path = model_location(self.name)
        if self.must_be_local and not Path(path).is_dir():
            raise InputError(
                f"{self.name}: no such model folder; give a save_pretrained folder or a hub name."
            )
        if (Path(path) / "augpro.json").is_file() and not (Path(path) / "config.json").is_file():
            raise InputError(
                f"{self.name}: is a folder of augpro export, which is run without PyTorch; give the model's "
                "folder that was exported."
            )
        try:
            check_sums(Path(path))
            return loader.from_pretrained(path, trust_remote_code=self.trust_remote_code, **options)
        except DamagedError as error:
            raise InputError(
                f"{error}; restore a copy of the model or train it again, or remove {SUMS} if the change is yours."
            ) from error
        except (OSError, ValueError, ImportError, SafetensorError, RuntimeError) as error:
            if "trust_remote_code" in str(error):
                raise InputError(
                    f"{self.name}: comes with code of its own, which is run only with --trust-remote-code; read it "
                    "and add that option if you trust it, or give a model of a kind that transformers knows."
                ) from error
            where = "in this folder" if Path(path).is_dir() else "on the hub"
            first = str(error).strip().splitlines()[0].rstrip(".")
            raise InputError(
                f"{self.name}: cannot load a model {where} ({first}); it must be a save_pretrained folder with "
                f"config.json, model.safetensors and tokenizer.json, or a hub name that can be reached."
            ) from error


def load_student(
    source: ModelSource,
    task: Task,
    layers: Sequence[int] = (),
    freeze_embeddings: bool = False,
    seed: int = 0,
    dropout: float | None = None,
) -> PreTrainedModel:
    """A classifier for the task, cut to ``layers`` if they are given.

    Args:
        source: model to start from.
        task: its outputs and label names go into the model's config.
        layers: encoder layers to keep, counted from 0; all if empty.
        freeze_embeddings: whether to freeze the word embeddings.
        seed: of a new classification head.
        dropout: rate of all its dropout layers, which goes into the model's config; None leaves them as they are.

    Raises:
        InputError: if the source cannot be loaded or lacks a layer, or the cut model cannot be saved and loaded
            faithfully.
    """
    names = dict(enumerate(task.label_names)) or {0: "score"}
    config = source.load_config()
    config.id2label = names  # which gives the number of outputs
    config.label2id = {name: index for index, name in names.items()}
    config.problem_type = HF_PROBLEM_TYPE[task.problem_type]
    if dropout is not None:
        config.get_text_config().update(dict.fromkeys(dropout_rates(config), dropout))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = source.load_classifier(config=config)
    if layers:
        keep_layers(
            model,
            layers,
            lambda folder: ModelSource(folder, source.trust_remote_code).load_trained_classifier(),
        )
    if freeze_embeddings:
        model.get_input_embeddings().weight.requires_grad_(False)
    return model


def dropout_rates(config: Any) -> dict[str, float]:
    """The options of a model's configuration that are dropout rates, by name.

    An option without a value (``classifier_dropout`` of BERT) takes that of another one.
    """
    return {
        name: value
        for name, value in config.get_text_config().to_dict().items()
        if type(value) in (int, float) and ("dropout" in name or name.endswith("_pdrop"))
    }


def same_tokenizer(one: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> bool:
    """Whether two tokenizers give the same ids for every text.

    Compares the whole definitions (normalizer, splitting, vocabulary, merges, post-processing), not only the sizes of
    the vocabularies. Padding token, token types and truncation side must also be equal; other settings of truncation
    and padding are ignored.
    """
    return _definition(one) == _definition(other)


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash of what :func:`same_tokenizer` compares, as 32 hexadecimal digits."""
    return fingerprint([json.dumps(_definition(tokenizer), sort_keys=True).encode()])


def _definition(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    definition: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    kept = {key: value for key, value in definition.items() if key not in ("truncation", "padding")}
    types = "token_type_ids" in tokenizer.model_input_names
    sides = {"padding token": tokenizer.pad_token_id, "cuts at": tokenizer.truncation_side}
    return kept | {"gives token types": types} | sides
