"""The web page at /: its source, and its behaviour in a browser."""

import hashlib
import re
from base64 import b64encode
from html.parser import HTMLParser

import pytest

pytest.importorskip("starlette", reason="the extra [serve] is not installed")
pytest.importorskip("uvicorn", reason="the extra [serve] is not installed")

from hftool.server.http.web_page import page_headers, read_page
from support.browser import CHROMIUM, browser
from support.stub_app import MODELS, answering

PAGE = read_page().decode("utf-8")
KEY = "0123456789abcdef"


class Elements(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


ELEMENTS = Elements(PAGE).found
SCRIPT = re.search(r"<script>(.*?)</script>", PAGE, re.DOTALL)[1]
IDS = [known["id"] for _, known in ELEMENTS if "id" in known]


# ---- the file


def test_page_loads_nothing_external():
    assert not re.search(r"https?:|//[a-z]|\burl\(|@import", PAGE)
    for tag, known in ELEMENTS:
        assert tag not in ("iframe", "object", "embed", "base", "img", "video")
        assert "src" not in known and known.get("href", "data:,") == "data:,", (tag, known)


def test_script_never_creates_markup_from_data():
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "createContextualFrag",
    ):
        assert word not in SCRIPT
    for word in ("localStorage", "sessionStorage", "document.cookie", "indexedDB"):
        assert word not in SCRIPT  # where the key would outlive the page


def test_policy_allows_only_this_script_and_style():
    policy = page_headers(PAGE.encode())["content-security-policy"]
    for kind in ("script", "style"):
        (text,) = re.findall(rf"<{kind}>(.*?)</{kind}>", PAGE, re.DOTALL)
        digest = b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert not [known for _, known in ELEMENTS if any(name == "style" or name.startswith("on") for name in known)]


def test_element_ids_are_unique_and_complete():
    used = set(re.findall(r'\$\("([\w-]+)"\)', SCRIPT)) | set(re.findall(r'boxes\("([\w-]+)"', SCRIPT))
    assert used and used <= set(IDS)
    assert len(IDS) == len(set(IDS))
    pointing = [
        known[name] for _, known in ELEMENTS for name in ("for", "aria-labelledby", "aria-describedby") if name in known
    ]
    assert pointing and set(pointing) <= set(IDS)


def test_inputs_have_labels_and_buttons_a_type():
    labelled = {known["for"] for tag, known in ELEMENTS if tag == "label"}
    assert {known["id"] for tag, known in ELEMENTS if tag in ("input", "select", "textarea")} <= labelled
    assert all(known.get("type") in ("submit", "button") for tag, known in ELEMENTS if tag == "button")
    assert ("html", {"lang": "en"}) in ELEMENTS


def test_page_is_at_most_400_lines():
    assert len(PAGE.splitlines()) < 400
    assert max(map(len, PAGE.splitlines())) <= 128


# ---- what a person sees

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")
SHOWN = "document.getElementById('answer').innerText"
DONE = "!document.getElementById('ask').disabled && !document.getElementById('{}').hidden"


