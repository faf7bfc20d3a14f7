"""A run from its configuration to its result; :mod:`~augpro.distillation.pipeline` tells it on one page."""
