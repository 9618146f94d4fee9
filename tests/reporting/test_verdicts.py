import io
from xml.etree import ElementTree

import pytest
from rich.console import Console

from hdbench.gate import Finding, GateReport
from hdbench.reporting.verdicts import explanation, headline, plain, to_junit, to_markdown, verdict_table

HOSTILE = [
    "<script>alert(1)</script>",
    "a|b|c",
    "[x](http://evil)",
    "![x](y)",
    "`code` *bold* _it_ ~no~",
    "line\nbreak\r\n::error::x",
    "\x1b[2J\x00\x07\x9b",
    "@everyone #1",
    "\ud800\u202e\ufffe",
    "]]>&amp;\"'",
]


def finding(verdict, **changes):
    usual = {
        "method": "pvd",
        "protocol": "hdbench",
        "metric": "mmd_cd",
        "unit": "squared length",
        "old": 0.1,
        "new": 0.2,
    }
    return Finding(
        **usual | {"verdict": verdict, "worse": 0.1, "p_value": 1e-4, "visible": 0.05, "detect": 0.02} | changes
    )


@pytest.fixture
def report():
    findings = (
        finding("regressed"),
        finding("underpowered", metric="nna_cd", unit="fraction"),
        finding("improved", worse=-0.1),
        finding("new", old=None),
        finding("ok", worse=-0.01),
    )
    return GateReport(findings, ("Something else.",))


def test_junit(report):
    root = ElementTree.fromstring(to_junit(report).encode())
    suite = root.find("testsuite")
    for element in (root, suite):
        assert [element.get(name) for name in ("tests", "failures", "skipped", "errors")] == ["5", "1", "1", "0"]
    failure = suite.find("testcase/failure")
    assert failure.get("type") == "regressed"
    assert failure.get("message").startswith("worse by 0.100, p = 0.0001")
    assert "some 6.2 times as many shapes" in suite.find("testcase/skipped").get("message")
    assert [case.get("classname") for case in suite.iter("testcase")] == ["hdbench.hdbench.pvd"] * 5
    assert suite.find("system-out").text == "1 regressed, 1 underpowered, 1 improved\nSomething else."


def test_markdown(report):
    lines = to_markdown(report).splitlines()
    assert lines[0] == "### hdbench gate: 1 regressed, 1 underpowered, 1 improved"
    assert len([line for line in lines if line.startswith("|")]) == 2 + 5
    assert lines[-1] == "- Something else."


def test_all_is_well():
    assert headline(GateReport((finding("ok"), finding("new")), ())) == "no metric has changed"


def test_explanations_at_the_borders():
    assert explanation(finding("ok", visible=0.0, worse=0.0, note="the same to the last bit")) == (
        "exact; the same to the last bit"
    )
    assert (
        explanation(finding("underpowered", visible=float("inf"), worse=0.0, note="why"))
        == "no change could be seen; why"
    )
    assert explanation(finding("regressed", worse=float("inf"), note="why")) == "it has no value any more; why"
    assert "times" in explanation(finding("underpowered", detect=1e-300))
    assert "times" not in explanation(finding("underpowered", detect=0.0))


@pytest.mark.parametrize("text", HOSTILE)
def test_names_cannot_smuggle_markup(text):
    fields = {"method": text, "protocol": text, "metric": text, "unit": text, "note": text}
    report = GateReport((finding("regressed", **fields), finding("underpowered", **fields)), (text,))
    junit = to_junit(report).encode()
    cases = list(ElementTree.fromstring(junit).iter("testcase"))
    assert [case.get("name") for case in cases] == [plain(text)] * 2
    assert b"<script>" not in junit
    lines = to_markdown(report).splitlines()
    assert len(lines) == 2 + 2 + 2 + 1 + 1  # headline, head, rows, gap, note
    assert [line.count("|") for line in lines[2:6]] == [8] * 4
    body = "\n".join(lines[4:]).replace("\N{WORD JOINER}", "")
    assert not set(body) & set("<>[]`*_~!\\")
    assert "http:" not in body
    terminal = io.StringIO()
    Console(file=terminal, width=400).print(verdict_table(report))
    for shown in (terminal.getvalue(), to_markdown(report), junit.decode()):
        assert not any(character in shown for character in "\x1b\x00\x07\x9b\u202e\r")
    assert "::error::" not in [line.strip()[:9] for line in terminal.getvalue().splitlines()]
