"""AugPro-Mix distillation as a plain Trainer loop: what augpro is compared with.

    python benchmarks/neighbours/plain_loop.py --data DATA/sst2 --teacher runs/sst2-teacher \
      --train-rows 1000 --holdout-rows 5000 --epochs 5

The teacher reads the originals in every step, the projection is one matrix product with the whole embedding table,
and nothing is sorted by length, stored or checked. augpro only gives the rows, the first student and the scores.
"replaced" in the JSON is the share of the tokens that were replaced.
"""

import argparse
import json
import tempfile
import time

import torch
from datasets import Dataset
from torch.nn import functional as F
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

from augpro.config import DistillConfig
from augpro.distillation.plan import make_plan
from augpro.evaluation.metrics import score
from augpro.models.source import load_student, same_tokenizer
from augpro.teachers.teacher import predict_logits
from augpro.tokens import tokenize
from augpro.training.dataset import label_tensor


def kl(student, teacher):
    return F.kl_div(
        F.log_softmax(student, -1), F.log_softmax(teacher, -1), reduction="batchmean", log_target=True
    )


class PlainTrainer(Trainer):
    def __init__(self, model, teacher, tokenizer, mix, **trainer):
        super().__init__(model=model, data_collator=DataCollatorWithPadding(tokenizer), **trainer)
        self.model_accepts_loss_kwargs = False
        self.teacher = teacher.to(self.args.device).eval().requires_grad_(False)
        self.special = torch.tensor(tokenizer.all_special_ids, device=self.args.device)
        self.mix = mix
        self.table = model.get_input_embeddings().weight.detach().clone()
        self.normalized = F.normalize(self.table, dim=1)
        self.seen = self.replaced = 0

    def mixed(self, ids):
        free = ~torch.isin(ids, self.special)  # padding is a special token too
        partner = torch.randperm(len(ids), device=ids.device)
        # A shorter partner is read again from its start, after [CLS], or only a third would have a token to meet.
        length = free[partner].sum(1, keepdim=True).clamp_min(1)
        place = 1 + (torch.arange(ids.shape[1], device=ids.device) - 1) % length
        other = ids[partner].gather(1, place)
        chosen = (torch.rand(ids.shape, device=ids.device) < 0.6) & free & ~torch.isin(other, self.special)
        own, other = ids[chosen], other[chosen]
        scores = (0.5 * self.table[own] + 0.5 * self.table[other]) @ self.normalized.T
        scores.scatter_(1, torch.stack([own, other], 1), -torch.inf)
        self.seen += int(free.sum())
        self.replaced += len(own)
        return ids.masked_scatter(chosen, scores.argmax(1))

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        batches = [inputs]
        if self.mix:
            batches.append({**inputs, "input_ids": self.mixed(inputs["input_ids"])})
        loss = 0.0
        for batch in batches:
            loss = loss + kl(model(**batch).logits, self.teacher(**batch).logits)
        return loss


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--train-rows", type=int, required=True)
    parser.add_argument("--holdout-rows", type=int, required=True)
    parser.add_argument("--epochs", type=float, default=10.0)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--freeze-embeddings", action="store_true")
    parser.add_argument("--augment", choices=["mix", "none"], default="mix")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    plan = make_plan(
        DistillConfig(
            data=args.data, teacher=args.teacher, student_layers=(0, 5), augment="none",
            train_rows=args.train_rows, holdout_rows=args.holdout_rows, seed=args.seed,
            batch_size=args.batch_size, freeze_embeddings=args.freeze_embeddings, out="not-written",
        )
    )  # fmt: skip
    tokenizer = plan.student.load_tokenizer()
    assert same_tokenizer(tokenizer, plan.teacher.load_tokenizer()), "teacher and student share the ids here"
    student = load_student(plan.student, plan.task, plan.student_layers, args.freeze_embeddings, args.seed)
    teacher = AutoModelForSequenceClassification.from_pretrained(args.teacher)

    train, holdout = plan.data.splits["train"], plan.data.splits["holdout"]
    columns = {"text": train.texts, **({"pair": train.pairs} if train.pairs else {})}
    rows = Dataset.from_dict(columns).map(
        lambda rows: tokenizer(*(rows[name] for name in columns), truncation=True),
        batched=True, remove_columns=list(columns),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        options = TrainingArguments(
            output_dir=folder, num_train_epochs=args.epochs, learning_rate=args.learning_rate,
            per_device_train_batch_size=args.batch_size, seed=args.seed, save_strategy="no", report_to="none",
        )  # fmt: skip
        trainer = PlainTrainer(
            student, teacher, tokenizer, args.augment == "mix", args=options, train_dataset=rows
        )
        start = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - start
    table = tokenize(tokenizer, holdout.texts, holdout.pairs)
    ours, theirs = predict_logits(student, table), predict_logits(teacher, table)
    scores = score(plan.task, ours, label_tensor(holdout.labels, plan.task), theirs)
    result = {
        "train_seconds": seconds, "metric": scores.metrics[plan.task.metric],
        "kl_to_teacher": scores.kl_to_teacher, "rows": len(train), "epochs": args.epochs,
        "augment": args.augment, "replaced": trainer.replaced / trainer.seen if trainer.seen else None,
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
