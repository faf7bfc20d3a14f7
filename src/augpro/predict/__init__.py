"""Answers for all rows of a file, some rows at a time: ``augpro predict``.

``sources`` runs a PyTorch or an exported folder, ``answers`` turns logits into columns, ``writers`` writes them
beside the columns of the input, and ``predicting`` is the order of it all.
"""
