"""``augpro serve``: whether it can start, and where it listens."""

import importlib.util

from augpro.errors import InputError
from augpro.serve.options import ServeConfig

_NEEDED = ("fastapi", "uvicorn", "prometheus_client", "augpro_runtime")


def serve(config: ServeConfig) -> None:
    """Start the server and say where it is.

    Raises:
        InputError: if a package is missing, or the server cannot start.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"augpro serve needs {', '.join(missing)}; run in a copy of the repository: "
            "pip install ./runtime '.[serve]'."
        )
    from augpro.serve import run

    run.serve(config, lambda address: print(f"augpro serves {config.model} at {address}", flush=True))
