"""What the figures of a run depend on beside its options: versions of libraries, and the machine."""

import os
import platform
from importlib import metadata

from augpro.results.result import Fact


def library_versions() -> dict[str, str]:
    """Versions of Python and the libraries that decide the numbers."""
    names = ("augpro", "torch", "transformers", "tokenizers", "accelerate", "numpy", "scikit-learn")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "source tree"
    return found


def machine_facts() -> dict[str, Fact]:
    """What the seconds were measured on; no host name, no paths."""
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "gpu": gpu,
    }
