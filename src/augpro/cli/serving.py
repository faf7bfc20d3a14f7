"""``augpro serve``: whether it can start, and where it listens."""

from augpro.plugins import check_installed
from augpro.serve.options import ServeConfig

_NEEDED = ("fastapi", "uvicorn", "prometheus_client", "augpro_runtime")


def serve(config: ServeConfig) -> None:
    """Start the server and say where it is.

    Raises:
        InputError: if a package is missing, or the server cannot start.
    """
    check_installed("augpro serve", _NEEDED, "serve")
    from augpro.serve import run

    run.serve(config, lambda address: print(f"augpro serves {config.model} at {address}", flush=True))
