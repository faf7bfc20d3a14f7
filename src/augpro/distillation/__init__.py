"""A run, from its configuration to its result; :mod:`~augpro.distillation.pipeline` shows it on one page."""
