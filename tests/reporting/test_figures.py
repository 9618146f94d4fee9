import re
import xml.etree.ElementTree as ElementTree

import pytest
from report_examples import example_results, half_size_held_out, results, row, score

from hdbench.reporting.figures import loss_panel, score_panel, strip, yardstick
from hdbench.reporting.tables import board


def test_panel_is_well_formed_the_same_each_time_and_in_the_pages_colours():
    arranged = board(example_results())
    svg = score_panel(arranged, 0)
    assert svg == score_panel(arranged, 0)
    words = " ".join(ElementTree.fromstring(svg).itertext())
    for line in arranged.lines:
        assert line.title in words
    assert "40.0 ▸" in words  # noise, far off the scale
    assert "var(--accent)" in svg
    assert "#0102" not in svg


def test_ids_differ_between_panels_of_one_page():
    arranged = board(example_results())
    found = [set(re.findall(r'\bid="([^"]*)"', score_panel(arranged, index))) for index in range(3)]
    assert all(found)
    assert not found[0] & found[1] | found[1] & found[2]


def test_text_in_a_panel_is_escaped_and_no_formula():
    arranged = board(results([row("alpha", [score("mmd_cd", 0.1, 0.01)], title="<script>$\\frac$")]))
    svg = score_panel(arranged, 0)
    assert "<script" not in svg
    assert "<script>$\\frac$" in " ".join(ElementTree.fromstring(svg).itertext())


def test_strip_spans_models_and_real_shapes():
    arranged = board(example_results())
    alpha, beta = (strip(arranged, 1, line) for line in arranged.models)
    assert alpha.value < beta.value  # coverage .3 and .5
    for span in (alpha, beta):
        assert 0 <= span.lo < span.value < span.hi <= 100
        assert span.beyond == 0
    noise = strip(arranged, 1, arranged.controls[2])
    assert noise.beyond == -1
    assert strip(arranged, 1, arranged.controls[1]) == yardstick(arranged, 1)


def test_a_column_without_held_out_shapes_has_no_yardstick():
    arranged = board(results([row("alpha", [score("mmd_cd", 0.1)])]))
    assert yardstick(arranged, 0) is None
    span = strip(arranged, 0, arranged.models[0])
    assert span.lo == span.value == span.hi
    assert ElementTree.fromstring(score_panel(arranged, 0)) is not None


@pytest.mark.parametrize("curve", [[(1, 0.5), (2, 0.1)], [(1, -0.5), (2, 0.0)], [(1, 0.5)]])
def test_loss_panel(curve):
    arranged = board(results([row("alpha", [], loss_curve=curve)]))
    assert "training step" in " ".join(ElementTree.fromstring(loss_panel(arranged.models[0], 0)).itertext())


def test_real_shapes_of_another_signature_are_no_yardstick():
    arranged = board(half_size_held_out())
    assert arranged.controls[0].cells[0].is_foreign
    assert yardstick(arranged, 0) is None
    svg = score_panel(arranged, 0)
    assert "Held-out †" in " ".join(ElementTree.fromstring(svg).itertext())
    band = "opacity: 0.6"
    assert band not in svg
    assert band in score_panel(board(example_results()), 0)
