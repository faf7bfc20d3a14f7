"""Baselines: the classifier on soft labels, and each kind of features."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from scipy.special import logit, softmax
from sklearn.linear_model import LogisticRegression, Ridge

from augpro.baselines import BASELINES, Setting, baseline
from augpro.baselines import head as heads
from augpro.baselines.base import combine, mean_pooled
from augpro.baselines.head import fit_head, soft_targets
from augpro.data.loading import Split
from augpro.errors import InputError
from augpro.evaluation.metrics import row_distances
from augpro.models.source import ModelSource
from augpro.tasks import Task
from augpro.teachers.teacher import Teacher
from common import ANSWERS, LABELS, OTHERS, TEXTS

KINDS = ("single_label", "multi_label", "regression")
CLASSES = Task("mine", "single_label", "accuracy", LABELS)


def rows(count=60, width=5, outputs=3, seed=0):
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(count, width))
    logits = features @ draw.normal(size=(width, outputs)) + draw.normal(size=(count, outputs))
    return features, torch.from_numpy(logits)


@pytest.fixture
def one_strength(monkeypatch):
    monkeypatch.setattr(heads, "STRENGTHS", (2.0,))


# --- the classifier ---


def test_it_is_logistic_regression_with_each_row_once_for_every_class(one_strength):
    features, logits = rows()
    head = fit_head(features, logits, "single_label", range(60), seed=0)
    chances = softmax(logits.numpy(), axis=1)
    theirs = LogisticRegression(C=2.0, tol=1e-8, max_iter=10_000).fit(
        np.repeat(features, 3, axis=0), np.tile([0, 1, 2], 60), sample_weight=chances.ravel()
    )
    ours = softmax(head.logits(features).numpy(), axis=1)
    np.testing.assert_allclose(ours, theirs.predict_proba(features), atol=1e-3)


def test_it_is_ridge_regression_for_a_score(one_strength):
    features, logits = rows(outputs=1)
    head = fit_head(features, logits, "regression", range(60), seed=0)
    theirs = Ridge(alpha=1 / 2.0).fit(features, logits[:, 0].numpy())
    np.testing.assert_allclose(head.logits(features)[:, 0], theirs.predict(features), atol=1e-3)


def test_it_is_one_logistic_regression_for_each_of_several_labels(one_strength):
    features, logits = rows()
    head = fit_head(features, logits, "multi_label", range(60), seed=0)
    for label in range(3):
        chances = torch.sigmoid(logits[:, label]).numpy()
        theirs = LogisticRegression(C=2.0, tol=1e-8, max_iter=10_000).fit(
            np.repeat(features, 2, axis=0), np.tile([1, 0], 60),
            sample_weight=np.stack([chances, 1 - chances], axis=1).ravel(),
        )  # fmt: skip
        np.testing.assert_allclose(
            head.logits(features)[:, label], theirs.decision_function(features), atol=2e-3
        )


@pytest.mark.parametrize("problem", KINDS)
@pytest.mark.parametrize("sparse", [False, True])
def test_fewer_rows_than_features_give_the_same_answers_by_the_shorter_way(problem, sparse, monkeypatch):
    features, logits = rows(count=20, width=50)
    features = csr_array(features * (features > 0.5)) if sparse else features
    fresh, _ = rows(count=7, width=50, seed=9)
    short = fit_head(features, logits, problem, range(20), seed=0)
    monkeypatch.setattr(heads, "_FEW", 0)
    whole = fit_head(features, logits, problem, range(20), seed=0)
    assert short.strength == whole.strength
    torch.testing.assert_close(short.logits(fresh), whole.logits(fresh), atol=0.02, rtol=0.02)


@pytest.mark.parametrize("problem", KINDS)
def test_noise_gets_a_stronger_penalty_than_a_rule(problem):
    features, logits = rows(count=80, width=20)
    draw = torch.Generator().manual_seed(0)
    noise = logits[torch.randperm(80, generator=draw)]
    rule = torch.from_numpy(features[:, :3] * 2)
    strengths = [fit_head(features, each, problem, range(80), 0).strength for each in (noise, rule)]
    assert strengths[0] < strengths[1]


def test_every_penalty_is_solved_from_the_same_start(monkeypatch):
    """From the solution of the last one the solver may not move at all, and equal errors would end the search."""
    features, logits = rows(count=40)
    starts, solve = [], heads._solve
    monkeypatch.setattr(heads, "_solve", lambda *given: starts.append(given[-1]) or solve(*given))
    fit_head(features, logits, "single_label", range(40), 0)
    assert len(starts) > 10
    assert all((start[:-1] == 0).all() for start in starts)


def test_rows_of_one_text_are_left_out_together():
    keys = np.repeat(np.arange(10), 3)
    for kept, left in heads._folds(keys, seed=1):
        assert not set(keys[kept]) & set(keys[left])
        assert len(kept) + len(left) == 30
    assert heads._folds([5, 5, 5], seed=1) == []
    features, logits = rows(count=3)
    assert fit_head(features, logits, "single_label", [5, 5, 5], seed=1).strength == 1.0


def test_soft_targets_are_what_the_teacher_says():
    logits = torch.tensor([[1.0, -2.0]])
    np.testing.assert_allclose(soft_targets(logits, "single_label"), torch.softmax(logits.double(), 1))
    np.testing.assert_allclose(soft_targets(logits, "multi_label"), torch.sigmoid(logits.double()))
    np.testing.assert_allclose(soft_targets(logits, "regression"), logits)


# --- features ---


def split(pairs=None):
    return Split(list(TEXTS), pairs, list(ANSWERS), "here")


@pytest.fixture
def setting(teacher_folder, save_model, tokenizer):
    teacher = ModelSource(str(teacher_folder))
    return Setting(CLASSES, teacher, teacher, (0, 2))


@pytest.fixture
def teacher_logits(teacher_folder):
    source = ModelSource(str(teacher_folder))
    logits = Teacher(source.load_trained_classifier(), source.load_tokenizer()).label(TEXTS)
    return 3 * (logits - logits.mean(0))  # both classes are there


def learned(name, setting, logits, pairs=None, **options):
    """Logits of the training rows."""
    built, train = baseline(name, **options), split(pairs)
    built.check(train, setting)
    features = built.features(train, logits, setting)
    head = fit_head(features.of(train), logits, setting.task.problem_type, train.keys, 0)
    assert features.parameters > 0
    return head.logits(features.of(train))


def needs(name):
    if name == "static":
        pytest.importorskip("model2vec")
        pytest.importorskip("skeletoken")
    if name == "setfit":
        pytest.importorskip("setfit")


OPTIONS = {"tfidf": {}, "embeddings": {"model": "student"}, "static": {"model": "teacher"},
           "setfit": {"model": "student", "iterations": 1}}  # fmt: skip


@pytest.mark.parametrize("problem", KINDS)
@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_learns_every_kind_of_answer(name, problem, setting, teacher_logits):
    needs(name)
    logits = teacher_logits[:, :1] if problem == "regression" else teacher_logits
    names = () if problem == "regression" else LABELS
    setting = replace(setting, task=Task("mine", problem, "accuracy", names))
    if (name, problem) == ("setfit", "regression"):
        with pytest.raises(InputError, match="has scores; leave it out"):
            baseline(name).check(split(), setting)
        return
    found = learned(name, setting, logits, **OPTIONS[name])
    assert found.shape == logits.shape
    targets = soft_targets(logits, problem).mean(0)
    constant = {"single_label": np.log, "multi_label": logit, "regression": np.asarray}[problem](targets)
    each = (found, torch.from_numpy(constant).float().expand(20, -1))
    near, far = (row_distances(one, logits, problem).mean() for one in each)
    assert near < far, "no better than an answer that knows no text"


@pytest.mark.parametrize("name", ["tfidf", "embeddings", "static"])
def test_pairs_are_read_both(name, setting, teacher_logits):
    needs(name)
    built = baseline(name, **OPTIONS[name])
    pairs = list(OTHERS)
    features = built.features(split(pairs), teacher_logits, setting)
    first = features.of(split(pairs))
    second = features.of(split(pairs[::-1]))
    assert first.shape == second.shape
    assert abs(first - second).max() > 1e-3


@pytest.mark.parametrize("model", ["teacher", "student"])
def test_a_body_that_has_learned_from_pairs_reads_them_together(model, setting, teacher_logits):
    built = baseline("embeddings", model=model)
    features = built.features(split(list(OTHERS)), teacher_logits, setting).of(split(list(OTHERS)))
    body, tokenizer = setting.load_body(model)
    body.eval()
    inputs = tokenizer([TEXTS[0]], [OTHERS[0]], return_tensors="pt", truncation=True)
    with torch.no_grad():
        expected = body(**inputs).last_hidden_state[0].mean(0)
    np.testing.assert_allclose(features[0], expected / expected.norm(), atol=1e-5)


def test_setfit_refuses_what_it_was_not_made_for(setting):
    needs("setfit")
    with pytest.raises(InputError, match="pairs of texts"):
        baseline("setfit").check(split(list(OTHERS)), setting)
    many = Split(["a"] * 10_001, None, [0] * 10_001, "here")
    with pytest.raises(InputError, match="setfit:train_rows=1000"):
        baseline("setfit").check(many, setting)


def test_setfit_trains_the_embeddings(setting, teacher_logits):
    needs("setfit")
    built = baseline("setfit", model="student", iterations=2)
    frozen = baseline("embeddings", model="student").features(split(), teacher_logits, setting).of(split())
    trained = built.features(split(), teacher_logits, setting).of(split())
    alike = built.features(split(), torch.zeros(20, 2), setting).of(split())  # one class: no unlike pair
    np.testing.assert_allclose(alike, frozen, atol=1e-5)
    assert np.abs(trained - frozen).max() > 1e-4


def test_the_mean_is_over_the_tokens_of_each_text(setting):
    body, tokenizer = setting.load_body("teacher")
    found = mean_pooled(body, tokenizer, TEXTS, None)
    for text, row in zip(TEXTS, found, strict=True):
        alone = body(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(row, alone.detach().numpy(), atol=1e-5)
    cut = mean_pooled(body, tokenizer, TEXTS, 8)
    whole = mean_pooled(body, tokenizer, [" ".join(["good"] * 20)], None)
    short = mean_pooled(body, tokenizer, [" ".join(["good"] * 20)], 8)
    assert cut.shape == found.shape
    assert np.abs(whole - short).max() > 1e-4


def test_the_student_has_its_own_layers(setting):
    assert setting.load_body("teacher")[0].config.num_hidden_layers == 3
    assert setting.load_body("student")[0].config.num_hidden_layers == 2


def test_pair_features_are_the_two_texts_their_distance_and_their_product():
    vectors = {"a": [3.0, 4.0], "b": [0.0, 2.0], "": [0.0, 0.0]}
    part = Split(["a", ""], ["b", "b"], [0, 0], "here")
    found = combine(part, lambda texts: np.array([vectors[text] for text in texts]))
    np.testing.assert_allclose(found[0], [0.6, 0.8, 0, 1, 0.6, 0.2, 0, 0.8 * 2**0.5], atol=1e-9)
    np.testing.assert_allclose(found[1], [0, 0, 0, 1, 0, 1, 0, 0], atol=1e-9)


def test_tfidf_reads_any_text(setting):
    strange = Split(["!", "5", "東京都", "I"], None, [0, 1, 0, 1], "here")
    for options in ({}, {"characters": 0}, {"words": 0}):
        features = baseline("tfidf", **options).features(strange, torch.zeros(4, 2), setting).of(strange)
        assert (features.sum(1) > 0).all(), options


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("tfidf", {}, {"words": 1}),
        ("tfidf", {}, {"characters": 0}),
        ("embeddings", {"model": "student"}, {"model": "teacher"}),
        ("static", {}, {"model": "student"}),
        ("static", {}, {"dimensions": 4}),
        ("setfit", {"model": "student", "iterations": 1}, {"model": "student", "iterations": 4}),
        ("setfit", {"model": "student", "iterations": 1}, {"model": "teacher", "iterations": 1}),
    ],
)
def test_every_option_changes_the_features(name, one, other, setting, teacher_logits):
    needs(name)
    found = [
        baseline(name, **options).features(split(), teacher_logits, setting).of(split())
        for options in (one, other)
    ]
    assert found[0].shape != found[1].shape or abs(found[0] - found[1]).max() > 1e-5


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("tfidf", {"words": "two"}, "words must be a whole number between 0 and 5, not 'two'"),
        ("tfidf", {"characters": 11}, "characters must be"),
        ("tfidf", {"words": 0, "characters": 0}, "both 0"),
        ("embeddings", {"model": 3}, "model must be"),
        ("static", {"dimensions": 0}, "dimensions must be"),
        ("setfit", {"iterations": 0}, "iterations must be"),
        ("tfidf", {"epochs": 3}, "tfidf has no option 'epochs'; it has words, characters and train_rows"),
    ],
)
def test_a_bad_option_is_named(name, options, said):
    with pytest.raises(ValueError, match=said):
        baseline(name, **options)


@pytest.mark.parametrize(("name", "extra"), [("static", "static"), ("setfit", "setfit")])
def test_a_missing_library_is_told_with_the_command_that_brings_it(name, extra, setting, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda module: None)
    with pytest.raises(InputError, match=rf"--methods {name}: needs .*: pip install '\.\[{extra}\]'"):
        baseline(name).check(split(), setting)
