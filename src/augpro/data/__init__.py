"""The one door for data from outside: files and folders become splits of texts with checked labels.

:mod:`~augpro.data.loading` tells the story. The other modules are its steps: where a table comes from, how its file
is read, which columns hold what, what a label cell means.
"""
