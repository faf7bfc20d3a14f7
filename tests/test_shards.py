"""Sets of augmented rows: every row once, the texts of a training, and the same bytes however they are labelled."""

from collections import Counter
from dataclasses import dataclass, replace

import pytest
import torch

from augpro.augment import AugmentContext, Augmenter, EmbeddingSpace, augmenter, register_augmenter
from augpro.data.loading import DataSpec, load_data
from augpro.files.checksums import file_sha256
from augpro.row_random import RowRandom
from augpro.shards.manifest import MANIFEST, Manifest
from augpro.shards.plan import shard_starts
from augpro.shards.run import summary
from augpro.tokens import tokenize
from augpro.vocabulary import Vocabulary
from shard_cases import ROWS, augmented, files_of, label, rows_of, shards_of


def test_every_row_and_every_version_of_it_is_there_once(plain_set, augment_given):
    rows = rows_of(plain_set)
    assert Counter((row["row_id"], row["copy"]) for row in rows) == Counter(
        (row, copy) for row in range(ROWS) for copy in range(3)
    )
    manifest = Manifest.load(plain_set)
    assert [(shard.first_row, shard.end_row) for shard in manifest.shards] == [(0, 256), (256, ROWS)]
    assert manifest.complete
    assert manifest.expected_rows == len(rows) == sum(shard.rows for shard in manifest.shards)
    assert [file_sha256(plain_set / shard.name) for shard in manifest.shards] == [
        s.sha256 for s in manifest.shards
    ]
    assert {path.name for path in plain_set.iterdir()} - {".lock"} == {
        MANIFEST,
        *(s.name for s in manifest.shards),
    }
    assert "no labels yet" in summary(manifest)[-1]


def test_the_originals_are_the_rows_that_distill_trains_on_in_its_order(plain_set, augment_given):
    originals = [row["text"] for row in rows_of(plain_set) if row["copy"] == 0]
    assert originals == load_data(DataSpec(augment_given["data"])).splits["train"].texts


def test_a_version_is_the_text_of_the_same_replica_in_training(plain_set, augment_given, tokenizer):
    """Partners, too, are those of all rows together."""
    from augpro.models.source import ModelSource

    model = ModelSource(augment_given["student"]).load_classifier()
    space = EmbeddingSpace(model.get_input_embeddings().weight, Vocabulary(tokenizer, len(tokenizer)))
    table = tokenize(tokenizer, load_data(DataSpec(augment_given["data"])).splits["train"].texts)
    batch = augmenter("augpro-mix")(table.batch(range(ROWS)), AugmentContext(RowRandom(0, 1), space, table))
    stored = [row for row in rows_of(plain_set) if row["copy"] == 2]
    assert [row["text"] for row in stored] == space.vocabulary.decode(batch)[0]
    assert [row["input_ids"] for row in stored] == [
        ids[mask > 0].tolist() for ids, mask in zip(batch.ids, batch.mask, strict=True)
    ]
    assert 0.1 < sum(row["changed"] for row in stored) / ROWS < 0.9


@pytest.mark.parametrize(
    ("rows", "starts"), [(1, [0]), (255, [0]), (512, [0, 256]), (767, [0, 256]), (768, [0, 256, 512])]
)
def test_a_shard_has_at_least_one_block(rows, starts):
    assert shard_starts(rows, 256) == starts


@pytest.mark.e2e
def test_another_seed_writes_other_texts(plain_set, augment_given, tmp_path):
    augmented(augment_given, tmp_path / "other", seed=1)
    assert shards_of(tmp_path / "other").keys() == shards_of(plain_set).keys()
    assert rows_of(tmp_path / "other") != rows_of(plain_set)


@pytest.mark.e2e
def test_labels_now_or_later_are_the_same_bytes(copied_set, labelled_set, augment_given, both_classes):
    manifest = label(copied_set, both_classes)
    assert shards_of(copied_set) == shards_of(labelled_set)
    assert manifest.labelled
    assert manifest.labels == Manifest.load(labelled_set).labels
    assert {shard.teacher for shard in manifest.shards} == {
        shard.teacher for shard in Manifest.load(labelled_set).shards
    }
    before = files_of(copied_set)
    label(copied_set, both_classes)
    augmented(augment_given, copied_set)  # the command that made it only checks it
    assert files_of(copied_set) == before


def test_logits_and_label_are_the_teachers(labelled_set, both_classes):
    from augpro.models.source import ModelSource
    from augpro.teachers.teacher import Teacher

    source = ModelSource(str(both_classes))
    rows = rows_of(labelled_set)[::50]
    logits = Teacher(source.load_trained_classifier(), source.load_tokenizer()).label(
        [row["text"] for row in rows]
    )
    torch.testing.assert_close(torch.tensor([row["logits"] for row in rows]), logits)
    names = ("negative", "positive")
    assert [row["label"] for row in rows] == [names[place] for place in logits.argmax(1)]


def test_a_labelled_set_is_data_for_other_commands(labelled_set):
    data = load_data(DataSpec(str(labelled_set)))
    assert data.task.label_names == ("negative", "positive")
    assert sum(map(len, data.splits.values())) == 3 * ROWS


@pytest.mark.e2e
def test_partners_of_one_class(augment_given, labelled_set, both_classes, tmp_path):
    manifest = augmented(
        augment_given, tmp_path / "a", teacher=str(both_classes), augment_options={"partner": "same-class"}
    )
    assert manifest.labelled
    assert rows_of(tmp_path / "a") != rows_of(labelled_set)


@dataclass(frozen=True)
class Blank(Augmenter):
    """Loses all words of every third row."""

    def __call__(self, batch, context):
        ids = batch.ids.clone()
        lost = (batch.row_ids % 3 == 0)[:, None] & (batch.segments >= 0)
        ids[lost] = context.space.vocabulary.tokenizer.pad_token_id
        texts = tuple(
            ("",) if row % 3 == 0 else text
            for row, text in zip(batch.row_ids.tolist(), batch.texts, strict=True)
        )
        return replace(
            batch,
            mask=batch.mask * ~lost,
            segments=batch.segments.masked_fill(lost, -1),
            ids=ids,
            texts=texts,
        )


register_augmenter("blank", Blank)


@pytest.mark.e2e
def test_rows_that_are_not_there_are_counted_with_the_reason(augment_given, tmp_path, both_classes):
    manifest = augmented(augment_given, tmp_path, augment="blank", copies=1)
    lost = -(-ROWS // 3)
    assert manifest.missing == {"the augmented text is empty": lost}
    assert len(rows_of(tmp_path)) == 2 * ROWS - lost
    assert f"{lost} rows are missing: the augmented text is empty" in summary(manifest)
    assert label(tmp_path, both_classes).labelled


@pytest.mark.e2e
def test_pairs(augment_given, tmp_path, both_classes):
    data = tmp_path / "pairs.csv"
    lines = [f"the movie is great {'very ' * (row % 3)},my server is slow {row},x" for row in range(300)]
    data.write_text("premise,hypothesis,label\n" + "\n".join(lines) + "\n")
    augmented(augment_given, tmp_path / "set", data=str(data), teacher=str(both_classes))
    rows = rows_of(tmp_path / "set")
    assert all(row["text"].strip() and row["text_pair"].strip() for row in rows)
    assert all(len(row["input_ids"]) == len(row["segments"]) == len(row["token_type_ids"]) for row in rows)
    assert {1} < {kind for row in rows for kind in row["segments"]}
    assert any(row["token_type_ids"][-1] == 1 for row in rows)
