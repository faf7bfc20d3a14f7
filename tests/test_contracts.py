"""One contract over every entry of AUGMENTERS; a method that is in no set here cannot slip by.

Token methods are judged by the tokens that they return, virtual ones by the logits of their rows. Text
methods need models or a word list from outside: what they all share is tested in test_text_methods.py, what
each makes in a file of its own, their parameters and their card here.
"""

import inspect
import json
import pickle
from pathlib import Path

import pytest
import torch

from augpro.augment import AUGMENTERS, AugmentContext, EmbeddingSpace, TrainingState, VirtualRows, augmenter
from augpro.augment.methods.replace import TokenReplacement
from augpro.augment.methods.several import Several
from augpro.augment.methods.text import TextAugmenter
from augpro.augment.partners import partner_rows
from augpro.losses import Objective
from augpro.row_random import RowRandom
from augpro.testing import check_augmenter
from augpro.tokens import tokenize
from augpro.vocabulary import Vocabulary
from common import tiny_bert

DOCS = Path(__file__).parent.parent / "docs" / "methods"
REPLACING = ["augpro-fgsm", "augpro-mix", "augpro-noise", "counterfactual", "crossover", "knn", "random"]
TOKEN = [*REPLACING, "compose", "several"]  # the last two of methods that replace tokens, by default
VIRTUAL = ["fgsm", "mixup", "smart", "tmix"]
TEXT = ["back-translation", "eda", "masked-lm"]  # need models or WordNet: common.py has small ones
DRAWN = [name for name in VIRTUAL if name != "fgsm"]  # fgsm follows a gradient and draws nothing
ALL = sorted(AUGMENTERS)


def presets(names):
    return [(name, preset) for name in names if name in AUGMENTERS for preset in AUGMENTERS[name].presets]


def kind_of(name):
    kind = AUGMENTERS[name].kind
    if issubclass(kind, TextAugmenter):
        return TEXT
    return TOKEN if issubclass(kind, TokenReplacement | Several) else VIRTUAL


@pytest.fixture
def rows(tokenizer, texts):
    """Pairs, so that segments matter."""
    return tokenize(tokenizer, texts, [*texts[7:], *texts[:7]])


@pytest.fixture
def context(rows, model, tokenizer):
    space = EmbeddingSpace(model.get_input_embeddings().weight, Vocabulary(tokenizer, len(tokenizer)))
    logits = torch.randn(len(rows), 2, generator=torch.Generator().manual_seed(0)) * 3
    teacher = tiny_bert(len(tokenizer), layers=3, seed=7)

    def make(row_ids=None, seed=0, copy=0):
        row_ids = list(range(len(rows))) if row_ids is None else row_ids
        return AugmentContext(
            rng=RowRandom(seed, copy),
            space=space,
            table=rows,
            classes=logits.argmax(1),
            training=TrainingState(
                student=model,
                target_logits=logits[row_ids],
                label=lambda rows: teacher(**rows.model_inputs()).logits.detach(),
                teacher=teacher,
                row_loss=Objective("single_label").kd,
            ),
        )

    return make


@pytest.fixture
def logits(rows, model, context):
    """The student's logits of the virtual rows that a method makes, or of the rows themselves."""

    def run(method=None, row_ids=range(20), **draws):
        batch = rows.batch(row_ids)
        with torch.no_grad():
            if method is None:
                return model(**batch.model_inputs()).logits
            made = method(batch, context(list(row_ids), **draws))
            assert isinstance(made, VirtualRows)
            return made.run(model)

    return run


def test_every_method_is_in_the_set_of_its_kind():
    assert sorted([*TOKEN, *VIRTUAL, *TEXT]) == ALL
    for name in ALL:
        assert name in kind_of(name), name


@pytest.mark.parametrize(("name", "preset"), presets([*TOKEN, *VIRTUAL]))
def test_keeps_the_contract(name, preset):
    check_augmenter(augmenter(name, preset))


