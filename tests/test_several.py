"""Several methods at once: who makes which text, what is asked for, and how it is written."""

import dataclasses
import json

import pytest
import torch

from augpro.augment import AugmentContext, EmbeddingSpace, TrainingState, augmenter
from augpro.compare.grid import method_options
from augpro.config import DistillConfig
from augpro.distillation.identity import models_among
from augpro.distillation.pipeline import run
from augpro.distillation.plan import make_plan
from augpro.errors import InputError
from augpro.losses import Objective
from augpro.row_random import RowRandom
from augpro.teachers.teacher import Teacher
from augpro.tokens import padded, tokenize
from augpro.training.dataset import DistillationDataset
from augpro.training.online import OnlineAugmentation
from augpro.vocabulary import Vocabulary
from common import OTHERS, TEXTS, tiny_bert

THREE = "augpro-mix(replace_fraction=0.9)+knn(replace_fraction=0.9)+random(replace_fraction=0.9)"


@pytest.fixture
def table(tokenizer):
    return tokenize(tokenizer, TEXTS, OTHERS)


@pytest.fixture
def context_of(tokenizer, model, table):
    space = EmbeddingSpace(model.get_input_embeddings().weight, Vocabulary(tokenizer, len(tokenizer)))
    teacher = torch.randn(20, 2, generator=torch.Generator().manual_seed(0)) * 3
    values = {"student": model, "row_loss": Objective("single_label").kd}

    def build(rows, copy=0):
        state = TrainingState(target_logits=teacher[list(rows)], **values)
        return AugmentContext(RowRandom(1, copy), space, table, training=state)

    return build


@pytest.mark.parametrize("of", [THREE, "knn+augpro-fgsm(replace_fraction=0.9)+augpro-mix"])
@pytest.mark.parametrize("copy", range(4))
def test_each_row_is_made_by_its_method(of, copy, table, context_of):
    """Whoever makes it, the row is what that method makes of it alone, with the targets of the row."""
    batch, context = table.batch(range(20)), context_of(range(20), copy)
    method = augmenter("several", of=of)
    made = method(batch, context)
    alone = [part.method(batch, context_of(range(20), copy)).ids for part in method.of]
    for row in range(20):
        assert torch.equal(made.ids[row], alone[(row + copy) % 3][row])
    assert torch.equal(made.row_ids, batch.row_ids)
    assert context.counts.rows == 20
    assert context.counts.changed == int((made.ids != batch.ids).sum())


def test_texts_of_another_length_are_padded(table, context_of, wordnet):
    """EDA inserts and deletes words, so its rows have a length of their own."""
    batch = table.batch(range(20))
    method = augmenter("several", of="knn+eda(insertion=0.5)")
    made = method(batch, context_of(range(20)))
    assert made.ids.shape[1] > batch.ids.shape[1]
    alone = [part.method(batch, context_of(range(20))) for part in method.of]
    for row in range(20):
        expected = padded(alone[row % 2], made.ids.shape[1], table.pad_id)
        assert torch.equal(made.ids[row], expected.ids[row])
        assert torch.equal(made.mask[row], expected.mask[row])


