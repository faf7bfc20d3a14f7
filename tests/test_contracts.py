"""One contract over every entry of AUGMENTERS; a method that is not listed here cannot slip by."""

import inspect
import json
import pickle
from pathlib import Path

import pytest
import torch

from augpro.augment import AUGMENTERS, AugmentContext, EmbeddingSpace, augmenter
from augpro.draws import Draws
from augpro.losses import Objective
from augpro.tokens import tokenize
from augpro.vocabulary import BANNED, Vocabulary

DOCS = Path(__file__).parent.parent / "docs" / "methods"
ALL = sorted(AUGMENTERS)
PRESETS = [(name, preset) for name in ALL for preset in AUGMENTERS[name].presets]


@pytest.fixture
def rows(tokenizer, texts):
    """Pairs, so that segments matter."""
    return tokenize(tokenizer, texts, [*texts[7:], *texts[:7]])


@pytest.fixture
def context(rows, model, tokenizer):
    space = EmbeddingSpace(model.get_input_embeddings().weight, Vocabulary(tokenizer, len(tokenizer)))
    logits = torch.randn(len(rows), 2, generator=torch.Generator().manual_seed(0)) * 3

    def make(row_ids=None, seed=0, copy=0):
        row_ids = list(range(len(rows))) if row_ids is None else row_ids
        return AugmentContext(
            draws=Draws(seed, copy),
            space=space,
            table=rows,
            classes=logits.argmax(1),
            student=model,
            target_logits=logits[row_ids],
            row_loss=Objective("single_label").kd,
        )

    return make


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_same_seed_same_output_other_seed_other_output(name, preset, rows, context):
    method, batch = augmenter(name, preset), rows.batch(range(20))
    first, again = method(batch, context()), method(batch, context())
    assert torch.equal(first.ids, again.ids)
    assert not torch.equal(first.ids, method(batch, context(seed=1)).ids)
    assert not torch.equal(first.ids, method(batch, context(copy=1)).ids)


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_shape_special_tokens_and_input_are_kept(name, preset, rows, context):
    batch = rows.batch(range(20))
    before = {key: value.clone() for key, value in vars(batch).items()}
    changed = augmenter(name, preset)(batch, context())
    for key, value in before.items():
        assert torch.equal(getattr(batch, key), value), f"the input's {key} was changed"
    assert changed.ids.shape == batch.ids.shape
    assert changed.ids.dtype == batch.ids.dtype
    frozen = batch.segments < 0
    assert torch.equal(changed.ids[frozen], batch.ids[frozen])
    assert bool((changed.ids != batch.ids).any()), "nothing was augmented"
    produced = changed.ids[changed.ids != batch.ids]
    assert bool((context().space.groups[produced] != BANNED).all())


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_a_row_does_not_depend_on_its_batch(name, preset, rows, context):
    method = augmenter(name, preset)
    whole = method(rows.batch(range(20)), context()).ids
    for start, size in [(0, 1), (3, 2), (7, 13)]:
        row_ids = list(range(start, start + size))
        part = method(rows.batch(row_ids), context(row_ids)).ids
        assert torch.equal(part, whole[start : start + size, : part.shape[1]])


@pytest.mark.parametrize("name", ALL)
def test_zero_strength_is_the_identity(name, rows, context):
    batch = rows.batch(range(20))
    assert torch.equal(augmenter(name, replace_fraction=0.0)(batch, context()).ids, batch.ids)
    still = {"weight": 1.0} if name == "augpro-mix" else {"step": 0.0}
    unmoved = augmenter(name, replace_fraction=1.0, exclude_parents=False, **still)(batch, context())
    assert torch.equal(unmoved.ids, batch.ids)


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_pickles_and_rebuilds_from_its_parameters(name, preset):
    method = augmenter(name, preset)
    assert pickle.loads(pickle.dumps(method)) == method  # noqa: S301 - our own object
    assert augmenter(name, **json.loads(json.dumps(method.parameters))) == method


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("option", "value"),
    [("replace_fraction", 1.5), ("metric", "manhattan"), ("top_k", 0), ("weight", -0.1), ("beta", -1.0),
     ("partner", "nobody"), ("step", -1.0), ("target_rate", 2.0), ("no_such_option", 1),
     ("exclude_parents", "no"), ("top_k", 2.5), ("replace_fraction", "half"), ("step", float("inf")),
     ("repeat_partner", 1)],
)  # fmt: skip
def test_a_bad_parameter_is_named_with_its_value(name, option, value):
    with pytest.raises(ValueError, match=option) as error:
        augmenter(name, **{option: value})
    if option in augmenter(name).parameters:
        assert repr(value) in str(error.value)


@pytest.mark.parametrize("name", ALL)
def test_every_parameter_changes_the_result(name, rows, context):
    base = augmenter(name, replace_fraction=0.9)
    others = {
        "replace_fraction": 0.4, "exclude_parents": not base.exclude_parents, "metric": "l2", "top_k": 5,
        "weight": 0.9, "beta": 0.2, "partner": "other-class", "repeat_partner": False,
        "step": 2.0, "target_rate": 0.8,
    }  # fmt: skip
    batch = rows.batch(range(20))
    for option in base.parameters:
        changed = augmenter(name, **{**base.parameters, option: others[option]})
        assert not torch.equal(changed(batch, context()).ids, base(batch, context()).ids), option


@pytest.mark.parametrize("name", ALL)
def test_has_a_docs_card_that_names_every_parameter(name):
    card = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    for option in augmenter(name).parameters:
        assert f"`{option}`" in card
    assert "Source" in card
    assert inspect.getdoc(AUGMENTERS[name].perturbation)


@pytest.mark.parametrize("name", ALL)
def test_says_what_it_needs(name, rows, context):
    method, bare = augmenter(name), context()
    bare.student = bare.table = None
    if method.needs_student or method.mixes_rows:
        with pytest.raises(ValueError, match=r"student|training rows"):
            method(rows.batch([0]), bare)
    else:
        method(rows.batch([0]), bare)
