"""A headless Chromium for the tests of pages.

Needs chromium and chromedriver (Debian's packages of these names). Without them the tests are skipped, unless
AUGPRO_BROWSER_REQUIRED is set, as the check that runs everything sets it.
"""

import json
import os
import shutil
from contextlib import contextmanager

import pytest
from selenium import webdriver


def missing(what):
    """Skip, or fail where nothing may be skipped."""
    (pytest.fail if os.environ.get("AUGPRO_BROWSER_REQUIRED") else pytest.skip)(f"needs {what}")


@contextmanager
def chromium():
    """A browser that keeps what the console says and what is asked for."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not (program and driver):
        missing("chromium and chromedriver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield started
    finally:
        started.quit()


def look(browser, size, theme):
    """Width and height in pixels, and the theme that the visitor prefers."""
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    )
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def requests(browser):
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return {message["params"]["request"]["url"].split("#")[0] for message in messages
            if message["method"] == "Network.requestWillBeSent"}  # fmt: skip
