"""Rows from a notebook: whatever gives texts one by one is read, and what would be read wrongly is refused."""

import datasets
import numpy as np
import pandas as pd
import pytest

from augpro import augment_texts
from augpro.config import DistillConfig
from augpro.data.held import held_source, held_texts
from augpro.data.loading import DataSpec, load_data
from augpro.distillation.plan import make_plan
from augpro.errors import InputError
from common import ANSWERS, LABELS, OTHERS, TEXTS, tiny_bert

NAMES = [LABELS[answer] for answer in ANSWERS]
PAIRS = list(zip(TEXTS, OTHERS, strict=True))


def read(data, labels=None, **options):
    """Texts, second texts and labels by name, in the order in which they were given."""
    found = load_data(DataSpec("data", make_validation=False, **options), held_source("data", data, labels))
    rows, names = found.splits["train"], found.task.label_names
    order = sorted(range(len(rows)), key=lambda row: TEXTS.index(rows.texts[row]))
    rows = rows.select(order)
    return rows.texts, rows.pairs, [None if label is None else names[label] for label in rows.labels]


@pytest.mark.parametrize(
    "pairs", [PAIRS, [list(pair) for pair in PAIRS], zip(TEXTS, OTHERS, strict=True), np.array(PAIRS)]
)
def test_both_texts_of_a_pair_are_read(pairs):
    assert read(pairs)[:2] == (TEXTS, OTHERS)


@pytest.mark.parametrize(
    "texts",
    [tuple(TEXTS), np.array(TEXTS), np.array(TEXTS, dtype=object), pd.Series(TEXTS, index=range(5, 25)),
     pd.Index(TEXTS), (text for text in TEXTS)],
    ids=lambda texts: type(texts).__name__,
)  # fmt: skip
def test_texts_may_come_in_anything_that_gives_them(texts):
    assert read(texts)[0] == TEXTS


@pytest.mark.parametrize(
    "labels",
    [tuple(NAMES), np.array(NAMES), pd.Series(NAMES, index=range(5, 25)), iter(NAMES), pd.Categorical(NAMES)],
    ids=lambda labels: type(labels).__name__,
)
def test_labels_may_come_in_anything_that_gives_them(labels):
    assert read(TEXTS, labels)[2] == NAMES


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT], ids=str)
def test_a_missing_label_is_none_in_a_list_and_in_a_frame(missing):
    some = [missing, *NAMES[1:]]
    for data, labels in ((TEXTS, some), (pd.DataFrame({"text": TEXTS, "label": some}), None)):
        assert read(data, labels)[2] == [None, *NAMES[1:]]


def test_columns_that_are_not_read_may_hold_anything():
    frame = pd.DataFrame({"text": TEXTS, "label": NAMES, "mixed": [1, "a"] * 10, "odd": [object()] * 20})
    assert read(frame) == (TEXTS, None, NAMES)


def test_rows_may_be_dictionaries():
    rows = [{"text": text, "label": name} for text, name in zip(TEXTS, NAMES, strict=True)]
    del rows[3]["label"]
    assert read(rows) == (TEXTS, None, [*NAMES[:3], None, *NAMES[4:]])


ROWS = datasets.Dataset.from_dict({"text": TEXTS})


@pytest.mark.parametrize(
    ("data", "labels", "message"),
    [
        (pd.DataFrame({"text": TEXTS}), NAMES, r"those of a DataFrame belong into a column"),
        (ROWS, NAMES, r"those of a Dataset belong into a column"),
        ({"train": TEXTS}, NAMES, r"those of a dict belong into each of its splits"),
        ([{"text": text} for text in TEXTS], NAMES, "rows that are dictionaries hold their own"),
        (TEXTS, "positive", "labels: str holds no rows"),
        (TEXTS, {"a": 1}, "labels: dict holds no rows"),
        (TEXTS, iter(NAMES[:3]), "3 labels for 20 texts"),
        ((TEXTS, NAMES), None, r"row 1: list of 20 is neither .* give one or the other, and labels as labels="),
        ([*PAIRS, "ab"], None, "row 21: str is neither a text nor a pair of texts, and the rows before are each"),
        ([None, *TEXTS], None, "row 1, column 'text': the text is missing"),
        ([(text, None) for text in TEXTS], None, "row 1, column 'text_b': the text is missing"),
        ([*TEXTS, "half \ud800"], None, "row 21, column 'text': the text holds half of a surrogate pair"),
        (set(TEXTS), None, "set holds no rows"),
        ("text", None, "str holds no rows"),
        (ROWS.to_iterable_dataset(), None, r"IterableDataset reads its rows as they come; .*data.take\(1000\)"),
        (ROWS.select([]), None, "its split 'train' has no rows"),
        (pd.DataFrame({"text": []}), None, "its split 'train' has no rows"),
        (pd.DataFrame(PAIRS, columns=["text", "text"]), None, "column 'text' is there twice"),
        ({"text": TEXTS, "label": NAMES}, None, "no split named .* columns as a datasets.Dataset.from_dict"),
    ],
)  # fmt: skip
def test_what_would_be_read_wrongly_is_refused(data, labels, message):
    with pytest.raises(InputError, match=message):
        read(data, labels)


def test_names_of_classes_are_no_second_texts():
    with pytest.raises(
        InputError, match=r"second texts are all names of classes, such as 'negative'; .* labels="
    ):
        read(list(zip(TEXTS, sorted(NAMES), strict=True)), classes=LABELS)
    assert read(PAIRS, classes=LABELS)[1] == OTHERS


def test_rows_to_train_on_are_asked_for(teacher_folder, table_file, tmp_path):
    (table_file / "train.csv").unlink()
    config = DistillConfig(
        data=str(table_file), teacher=str(teacher_folder), student_layers=(0,), out=tmp_path / "o"
    )
    with pytest.raises(InputError, match=r"there is no train split \(there are validation\)"):
        make_plan(config)


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ("the movie", {}, "texts: str holds no rows; give a list of texts"),
        (pd.DataFrame({"text": TEXTS}), {}, "texts: DataFrame holds no rows"),
        ([*TEXTS, None], {}, "texts, row 21, column 'text': the text is missing"),
        (TEXTS, {"pairs": OTHERS[:5]}, "5 second texts for 20 texts"),
        (TEXTS, {"pairs": [None, *OTHERS[1:]]}, "row 1, column 'pair': the text is missing"),
        (TEXTS, {"classes": ANSWERS[:5]}, "classes: 5 for 20 texts"),
        (TEXTS, {"classes": NAMES}, "classes: must be whole numbers"),
        (TEXTS, {"copies": -1}, "copies: must be a whole number from 0"),
    ],
)
def test_texts_alone_are_checked_too(tokenizer, texts, options, message):
    with pytest.raises(InputError, match=message):
        augment_texts(texts, (tiny_bert(len(tokenizer)), tokenizer), **options)


def test_texts_alone_may_come_in_anything_that_gives_them(tokenizer):
    held = tiny_bert(len(tokenizer)), tokenizer
    made = augment_texts(TEXTS, held, pairs=OTHERS)
    assert augment_texts(np.array(TEXTS), held, pairs=pd.Series(OTHERS)) == made
    assert augment_texts([], held, copies=2) == [[], []]
    assert held_texts("texts", iter(TEXTS)) == (TEXTS, None)
