import sys
from pathlib import Path

import pytest
from board_examples import add_entry, new_board

from hdbench.leaderboard.site import build
from hdbench.progress import Progress

sys.path.append(str(Path(__file__).resolve().parents[1] / "reporting"))
from headless import EXECUTABLE, Browser

pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason="Chromium is not installed")
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def browser(tmp_path):
    started = Browser(tmp_path / "profile")
    yield started
    started.close()


@pytest.fixture
def site(tmp_path):
    board = new_board(tmp_path / "board")
    for seed, shift in enumerate((2.0, 0.0, 1.0)):
        add_entry(board, seed, name=f"{'CAB'[seed]} {HOSTILE}", shift=shift)
    add_entry(board, 3, name="Real shapes", kind="control")
    build(board, tmp_path / "site", progress=Progress())
    return tmp_path / "site"


def names(browser):
    rows = "[...document.querySelectorAll('tbody.models tr')].filter((row) => !row.hidden)"
    return browser.evaluate(f"{rows}.map((row) => row.querySelector('a').textContent[0]).join('')")


def test_the_site_sorts_filters_and_turns_samples_offline(site, browser):
    browser.open(site / "index.html")
    assert names(browser) == "ABC"
    assert browser.evaluate("document.querySelectorAll('tr.break').length") >= 1
    browser.wait_for("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    head = "[...document.querySelectorAll('thead th')].find((head) => head.textContent.startsWith('COV'))"
    browser.evaluate(f"{head}.querySelector('button').click()")
    assert browser.evaluate(f"{head}.getAttribute('aria-sort')") == "ascending"
    browser.evaluate("document.querySelector('thead button').click()")
    assert names(browser) == "ABC"
    search = "document.querySelector('[data-search]')"
    browser.evaluate(f"{search}.value = 'b <'; {search}.dispatchEvent(new Event('input', {{ bubbles: true }}))")
    assert names(browser) == "B"
    browser.open(next((site / "models").glob("*.html")))
    browser.evaluate("document.querySelector('button[data-points]').click()")
    browser.wait_for("document.querySelector('canvas').dataset.state === 'ready'")
    drawn = "document.querySelector('canvas').toDataURL()"
    before = browser.evaluate(drawn)
    press = "new KeyboardEvent('keydown', { key: 'ArrowLeft', bubbles: true })"
    browser.evaluate(f"document.querySelector('canvas').dispatchEvent({press})")
    browser.wait_for(f"{drawn} !== {before!r}")
    browser.evaluate("document.querySelector('[data-close]').click()")
    assert not browser.evaluate("document.querySelector('dialog').open")
    for page in (site / "index.html", next((site / "models").glob("*.html"))):
        for options in ({"width": 390, "height": 844}, {"dark": True}):
            browser.open(page, **options)
            assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert browser.messages == []
    assert {request.split(":")[0] for request in browser.requests} <= {"file", "data"}
