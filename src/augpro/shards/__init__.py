"""Augmented rows on disk: Parquet shards, each made from its own rows alone, and a manifest that names them.

:mod:`~augpro.shards.plan` checks the options, :mod:`~augpro.shards.run` makes all shards of a set,
:mod:`~augpro.shards.make` makes one of them, :mod:`~augpro.shards.label` adds a teacher's logits,
:mod:`~augpro.shards.read` checks a set and reads it for the training.
"""
