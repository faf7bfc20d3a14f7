"""A run from its configuration to its result; :mod:`~augpro.distill.pipeline` tells it on one page."""
