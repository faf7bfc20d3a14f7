"""Fingerprints of the data, the models and the code of a run, computed from their content, not their location."""

import json
from pathlib import Path

from augpro.augment import AUGMENTERS
from augpro.augment.methods.combined import read_parts
from augpro.config import DistillConfig, FinetuneConfig
from augpro.data.loading import TaskData
from augpro.distillation.plan import Plan
from augpro.files.durable import fingerprint
from augpro.losses import LOSSES
from augpro.results.content import method_content, model_content, models_among, own_source


def input_fingerprints(plan: Plan) -> dict[str, str]:
    """Hash of each input of a run, by its role: the data, the student, the teacher, ...

    Returns:
        An empty dict for a run without checkpoints: it cannot be resumed, so there is no need to read large models.
    """
    config = plan.config
    if config.trainer_options.get("save_strategy") == "no":
        return {}
    models = {"student": [plan.student], "teacher": [plan.teacher] if plan.teacher else []}
    if isinstance(config, DistillConfig):
        models["model of the method"] = models_among(config.augment_options)
    hashes = {"data": data_fingerprint(plan.data)}
    if plan.pool is not None:
        hashes["unlabelled texts"] = fingerprint([json.dumps([plan.pool.texts, plan.pool.pairs]).encode()])
    if code := foreign_code(config):
        hashes["code of other packages"] = fingerprint(code)
    if plan.stored:
        hashes["augmented rows"] = fingerprint([plan.stored.rows.manifest.model_dump_json().encode()])
    if plan.augmenter:
        hashes["method of augmentation"] = fingerprint(method_content(plan.augmenter))
    if not isinstance(plan.objective.kd_loss, str):
        hashes["loss"] = fingerprint([own_source(plan.objective.kd_loss)])
    for role, sources in models.items():
        if sources:
            hashes[role] = fingerprint(model_content(source) for source in sources)
    return hashes


def foreign_code(config: FinetuneConfig | DistillConfig) -> list[bytes]:
    """Source code of the method and the loss if they come from another package."""
    if not isinstance(config, DistillConfig):
        return []
    parts = [name for name, _ in read_parts(config.augment_options.get("of", []))]
    methods = [name for name in (config.augment, *parts) if name in AUGMENTERS]
    losses = [config.kd_loss] if config.kd_loss in LOSSES else []  # else a function given in Python
    sources = [*map(AUGMENTERS.source, methods), *map(LOSSES.source, losses)]
    return [source for source in sources if source]


def data_fingerprint(data: TaskData) -> str:
    """Hash of the texts, the labels and the classes of every split, as 32 hexadecimal digits."""
    splits = {name: (split.texts, split.pairs, split.labels) for name, split in data.splits.items()}
    classes = (data.task.problem_type, data.task.label_names)
    return fingerprint([json.dumps([classes, splits]).encode()])


def code_version() -> bytes:
    """Hash of the package's own source files."""
    root = Path(__file__).parents[1]
    return fingerprint(path.read_bytes() for path in sorted(root.rglob("*.py"))).encode()
