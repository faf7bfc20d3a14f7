"""The report in a browser: every control by mouse and by keyboard, no error, no request, no overflow."""

import base64
import json
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from augpro.report.page import write_report
from browsers import SIZES, by_id, chromium, keyboard, look, mouse, only_files
from report_cases import HOSTILE, write_results
from sorted_tables import COLUMN, PRESS_ALL, assert_sorted, in_order

pytestmark = pytest.mark.e2e
COMMITTED = Path(__file__).parent.parent / "benchmarks" / "results" / "report.html"
THEMES = ["light", "dark"]


@pytest.fixture(autouse=True)
def no_network():
    """Selenium reaches the browser through a socket of this machine; what the page asks for is watched instead."""


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    long = "random:replace_fraction=0.123456789,a-very-long-option-of-a-method-that-must-not-widen-the-page"
    reviews = write_results(
        folder / "grid-reviews", methods=("fine-tune", "none", "augpro-mix", "random", long), sizes=(100.0, 400.0),
        hostile=True, notes=["a_note_without_any_space_in_it_" * 12],
    )  # fmt: skip
    tickets = write_results(folder / "grid-tickets", task="tickets", samples=30)
    out = folder / "report.html"
    write_report([reviews, tickets], out)
    return out


@pytest.fixture
def page(browser, report):
    """Opens a page, the one with the made-up results or another; then nothing may have been asked for but the file,
    and no error written.
    """
    with only_files(browser) as opened:

        def show(size=SIZES[1], theme="light", path=report):
            opened.add(path.as_uri())
            look(browser, size, theme)
            browser.get(path.as_uri())
            return browser

        yield show


def data_of(browser):
    return json.loads(by_id(browser, "data").get_attribute("textContent"))["texts"]


def count(browser):
    return int(by_id(browser, "count").text.split(" of ")[0])


# --- looks ---


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", SIZES)
def test_it_fits_the_screen_and_is_readable(page, size, theme, tmp_path):
    browser = page(size, theme)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= size[0]
    colours = browser.execute_script(
        "const style = getComputedStyle(document.body); return [style.backgroundColor, style.color]"
    )
    light = [sum(int(part) for part in colour[4:-1].split(",")) for colour in colours]
    assert (light[0] > 600 and light[1] < 200) if theme == "light" else (light[0] < 120 and light[1] > 600)
    for picture in browser.find_elements(By.CSS_SELECTOR, ".plot"):
        fill = browser.execute_script(
            "return getComputedStyle(arguments[0].querySelector('text')).fill", picture
        )
        assert fill == colours[1], "a picture does not follow the theme"
        box = picture.rect
        assert box["width"] > 250
        assert box["x"] + box["width"] <= size[0]
    height = browser.execute_script("return document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": size[0], "height": min(height, 6000), "scale": 1}
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    path = tmp_path / f"report-{size[0]}-{theme}.png"
    path.write_bytes(base64.b64decode(shot["data"]))
    assert path.stat().st_size > 50_000, "an empty page"


@pytest.mark.parametrize("press", [mouse, keyboard])
@pytest.mark.parametrize("theme", THEMES)
def test_the_theme_can_be_changed_and_changed_back(page, press, theme):
    browser = page(theme=theme)
    button = by_id(browser, "theme")
    colour = "return getComputedStyle(document.body).backgroundColor"
    before, name = browser.execute_script(colour), button.text
    assert name == ("Dark theme" if theme == "light" else "Light theme")
    press(browser, button)
    assert browser.execute_script(colour) != before
    assert button.text != name
    press(browser, button)
    assert (browser.execute_script(colour), button.text) == (before, name)


@pytest.mark.parametrize("size", SIZES)
def test_every_header_sorts_its_table(page, size):
    browser = page(size)
    tables = browser.find_elements(By.TAG_NAME, "table")
    assert len(tables) == 12
    pressed = [button for table in tables for button in browser.execute_script(PRESS_ALL, table, 2)]
    assert len(pressed) > 80
    for over, *seen in pressed:
        assert over, "something else is over a button"
        assert_sorted(*seen)
    assert sum(once[2] != twice[2] for _, _, once, twice in pressed) > 40


