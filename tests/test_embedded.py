"""The embedded helpdesk messages: complete, clean, and with no leak from one split to another."""

import csv
import re
from collections import Counter, defaultdict
from importlib import resources

import pytest

SPLITS = ("train", "validation", "test")
INTENTS = {
    "billing_question",
    "bug_report",
    "cancel_account",
    "change_plan",
    "data_privacy",
    "feature_request",
    "how_to",
    "login_problem",
    "outage",
    "refund_request",
}
ROOT = resources.files("augpro.data") / "embedded" / "helpdesk"


def read(split: str) -> list[tuple[str, str]]:
    with (ROOT / f"{split}.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["text", "label"]
    assert all(len(row) == 2 for row in rows)
    return [(text, label) for text, label in rows]


@pytest.fixture(scope="module")
def rows() -> dict[str, list[tuple[str, str]]]:
    return {split: read(split) for split in SPLITS}


@pytest.fixture(scope="module")
def texts(rows) -> list[str]:
    return [text for split in SPLITS for text, _ in rows[split]]


def normal(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def trigrams(text: str) -> set[str]:
    text = normal(text)
    return {text[start : start + 3] for start in range(max(1, len(text) - 2))}


def alike(messages: list[tuple[str, str]], limit: float) -> list[tuple[str, str]]:
    """Pairs of messages from different splits whose trigram sets have a Jaccard index above the limit."""
    found = []
    posting: dict[str, list[int]] = defaultdict(list)
    grams = [trigrams(text) for _, text in messages]
    for row, mine in enumerate(grams):
        shared = Counter(other for gram in mine for other in posting[gram])
        for other, common in shared.items():
            jaccard = common / (len(mine) + len(grams[other]) - common)
            if jaccard > limit and messages[row][0] != messages[other][0]:
                found.append((messages[other][1], messages[row][1]))
        for gram in mine:
            posting[gram].append(row)
    return found


def test_holds_at_least_1500_distinct_messages(texts):
    assert len({normal(text) for text in texts}) >= 1500


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_has_all_ten_intents_equally_often(rows, split):
    counts = Counter(label for _, label in rows[split])
    assert set(counts) == INTENTS
    assert len(set(counts.values())) == 1


def test_no_message_is_in_two_splits(texts):
    repeated = [text for text, count in Counter(normal(text) for text in texts).items() if count > 1]
    assert repeated == []


@pytest.mark.e2e
def test_no_near_duplicates_across_splits(rows):
    messages = [(split, text) for split in SPLITS for text, _ in rows[split]]
    assert alike(messages, 0.5) == []


def test_near_duplicate_check_finds_a_planted_pair():
    train = ("train", "we need 5 more seats please")
    other = ("train", "the sync client ate my folder")
    planted = ("test", "We need 6 more seats, please!")
    assert alike([train, other, planted], 0.5) == [(train[1], planted[1])]
    assert alike([train, ("train", planted[1])], 0.5) == []


def test_texts_are_single_trimmed_lines(texts):
    assert [text for text in texts if not text or text != text.strip() or re.search(r"[\n\r\t]", text)] == []


def test_no_opening_of_four_words_is_a_template(texts):
    words = [normal(text).split() for text in texts]
    openings = Counter(" ".join(some[:4]) for some in words if len(some) >= 4)
    opening, count = openings.most_common(1)[0]
    assert count <= len(texts) / 100, opening


@pytest.mark.parametrize("split", SPLITS)
def test_file_is_plain_csv_with_unix_line_ends(rows, split):
    raw = (ROOT / f"{split}.csv").read_bytes()
    assert raw.startswith(b"text,label\n")
    assert b"\r" not in raw
    assert raw.count(b"\n") == len(rows[split]) + 1


def test_data_card_is_beside_the_files():
    assert "Apache-2.0" in (ROOT / "README.md").read_text(encoding="utf-8")
