import pytest
from headless import EXECUTABLE, Browser
from report_examples import whole_run

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


CONTRASTS = """(() => {
  const parse = (color) => {
    const unit = color.startsWith("color") ? 255 : 1;  // color-mix() gives shares of one
    return color.match(/[\\d.]+/g).map((part, place) => part * (place < 3 ? unit : 1));
  };
  const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = (color) => {
    const [r, g, b] = parse(color).slice(0, 3).map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      const [, , , alpha = 1] = parse(color);
      if (alpha === 1) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const low = [];
  const words = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  for (let text; (text = words.nextNode()); ) {
    const node = text.parentElement;
    if (!text.data.trim() || !node.getClientRects().length || node.closest("svg, script, [aria-hidden]")) continue;
    const [a, b] = [light(getComputedStyle(node).color), light(behind(node))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) low.push([text.data.trim().slice(0, 30), ratio.toFixed(2)]);
  }
  return low;
})()"""
"""Texts whose contrast with what is behind them is less than WCAG AA asks for."""


@pytest.mark.slow
def test_a_whole_report_is_read_at_once_everywhere(tmp_path, browser):
    """Four models, three controls, five scores: the first screen has who is best and who is tied, and nothing is lost
    on a phone, in the dark, on paper or to those who use a keyboard."""
    page = whole_run(tmp_path / "run").write().report()[0]
    assert page.stat().st_size < 10_000_000
    browser.open(page)
    assert browser.evaluate("document.querySelectorAll('.verdict').length") == 5
    assert browser.evaluate("document.querySelector('#scores .scores').getBoundingClientRect().bottom") < 900
    assert browser.evaluate("document.querySelector('#scores .scroll').scrollWidth") <= browser.evaluate(
        "document.querySelector('#scores .scroll').clientWidth"
    )
    for section in ("#published table", ".extremes figure", "#plots svg", ".maps svg", "#cost svg"):
        assert browser.evaluate(f"document.querySelector('{section}').getBoundingClientRect().height") > 10, section
    for options in ({}, {"dark": True}, {"width": 390, "height": 844}):
        browser.open(page, **options)
        browser.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), options
        assert browser.evaluate(CONTRASTS) == [], options
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert len(browser.call("Page.printToPDF", printBackground=True)["data"]) > 100_000
    assert browser.messages == []


RESTED = "new Promise(done => setTimeout(done, 800))"
"""Until the viewer has swung out."""


@pytest.mark.slow
def test_a_shape_is_turned_by_mouse_and_keys_and_closed_by_escape(small_run, browser):
    browser.open(small_run.write().report()[0])
    browser.evaluate("document.querySelector('button[data-glb]').focus()")
    browser.press("Enter")
    browser.wait_for("document.documentElement.dataset.viewer === 'ready'")
    camera = "document.querySelector('iframe').contentWindow.camera.position.toArray()"
    frame = "document.querySelector('iframe').getBoundingClientRect()"
    middle = browser.evaluate(f"(box => [box.x + box.width / 2, box.y + box.height / 2])({frame})")
    browser.drag(middle, by=(0, 0))  # takes hold: it no longer turns by itself
    browser.evaluate(RESTED)
    for move in (lambda: browser.drag(middle, by=(120, 30)), lambda: browser.press("ArrowLeft")):
        before = browser.evaluate(camera)
        move()
        browser.wait_for(f"JSON.stringify({camera}) !== {str(before).replace(' ', '')!r}")
        browser.evaluate(RESTED)
    browser.press("Escape")
    browser.wait_for("!document.querySelector('dialog').open")
    assert browser.messages == []