@pytest.mark.parametrize("name", DRAWN)
def test_virtual_rows_follow_their_draws(name, logits):
    first = logits(augmenter(name))
    for other in ({"seed": 1}, {"copy": 1}):
        assert not torch.equal(first, logits(augmenter(name), **other))


@pytest.mark.parametrize("name", VIRTUAL)
def test_virtual_rows_differ_from_the_rows_and_can_be_run_again(name, rows, model, context, logits):
    made = augmenter(name)(rows.batch(range(20)), context())
    with torch.no_grad():
        assert not torch.equal(made.run(model), logits())
        assert torch.equal(made.run(model), made.run(model)), "a second run differs"
        again = model(**rows.batch(range(20)).model_inputs()).logits
    assert torch.equal(again, logits()), "the model still mixes"


# --- token methods ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REPLACING)
def test_zero_strength_is_the_identity(name, rows, context):
    batch = rows.batch(range(20))
    none = {"partner_fraction": 0.0} if "partner_fraction" in augmenter(name).parameters else {}
    assert torch.equal(augmenter(name, replace_fraction=0.0, **none)(batch, context()).ids, batch.ids)
    if AUGMENTERS[name].perturbation is None:
        return  # the share is the only strength
    still = {"augpro-mix": {"weight": 1.0}, "knn": {"top_k": 1}}.get(name, {"step": 0.0})
    options = {"replace_fraction": 1.0, "exclude_parents": False, **none, **still}
    unmoved = augmenter(name, **options)(batch, context())
    assert torch.equal(unmoved.ids, batch.ids)


@pytest.mark.parametrize("name", REPLACING)
def test_every_parameter_changes_the_result(name, rows, context):
    mixed = {"partner_fraction": 0.5} if "partner_fraction" in AUGMENTERS[name].option_names() else {}
    base = augmenter(name, replace_fraction=0.9, **mixed)
    others = {
        "replace_fraction": 0.4, "exclude_parents": not base.parameters.get("exclude_parents"), "metric": "l2",
        "top_k": 5, "weight": 0.9, "beta": 0.2, "partner": "other-class", "repeat_partner": False, "step": 2.0,
        "target_rate": 0.8, "distribution": "unigram", "unit": "span", "partner_fraction": 0.2,
        "through": "both", "partner_unit": "span", "space": "centred", "steps": 1,
    }  # fmt: skip
    batch = rows.batch(range(20))
    for option in base.parameters:
        changed = augmenter(name, **{**base.parameters, option: others[option]})
        assert not torch.equal(changed(batch, context()).ids, base(batch, context()).ids), option


