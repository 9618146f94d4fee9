"""The timeline of a report: bars where and as long as the stages were, and the same in numbers."""

import pytest
from report_examples import example_results, example_run, results, row
from test_html import HOSTILE, Page

from hdbench.errors import HdbenchError
from hdbench.reporting.timeline import LONGEST_PAUSE, timeline
from hdbench.results import Stage

NOON = 1_770_000_000.0


def stage(name: str, start: float, seconds: float, **other) -> Stage:
    return Stage(stage=name, start=NOON + start, seconds=seconds, **other)


def timed(*stages: Stage):
    return timeline(results([row("alpha", []), row("beta", [])], timeline=[*stages]))


def test_bars_are_where_and_as_long_as_the_stages():
    drawn = timed(
        stage("prepare", 0, 10),
        stage("model", 10, 60, method="alpha"),
        stage("samples", 70, 20, method="alpha", seed=0),
        stage("scores", 90, 10, method="alpha", seed=0),
        stage("model", 40, 40, method="beta"),
    )
    assert [track.title for track in drawn.tracks] == ["Data", "Alpha", "Beta"]
    assert [(bar.left, bar.width) for track in drawn.tracks for bar in track.bars] == [
        (0, 10), (10, 60), (70, 20), (90, 10), (40, 40),
    ]  # fmt: skip
    assert [track.cells for track in drawn.tracks] == [
        ("10 s", "–", "–"), ("60 s", "20 s", "10 s"), ("40 s", "–", "–"),
    ]  # fmt: skip
    assert drawn.tracks[1].bars[1].words == "sampled, seed 0: 20 s from 02:41:10 UTC"
    assert drawn.caption == "From 2026-02-02 02:40 UTC, 1.7 min of work."
    assert not drawn.cuts
    assert not drawn.has_nodes


def test_a_long_pause_is_cut_short():
    drawn = timed(stage("model", 0, 50, method="alpha"), stage("samples", 86_450, 50, method="alpha"))
    (first, second), (cut,) = drawn.tracks[0].bars, drawn.cuts
    total = 100 + 100 * LONGEST_PAUSE
    assert (first.left, first.width) == (0, pytest.approx(100 * 50 / total, abs=0.01))
    assert second.left == pytest.approx(100 * 55 / total, abs=0.01)
    assert second.left + second.width == pytest.approx(100, abs=0.02)
    assert first.width < cut.left < second.left
    assert cut.words == "nothing for 24.0 h"
    assert "1.7 min of work; dashed lines are pauses, cut short." in drawn.caption


def test_a_short_pause_is_drawn_as_it_was():
    drawn = timed(stage("model", 0, 50, method="alpha"), stage("samples", 52, 48, method="alpha"))
    assert [(bar.left, bar.width) for bar in drawn.tracks[0].bars] == [(0, 50), (52, 48)]
    assert not drawn.cuts


def test_what_was_found_has_no_bar_and_is_called_so():
    drawn = timed(
        stage("model", -1e6, 60, method="alpha", found=True),
        stage("samples", 0, 20, method="alpha", seed=0),
        stage("samples", -1e6, 20, method="alpha", seed=1, found=True),
    )
    (track,) = drawn.tracks
    assert [(bar.left, bar.width) for bar in track.bars] == [(0, 100)]
    assert track.cells == ("found", "20 s, 1 found", "–")
    assert "2 of 3 stages were found in the store." in drawn.caption


def test_where_all_was_found_there_are_no_bars():
    drawn = timed(stage("model", 0, 60, method="alpha", found=True))
    assert drawn.tracks[0].bars == ()
    assert drawn.caption == "Everything was in the store already."


@pytest.mark.parametrize("seconds", [0.0, 1e-300])
def test_stages_without_a_length_have_a_place(seconds):
    drawn = timed(stage("model", 0, seconds, method="alpha"), stage("samples", 0, seconds, method="alpha"))
    assert all(0 <= bar.left <= 100 and bar.width == 0 for bar in drawn.tracks[0].bars)


def test_several_nodes_are_told():
    drawn = timed(stage("model", 0, 5, method="alpha", node=2), stage("samples", 5, 5, method="alpha", node=1))
    assert drawn.has_nodes
    assert drawn.tracks[0].nodes == "1, 2"
    assert drawn.tracks[0].bars[0].words.endswith(", on node 2")


def test_results_without_one_have_none(tmp_path):
    assert timed() is None
    text = example_run(tmp_path / "run").write().report()[0].read_text(encoding="utf-8")
    assert "Timeline" not in text


def with_timeline(folder, *stages: Stage):
    run = example_run(folder)
    run.results = example_results().model_copy(update={"timeline": [*stages]})
    return run.write()


def test_the_page_has_the_numbers_in_a_table_and_bars_that_are_not_read_aloud(tmp_path):
    run = with_timeline(tmp_path / "run", stage("model", 0, 42, method="alpha"), stage("odd", 42, 1, method="beta"))
    text = run.report()[0].read_text(encoding="utf-8")
    page = Page(text)
    assert {"role": "region", "aria-label": "Timeline", "tabindex": "0"}.items() <= next(
        attributes for attributes in page.all("div") if attributes.get("aria-label") == "Timeline"
    ).items()
    assert "42 s" in page.texts
    part = text[text.index('aria-label="Timeline"') : text.index('<section id="making">')]
    assert part.count("<i ") == 2 + 3
    assert part.count('<td aria-hidden="true">') == 1 + 2


def test_the_page_trusts_no_name(tmp_path):
    run = with_timeline(tmp_path / "run", stage(HOSTILE, 0, 42, method="alpha"), stage("model", 1, 1, method=HOSTILE))
    text = run.report()[0].read_text(encoding="utf-8")
    Page(text)
    assert "<script>alert" not in text
    assert "<img src=x" not in text


@pytest.mark.parametrize("number", [{"start": 1e12}, {"start": -1.0}, {"seconds": -1.0}, {"seconds": 1e30}])
def test_times_that_no_run_gives_are_refused(tmp_path, number):
    run = with_timeline(tmp_path / "run", stage("model", 0, 42, method="alpha").model_copy(update=number))
    with pytest.raises(HdbenchError, match=r"results.json: timeline\.0"):
        run.report()
