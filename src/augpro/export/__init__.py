"""A trained classifier as a folder that runs without PyTorch: ``augpro export``.

``graph`` makes ``model.onnx`` and compares it with PyTorch, ``int8`` makes it smaller, ``budget`` as small as asked.
``trimming`` leaves tokens out or puts them in another order (for each kind of tokenizer in ``vocabularies``).
``parity`` and ``timing`` measure, ``folder`` writes, and ``exporting`` is the order of it all. The folder is read by
``augpro_runtime``.
"""
