"""An exported classifier in a page of one file: the answers of the runtime, in a browser, without any request."""

import base64
import csv
import gzip

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait
from tokenizers import normalizers, pre_tokenizers

from augpro.export.exporting import run_export
from augpro.export.options import ExportConfig
from augpro.export.plan import make_export_plan
from augpro.testing import TEXTS
from augpro_runtime import Classifier
from browsers import SIZES, by_id, chromium, download, look, only_files, put, wait_text
from pages import build_page, check_equal, classify, folder_of, libraries
from report_cases import HOSTILE
from test_trimming import trained

pytestmark = pytest.mark.e2e
ODD = [
    "", " ", "\t", "the\tmovie", "the\u00a0movie\u00a0", "the\u200bmovie\ufeff", "a\x00b\x07c\x7fd",
    "the\x85movie\u2028is", "😀 the 👩\u200d👩\u200d👧 movie 🇩🇪", "Café é e\u0301 É Ç Å ñ", "中文 movie 电影𠀀",
    "한국어 日本語 カタカナ", "العربية עברית हिन्दी", "ΟΔΟΣ ΣΑΣ σς", "İstanbul ıI", "ﬁne ½ １２ ß ẞ Ǆ",
    "[MASK] the [SEP] movie [CLS] [PAD] [UNK]", "<s> the </s> <mask>", "##s ##ing", "don't we're 's",
    "“quoted” — dash… ‚x‘", "a_b-c/d\\e|f", "line\nbreak\r\nother\rmore", "x" * 5000, "the movie is great " * 2000,
    "slow,bad." * 3000, "中" * 20_000, HOSTILE, "\ufffd\ufffe", "tab\t\ttab  space   ",
]  # fmt: skip
MIXED = [f"{one} {other}"[:200] for number, one in enumerate(TEXTS) for other in ODD[number % 5 :: 3]]
ROWS = [*ODD, *TEXTS, *MIXED][:240]


@pytest.fixture(autouse=True)
def no_network():
    """Selenium reaches the browser through a socket of this machine; what the page asks for is watched instead."""


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        started.set_script_timeout(120)
        yield started


@pytest.fixture(scope="module")
def node():
    return libraries()


@pytest.fixture(scope="module")
def build(node, tmp_path_factory):
    """Makes the page of an exported folder, once for each folder."""
    made = {}

    def page(folder):
        if folder not in made:
            out = tmp_path_factory.mktemp("page") / "page.html"
            done = build_page(folder, out)
            assert done.returncode == 0, done.stderr
            made[folder] = out
        return made[folder]

    return page


@pytest.fixture(scope="module")
def student(teacher_folder, tmp_path_factory):
    """A tiny student with 8-bit weights and a trimmed vocabulary."""
    folder = tmp_path_factory.mktemp("student")
    (folder / "texts.txt").write_text("\n".join([*TEXTS[:12], "é 中 !"]), encoding="utf-8")
    options = {"int8": True, "trim_vocabulary": True, "texts": folder / "texts.txt", "timing": False}
    config = ExportConfig(model=str(teacher_folder), out=folder / "exported", **options)
    run_export(make_export_plan(config))
    return folder / "exported"


@pytest.fixture
def show(browser):
    """Opens a page and waits until it has started; then nothing may have been asked for but the file."""
    with only_files(browser) as opened:

        def open_page(path, size=SIZES[1], theme="light", status=""):
            opened.add(path.as_uri())
            look(browser, size, theme)
            browser.get(path.as_uri())
            WebDriverWait(browser, 60).until(lambda _: by_id(browser, "status").text == status or (
                status and status in by_id(browser, "status").text))  # fmt: skip
            return browser

        yield open_page


# --- the same answers ---


def test_the_page_of_a_student_answers_as_the_runtime(show, build, student):
    browser = show(build(student))
    assert len(ROWS) >= 200
    check_equal(browser, student, ROWS)
    found = [answer["probability"] for answer in classify(browser, ROWS)]
    assert max(found) - min(found) > 0.001, "no more than ten times what may differ"


@pytest.mark.parametrize("tokens", [12, 13])
def test_pairs_are_cut_as_in_the_runtime(show, build, tmp_path, tokens):
    folder = folder_of(tmp_path, pair=True, max_tokens=tokens)
    check_equal(show(build(folder)), folder, ROWS, ROWS[::-1])


def cased(backend):
    backend.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)


def left(backend):
    backend.enable_truncation(12, direction="left")


def prefixed(backend):
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)


@pytest.mark.parametrize(
    ("kind", "change"), [("wordpiece", cased), ("wordpiece", left), ("bpe", None), ("bpe", prefixed)]
)
def test_kinds_of_tokenizers(show, build, tmp_path, kind, change):
    tokenizer = trained(kind)
    if change:
        change(tokenizer.backend_tokenizer)
    folder = folder_of(tmp_path, tokenizer=tokenizer, same_length=kind == "bpe")
    browser = show(build(folder))
    check_equal(browser, folder, ROWS)
    check_equal(browser, folder, ROWS[:60], ROWS[60:120])


