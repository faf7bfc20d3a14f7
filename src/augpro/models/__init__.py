"""Models and tokenizers: where they come from, whether they fit each other, and how a model reads rows."""
