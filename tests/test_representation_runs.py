"""Runs that compare representations: what the plan tells and refuses, and that an ordinary student is written."""

import pytest
from safetensors.torch import load_file
from transformers import BertForSequenceClassification

from augpro.compare.grid import Grid
from augpro.config import CompareConfig, DistillConfig
from augpro.distillation.pipeline import run
from augpro.distillation.plan import make_plan
from augpro.errors import InputError
from augpro.models.source import ModelSource
from augpro.results.cell import Cell
from augpro.training.representation import Matching
from tiny_models import wide_bert


@pytest.fixture(scope="module")
def wide_teacher(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wide")
    wide_bert(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def config(table_file, wide_teacher, save_model, tokenizer, tmp_path):
    def build(**options):
        given = {"data": str(table_file), "teacher": str(wide_teacher), "epochs": 2, "batch_size": 4,
                 "augment": "none", "out": tmp_path / "student"}  # fmt: skip
        if "student" not in options:
            given["student"] = str(save_model(tokenizer, layers=2, seed=4))
        return DistillConfig(**{**given, **options})

    return build


@pytest.mark.e2e
def test_a_run_matches_and_writes_an_ordinary_student(config):
    config = config(hidden_weight=1, relation_weight=5, pooled_weight=0.5, augment="augpro-mix")
    result = run(config)
    _, info = BertForSequenceClassification.from_pretrained(config.out, output_loading_info=True)
    assert not any(info.values()), info
    read = round(result.texts_per_second["teacher"] * result.phase_seconds["teacher"])
    assert read == 2 * 20 * (2 + 1), "originals and augmented rows once more, and one new text a row"
    stored = sum(value.numel() for value in load_file(config.out / "model.safetensors").values())
    assert result.parameters["student"] == stored


@pytest.mark.e2e
def test_the_plan_tells_of_it(config, save_model, tokenizer):
    assert "representations" not in make_plan(config()).describe()
    plan = make_plan(config(hidden_weight=1, pooled_weight=0.5))
    assert plan.describe()["representations"] == (
        "hidden 1, pooled 0.5 (student layer 0 as 1, 1 as 2 of the teacher)"
    )
    assert make_plan(config(relation_weight=1, layer_map="last")).matching.layers == ((1, 2),)
    assert make_plan(config(pooled_weight=1)).matching.layers == ()
    cut = {"student": None, "teacher": str(save_model(tokenizer, layers=6, seed=1)), "hidden_weight": 1}
    assert make_plan(config(**cut)).matching.layers == ((0, 0), (1, 2), (2, 5))
    assert make_plan(config(**cut, student_layers="1,4")).matching.layers == ((0, 1), (1, 4))
    other = {**cut, "student": str(save_model(tokenizer, layers=4, seed=2))}
    assert make_plan(config(**other, student_layers="0,3")).matching.layers == ((0, 2), (1, 5))


def test_it_may_be_the_only_term_of_the_loss(config):
    plan = make_plan(config(teacher_weight=0, pooled_weight=1))
    assert plan.method == "none"
    with pytest.raises(InputError, match="all weights of the loss are 0"):
        make_plan(config(teacher_weight=0))


@pytest.mark.parametrize(
    ("weights", "said"),
    [({"hidden_weight": 1}, "--hidden-weight:"), ({"relation_weight": 1}, "--relation-weight:"),
     ({"hidden_weight": 1, "relation_weight": 1, "pooled_weight": 1}, "--hidden-weight and --relation-weight:")],
)  # fmt: skip
def test_hidden_states_of_other_tokens_are_refused(config, save_model, other_tokenizer, weights, said):
    student = str(save_model(other_tokenizer, layers=2, seed=4))
    with pytest.raises(InputError, match=f"{said} teacher and student need the same tokenizer.*--pooled-w"):
        make_plan(config(student=student, **weights))
    assert make_plan(config(student=student, pooled_weight=1)).matching == Matching(pooled_weight=1.0)


@pytest.mark.e2e
def test_a_run_matches_pooled_vectors_of_other_tokens_and_another_width(config, save_model, other_tokenizer):
    student = str(save_model(other_tokenizer, layers=2, seed=4))
    result = run(config(student=student, pooled_weight=1, augment="augpro-mix"))
    assert result.samples
    assert result.metric is not None


def test_a_teacher_that_reads_less_is_refused(config, save_model, tokenizer):
    student, teacher = (save_model(tokenizer, layers=layers) for layers in (2, 3))
    shorter = ModelSource(str(teacher)).load_tokenizer()
    shorter.model_max_length = 20
    shorter.save_pretrained(teacher)
    given = {"student": str(student), "teacher": str(teacher), "hidden_weight": 1}
    with pytest.raises(InputError, match=r"reads up to 20 tokens, .* 32; give --max-tokens 20"):
        make_plan(config(**given))
    assert make_plan(config(**given, max_tokens=20)).matching


def test_encoder_decoders_are_refused(config, translator):
    with pytest.raises(
        InputError, match=r"--hidden-weight: .* is an encoder-decoder.*--pooled-weight compares"
    ):
        make_plan(config(student=str(translator), hidden_weight=1))


def test_methods_of_a_comparison_may_have_it_one_by_one(table_file, wide_teacher, tmp_path):
    methods = "none,none:hidden_weight=1,random:pooled_weight=2:layer_map=last"
    config = CompareConfig(
        data=str(table_file), teacher=str(wide_teacher), methods=methods, relation_weight=3, out=tmp_path
    )
    grid = Grid(config)
    made = {method: grid.distill_config(Cell(method, None, 0, 1.0), tmp_path) for method in grid.methods}
    of = {
        name: (each.hidden_weight, each.relation_weight, each.pooled_weight, each.layer_map)
        for name, each in made.items()
    }
    assert of == {
        "fine-tune": (0, 0, 0, "uniform"),
        "none": (0, 3, 0, "uniform"),
        "none:hidden_weight=1": (1, 3, 0, "uniform"),
        "random:pooled_weight=2:layer_map=last": (0, 3, 2, "last"),
    }
