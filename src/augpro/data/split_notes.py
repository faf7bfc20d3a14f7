"""Notes on splits: texts in two splits or with two labels, and labels without a training row."""

from collections import Counter
from collections.abc import Mapping, Sequence

from augpro.data.label_cells import show
from augpro.data.labels import Label
from augpro.data.readers import listed
from augpro.tasks import ProblemType

_SHOWN = 3  # texts


def overlaps(keys: Mapping[str, Sequence[int]]) -> list[str]:
    """Notes on rows of the other splits whose text is also in the train split.

    Args:
        keys: keys of the rows of each split, equal for equal texts (:func:`augpro.data.same_text.row_keys`).
    """
    known = set(keys["train"])
    notes = []
    for name, own in keys.items():
        again = sum(key in known for key in own) if name != "train" else 0
        if again:
            notes.append(
                f"{name}: {again} of {len(own)} rows have a text that is also in the train split; "
                "a model that was trained on it scores too well there"
            )
    return notes


def contradictions(
    split: str,
    texts: Sequence[str],
    keys: Sequence[int],
    labels: Sequence[Label],
    problem_type: ProblemType,
) -> list[str]:
    """A note on rows of a split with the same text but different labels, if there are any.

    Args:
        split: its name.
        texts: of its rows, [N].
        keys: [N], equal for equal texts (and second texts).
        labels: [N].
        problem_type: for single-label tasks the note says how many rows any model gets wrong.
    """
    again = len(keys) - len(set(keys))
    if not again:
        return []
    first: dict[int, str] = {}
    answers: dict[int, Counter[Label]] = {key: Counter() for key, count in Counter(keys).items() if count > 1}
    for text, key, label in zip(texts, keys, labels, strict=True):
        if label is not None and key in answers:
            first.setdefault(key, text)
            answers[key][label] += 1
    several = {key: counts for key, counts in answers.items() if len(counts) > 1}
    if not several:
        return []
    shown = ", ".join(show(first[key]) for key in list(several)[:_SHOWN])
    rows = sum(counts.total() for counts in several.values())
    note = (
        f"{split}: {rows} of {len(keys)} rows have the text of another row, case and accents aside, and another "
        f"label, such as {shown}; rows that repeat an earlier text: {again}; correct or remove these rows"
    )
    if problem_type == "single_label":
        wrong = rows - sum(max(counts.values()) for counts in several.values())
        note += f", as a model with one answer to each text is wrong on {wrong} of them or more"
    return [note]


def unseen_labels(labels: Mapping[str, Sequence[Label]], names: Sequence[str]) -> list[str]:
    """Notes on rows of the other splits with a label that no train row has, if the train split has labels.

    Args:
        labels: class ids, or sets of them, of the rows of each split.
        names: of the classes.
    """
    trained = {each for label in labels.get("train", ()) for each in _ids(label)}
    notes = []
    for split, own in labels.items() if trained else ():
        unseen = [found for label in own if (found := _ids(label) - trained)]
        if unseen:
            which = listed([names[each] for each in sorted(set().union(*unseen))], 5)
            notes.append(
                f"{split}: {len(unseen)} of {len(own)} rows have a label that no train row has ({which}); "
                "add train rows with it, so that it can be learned"
            )
    return notes


def _ids(label: Label) -> set[int]:
    if isinstance(label, tuple):
        return set(label)
    return {label} if isinstance(label, int) else set()
