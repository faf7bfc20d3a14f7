"""The training step: rows, augmented texts, the teacher's logits for them, and the Trainer that runs it."""
