"""Plain distillation with TextBrewer's GeneralDistiller; needs requirements-textbrewer.txt, not augpro.

    python benchmarks/neighbours/textbrewer_kd.py --rows train.jsonl --teacher runs/teacher --student runs/untrained \
      --epochs 5 --batch-size 32 --learning-rate 1e-4

Both folders are of save_pretrained; the teacher's tokenizer is used for both. Temperature 1, cross-entropy with the
teacher's probabilities (the gradient of the KL), no gold labels, no intermediate matches. TextBrewer can keep the
teacher's logits only in its BasicDistiller, for fixed batches, so the teacher reads every batch again.
"""

import argparse
import json
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import torch
from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig
from torch.utils.data import DataLoader
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    get_linear_schedule_with_warmup,
)


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=Path, required=True, help='JSON Lines, {"text": ...} a line')
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--student", required=True, help="a saved, untrained student")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--freeze-embeddings", action="store_true")
    parser.add_argument("--out", help="folder for the trained student; not saved without it")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    torch.manual_seed(args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(args.teacher)
    teacher = AutoModelForSequenceClassification.from_pretrained(args.teacher).to(device)
    student = AutoModelForSequenceClassification.from_pretrained(args.student).to(device)
    assert teacher.config.vocab_size == student.config.vocab_size, "both read one tokenizer's ids here"
    if args.freeze_embeddings:
        student.get_input_embeddings().weight.requires_grad_(False)
    with open(args.rows, encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file]
    rows = [{"input_ids": ids} for ids in tokenizer(texts, truncation=True)["input_ids"]]
    loader = DataLoader(
        rows,
        args.batch_size,
        shuffle=True,
        # A plain dict: TextBrewer takes any other mapping for a tuple of arguments.
        collate_fn=lambda batch: dict(tokenizer.pad(batch, return_tensors="pt")),
    )
    # As the Trainer's: the fused AdamW without weight decay, a linear decay, gradients clipped at 1.
    learned = [weight for weight in student.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learned, args.learning_rate, weight_decay=0.0, fused=True)
    steps = {"num_warmup_steps": 0, "num_training_steps": len(loader) * args.epochs}
    with tempfile.TemporaryDirectory() as folder:
        distiller = GeneralDistiller(
            # The weights are written once, after the last epoch; TextBrewer cannot leave that out.
            TrainingConfig(output_dir=folder, device=device, ckpt_epoch_frequency=args.epochs),
            DistillationConfig(temperature=1, kd_loss_type="ce", hard_label_weight=0),
            teacher,
            student,
            adaptor_T=lambda batch, outputs: {"logits": outputs.logits},
            adaptor_S=lambda batch, outputs: {"logits": outputs.logits},
        )
        start = time.perf_counter()
        with distiller:
            distiller.train(
                optimizer,
                loader,
                num_epochs=args.epochs,
                scheduler_class=get_linear_schedule_with_warmup,
                scheduler_args=steps,
                max_grad_norm=1.0,
            )
        seconds = time.perf_counter() - start
    if args.out:
        student.save_pretrained(args.out)
        tokenizer.save_pretrained(args.out)
    versions = {name: version(name) for name in ("textbrewer", "torch", "transformers")}
    print(
        json.dumps({"train_seconds": seconds, "rows": len(rows), "epochs": args.epochs, "versions": versions})
    )


if __name__ == "__main__":
    main()
