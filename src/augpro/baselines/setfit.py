"""SetFit: sentence embeddings fine-tuned on pairs of texts by contrastive learning."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from augpro.augment.checks import check_whole
from augpro.baselines.base import Features, Setting, check_model, check_name, combine
from augpro.data.loading import Split
from augpro.errors import InputError
from augpro.evaluation.resampling import Array
from augpro.plugins import check_installed

_BATCH = 16
_MOST_ROWS = 10_000


@dataclass(frozen=True)
class SetFit:
    """A model fine-tuned to give texts of one class similar embeddings, and the classifier on these.

    The pairs come from the teacher's predicted classes; the classifier learns its probabilities.

    Attributes:
        model: as of ``embeddings``.
        iterations: number of positive and of negative pairs for each training row.

    Source: Tunstall et al. 2022, arXiv 2209.11055, which makes 20 of each.
    """

    model: str = "minilm"
    iterations: int = 20

    def __post_init__(self) -> None:
        check_name("model", self.model)
        check_whole("iterations", self.iterations, 1, 1000)

    def check(self, train: Split, setting: Setting) -> None:
        """Check that the task has single texts with classes and not too many rows."""
        check_installed("--methods setfit", ("setfit", "sentence_transformers"), "setfit")
        if setting.task.problem_type == "regression" or train.pairs is not None:
            what = "pairs of texts" if train.pairs is not None else "scores"
            raise InputError(
                f"--methods setfit: needs single texts with classes, and {train.source} has {what}; leave it out, or "
                "use embeddings."
            )
        if len(train) > _MOST_ROWS:
            raise InputError(
                f"--methods setfit: takes at most {_MOST_ROWS:,} texts, because it builds pairs of them, and "
                f"{train.source} has {len(train)}; write setfit:train_rows=1000, for instance."
            )
        check_model(self.model, setting)

    def features(self, train: Split, teacher_logits: Tensor, setting: Setting) -> Features:
        """Train the embeddings on pairs of training texts."""
        encoder = self._load(setting)
        several = setting.task.problem_type == "multi_label"
        decided = (teacher_logits > 0).long() if several else teacher_logits.argmax(1)
        if len(decided.unique(dim=0)) > 1:  # else there is no negative pair
            self._train(encoder, train.texts, decided.tolist(), several, setting.seed)

        def encode(texts: Sequence[str]) -> Array:
            vectors: Array = encoder.encode(list(texts), show_progress_bar=False, convert_to_numpy=True)
            return vectors

        return Features(
            lambda split: combine(split, encode), sum(part.numel() for part in encoder.parameters())
        )

    def _load(self, setting: Setting) -> Any:
        """The model as a SentenceTransformer with mean pooling, which can be made only from a folder."""
        from sentence_transformers import SentenceTransformer

        body, tokenizer = setting.load_body(self.model)
        with tempfile.TemporaryDirectory(prefix="augpro-") as folder:
            body.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            encoder = SentenceTransformer(folder, device=str(setting.device or "cpu"), local_files_only=True)
        if setting.max_tokens is not None:
            encoder.max_seq_length = setting.max_tokens
        return encoder

    def _train(self, encoder: Any, texts: list[str], labels: list[Any], several: bool, seed: int) -> None:
        """The first of SetFit's two steps: fine-tune the encoder, in place."""
        import setfit

        model = setfit.SetFitModel(
            model_body=encoder, multi_target_strategy="one-vs-rest" if several else None
        )
        steps = -(-2 * self.iterations * len(texts) // _BATCH)
        with tempfile.TemporaryDirectory(prefix="augpro-") as folder:
            # With a number of steps the library does not build all pairs in memory.
            arguments = setfit.TrainingArguments(
                output_dir=folder, batch_size=_BATCH, num_iterations=self.iterations, max_steps=steps, seed=seed,
                report_to="none", save_strategy="no",
            )  # fmt: skip
            setfit.Trainer(model=model, args=arguments).train_embeddings(texts, labels, args=arguments)
