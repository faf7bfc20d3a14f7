"""A headless Chromium for the tests of pages.

Needs chromium and chromedriver (Debian's packages of these names). Without them the tests are skipped, unless
AUGPRO_BROWSER_REQUIRED is set, as the check that runs everything sets it.
"""

import csv
import json
import os
import shutil
import time
from contextlib import contextmanager

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

SIZES = [(390, 844), (1280, 900)]  # a phone's and a desk's


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
    """The addresses that were asked for; what a page has made itself is none."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = {message["params"]["request"]["url"].split("#")[0] for message in messages
            if message["method"] == "Network.requestWillBeSent"}  # fmt: skip
    return {url for url in urls if not url.startswith("blob:")}


@contextmanager
def only_files(browser):
    """A set for the addresses of the files that are opened: nothing else is asked for, and no error is written."""
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    opened = set()
    yield opened
    assert browser.get_log("browser") == []
    assert requests(browser) == opened


# --- what a visitor does ---


def by_id(browser, name):
    return browser.find_element(By.ID, name)


def put(browser, name, value):
    """Type a value at once."""
    code = (
        "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
    )
    browser.execute_script(code, by_id(browser, name), value)


def wait_text(browser, name, part):
    WebDriverWait(browser, 30).until(lambda _: part in by_id(browser, name).text)


def download(browser, folder, ask):
    """The rows of answers.csv, which the page saves when it is asked to."""
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    ask()
    path = folder / "answers.csv"
    WebDriverWait(browser, 20).until(lambda _: path.exists() and path.stat().st_size)
    time.sleep(0.2)
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def mouse(browser, element):
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", element)
    webdriver.ActionChains(browser, duration=0).move_to_element(element).click().perform()


def keyboard(browser, element):
    browser.execute_script("arguments[0].focus()", element)
    webdriver.ActionChains(browser, duration=0).send_keys(Keys.ENTER).perform()
