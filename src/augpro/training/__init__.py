"""A training step: rows, augmented texts and the teacher's answers to them, and the Trainer that takes it."""
