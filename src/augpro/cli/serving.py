"""``augpro serve``: whether it can start, and where it listens."""

import importlib.util

from augpro.errors import InputError
from augpro.serve.options import ServeConfig

_NEEDED = {
    "fastapi": "fastapi", "uvicorn": "uvicorn", "prometheus_client": "prometheus-client",
    "augpro_runtime": "augpro-runtime",
}  # fmt: skip


def serve(config: ServeConfig) -> None:
    """Start the server and say where it is.

    Raises:
        InputError: if a package is missing, or the server cannot start.
    """
    missing = [name for module, name in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise InputError(f"augpro serve needs {' and '.join(missing)}; pip install 'augpro[serve]'.")
    from augpro.serve import run

    run.serve(config, lambda address: print(f"augpro serves {config.model} at {address}", flush=True))