@pytest.mark.parametrize(("press", "size"), [(mouse, SIZES[1]), (keyboard, SIZES[1]), (mouse, SIZES[0])])
def test_headers_are_pressed_with_mouse_and_keyboard(page, press, size):
    """One of each table."""
    browser = page(size)
    for table in browser.find_elements(By.TAG_NAME, "table"):
        button = table.find_elements(By.CSS_SELECTOR, "button.sort")[-1]
        seen = [browser.execute_script(COLUMN, button)]
        for _ in range(2):
            press(browser, button)
            seen.append(browser.execute_script(COLUMN, button))
        assert_sorted(*seen)


def test_every_control_can_be_reached_with_the_tabulator(page):
    browser = page()
    selector = "a[href], button:not(:disabled), select, input, .scroll"
    wanted = browser.find_elements(By.CSS_SELECTOR, selector)
    reached = set()
    for _ in range(len(wanted) + 5):
        webdriver.ActionChains(browser, duration=0).send_keys(Keys.TAB).perform()
        reached.add(browser.switch_to.active_element.id)
    assert {element.id for element in wanted} <= reached


# --- texts ---


def test_each_filter_shows_what_it_says(page):
    browser = page()
    texts = data_of(browser)
    assert count(browser) == len(texts) == 3 * 180 + 90

    groups = Select(by_id(browser, "method"))
    assert len(groups.options) == 5
    for number in range(4):
        groups.select_by_value(str(number))
        assert count(browser) == sum(text[0] == number for text in texts) > 0
    groups.select_by_index(0)

    for name, column in (("before", 4), ("after", 5)):
        labels = Select(by_id(browser, name))
        assert [option.text for option in labels.options] == ["any", "negative", "positive"]
        labels.select_by_value("positive")
        assert count(browser) == sum(text[column] == "positive" for text in texts) > 0
        labels.select_by_index(0)

    mouse(browser, by_id(browser, "flips"))
    flipped = sum(text[4] != text[5] for text in texts)
    assert count(browser) == flipped > 0
    shown = browser.find_elements(By.CSS_SELECTOR, "#list li")
    assert all("label flip" in one.text for one in shown)
    webdriver.ActionChains(browser, duration=0).send_keys(Keys.SPACE).perform()  # the box has the focus
    assert count(browser) == len(texts)

    least = by_id(browser, "least")
    least.clear()
    least.send_keys("0.8")
    assert count(browser) == sum(text[7] >= 0.8 for text in texts) > 0
    least.send_keys(Keys.ARROW_UP)
    assert count(browser) == sum(text[7] >= 0.85 for text in texts) > 0

    Select(by_id(browser, "before")).select_by_value("negative")
    both = sum(text[7] >= 0.85 and text[4] == "negative" for text in texts)
    assert count(browser) == both > 0
    keyboard(browser, by_id(browser, "reset"))
    WebDriverWait(browser, 5).until(lambda _: count(browser) == len(texts))
    assert Select(by_id(browser, "before")).first_selected_option.text == "any"


def test_words_are_found_in_either_text_whatever_their_case(page):
    browser = page()
    texts = data_of(browser)
    sides = [[" ".join(run for run in text[side] if run).lower() for side in (2, 3)] for text in texts]
    by_id(browser, "words").send_keys("FILM Server")
    expected = sum(all(any(word in side for side in both) for word in ("film", "server")) for both in sides)
    assert count(browser) == expected > 0
    by_id(browser, "words").send_keys(" nothing-has-this")
    assert count(browser) == 0
    assert browser.find_elements(By.CSS_SELECTOR, "#list li") == []
    assert not by_id(browser, "next").is_enabled()
    assert by_id(browser, "count").text.endswith("page 1 of 1")