@pytest.mark.parametrize("said", [
    {"labels": ("a", "b", "c"), "problem_type": "multi_label"}, {"labels": ("score",), "problem_type": "regression"},
    {"calibration": {"temperature": 4.0, "threshold": 0.7}}, {"calibration": {"temperature": 1.0, "threshold": None}},
])  # fmt: skip
def test_kinds_of_answers(show, build, tmp_path, said):
    folder = folder_of(tmp_path, **said)
    check_equal(show(build(folder)), folder, TEXTS)


def test_what_is_no_text_is_told(show, build, tmp_path):
    browser = show(build(folder_of(tmp_path, pair=False)))
    assert classify(browser, []) == []
    for texts, pairs, told in (
        ("one", None, "texts is no array"), (["a", None], None, "texts[1] is null"),
        (["a"], ["b"], "leave pairs out"),
    ):  # fmt: skip
        assert told in classify(browser, texts, pairs)
    half = "const done = arguments[0]; window.classify(['a\\ud800b']).catch((error) => done(error.message))"
    assert "texts[0] has half of a surrogate pair" in browser.execute_async_script(half)


# --- the page ---


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_fits_the_screen_and_answers_what_is_typed(show, build, tmp_path, size, theme):
    labels = ("a_label_without_any_space_in_it_" * 4, HOSTILE, *(f"label {number}" for number in range(6)))
    folder = folder_of(
        tmp_path, labels=labels, calibration={"temperature": 1.0, "threshold": 0.5}, exported_from=HOSTILE
    )
    browser = show(build(folder), size, theme)
    assert browser.find_element(By.TAG_NAME, "h1").text == " ".join(HOSTILE.split())
    by_id(browser, "text").send_keys("the movie")
    wait_text(browser, "time", "ms")
    texts = ["the movie", *TEXTS]
    for text, answer in zip(texts, Classifier.load(folder).predict(texts), strict=True):
        put(browser, "text", text)
        shown = " ".join(answer.label.split())
        WebDriverWait(browser, 10).until(lambda _, shown=shown: by_id(browser, "label").text == shown)
        assert by_id(browser, "unsure").is_displayed() is not answer.confident
    assert len(browser.find_elements(By.CSS_SELECTOR, "#bars li")) == 6
    by_id(browser, "more").send_keys(Keys.ENTER)
    bars = browser.find_elements(By.CSS_SELECTOR, "#bars li")
    chances = [float(bar.find_element(By.CLASS_NAME, "chance").text.split()[0]) for bar in bars]
    assert len(bars) == 8
    assert chances == sorted(chances, reverse=True)
    put(browser, "lines", "\n".join([*TEXTS, HOSTILE]))
    by_id(browser, "go").send_keys(Keys.ENTER)
    wait_text(browser, "progress", "ms a text")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= size[0]
    assert browser.find_elements(By.TAG_NAME, "img") == []
    assert browser.execute_script("return window.harm") is None
    colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    light = sum(int(part) for part in colour[4:-1].split(","))
    assert light > 600 if theme == "light" else light < 120
    by_id(browser, "theme").send_keys(Keys.ENTER)
    assert by_id(browser, "theme").text == ("Light theme" if theme == "light" else "Dark theme")
    put(browser, "text", "")
    WebDriverWait(browser, 10).until(lambda _: not by_id(browser, "answer").is_displayed())


def test_every_control_has_a_name_and_can_be_reached_with_the_tabulator(show, build, tmp_path):
    browser = show(build(folder_of(tmp_path, pair=True)))
    wanted = [one for one in browser.find_elements(By.CSS_SELECTOR, "textarea, input, select, button, summary, a") if
              one.is_displayed() or one.get_attribute("class") == "skip"]  # fmt: skip
    assert len(wanted) == 8
    assert all(one.accessible_name for one in wanted)
    reached = set()
    for _ in range(len(wanted) + 3):
        webdriver.ActionChains(browser, duration=0).send_keys(Keys.TAB).perform()
        reached.add(browser.switch_to.active_element.id)
    assert {one.id for one in wanted} <= reached


@pytest.mark.parametrize("source", ["txt", "csv", "tsv"])
def test_a_file_is_answered_into_a_table(show, build, tmp_path, source):
    folder = folder_of(tmp_path, pair=None, calibration={"temperature": 1.0, "threshold": 0.8})
    texts = [f"{text} {number}" for number, text in enumerate(TEXTS * 12)]
    file = tmp_path / f"rows.{source}"
    if source == "txt":
        file.write_text("\n".join(texts) + "\n", encoding="utf-8")
    else:
        texts = [f'{text}, "said"\nhe' for text in texts]
        with file.open("w", encoding="utf-8-sig", newline="") as opened:
            csv.writer(opened, delimiter="," if source == "csv" else "\t").writerows(
                [("id", "text"), *enumerate(texts)]
            )
    browser = show(build(folder))
    by_id(browser, "file").send_keys(str(file))
    if source != "txt":
        wait_text(browser, "progress", "240 rows")
        by_id(browser, "go").send_keys(Keys.ENTER)
    wait_text(browser, "progress", "240 texts, ")
    assert len(browser.find_elements(By.CSS_SELECTOR, "#rows tr")) == 200
    assert "first 200 of 240" in by_id(browser, "shown").text
    rows = download(browser, tmp_path, lambda: by_id(browser, "save").send_keys(Keys.ENTER))
    expected = Classifier.load(folder).predict(texts)
    assert [row["text"] for row in rows] == texts
    assert [row["label"] for row in rows] == [answer.label for answer in expected]
    assert [row["confident"] for row in rows] == [str(answer.confident).lower() for answer in expected]
    found = [float(row["probability of positive"]) for row in rows]
    assert found == pytest.approx([answer.probabilities[1] for answer in expected], abs=1e-4)


