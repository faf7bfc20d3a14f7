"""The classifier that labels text, the store of its answers, and how its classes match the labels of the data."""
