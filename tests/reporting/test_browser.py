import pytest
from headless import EXECUTABLE, Browser

pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason="Chromium is not installed")


@pytest.fixture
def browser(tmp_path):
    started = Browser(tmp_path / "profile")
    yield started
    started.close()


def test_the_report_opens_offline_without_complaint_and_shapes_turn(small_run, browser):
    page = small_run.write().report()[0]
    browser.open(page)
    assert browser.evaluate("document.querySelector('#scores table').getBoundingClientRect().bottom") < 900
    for index in (0, browser.evaluate("document.querySelectorAll('button[data-glb]').length") - 1):
        browser.evaluate(f"document.querySelectorAll('button[data-glb]')[{index}].click()")
        browser.wait_for("document.documentElement.dataset.viewer === 'ready'")
        camera = "document.querySelector('iframe').contentWindow.camera.position.toArray()"
        before = browser.evaluate(camera)
        browser.wait_for(f"JSON.stringify({camera}) !== {str(before).replace(' ', '')!r}")  # turns by itself
        browser.evaluate("document.querySelector('[data-close]').click()")
        browser.wait_for("!document.querySelector('iframe')")
        browser.evaluate("delete document.documentElement.dataset.viewer")
    for options in ({"width": 390, "height": 844}, {"dark": True}):
        browser.open(page, **options)
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert len(browser.picture()) > 10_000
    assert browser.messages == []
    assert {request.split(":")[0] for request in browser.requests} <= {"file", "data"}
    assert {request for request in browser.requests if request.startswith("file:")} == {page.resolve().as_uri()}