def test_pairs_are_pasted_with_a_tab(show, build, tmp_path):
    folder = folder_of(tmp_path, pair=True)
    browser = show(build(folder))
    put(browser, "lines", "the movie\tis great\nno pair")
    by_id(browser, "go").send_keys(Keys.ENTER)
    wait_text(browser, "progress", "Line 2 is no pair")
    put(browser, "lines", "the movie\tis great\nbad\tfilm")
    by_id(browser, "go").send_keys(Keys.ENTER)
    wait_text(browser, "progress", "2 texts")
    answers = Classifier.load(folder).predict(["the movie", "bad"], ["is great", "film"])
    rows = browser.find_elements(By.CSS_SELECTOR, "#rows tr")
    shown = [[cell.text for cell in row.find_elements(By.CSS_SELECTOR, "th, td")] for row in rows]
    assert [row[:3] for row in shown] == [
        ["the movie", "is great", answers[0].label],
        ["bad", "film", answers[1].label],
    ]


@pytest.mark.parametrize(("name", "content", "told"), [
    ("a.txt", b"\xff\xfe", "it is not UTF-8 text"), ("a.pdf", b"x", "does not end in .txt, .csv or .tsv"),
    ("a.csv", b"text\n", "it has no rows"), ("a.csv", b'text\n"open', "opening quotation mark"),
])  # fmt: skip
def test_a_file_that_cannot_be_read_is_told(show, build, student, tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    browser = show(build(student))
    by_id(browser, "file").send_keys(str(tmp_path / name))
    wait_text(browser, "progress", told)


# --- damage ---

START = '<script type="application/octet-stream" id="part-'


@pytest.mark.parametrize(("name", "damage"), [
    ("wasm", "gone"), ("model", "cut"), ("tokenizer", "changed"), ("manifest", "cut"), ("model", "changed"),
])  # fmt: skip
def test_a_damaged_part_is_one_visible_sentence(show, build, student, tmp_path, name, damage):
    page = build(student).read_text(encoding="utf-8")
    begin = page.index(f"{START}{name}")
    end = page.index("</script>", begin)
    middle = (begin + end) // 2
    new = {
        "gone": page[:begin] + page[end + len("</script>") :], "cut": page[:middle] + page[end:],
        "changed": page[:middle] + ("A" if page[middle] != "A" else "B") + page[middle + 1 :],
    }[damage]  # fmt: skip
    path = tmp_path / "damaged.html"
    path.write_text(new, encoding="utf-8")
    browser = show(path, status="could not start")
    assert f'its part "{name}" is missing or damaged' in by_id(browser, "status").text
    assert not by_id(browser, "main").is_displayed()


def test_a_model_that_cannot_be_run_is_told(show, build, student, tmp_path):
    page = build(student).read_text(encoding="utf-8")
    begin = page.index(">", page.index(f"{START}model")) + 1
    end = page.index("</script>", begin)
    path = tmp_path / "foreign.html"
    foreign = base64.b64encode(gzip.compress(b"no model")).decode()
    path.write_text(page[:begin] + foreign + page[end:], encoding="utf-8")
    assert "\n" not in by_id(show(path, status="could not start"), "status").text


def test_a_page_whose_script_does_not_run_says_so(browser, build, student, tmp_path):
    page = build(student).read_text(encoding="utf-8")
    begin = page.index('<script type="module">')
    path = tmp_path / "cut.html"
    for content in (page[:begin], page.replace('<script type="module">', '<script type="module">;')):
        path.write_text(content, encoding="utf-8")
        browser.get(path.as_uri())
        WebDriverWait(browser, 20).until(lambda _: by_id(browser, "status").is_displayed())
        assert "damaged or incomplete" in by_id(browser, "status").text
        assert not by_id(browser, "main").is_displayed()
    browser.get_log("browser")


def test_the_policy_allows_nothing_but_the_file(build, student, browser):
    page = build(student).read_text(encoding="utf-8")
    policy = page.split('Content-Security-Policy" content="')[1].split('"')[0]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in policy
    assert "'unsafe-eval'" not in policy
    assert "http" not in policy
    browser.get(build(student).as_uri())
    code = "const [done] = arguments; fetch('http://127.0.0.1:9/').then(() => done('sent'), () => done('refused'))"
    assert browser.execute_async_script(code) == "refused"
    assert any("Content Security Policy" in entry["message"] for entry in browser.get_log("browser"))
