"""The classifier that labels text, the store of its logits, and the matching of its classes to the data's labels."""
