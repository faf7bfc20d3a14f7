"""Loads what the tests share, where tests run."""

import gc

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """The process that only hands out tests to others starts without the libraries, which take ten seconds."""
    if config.getoption("dist", "no") == "no":
        gc.disable()  # until the first test: there is much to load, and none of it is garbage
        config.pluginmanager.import_plugin("common")
