"""Wrong input, told in one sentence that names the fix."""


class InputError(ValueError):
    """Something that was given does not fit."""


class FolderError(InputError):
    """The folder is not one of ``augpro export``, is damaged, or cannot be run here."""


class TextError(InputError):
    """The texts, or an option of the call, cannot be used."""
