"""On a GPU the same as on the CPU: pytest -n 0 -m cuda."""

from contextlib import nullcontext

import pytest
import torch
from safetensors.torch import load_file

from augpro.config import DistillConfig
from augpro.distillation.pipeline import run
from augpro.models.source import ModelSource
from augpro.projection import Projection
from augpro.teachers.teacher import Teacher
from projection_cases import METRICS, brute_force, make_queries, make_table, seeded

DEVICE = torch.device("cuda")
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is visible"),
]


# --- projection ---


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["random", "clustered", "duplicated", "zero rows"])
def test_the_projection_is_exact(kind, metric, bf16):
    generator = seeded(5)
    table = make_table(kind, 3000, 24, generator)
    queries = make_queries(table, 40, generator)
    queries[2::4] += 0.01 * torch.randn(queries[2::4].shape, generator=generator)
    groups = torch.randint(0, 2, (len(table),), generator=generator)
    wanted = torch.randint(0, 2, (len(queries),), generator=generator)
    excluded = torch.randint(-1, len(table), (len(queries), 2), generator=generator)
    projection = Projection(table.to(DEVICE), groups.to(DEVICE), metric)
    with torch.autocast(DEVICE.type, torch.bfloat16) if bf16 else nullcontext():
        found = projection.nearest(queries.to(DEVICE), wanted.to(DEVICE), excluded.to(DEVICE), 3)
    assert found.device.type == DEVICE.type
    assert found.tolist() == brute_force(table, queries, metric, groups, wanted, excluded, 3)


@pytest.mark.parametrize("precision", ["highest", "high"])  # high: products in TF32
@pytest.mark.parametrize("metric", METRICS)
def test_mixes_and_steps_are_those_of_the_cpu(metric, precision):
    generator = seeded(6)
    table = make_table("clustered", 4000, 48, generator)
    own, other = torch.randint(0, 400, (2, 500), generator=generator)
    weights = torch.rand(500, generator=generator)
    steps = table[own] + torch.randn(500, 48, generator=generator)
    cpu, gpu = Projection(table, metric=metric), Projection(table.to(DEVICE), metric=metric)
    mixes = own.to(DEVICE), other.to(DEVICE), weights.to(DEVICE)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        found = gpu.nearest_mix(*mixes, k=2), gpu.nearest(steps.to(DEVICE), k=2)
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(found[0].cpu(), cpu.nearest_mix(own, other, weights, k=2))
    assert torch.equal(found[1].cpu(), cpu.nearest(steps, k=2))


# --- runs ---


@pytest.fixture
def config(table_file, teacher_folder, save_model, tokenizer, tmp_path):
    student = save_model(tokenizer, layers=2, seed=4)

    def build(name, **trainer):
        return DistillConfig(
            data=str(table_file), teacher=str(teacher_folder), student=str(student), epochs=2, batch_size=4,
            learning_rate=1e-2, freeze_embeddings=False, out=tmp_path / name,
            trainer_options={"save_strategy": "no", **trainer},
        )  # fmt: skip

    return build


def logits_of(folder, texts, device):
    source = ModelSource(str(folder))
    return Teacher(source.load_trained_classifier(), source.load_tokenizer(), device=device).label(texts)


def test_labels_are_those_of_the_cpu(teacher_folder, texts):
    labels = logits_of(teacher_folder, texts, DEVICE)
    torch.testing.assert_close(
        labels, logits_of(teacher_folder, texts, torch.device("cpu")), rtol=0, atol=1e-4
    )


def test_a_student_learns_there_what_it_learns_on_the_cpu(config, texts):
    """The same texts were made, chosen and labelled, or the two would be far apart."""
    runs = {"gpu": config("gpu"), "cpu": config("cpu", use_cpu=True)}
    results = {name: run(each) for name, each in runs.items()}
    gpu, cpu = (logits_of(runs[name].out, texts, torch.device("cpu")) for name in ("gpu", "cpu"))
    start = logits_of(runs["cpu"].student, texts, torch.device("cpu"))
    assert (cpu - start).abs().mean() > 0.1
    assert (gpu - cpu).abs().mean() < 0.05 * (cpu - start).abs().mean()
    assert [sample.augmented for sample in results["gpu"].samples] == [
        sample.augmented for sample in results["cpu"].samples
    ]


@pytest.mark.parametrize("augment", ["augpro-mix", "augpro-fgsm", "mixup"])
def test_a_student_trained_in_bfloat16_is_scored_in_float32(augment, config, texts):
    config = config("student", bf16=True).model_copy(update={"augment": augment})
    result = run(config)
    stored = load_file(config.out / "predictions.safetensors")["evaluation.student"]
    assert {value.dtype for value in load_file(config.out / "model.safetensors").values()} == {torch.float32}
    again = logits_of(config.out, texts[:8], torch.device("cpu"))  # the validation rows
    torch.testing.assert_close(stored, again, rtol=0, atol=1e-3)
    assert result.evaluation.metrics
