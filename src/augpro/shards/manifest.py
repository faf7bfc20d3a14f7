"""The manifest of a set of shards: what it was made from, and the checksum of every shard."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from augpro.augment.counts import ReplacementCounts
from augpro.errors import InputError
from augpro.files.checksums import CHECKSUM, file_sha256, unsealed, write_sealed
from augpro.tasks import ProblemType

MANIFEST = "manifest.json"
AGAIN = "run the same augpro augment command again"


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Configuration(_Entry):
    """Everything that decides the content of the shards; models and methods by hashes of their content.

    Attributes:
        data: hash of the data.
        columns: of the texts.
        holdout_rows: option.
        split_seed: option.
        train_rows: option.
        seed: option.
        student: hash of the student's files.
        tokenizer: hash of its tokenizer.
        method: name of the method.
        parameters: its parameters.
        method_content: hash of its parameters, its models and its code if it is not ours.
        copies: option.
        shard_rows: a multiple of 256.
        max_tokens: option.
        teacher: hash of the teacher's files if it labelled the rows as they were made.
        problem_type: option.
        versions: of the libraries.
    """

    data: str
    columns: tuple[str, ...]
    holdout_rows: int
    split_seed: int
    train_rows: float | None
    seed: int
    student: str
    tokenizer: str
    method: str
    parameters: dict[str, Any]
    method_content: str
    copies: int
    shard_rows: int
    max_tokens: int | None
    teacher: str | None
    problem_type: ProblemType | None
    versions: dict[str, str]

    def changed(self, other: "Configuration") -> list[str]:
        """What differs, in words."""
        same = {"method_content": "the method of augmentation", "method": "--augment", "data": "the data"}
        same |= {"student": "the student", "teacher": "the teacher", "tokenizer": "the student"}
        same |= {
            "parameters": "--augment-option",
            "columns": "the columns",
            "versions": "versions of libraries",
        }
        names = [name for name in type(self).model_fields if getattr(self, name) != getattr(other, name)]
        words = dict.fromkeys(same.get(name, f"--{name.replace('_', '-')}") for name in names)
        return [word for word in words if len(words) == 1 or word != "the method of augmentation"]


class Labels(_Entry):
    """The teacher that labelled a set.

    Attributes:
        teacher: its name.
        content: hash of its files.
        problem_type: of its task.
        label_names: of its classes; empty for a regression.
    """

    teacher: str
    content: str
    problem_type: ProblemType
    label_names: tuple[str, ...]

    @property
    def outputs(self) -> int:
        """Number of logits of a row."""
        return len(self.label_names) or 1


class ShardRecord(_Entry):
    """A shard that was made.

    Attributes:
        name: of the file.
        first_row: row id of its first training row.
        end_row: row id after its last one.
        rows: rows in the file: the training rows and their augmented versions.
        sha256: of the file, 64 hexadecimal digits.
        size: of the file, bytes.
        missing: number of rows that are not there, by reason.
        editable: tokens (or words) that may be replaced, over all augmented versions.
        changed: those that were replaced.
        partner: those that were replaced by the partner row's token.
        teacher: hash of the teacher's configuration and weights; None without labels.
    """

    name: str
    first_row: int
    end_row: int
    rows: int
    sha256: str
    size: int
    missing: dict[str, int] = {}
    editable: int = 0
    changed: int = 0
    partner: int = 0
    teacher: str | None = None


class Manifest(_Entry):
    """What a folder of shards holds.

    Attributes:
        format: of the shards.
        configuration: what they were made from.
        student: name of the model whose tokenizer and embeddings were used.
        source: of the training rows, for people.
        training_rows: number of rows that were augmented.
        shard_count: number of shards of the complete set.
        labels: the teacher, once there is one.
        shards: those that were made so far.
    """

    format: Literal[1] = 1
    configuration: Configuration
    student: str
    source: str
    training_rows: int
    shard_count: int
    labels: Labels | None = None
    shards: tuple[ShardRecord, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all shards were made."""
        return len(self.shards) == self.shard_count

    @property
    def labelled(self) -> bool:
        """Whether every shard has the teacher's logits."""
        return self.labels is not None and all(shard.teacher for shard in self.shards)

    @property
    def expected_rows(self) -> int:
        """Rows of the complete set, if none is missing."""
        return self.training_rows * (self.configuration.copies + 1)

    @property
    def missing(self) -> dict[str, int]:
        """Number of rows that are not there, by reason."""
        total: Counter[str] = Counter()
        for shard in self.shards:
            total.update(shard.missing)
        return dict(total)

    @property
    def counts(self) -> ReplacementCounts:
        """What the augmentation replaced in all shards."""
        names = ("editable", "changed", "partner")
        sums = {name: sum(getattr(shard, name) for shard in self.shards) for name in names}
        return ReplacementCounts(**sums, rows=sum(shard.rows for shard in self.shards) - self.training_rows)

    def with_shard(self, record: ShardRecord) -> "Manifest":
        """The manifest with one more shard, or with another version of one."""
        shards = {shard.name: shard for shard in self.shards} | {record.name: record}
        return self.model_copy(update={"shards": tuple(shards[name] for name in sorted(shards))})

    def save(self, folder: Path) -> None:
        """Write it whole or not at all, with a checksum."""
        write_sealed(folder / MANIFEST, self.model_dump(mode="json"))

    @classmethod
    def load(cls, folder: Path) -> "Manifest":
        """Read the manifest of a folder.

        Raises:
            InputError: if it is missing or damaged.
        """
        path = folder / MANIFEST
        try:
            content = json.loads(path.read_bytes())
            if CHECKSUM not in content:
                raise ValueError("it has no checksum")
            return cls.model_validate_json(json.dumps(unsealed(content, path)))
        except FileNotFoundError as error:
            raise InputError(
                f"{folder}: no augmented rows here, as there is no {MANIFEST}; give a folder that augpro augment has "
                "written as --out."
            ) from error
        except (
            OSError,
            ValueError,
            TypeError,
            AttributeError,
        ) as error:  # among them those of JSON and pydantic
            raise InputError(
                f"{path}: the manifest is damaged or of another version; remove the folder and {AGAIN}."
            ) from error


def is_intact(folder: Path, record: ShardRecord) -> bool:
    """Whether the file of a shard is there with the bytes that were written."""
    path = folder / record.name
    try:
        return path.stat().st_size == record.size and file_sha256(path) == record.sha256
    except OSError:
        return False
