"""Labels of the data and classes of a model: by name, by proven numbers, by the user's word."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from augpro.data.loading import Split, TaskData
from augpro.errors import InputError
from augpro.tasks import Task
from augpro.teachers.alignment import align_labels


def config(*names, problem_type=None):
    return SimpleNamespace(problem_type=problem_type, num_labels=len(names), id2label=dict(enumerate(names)))


def data(names, labels, problem="single_label", metric="accuracy") -> TaskData:
    split = Split([f"text {i}" for i in range(len(labels))], None, list(labels), "rows.csv")
    task = Task("reviews", problem, metric, tuple(names), label_column="mood")
    return TaskData(task, {"train": split, "test": split.select([0])}, ["a note"])


def test_labels_line_up_by_name_in_any_order_and_case():
    given = data(("Bad", "GOOD", "so-so"), [0, 1, 2, None, 1])
    adopted = align_labels(given, config("so-so", "good", "unsure", "bad"), "T")
    assert adopted.task.label_names == ("so-so", "good", "unsure", "bad")
    assert adopted.splits["train"].labels == [3, 1, 0, None, 1]
    assert adopted.splits["test"].labels == [3]
    assert adopted.notes == ["a note"]
    assert given.splits["train"].labels == [0, 1, 2, None, 1]  # the input is left as it was
    names = [given.task.label_names[i] for i in (0, 1, 2)]
    again = [adopted.task.label_names[adopted.splits["train"].labels[row]] for row in (0, 1, 2)]
    assert [n.casefold() for n in names] == [n.casefold() for n in again]


def test_an_exact_name_comes_before_one_in_another_case_and_before_a_number():
    given = data(("US", "us"), [0, 1])
    assert align_labels(given, config("US", "us"), "T").splits["train"].labels == [0, 1]
    assert align_labels(given, config("us", "US"), "T").splits["train"].labels == [1, 0]
    generic = config(*[f"LABEL_{number}" for number in range(12)])
    named = align_labels(data(("LABEL_10", "LABEL_2", "LABEL_3"), [0, 1, 2]), generic, "T")
    assert named.splits["train"].labels == [10, 2, 3]
    assert named.notes == ["a note"]
    # Which two of the three would it be?
    open_ = align_labels(data(("bad", "ugly"), [0, 1]), config("LABEL_0", "LABEL_1", "LABEL_2"), "T")
    assert open_.unproven.expected == (0, 1)


def test_several_labels_line_up_by_name():
    given = data(("fast", "nice"), [(0, 1), (), (1,), None], "multi_label", "micro_f1")
    teacher = config("nice", "odd", "fast", problem_type="multi_label_classification")
    assert align_labels(given, teacher, "T").splits["train"].labels == [(2, 0), (), (0,), None]


def test_spellings_of_a_class_are_matched_to_it_unless_they_are_two():
    accents = data(("cafe\u0301", "  New  York "), [0, 1])
    assert align_labels(accents, config("new york", "caf\u00e9"), "T").splits["train"].labels == [1, 0]
    with pytest.raises(InputError, match="label 'Us'"):
        align_labels(data(("Us", "eu"), [0, 1]), config("US", "us", "eu"), "T")


GENERIC = ("LABEL_0", "LABEL_1", "LABEL_2")
MOODS = ("negative", "neutral", "positive")


@pytest.mark.parametrize(
    ("own", "theirs", "labels", "names"),
    [
        (("0", "1", "2"), GENERIC, [0, 1, 2], ("0", "1", "2")),
        (("0", "2"), GENERIC, [0, 2], GENERIC),
        (
            ("LABEL_2", "LABEL_1"),
            ("class 0", "class 1", "class 2"),
            [2, 1],
            ("class 0", "class 1", "class 2"),
        ),
        (("1", "2"), ("2 stars", "1 star"), [1, 0], ("2 stars", "1 star")),
        (("-1", "1"), ("good (+1)", "bad (-1)"), [1, 0], ("good (+1)", "bad (-1)")),
    ],
)
def test_numbers_that_the_names_of_the_classes_hold_prove_which_is_which(own, theirs, labels, names):
    adopted = align_labels(data(own, range(len(own))), config(*theirs), "T")
    assert adopted.splits["train"].labels == labels
    assert adopted.task.label_names == names
    assert adopted.unproven is None
    assert any(f"by number ({own[0]} = {theirs[labels[0]]}" in note for note in adopted.notes)


@pytest.mark.parametrize(
    ("own", "theirs", "expected"),
    [
        (("-1", "0", "1"), MOODS, (0, 1, 2)),
        (("0", "1", "2"), MOODS, (0, 1, 2)),
        (("0", "2"), MOODS, (0, 2)),
        (("LABEL_0", "LABEL_1"), MOODS, (0, 1)),
        (("bad", "good", "so-so"), GENERIC, (0, 1, 2)),
        (("1", "2", "3"), GENERIC, (0, 1, 2)),  # counted from 1?
        (("1", "2"), GENERIC, (1, 2)),  # or two of three?
        (("0", "4"), ("LABEL_0", "LABEL_1"), (0, 1)),
        (("LABEL_1", "LABEL_2"), ("1 star", "2 stars", "3 stars"), (1, 2)),  # the place, not the name
        (("1", "2"), ("1 to 2", "3 to 4"), (0, 1)),
        (("10", "2"), ("few", "many"), (1, 0)),
    ],
)
def test_what_no_name_proves_is_left_to_labelled_rows(own, theirs, expected):
    given = data(own, range(len(own)))
    adopted = align_labels(given, config(*theirs), "T")
    assert (adopted.unproven.model, adopted.unproven.classes) == ("T", theirs)
    assert adopted.unproven.expected == expected
    assert (adopted.splits, adopted.notes) == (given.splits, ["a note"])


def test_numbers_that_are_names_of_the_teacher_are_names():
    stars = align_labels(data(("1", "2"), [0, 1]), config("2", "1"), "T")
    assert stars.splits["train"].labels == [1, 0]
    assert stars.notes == ["a note"]


def test_the_order_that_the_user_gives_is_the_order_of_the_classes():
    moods = align_labels(data(("-1", "0", "1"), [0, 1, 2]), config(*MOODS), "T", ("1", "-1", "0"))
    assert moods.splits["train"].labels == [1, 2, 0]
    assert moods.task.label_names == MOODS
    named = align_labels(data(("bad", "good"), [0, 1]), config(*GENERIC), "T", ("none", "Good", "bad"))
    assert named.splits["train"].labels == [2, 1]
    assert named.task.label_names == ("none", "Good", "bad")
    bare = align_labels(data((), [None]), config("LABEL_0", "LABEL_1"), "T", ("bad", "good"))
    assert bare.task.label_names == ("bad", "good")
    several = config("LABEL_0", "LABEL_1", problem_type="multi_label_classification")
    both = align_labels(data(("a", "b"), [(0, 1), (0,)], "multi_label"), several, "T", ("b", "a"))
    assert both.splits["train"].labels == [(1, 0), (1,)]


@pytest.mark.parametrize(
    ("own", "order", "said"),
    [
        (("-1", "0", "1"), ("-1", "0"), "one label for each of the 3 classes of T"),
        (("-1", "0", "1"), ("-1", "0", "0"), "one label for each of the 3"),
        (("-1", "0", "1"), ("-1", "0", "2"), "label '1' in column 'mood' of rows.csv is not in it"),
        ((), ("-1", "0", "1"), "--label-order has no effect: no row of rows.csv"),
    ],
)
def test_an_order_that_does_not_fit_is_refused(own, order, said):
    with pytest.raises(InputError, match=said):
        align_labels(data(own, range(len(own)) or [None]), config(*MOODS), "T", order)


def test_an_order_of_a_score_is_refused():
    with pytest.raises(InputError, match="no effect: T gives a score"):
        align_labels(data((), [0.5], "regression"), config("score"), "T", ("a",))


def test_several_labels_a_row_need_names_or_an_order():
    several = config("LABEL_0", "LABEL_1", problem_type="multi_label_classification")
    with pytest.raises(InputError, match=r"'a', 'b'.*LABEL_0, LABEL_1.*--label-order"):
        align_labels(data(("a", "b"), [(0,), (1,)], "multi_label"), several, "T")


def test_data_that_knows_its_classes_but_has_no_label_takes_the_teachers_names():
    bare = align_labels(data(("bad", "good"), [None, None]), config("LABEL_0", "LABEL_1"), "T")
    assert bare.task.label_names == ("LABEL_0", "LABEL_1")
    assert bare.unproven is None


def test_numbers_that_are_sorted_as_text_keep_their_names():
    """Numbers in quotes come sorted as text, "10" before "2": class 2 must still be called "2"."""
    names = sorted(str(number) for number in range(11))
    adopted = align_labels(data(names, [names.index("2")]), config(*[f"LABEL_{i}" for i in range(11)]), "T")
    assert adopted.splits["train"].labels == [2]
    assert adopted.task.label_names[2] == "2"


def test_unlabelled_data_takes_the_teachers_names():
    adopted = align_labels(data((), [None, None]), config("bad", "good"), "T")
    assert adopted.task.label_names == ("bad", "good")
    assert adopted.task.problem_type == "single_label"
    assert adopted.splits["train"].labels == [None, None]
    assert adopted.notes == ["a note"]
    score = align_labels(data((), [None]), config("score"), "T").task
    assert (score.problem_type, score.label_names, score.metric) == ("regression", (), "pearson")
    several = config("a", "b", problem_type="multi_label_classification")
    task = align_labels(data((), [None]), several, "T").task
    assert (task.problem_type, task.label_names, task.metric) == ("multi_label", ("a", "b"), "micro_f1")


@pytest.mark.parametrize(
    ("names", "theirs", "named"),
    [
        (("good", "terrible"), ("good", "bad"), "terrible"),
        (("-1", "0", "1"), ("LABEL_0", "LABEL_1"), "-1"),
        (("0", "1", "2"), ("negative", "positive"), "2"),
        (("a", "b", "c"), ("LABEL_0", "LABEL_1"), "c"),
    ],
)
def test_a_label_that_the_teacher_lacks_is_named(names, theirs, named):
    with pytest.raises(InputError, match=f"label '{named}' in column 'mood' of rows.csv.*big-teacher"):
        align_labels(data(names, range(len(names))), config(*theirs), "big-teacher")


def test_problem_types_must_be_the_same():
    scores = data((), [0.5, 1.0], "regression", "pearson")
    with pytest.raises(
        InputError, match=r"single_label teacher but column 'mood' of rows\.csv is regression"
    ):
        align_labels(scores, config("bad", "good"), "T")
    with pytest.raises(InputError, match=r"regression teacher .* is single_label"):
        align_labels(data(("a", "b"), [0, 1]), config("score"), "T")
    multi = config("a", "b", problem_type="multi_label_classification")
    with pytest.raises(InputError, match="multi_label teacher"):
        align_labels(data(("a", "b"), [0, 1]), multi, "T")
    kept = align_labels(scores, config("score"), "T")
    assert kept.splits["train"].labels == [0.5, 1.0]
    assert kept.task == replace(scores.task)
