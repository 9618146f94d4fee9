"""The verdicts of the gate: on a terminal, as JUnit XML for continuous integration, as Markdown for a comment."""

import math
import unicodedata
from collections.abc import Mapping
from xml.etree import ElementTree

from rich import box
from rich.table import Table
from rich.text import Text

from hdbench.gate import Finding, GateReport, Verdict
from hdbench.reporting.rounding import display_scale, three_digits

_HEAD = ("model", "protocol", "metric", "old", "new", "verdict", "")
_SIGNS: Mapping[Verdict, str] = {"regressed": "✗", "underpowered": "?", "improved": "▲", "new": "+", "ok": "✓"}
"""The worst first."""
_STYLES: Mapping[Verdict, str] = {"regressed": "bold red", "improved": "green", "underpowered": "yellow"}


def verdict_table(report: GateReport) -> Table:
    """A line per metric, for the terminal."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in _HEAD:
        table.add_column(name, justify="right" if name in ("old", "new") else "left")
    for finding in report.findings:
        table.add_row(*(Text(cell) for cell in _cells(finding)), style=_STYLES.get(finding.verdict, ""))
    return table


def to_junit(report: GateReport) -> str:
    """A test case per metric: regressions are failures, what could not be seen is skipped."""
    found = [finding.verdict for finding in report.findings]
    counts = {"tests": len(found), "failures": found.count("regressed"), "skipped": found.count("underpowered")}
    totals = {name: str(count) for name, count in counts.items()} | {"errors": "0", "time": "0"}
    suites = ElementTree.Element("testsuites", totals)
    suite = ElementTree.SubElement(suites, "testsuite", {"name": "hdbench gate", **totals})
    for finding in report.findings:
        place = ".".join(part for part in ("hdbench", plain(finding.protocol), plain(finding.method)) if part)
        case = ElementTree.SubElement(suite, "testcase", classname=place, name=plain(finding.metric), time="0")
        if finding.verdict == "regressed":
            ElementTree.SubElement(case, "failure", type="regressed", message=plain(explanation(finding)))
        elif finding.verdict == "underpowered":
            ElementTree.SubElement(case, "skipped", message=plain(explanation(finding)))
    ElementTree.SubElement(suite, "system-out").text = "\n".join(
        [headline(report), *(plain(note) for note in report.notes)]
    )
    ElementTree.indent(suites, " ")
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def to_markdown(report: GateReport) -> str:
    """A headline, a table and the notes, for a pull request."""
    lines = [f"### hdbench gate: {headline(report)}", "", _line(_HEAD), _line(["---"] * len(_HEAD))]
    lines += [_line([_escaped(cell) for cell in _cells(finding)]) for finding in report.findings]
    lines += ["", *(f"- {_escaped(note)}" for note in report.notes)] if report.notes else []
    return "\n".join(lines) + "\n"


def headline(report: GateReport) -> str:
    """The verdict on everything, in a few words."""
    counted = {verdict: sum(finding.verdict == verdict for finding in report.findings) for verdict in _SIGNS}
    worst = [f"{count} {verdict}" for verdict, count in counted.items() if count and verdict not in ("ok", "new")]
    return ", ".join(worst) or "no metric has changed"


def explanation(finding: Finding) -> str:
    """Why a metric got its verdict."""
    if not math.isfinite(finding.worse):
        return f"it has no value any more{_after(finding.note)}"
    scale, unit = _scale(finding)
    change = f"worse by {three_digits(finding.worse * scale)}{unit}, " if finding.worse > 0 else ""
    return f"{change}{_certainty(finding, scale, unit)}{_after(finding.note)}"


def plain(text: str) -> str:
    """`text` on one line, without characters that control a terminal or that XML does not know: names are anyone's."""
    spaced = "".join(" " if character.isspace() else character for character in text)
    return "".join("\N{REPLACEMENT CHARACTER}" if _is_unprintable(character) else character for character in spaced)


def _certainty(finding: Finding, scale: float, unit: str) -> str:
    if not finding.visible:
        return "exact"
    if not math.isfinite(finding.visible):
        return "no change could be seen"
    seen = f"p = {finding.p_value:.2g}, changes from {three_digits(finding.visible * scale)}{unit} on are seen"
    if finding.verdict != "underpowered" or not finding.detect:
        return seen
    ratio = finding.visible / finding.detect
    times = f"some {max(ratio * ratio, 1.1):.1f}" if ratio < 10 else "hundreds of"
    return f"{seen}, {three_digits(finding.detect * scale)}{unit} asked for: take {times} times as many shapes"


def _after(note: str) -> str:
    return f"; {note}" if note else ""


def _cells(finding: Finding) -> tuple[str, ...]:
    scale, unit = _scale(finding)
    old, new = (
        "–" if value is None else f"{three_digits(value * scale)}{unit}" for value in (finding.old, finding.new)
    )
    verdict = f"{_SIGNS[finding.verdict]} {finding.verdict}"
    why = "" if finding.verdict == "new" else explanation(finding)
    cells = (finding.method, finding.protocol, finding.metric, old, new, verdict, why)
    return tuple(plain(cell) for cell in cells)


def _scale(finding: Finding) -> tuple[float, str]:
    scale = display_scale(finding.protocol, finding.metric, finding.unit)
    return scale, "%" if finding.unit == "fraction" else ""


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _is_unprintable(character: str) -> bool:
    """Control and format characters, surrogates, private and unassigned ones."""
    return unicodedata.category(character).startswith("C")


def _escaped(text: str) -> str:
    """`text` on one line, without what Markdown, HTML or GitHub (mentions, links) would act on."""
    return "".join(
        f"&#{ord(character)};"
        if character in "&<>|`[]*_~:#!\\"
        else "@\N{WORD JOINER}"
        if character == "@"
        else character
        for character in plain(text)
    )
