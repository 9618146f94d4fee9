"""The verdicts of the gate: on a terminal, as JUnit XML for continuous integration, as Markdown for a comment."""

import math
from collections.abc import Mapping
from xml.etree import ElementTree

from rich import box
from rich.table import Table
from rich.text import Text

from hdbench.gate import Finding, GateReport, Verdict
from hdbench.metrics.scoring import metric_named
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
    suites = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(
        suites, "testsuite", name="hdbench gate", attrib={name: str(count) for name, count in counts.items()}
    )
    for finding in report.findings:
        place = ".".join(part for part in (finding.protocol, finding.method) if part)
        case = ElementTree.SubElement(suite, "testcase", classname=place, name=finding.metric)
        if finding.verdict == "regressed":
            ElementTree.SubElement(case, "failure", message=explanation(finding))
        elif finding.verdict == "underpowered":
            ElementTree.SubElement(case, "skipped", message=explanation(finding))
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
    scale, unit = _scale(finding)
    seen = f"changes from {three_digits(finding.visible * scale)}{unit} on are seen" if finding.visible else "exact"
    if not math.isfinite(finding.worse):
        return "it has no value any more" if finding.worse > 0 else "it has a value now"
    change = f"worse by {three_digits(finding.worse * scale)}{unit}, " if finding.worse > 0 else ""
    text = f"{change}p = {finding.p_value:.2g}, {seen}"
    return f"{text}; {finding.note}" if finding.note else text


def _cells(finding: Finding) -> tuple[str, ...]:
    scale, unit = _scale(finding)
    old, new = (
        "–" if value is None else f"{three_digits(value * scale)}{unit}" for value in (finding.old, finding.new)
    )
    verdict = f"{_SIGNS[finding.verdict]} {finding.verdict}"
    why = "" if finding.verdict == "new" else explanation(finding)
    return finding.method, finding.protocol, finding.metric, old, new, verdict, why


def _scale(finding: Finding) -> tuple[float, str]:
    unit = metric_named(finding.metric).unit
    return display_scale(finding.protocol, finding.metric, unit), "%" if unit == "fraction" else ""


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """`text` without what Markdown or HTML would act on: names are anyone's."""
    return "".join(f"&#{ord(character)};" if character in "&<>|`[]*_~" else character for character in text)