@pytest.fixture(scope="module")
def open_browser(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture(scope="module")
def server():
    with answering(MODELS) as found:
        yield found


@pytest.fixture
def page(open_browser, server):
    """The page, opened anew; its console must be empty at the end."""
    open_browser.console.clear()
    open_browser.open(server[0])
    open_browser.until("!document.getElementById('form').hidden")
    yield open_browser
    assert open_browser.console == []


def choose(page, name):
    script = f"const box = document.getElementById('model'); box.value = '{name}'; box.dispatchEvent(new Event('change'))"
    page.run("{ " + script + " }")


def fill_in(page, **texts):
    for name, text in texts.items():
        page.run(f"document.getElementById('field-{name}').focus()")
        page.write(text)


def answered(page, name, **texts):
    """What the page shows after the texts were typed and the button was pressed."""
    choose(page, name)
    fill_in(page, **texts)
    page.run("document.getElementById('ask').click()")
    page.until(DONE.format("result"))
    return page.run(SHOWN).split("\n")


@needs_browser
def test_bars_of_labels_show_their_probabilities(page):
    shown = [line for line in answered(page, "films", text="a warm film") if line]
    assert shown == ["positive", "90.0 %", "negative", "10.0 %"]
    shares = page.run("[...document.querySelectorAll('.fill')].map((e) => e.clientWidth / e.parentElement.clientWidth)")
    assert shares == pytest.approx([0.9, 0.1], abs=0.01)
    assert page.run("document.getElementById('facts').textContent") == "films · classify · bert · positive, negative"
    assert page.run("document.getElementById('took').textContent").startswith("answered in ")


@needs_browser
def test_truncation_is_shown(page):
    answered(page, "films", text="a long warm film")
    assert "7 tokens of it were not read" in page.run("document.getElementById('took').textContent")


@needs_browser
def test_regression_pairs_and_embeddings_are_shown(page, server):
    assert answered(page, "stars", text="a film") == ["3.2500"]
    assert answered(page, "pairs", text="a warm film", text_pair="a second")[0] == "positive"
    assert server[1]["pairs"].submitted[-1][0] == [{"text": "a warm film", "text_pair": "a second"}]
    assert answered(page, "vectors", text="a film")[0] == "3 numbers"
    assert "length 1.0000" in page.run(SHOWN) and "[0.6000, 0.8000, 0.0000, …]" in page.run(SHOWN)
    assert answered(page, "vectors", text="a film", text_pair="another")[0] == "0.5000"


@needs_browser
def test_spans_are_marked_at_their_offsets_after_an_emoji(page):
    answered(page, "names", text="👩‍🚀 ann 😀 went to rome")
    marks = page.run("[...document.querySelectorAll('mark')].map((e) => e.firstChild.textContent)")
    assert marks == ["ann", "rome"]
    assert page.run("document.querySelectorAll('mark b')[0].textContent") == "<i>ann"  # a label is a text as well
    answered(page, "where", question="where is ann", context="😀 ann went to rome .")
    assert page.run("document.querySelector('.big').textContent") == "rome"
    assert page.run("document.querySelector('mark').textContent") == "rome"
    answered(page, "where", question="where is ann", context="nobody knows")
    assert page.run("document.querySelector('.big').textContent") == "The context does not say."


@needs_browser
def test_fills_of_a_mask_are_shown(page):
    shown = [line for line in answered(page, "gaps", text="the [MASK] is warm") if line]
    assert shown == ["the cat is warm", "cat", "50.0 %", "dog", "25.0 %"]
    page.run("document.getElementById('example').click()")
    assert "[MASK]" in page.run("document.getElementById('field-text').value")


@needs_browser
def test_generation_is_streamed_and_can_be_stopped(page, server):
    batcher = server[1]["stories"]
    batcher.gate.clear()
    choose(page, "stories")
    fill_in(page, text="ann")
    page.run("document.getElementById('ask').click()")
    page.until(f"{SHOWN}.length > 'ann'.length")
    assert page.run(SHOWN) != "ann" + batcher.text and not page.run("document.getElementById('stop').hidden")
    batcher.gate.set()
    page.until(DONE.format("result"))
    assert page.run(SHOWN) == "ann" + batcher.text  # its <b> is a text, too
    assert server[1]["stories"].submitted[-1][1]["sampling"]["max_new_tokens"] == 64
    batcher.gate.clear()
    page.run("document.getElementById('ask').click()")
    page.until(f"{SHOWN}.length > 'ann'.length && {SHOWN}.length < 12")
    page.run("document.getElementById('stop').click()")
    page.until("document.getElementById('took').textContent === 'stopped'")
    batcher.gate.set()
    assert page.run("document.getElementById('error').hidden")


@needs_browser
def test_parameters_reach_the_model(page, server):
    choose(page, "films")
    fill_in(page, text="a warm film")
    page.run("document.getElementById('setting-top_k').value = '1'")
    page.run("document.getElementById('ask').click()")
    page.until(DONE.format("result"))
    assert page.run("document.querySelectorAll('.bars li').length") == 1
    choose(page, "stories")
    fill_in(page, text="ann")
    for name, value in (("temperature", "0.5"), ("max_new_tokens", "5"), ("stop", ".")):
        page.run(f"document.getElementById('setting-{name}').value = '{value}'")
    page.run("document.getElementById('ask').click()")
    page.until(DONE.format("result"))
    expected = server[1]["stories"].submitted[-1][1]["sampling"]
    assert (expected["temperature"], expected["max_new_tokens"], expected["stop"]) == (0.5, 5, (".",))


@needs_browser
def test_page_works_with_the_keyboard_alone(page):
    """Tab to the box, type, Ctrl-Enter; what has the focus shows it."""
    page.run("document.activeElement.blur(); document.getElementById('model').focus()")
    page.press("Tab", 9)
    assert page.run("document.activeElement.id") == "field-text"
    page.write("a warm film")
    page.press("Enter", 13, ctrl=True)
    page.until(DONE.format("result"))
    assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert page.run("document.getElementById('answer').getAttribute('aria-live')") == "polite"


@needs_browser
def test_errors_are_shown_as_sentences(page, server):
    from hftool.server.batching.batcher import Expired, Overloaded, Unavailable

    batcher = server[1]["films"]
    choose(page, "films")
    fill_in(page, text="a warm film")
    expected = {
        Overloaded(7): "The server is busy. Try again in 7 seconds.",
        Expired("late"): "It took too long",
        Unavailable("gone"): "The server is starting, stopping",
    }
    try:
        for fault, words_of_it in expected.items():
            batcher.fault = fault
            page.run("document.getElementById('ask').click()")
            page.until(DONE.format("error"))
            assert page.run("document.getElementById('error').textContent").startswith(words_of_it)
            assert page.run("document.getElementById('result').hidden")
    finally:
        batcher.fault = None
    page.console.clear()  # the browser itself logs every status from 400 on
    page.run("document.getElementById('ask').click()")
    page.until(DONE.format("result"))
    assert page.run("document.getElementById('error').hidden")
    page.run("document.getElementById('field-text').value = ' '")
    page.run("document.getElementById('ask').click()")
    page.until(DONE.format("error"))
    assert "empty" in page.run("document.getElementById('error').textContent")
    page.console.clear()


@needs_browser
def test_key_is_asked_for_and_not_stored(open_browser):
    with answering(["films"], keys=(KEY,)) as (url, _):
        for _ in range(2):  # the second time as on a first visit
            open_browser.open(url)
            open_browser.until("document.activeElement.id === 'key'")
            assert open_browser.run("document.getElementById('form').hidden && document.getElementById('error').hidden")
        open_browser.write("wrong-key")
        open_browser.press("Enter", 13, text="\r")
        open_browser.until("!document.getElementById('error').hidden")
        assert open_browser.run("document.getElementById('error').textContent") == "The server does not know this key."
        open_browser.run("document.getElementById('key').select()")
        open_browser.write(KEY)
        open_browser.press("Enter", 13, text="\r")
        open_browser.until("!document.getElementById('form').hidden")
        fill_in(open_browser, text="a warm film")
        open_browser.press("Enter", 13, ctrl=True)
        open_browser.until(DONE.format("result"))
        shown = open_browser.run("document.documentElement.outerHTML") + open_browser.run("location.href")
        assert KEY not in shown  # nor in the line for a terminal
    open_browser.console.clear()


@needs_browser
def test_page_fits_a_phone(open_browser, server):
    for width in (320, 900):
        for dark in (False, True):
            open_browser.open(server[0], width=width, dark=dark)
            open_browser.until("!document.getElementById('form').hidden")
            answered(open_browser, "names", text="ann went to rome " + "x" * 300)
            assert open_browser.run("document.documentElement.scrollWidth") <= width
            colours = open_browser.run("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, re.findall(r"\d+", colours))) < 384) is dark


@needs_browser
def test_unreachable_server_is_reported(open_browser):
    with answering(["films"]) as (url, _):
        open_browser.open(url)
        open_browser.until("!document.getElementById('form').hidden")
        fill_in(open_browser, text="a warm film")
    open_browser.run("document.getElementById('ask').click()")
    open_browser.until(DONE.format("error"))
    assert (
        open_browser.run("document.getElementById('error').textContent") == "The server does not answer. Is it still running?"
    )
    open_browser.console.clear()