@pytest.mark.e2e
def test_with_a_candidate_for_each_method_the_choice_is_one_of_kinds(tokenizer, table, model, context_of):
    teacher = Teacher(tiny_bert(len(tokenizer), layers=3, seed=7), tokenizer)
    dataset = DistillationDataset(table, torch.zeros(20, dtype=torch.int64), teacher.label(TEXTS, OTHERS))
    space = context_of([0]).space
    method = augmenter("several", of=THREE)
    augmentation = OnlineAugmentation(method, space, teacher, Objective("single_label"), seed=1, candidates=3)
    given = table.batch(range(20)), dataset.teacher_logits, dataset, model
    rows, _ = augmentation(*given, epoch=0)
    makers = set()
    for row in range(20):
        made = [
            part.method(given[0], context_of(range(20), copy)).ids[row]
            for part in method.of
            for copy in range(3)
        ]
        makers |= {place // 3 for place, ids in enumerate(made) if torch.equal(ids, rows.ids[row])}
    assert makers == {0, 1, 2}


def test_needs_what_its_methods_need():
    plain = augmenter("several", of="knn+random")
    assert (plain.needs_student, plain.mixes_rows, plain.teacher_shares) == (False, False, "text")
    assert (plain.makes_text, plain.partner_rules, plain.excludes) == (True, set(), ())
    assert augmenter("several", of="knn+augpro-fgsm").needs_student
    assert augmenter("several", of="knn+augpro-fgsm(through=both)").teacher_shares == "width"
    mixing = augmenter("several", of="augpro-mix(partner=near)+crossover(partner=same-class)+knn")
    assert mixing.mixes_rows
    assert mixing.partner_rules == {"near", "same-class"}
    with pytest.raises(InputError, match="masked-lm needs a masked language model"):
        augmenter("several", of="knn+masked-lm").check()


def test_a_method_that_excludes_an_option_excludes_it_for_all():
    method = augmenter("several")

    class Odd(type(method.of[1].method)):
        excludes = ("bf16", "torch_compile")

    odd = dataclasses.replace(method.of[1], method=Odd(method.of[1].method.perturbation))
    assert dataclasses.replace(method, of=(*method.of, odd)).excludes == ("bf16", "torch_compile")


@pytest.mark.parametrize(
    "of",
    [
        "augpro-mix(partner=near; weight=0.6) + knn(top-k=5)",
        ["augpro-mix(partner=near;weight=0.6)", {"name": "knn", "options": {"top_k": 5}}],
        ({"name": "augpro-mix", "options": {"partner": "near", "weight": 0.6}}, "knn(top_k=5)"),
    ],
)  # fmt: skip
def test_ways_to_write_the_same(of):
    method = augmenter("several", of=of)
    mix, knn = (part.method for part in method.of)
    assert mix == augmenter("augpro-mix", partner="near", weight=0.6)
    assert knn == augmenter("knn", top_k=5)
    assert augmenter("several", **json.loads(json.dumps(method.parameters))) == method


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ("knn", "at least 2 methods"),
        ("knn+mixup", "make text, and 'mixup' makes none"),
        ("knn+several", "single methods, and 'several' is a list"),
        ("knn+", "names, not ''"),
        ("knn+random(rate)", "a list of names, not"),
        ("knn+nobody", "nobody"),
        ("knn+random(rate=2)", "no option 'rate'"),
        ("knn(top_k=0)+random", "top_k"),
        (["knn", 3], "names, not 3"),
        (["knn", {"name": "knn", "with": {}}], "a list of names, not"),
        (["knn", {"name": "knn", "options": "top_k"}], "a list of names, not"),
        (3, "names, not 3"),
    ],
)
def test_wrong_methods(of, message):
    with pytest.raises(ValueError, match=message):
        augmenter("several", of=of)


def test_in_a_grid_and_in_a_plan(table_file, teacher_folder):
    options = method_options("several:of=augpro-mix(partner=near;weight=0.6)+knn:candidates=2")
    assert options["candidates"] == 2
    common = {"data": str(table_file), "teacher": str(teacher_folder), "student_layers": (0,), "out": "out",
              "batch_size": 4}  # fmt: skip
    plan = make_plan(DistillConfig(**common, **options))
    assert plan.augmenter == augmenter("several", of="augpro-mix(partner=near;weight=0.6)+knn")
    for of, message in (("knn+nobody", "nobody"), ("knn+masked-lm", "needs a masked language model")):
        with pytest.raises(InputError, match=message):
            make_plan(DistillConfig(**common, augment="several", augment_options={"of": of}))


def test_models_of_its_methods_are_known(tmp_path):
    """So that a run is not resumed with another one."""
    found = models_among({"of": f"knn+masked-lm(model={tmp_path})"})
    assert [source.name for source in found] == [str(tmp_path)]


@pytest.mark.e2e
def test_a_run_from_the_command_line_to_the_texts(table_file, teacher_folder, tmp_path):
    of = "augpro-mix(partner=near;partner_unit=two-spans)+knn(space=teacher)+crossover(unit=clause)"
    options = method_options(f"several:of={of}")
    result = run(
        DistillConfig(
            data=str(table_file),
            teacher=str(teacher_folder),
            student_layers=(0,),
            out=tmp_path / "out",
            epochs=1,
            batch_size=4,
            **options,
        )
    )
    assert result.config["augmenter"] == augmenter("several", of=of).parameters
    assert result.replacement["changed"] > 0.2
    assert len(result.samples) == 20
    assert sum(sample.original != sample.augmented for sample in result.samples) > 10
