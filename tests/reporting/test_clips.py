"""Reports of runs on sequences: pictures that move, models that play, and both at rest where they should be."""

import re
from pathlib import Path

import pytest
from headless import EXECUTABLE, Browser

from hdbench.benchmark import Plan, Run
from hdbench.datasets.base import SPLITS
from hdbench.progress import Progress
from hdbench.reporting import pictures
from hdbench.shape_files import ShapeSet
from hdbench.store import Store


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run of two controls on a few animals."""
    home = tmp_path_factory.mktemp("animals")
    plan = Plan(category="animal", methods=("train-copy", "noise"), limit=2, count=2)
    Run(plan, store=Store(home / "store"), folder=home / "run", progress=Progress()).execute()
    return home / "run"


@pytest.fixture(scope="module")
def page(run) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


def test_sequences_are_scored_by_the_protocol_for_them(run):
    from hdbench.results import load_results

    results = load_results(run)
    assert results.run["protocol"] == "hyperdiffusion-4d"
    assert {score.protocol for row in results.rows for score in row.scores} == {"hyperdiffusion-4d"}
    assert all(score.value is not None for row in results.rows for score in row.scores)
    copies, reference = (ShapeSet.open(run / name) for name in ("samples/train-copy", "reference"))
    assert (copies.kind, copies.points.shape) == ("sequence", (2, 16, 2048, 3))
    assert len(copies.shape(0).frames) == 16
    assert len(reference) == 2
    assert sum(results.dataset.counts[split] for split in SPLITS) == 6


def test_pictures_move_and_the_player_is_there(page):
    films = re.findall(r'<img [^>]*class="film" style="--frames:(\d+)"', page)
    assert len(films) == 2 + 2 + 2  # reference, copies, noise
    assert set(films) == {str(pictures.STRIP)}
    assert page.count("data-halt ") == 1
    for part in ('class="player"', "data-play", 'type="range"', 'aria-label="Frame"', "prefers-reduced-motion"):
        assert part in page
    assert page.count('aria-label="Play and turn') == 2 + 1 + 1
    assert len(page) < 10_000_000


def test_shapes_that_stand_still_have_no_pause_button(small_run):
    page = small_run.write().report()[0].read_text(encoding="utf-8")
    assert "data-halt " not in page
    assert 'class="film"' not in page


@pytest.mark.skipif(EXECUTABLE is None, reason="Chromium is not installed")
def test_clips_play_halt_and_go_on_by_button_slider_and_keys(run, tmp_path):
    browser = Browser(tmp_path / "profile")
    try:
        browser.open(run / "report.html")
        _play_through(browser)
        assert browser.messages == []
    finally:
        browser.close()


def _play_through(browser: Browser) -> None:
    film = "getComputedStyle(document.querySelector('.film'))"
    assert browser.evaluate(f"{film}.animationPlayState") == "running"
    browser.evaluate("document.querySelector('[data-halt]').click()")
    assert browser.evaluate(f"{film}.animationPlayState") == "paused"
    browser.evaluate("document.querySelector('button[data-glb]').click()")
    browser.wait_for("document.documentElement.dataset.viewer === 'ready'")
    shown = "document.querySelector('.player output').textContent"
    before = browser.evaluate(shown)
    assert before.endswith("/ 16")
    browser.wait_for(f"{shown} !== {before!r}")  # plays by itself
    browser.evaluate("document.querySelector('[data-play]').click()")
    halted = browser.evaluate(shown)
    browser.evaluate("new Promise(done => setTimeout(done, 400))")
    assert browser.evaluate(shown) == halted
    browser.evaluate("(s => { s.value = 4; s.oninput(); })(document.querySelector('.player input'))")
    assert browser.evaluate(shown) == "5 / 16"
    key = "document.querySelector('iframe').contentWindow.dispatchEvent(new KeyboardEvent('keydown', {key: '%s'}))"
    browser.evaluate(key % ".")
    assert browser.evaluate(shown) == "6 / 16"
    seen = "const names = []; document.querySelector('iframe').contentWindow.scene.traverse("
    seen += "item => /^frame/.test(item.name) && item.visible && names.push(item.name));"
    assert browser.evaluate(f"(() => {{ {seen} return names; }})()") == ["frame5"]
    browser.evaluate(key % " ")
    browser.wait_for(f"{shown} !== '6 / 16'")
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    assert browser.evaluate(f"{film}.animationName") == "none"
