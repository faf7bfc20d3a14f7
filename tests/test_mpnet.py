"""MPNet as teacher and as student."""

import pytest
import torch
from safetensors.torch import load_file

from augpro.config import DistillConfig
from augpro.distillation.pipeline import run
from augpro.models.source import ModelSource, load_student
from augpro.tasks import Task
from common import LABELS
from tiny_models import save_mpnet

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def tiny_mpnet(tmp_path_factory):
    return save_mpnet(tmp_path_factory.mktemp("mpnet"))


def test_mpnet_is_cut_saved_and_loaded(tiny_mpnet, tmp_path):
    """Its layers share one relative position bias, which lies beside them."""
    source = ModelSource(str(tiny_mpnet))
    task = Task("reviews", "single_label", "accuracy", LABELS)
    student = load_student(source, task, (0, 2, 4)).eval()
    student.save_pretrained(tmp_path)
    weights, whole = load_file(tmp_path / "model.safetensors"), load_file(tiny_mpnet / "model.safetensors")
    layer = "mpnet.encoder.layer.{}.attention.attn.q.weight"
    assert torch.equal(weights[layer.format(1)], whole[layer.format(2)])
    bias = "mpnet.encoder.relative_attention_bias.weight"
    assert torch.equal(weights[bias], whole[bias])
    loaded = ModelSource(str(tmp_path)).load_trained_classifier().eval()
    ids = torch.randint(5, 40, (3, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, again, full = (
            model(input_ids=ids).logits for model in (student, loaded, source.load_trained_classifier())
        )
    torch.testing.assert_close(again, logits, rtol=0, atol=1e-5)
    assert (full - logits).abs().max() > 1e-3


def test_a_student_of_another_kind_learns_from_mpnet(tiny_mpnet, teacher_folder, table_file, tmp_path):
    """The teacher's tokens are others: it reads the augmented text."""
    config = DistillConfig(
        data=str(table_file), teacher=str(tiny_mpnet), student=str(teacher_folder), student_layers=(0, 2), epochs=1,
        label_order=("negative", "positive"), batch_size=4, out=tmp_path / "student",
        trainer_options={"save_strategy": "no"},
    )  # fmt: skip
    result = run(config)
    assert result.replacement["changed"] > 0
    assert result.samples