# --- virtual methods -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VIRTUAL)
def test_a_virtual_row_of_no_strength_is_the_row(name, rows, logits):
    """Of a longer partner the tokens beyond the row's end stay in, at any weight, so those rows are left out."""
    still, same = {"step": 0.0}, torch.ones(20, dtype=torch.bool)
    if augmenter(name).mixes_rows:
        still = {"weight": 1.0, "beta": None}
        lengths = torch.from_numpy(rows.lengths)
        same = lengths[partner_rows(torch.arange(20), 20, "random", RowRandom(0))] <= lengths
        assert same.sum() > 5
    made = logits(augmenter(name, **still))
    torch.testing.assert_close(made[same], logits()[same], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", VIRTUAL)
def test_every_parameter_changes_the_logits(name, logits):
    base = augmenter(name, **({"beta": None} if "beta" in AUGMENTERS[name].option_names() else {}))
    others = {
        "weight": 0.9,
        "beta": 0.2,
        "partner": "other-class",
        "depths": [0.5],
        "step": 2.0,
        "noise": 0.1,
    }
    for option in base.parameters:
        changed = augmenter(name, **{**base.parameters, option: others[option]})
        assert not torch.allclose(logits(changed), logits(base), rtol=0, atol=1e-7), option


# --- parameters, errors and cards of all -----------------------------------------------------------------


@pytest.mark.parametrize(("name", "preset"), presets(ALL))
def test_pickles_and_rebuilds_from_its_parameters(name, preset):
    method = augmenter(name, preset)
    assert pickle.loads(pickle.dumps(method)) == method  # noqa: S301 - our own object
    assert augmenter(name, **json.loads(json.dumps(method.parameters))) == method
    assert sorted(method.parameters) == AUGMENTERS[name].option_names()


BAD = [
    ("replace_fraction", 1.5), ("metric", "manhattan"), ("top_k", 0), ("weight", -0.1), ("beta", -1.0),
    ("partner", "nobody"), ("step", -1.0), ("target_rate", 2.0), ("no_such_option", 1),
    ("exclude_parents", "no"), ("top_k", 2.5), ("replace_fraction", "half"), ("step", float("inf")),
    ("repeat_partner", 1), ("distribution", "normal"), ("unit", "sentence"), ("depths", [1.5]), ("depths", []),
    ("depths", 0.5), ("noise", 0.0), ("synonym", 1.5), ("insertion", -0.1), ("swap", "often"),
    ("deletion", True), ("model", 3), ("temperature", 0.0), ("batch_size", 0),
    ("forward_model", 3), ("backward_model", 3),
    ("max_tokens", 0), ("partner_fraction", 1.1), ("through", "teacher"),
    ("partner_unit", "sentence"), ("of", "knn"), ("space", "nowhere"), ("steps", 0),
]  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_a_bad_parameter_is_named_with_its_value(name):
    own = augmenter(name).parameters
    for option, value in BAD:
        with pytest.raises(ValueError) as error:  # noqa: PT011 - what it says is looked at
            raise AssertionError(option, augmenter(name, **{option: value}))
        assert option in str(error.value)
        if option in own:
            named = value[0] if value == [1.5] else value  # the share that is wrong
            assert repr(named) in str(error.value)


def test_every_parameter_has_a_bad_value():
    tried = {option for option, _ in BAD}
    for name in ALL:
        assert set(AUGMENTERS[name].option_names()) <= tried, name


@pytest.mark.parametrize("name", ALL)
def test_has_a_docs_card_that_names_every_parameter(name):
    card = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    for option in augmenter(name).parameters:
        assert f"`{option}`" in card
    assert "Source" in card
    assert inspect.getdoc(AUGMENTERS[name].explained)


@pytest.mark.parametrize("name", [*TOKEN, *VIRTUAL])
def test_says_what_it_needs(name, rows, context):
    method, bare = augmenter(name), context()
    bare.training, bare.table = TrainingState(), None
    missing = {"the student's gradient": method.needs_student, "the training rows": method.mixes_rows,
               "the teacher's gradient": method.teacher_shares != "text"}  # fmt: skip
    if any(missing.values()):
        missing = next(what for what, needed in missing.items() if needed)
        with pytest.raises(ValueError, match=f"({name}|crossover) .*{missing}"):
            method(rows.batch([0]), bare)
    else:
        method(rows.batch([0]), bare)


def test_random_needs_rows_only_for_their_frequencies(rows, context):
    bare = context()
    bare.table = None
    with pytest.raises(ValueError, match="random needs the training rows"):
        augmenter("random", distribution="unigram")(rows.batch([0]), bare)


def test_only_methods_without_text_or_with_its_gradient_ask_something_of_the_teacher():
    shared = {name: augmenter(name).teacher_shares for name in ALL}
    assert {name: what for name, what in shared.items() if what != "text"} == {
        "counterfactual": "tokens", "mixup": "tokens", "tmix": "tokens", "fgsm": "width",
    }  # fmt: skip
    assert augmenter("augpro-fgsm", through="both").teacher_shares == "width"
    assert {augmenter(name, space="teacher").teacher_shares for name in ("knn", "augpro-mix")} == {"tokens"}
