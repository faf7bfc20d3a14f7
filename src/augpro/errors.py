"""The one exception that means "your input, not our bug".

The command line prints its message as a single sentence and exits with code 2, so every
message must say what is wrong, where (file, row, column) and how to fix it.
"""


class InputError(ValueError):
    """Wrong input by the user: a file, an option or a model that does not fit."""


class DiskError(InputError):
    """A file cannot be written, as the disk is full or not writable; what was written before can be gone on with."""
