"""Loading of external data: files and folders become splits of texts with checked labels.

:mod:`~augpro.data.loading` is the entry point. The other modules are its steps: sources, file formats, columns and
labels.
"""