@pytest.mark.parametrize("press", [mouse, keyboard])
def test_pages_of_fifty(page, press):
    browser = page()
    total, seen = len(data_of(browser)), []
    pages = -(-total // 50)
    assert not by_id(browser, "previous").is_enabled()
    for number in range(pages):
        assert by_id(browser, "count").text.endswith(f"page {number + 1} of {pages}")
        shown = browser.find_elements(By.CSS_SELECTOR, "#list li")
        assert len(shown) == min(50, total - 50 * number)
        seen.append(shown[0].text)
        if number < pages - 1:
            press(browser, by_id(browser, "next"))
    assert not by_id(browser, "next").is_enabled()
    press(browser, by_id(browser, "previous"))
    assert by_id(browser, "count").text.endswith(f"page {pages - 1} of {pages}")
    assert browser.find_element(By.CSS_SELECTOR, "#list li").text == seen[-2]
    assert len(set(seen)) == pages


def test_changed_words_are_marked_and_hostile_text_is_only_text(page):
    browser = page()
    by_id(browser, "words").send_keys("onerror")
    shown = browser.find_elements(By.CSS_SELECTOR, "#list li")
    assert len(shown) >= 3
    first = shown[0]
    assert [one.text for one in first.find_elements(By.TAG_NAME, "del")] == ["end"]
    assert [one.text for one in first.find_elements(By.TAG_NAME, "ins")] == ["fin"]
    assert " ".join(f"so {HOSTILE} end".split()) in first.get_attribute("textContent")
    assert browser.find_elements(By.TAG_NAME, "img") == []
    assert browser.execute_script("return window.harm") is None


def test_links_lead_to_their_sections(page):
    browser = page(SIZES[0])
    for link in browser.find_elements(By.CSS_SELECTOR, "nav a"):
        browser.execute_script("arguments[0].focus()", link)
        webdriver.ActionChains(browser, duration=0).send_keys(Keys.ENTER).perform()
        target = by_id(browser, link.get_attribute("href").split("#")[1])
        WebDriverWait(browser, 5).until(
            lambda _, target=target: browser.execute_script(
                "const box = arguments[0].getBoundingClientRect(); return box.top < innerHeight && box.bottom > 0",
                target,
            )
        )


# --- the report of the committed results ---


@pytest.mark.parametrize(
    ("size", "theme"), [(SIZES[0], "dark")]
)  # a minute; the page above has the other looks
def test_every_control_of_the_committed_report_works(page, size, theme):
    assert COMMITTED.stat().st_size < 2_000_000
    browser = page(size, theme, COMMITTED)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= size[0]
    buttons = browser.find_elements(By.CSS_SELECTOR, "button.sort")
    assert len(buttons) > 50
    for table in browser.find_elements(By.TAG_NAME, "table"):
        for over, _, (state, values, _, sorted_columns) in browser.execute_script(PRESS_ALL, table, 1):
            assert over, "something else is over a button"
            assert (state, sorted_columns) == ("ascending", 1)
            assert in_order(values, descending=False), values
    mouse(browser, by_id(browser, "theme"))
    assert by_id(browser, "theme").text == ("Light theme" if theme == "light" else "Dark theme")
    texts = data_of(browser)
    assert count(browser) == len(texts) > 500
    groups = Select(by_id(browser, "method"))
    for number in range(len(groups.options) - 1):
        groups.select_by_value(str(number))
        assert count(browser) == sum(text[0] == number for text in texts) > 0
    groups.select_by_index(0)
    for name, column in (("before", 4), ("after", 5)):
        labels = Select(by_id(browser, name))
        label = labels.options[1].text
        labels.select_by_index(1)
        assert count(browser) == sum(text[column] == label for text in texts) > 0
        labels.select_by_index(0)
    mouse(browser, by_id(browser, "flips"))
    assert count(browser) == sum(text[4] != text[5] for text in texts) > 0
    by_id(browser, "words").send_keys("the")
    assert 0 < count(browser) < len(texts)
    mouse(browser, by_id(browser, "reset"))
    WebDriverWait(browser, 5).until(lambda _: count(browser) == len(texts))
    mouse(browser, by_id(browser, "next"))
    assert "page 2 of" in by_id(browser, "count").text
    mouse(browser, by_id(browser, "previous"))
    assert "page 1 of" in by_id(browser, "count").text
