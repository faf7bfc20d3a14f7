"""``python -m augpro.cli``."""

from augpro.cli.app import app

app()
